"""Which of the hooked layers build directly on which."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurocarto.extraction.hooks import inside_clamp, layer_outputs
from neurocarto.extraction.models import Model
from neurocarto.records import Layer

OUTPUT = ""
"""In place of a layer: the network's own output."""

Visitor = Callable[[str, Tensor, Mapping[str, Tensor]], None]
"""Called with a layer's name, its activation maps and its parents' activations."""


@dataclass(frozen=True)
class Lineage:
    """The graph of the hooked layers, in the order in which they run; the network's output comes last.

    parents: for each layer the layers that it builds on directly, in the same order; work: for each layer about how
    many multiplications lie between its parents (or the input) and itself, on one image.
    """

    parents: dict[str, tuple[str, ...]]
    work: dict[str, int]

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Lineage":
        """Read a lineage from its JSON object."""
        return cls({name: tuple(parents) for name, parents in entry["parents"].items()}, dict(entry["work"]))


def find_lineage(model: Model, layers: Sequence[Layer]) -> Lineage:
    """Find out which layers build directly on which, in one pass over noise.

    A layer's parents are those layers that its output depends on and that no other of these depends on: what reaches
    it past a later layer, by a residual connection or a concatenation, is no parent. Branches side by side all are.
    Layers that do not run are left out. Time and memory: one forward and backward pass on one image, and a walk through
    the graph of operations for each layer.
    """
    noise = torch.randn(model.blank().shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    leaves: dict[str, Tensor] = {}
    ancestors: dict[str, set[str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    done: dict[str, int] = {}
    multiplications = 0

    def count(module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal multiplications
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim and isinstance(output, Tensor):
            multiplications += weight.numel() * (output.numel() // len(weight))

    def visit(name: str, output: Tensor) -> Tensor:
        reached, parents[name] = _dependence(output, leaves, ancestors)
        ancestors[name] = set(reached).union(*(ancestors[leaf] for leaf in reached))
        done[name] = multiplications
        leaves[name] = output.detach().requires_grad_()
        return leaves[name].clone()

    handles = [module.register_forward_hook(count) for module in model.module.modules()]
    try:
        with torch.enable_grad(), layer_outputs(model.module, layers, visit):
            visit(OUTPUT, model.logits(noise))
    finally:
        for handle in handles:
            handle.remove()
    work = {name: done[name] - min((done[parent] for parent in parents[name]), default=0) for name in parents}
    return Lineage(parents, work)


def follow(model: Model, layers: Sequence[Layer], lineage: Lineage, batch: Tensor, visit: Visitor) -> None:
    """Run the network on a batch and visit each layer, and last its output, with the activations that it builds on.

    What is visited can be differentiated to these, and to nothing before them: each layer's activations, clamped, go on
    as a fresh leaf, which is let go when all that builds on it directly has run. Memory: between two layers only, but
    for connections past a layer; then at most what a backward pass through the whole network takes.
    """
    leaves: dict[str, Tensor] = {}
    clamps = {layer.name: layer.clamp for layer in layers}
    waiting = Counter(parent for parents in lineage.parents.values() for parent in parents)

    def cut(name: str, output: Tensor) -> Tensor:
        pass_on(name, output)
        leaf = inside_clamp(output, clamps[name]).detach().requires_grad_()
        if waiting[name]:
            leaves[name] = leaf
        return leaf.clone()

    def pass_on(name: str, output: Tensor) -> None:
        parents = lineage.parents[name]
        visit(name, output, {parent: leaves[parent] for parent in parents})
        waiting.subtract(parents)
        for parent in parents:
            if not waiting[parent]:
                del leaves[parent]

    with torch.enable_grad(), layer_outputs(model.module, layers, cut):
        logits = model.logits(batch)
    pass_on(OUTPUT, logits)


def _dependence(
    output: Tensor, leaves: Mapping[str, Tensor], ancestors: Mapping[str, set[str]]
) -> tuple[list[str], tuple[str, ...]]:
    """The leaves that a tensor depends on, and those of them that no other of them depends on."""
    reached = _reached(output, leaves)
    while True:
        nearest = [leaf for leaf in reached if not any(leaf in ancestors[other] for other in reached)]
        idle = _idle(output, {leaf: leaves[leaf] for leaf in nearest})
        if not idle:
            return reached, tuple(nearest)
        reached = [leaf for leaf in reached if leaf not in idle]


def _reached(output: Tensor, leaves: Mapping[str, Tensor]) -> list[str]:
    """The leaves that a tensor's graph of operations leads back to, in the order in which they were made."""
    names = {id(leaf): name for name, leaf in leaves.items()}
    found, seen, pending = set(), set(), [output.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found.add(names.get(id(getattr(node, "variable", None))))
            pending += [before for before, _ in node.next_functions]
    return [name for name in leaves if name in found]


def _idle(output: Tensor, leaves: Mapping[str, Tensor]) -> set[str]:
    """Those leaves that change nothing, as the last patch tokens behind which only the class token is read."""
    if not leaves:
        return set()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(output.shape, generator=generator).to(output.device)  # a plain sum may be constant
    gradients = torch.autograd.grad((output * weights).sum(), [*leaves.values()], retain_graph=True)
    return {name for name, gradient in zip(leaves, gradients, strict=True) if not gradient.any()}
