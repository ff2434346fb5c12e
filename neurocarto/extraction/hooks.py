"""Looking into a network while it runs."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from neurocarto.errors import ModelError
from neurocarto.extraction.layouts import fold, unfold
from neurocarto.records import Clamp, Layer

Consumer = Callable[[str, Tensor], Tensor | None]
"""Called with a layer's name and activation maps; what it returns, if anything, takes the output's place.

What comes behind the layer may write into that: it has to be the consumer's own, and not what it keeps.
"""


MARGIN = 1e-4
"""Distance to a clamp's bounds, in units of activation: gradients pass, values stay what they are."""


class LastLayerReached(Exception):
    """Raised inside a forward pass to leave it: nothing behind the last layer is needed."""


def inside_clamp(maps: Tensor, clamp: Clamp | None) -> Tensor:
    """Clamp activation maps a hair inside the bounds.

    At the bounds themselves the network's own clamp behind the layer would stop every gradient.
    """
    if clamp is None:
        return maps
    low, high = clamp
    return maps.clamp(None if low is None else low + MARGIN, None if high is None else high - MARGIN)


@contextmanager
def layer_outputs(module: nn.Module, layers: Iterable[Layer], consume: Consumer) -> Iterator[None]:
    """Call consume(name, maps) whenever a layer has run; the hooks live only in this context.

    maps (B, C, H, W): the output folded by the layer's layout, not clamped. ModelError when the module has
    no such layer, before anything runs; and when a layer runs twice in one forward pass.
    """
    handles: list[RemovableHandle] = []
    seen: set[str] = set()
    try:
        handles.append(module.register_forward_pre_hook(lambda *_: seen.clear()))
        handles.extend(
            submodule(module, layer.name).register_forward_hook(_hook(layer, consume, seen)) for layer in layers
        )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(layer: Layer, consume: Consumer, seen: set[str]) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        if layer.name in seen:
            raise ModelError(f"layer {layer.name!r} ran more than once in a forward pass; choose one that runs once")
        seen.add(layer.name)
        replaced = consume(layer.name, fold(output, layer.layout, layer.map_height, layer.map_width))
        return None if replaced is None else unfold(replaced, output, layer.layout)

    return hook


def submodule(module: nn.Module, name: str) -> nn.Module:
    """Return the layer of that path; ModelError that offers the nearest names when there is none."""
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise no_such_layer(module, name) from error


def no_such_layer(module: nn.Module, name: str) -> ModelError:
    """Return the error for a path or glob that means no layer; it offers the nearest paths."""
    near = difflib.get_close_matches(name, [path for path, _ in module.named_modules() if path], n=3)
    return ModelError(f"the model has no layer {name!r}; nearest: {', '.join(map(repr, near)) or 'none'}")


def outputs_until(module: nn.Module, batch: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Run the network up to the last of the layers and return their activation maps, not clamped."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, maps: Tensor) -> None:
        if len(outputs) + 1 == len(layers):
            outputs[name] = maps
            raise LastLayerReached
        outputs[name] = maps.clone()  # what comes behind may work in place

    with layer_outputs(module, layers, keep), suppress(LastLayerReached):
        module(batch)
    return outputs
