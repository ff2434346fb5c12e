"""Looking into a network while it runs, and what its layers are like."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from neurocarto.errors import ModelError
from neurocarto.extraction.models import Model
from neurocarto.records import Layer

Consumer = Callable[[str, Tensor], Tensor | None]
"""Called with a layer's name and output; what it returns, if anything, takes the output's place."""


MARGIN = 1e-4
"""Distance to a clamp's bounds, in units of activation: gradients pass, values stay what they are."""


class LastLayerReached(Exception):
    """Raised inside a forward pass to leave it: nothing behind the last layer is needed."""


def inside_clamp(output: Tensor, clamp: tuple[float, float] | None) -> Tensor:
    """Clamp a layer's output a hair inside its bounds.

    At the bounds themselves the network's own clamp behind the layer would stop every gradient.
    """
    return output if clamp is None else output.clamp(clamp[0] + MARGIN, clamp[1] - MARGIN)


@contextmanager
def layer_outputs(module: nn.Module, names: Iterable[str], consume: Consumer) -> Iterator[None]:
    """Call consume(name, output) whenever a named layer has run; the hooks live only in this context.

    ModelError when the module has no such layer, before anything runs.
    """
    handles: list[RemovableHandle] = []
    try:
        handles.extend(submodule(module, name).register_forward_hook(_hook(name, consume)) for name in names)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, consume: Consumer) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        return consume(name, output)

    return hook


def submodule(module: nn.Module, name: str) -> nn.Module:
    """Return the layer of that path; ModelError that offers the nearest names when there is none."""
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        near = difflib.get_close_matches(name, [path for path, _ in module.named_modules() if path], n=3)
        raise ModelError(f"the model has no layer {name!r}; nearest: {', '.join(near) or 'none'}") from error


def outputs_until(module: nn.Module, batch: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Run the network up to the last named layer and return the layers' outputs."""
    wanted = list(names)
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        outputs[name] = output
        if len(outputs) == len(wanted):
            raise LastLayerReached

    with layer_outputs(module, wanted, keep), suppress(LastLayerReached):
        module(batch)
    return outputs


def describe_layers(model: Model) -> tuple[Layer, ...]:
    """Find the channels, map size and theoretical receptive field of the model's layers by a dry pass.

    ModelError when a layer runs more than once in a forward pass: its outputs would be mixed.
    """
    size = model.preprocessing.size
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        if name in outputs:
            raise ModelError(f"layer {name!r} runs more than once in a forward pass; choose a layer that runs once")
        outputs[name] = output

    with torch.inference_mode():
        blank = torch.zeros(1, 3, size, size)
        with layer_outputs(model.module, model.layers, keep):
            model.module(blank)
        fields = _receptive_fields(model.module, blank, model.layers)
    return tuple(
        Layer(
            name=name,
            channels=outputs[name].shape[1],
            map_height=outputs[name].shape[2],
            map_width=outputs[name].shape[3],
            clamp=clamp,
            receptive_field=fields[name],
        )
        for name, clamp in model.layers.items()
    )


def _receptive_fields(module: nn.Module, blank: Tensor, layers: Mapping[str, object]) -> dict[str, int]:
    """Sides in input pixels, along the longest path: every convolution before a layer widens its field."""
    fields: dict[str, int] = {}
    field, step = 1, 1
    paths = {name: child for name, child in module.named_modules() if isinstance(child, nn.Conv2d) or name in layers}

    def widen(name: str, _output: Tensor) -> None:
        nonlocal field, step
        child = paths[name]
        if isinstance(child, nn.Conv2d):
            field += (child.kernel_size[0] - 1) * child.dilation[0] * step
            step *= child.stride[0]
        if name in layers:
            fields[name] = field

    with layer_outputs(module, paths, widen):
        module(blank)
    return fields
