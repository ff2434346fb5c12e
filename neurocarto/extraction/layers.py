"""The layers of a network: which there are, and what they are like."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import submodule
from neurocarto.extraction.models import Model
from neurocarto.records import Layer


def describe_layers(model: Model, patterns: Sequence[str] = ()) -> tuple[Layer, ...]:
    """Find the channels, map size and theoretical receptive field of the model's layers by a dry pass.

    ModelError when a layer runs more than once in a forward pass: its outputs would be mixed.
    """
    outputs: dict[str, Tensor] = {}
    fields: dict[str, int] = {}
    field, step = 1, 1
    names = [site.name for site in model.sites]
    paths = dict(model.module.named_modules()) | {name: submodule(model.module, name) for name in names}

    def visit(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(child: nn.Module, _inputs: object, output: Tensor) -> None:
            nonlocal field, step
            if isinstance(child, nn.Conv2d):
                field += (child.kernel_size[0] - 1) * child.dilation[0] * step
                step *= child.stride[0]
            if name in names:
                if name in outputs:
                    raise ModelError(f"layer {name!r} runs more than once in a forward pass; choose one that runs once")
                outputs[name], fields[name] = output, field

        return hook

    handles = [child.register_forward_hook(visit(name)) for name, child in paths.items()]
    try:
        with torch.inference_mode():
            model.module(model.blank())
    finally:
        for handle in handles:
            handle.remove()
    layers = []
    for site in model.sites:
        channels, height, width = outputs[site.name].shape[1:]
        layers.append(Layer(site.name, channels, height, width, clamp=site.clamp, receptive_field=fields[site.name]))
    return tuple(layers)
