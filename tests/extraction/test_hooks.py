from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import layer_outputs, outputs_until
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Layer, Site

PREPROCESSING = Preprocessing(resize=32, size=32, mean=(0, 0, 0), std=(1, 1, 1))


class Shared(nn.Module):
    """Its one ReLU runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))


def _chain() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 8, 3, stride=2, padding=1),
            wide=nn.Conv2d(8, 6, 5, dilation=2, padding=4),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
        )
    )


def layers(*names: str) -> list[Layer]:
    return [Layer(name, 1, 1, 1) for name in names]


def _hooks(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) for child in module.modules())


def test_hooks_live_only_inside_the_context():
    module = _chain()
    seen: list[str] = []
    with layer_outputs(module, layers("stem", "wide"), lambda name, _: seen.append(name)):
        assert _hooks(module) == 2
        module(torch.zeros(1, 3, 16, 16))
    assert seen == ["stem", "wide"]
    assert _hooks(module) == 0


def test_hooks_are_removed_after_an_error():
    module = _chain()
    with pytest.raises(ZeroDivisionError), layer_outputs(module, layers("stem"), lambda *_: None):
        raise ZeroDivisionError
    assert _hooks(module) == 0


def test_an_unknown_layer_fails_before_any_forward_pass_and_names_the_nearest():
    module = _chain()
    with pytest.raises(ModelError, match=r"no layer 'stm'; nearest: stem"):
        outputs_until(module, torch.zeros(1, 3, 16, 16), layers("wide", "stm"))
    assert _hooks(module) == 0


def test_the_pass_ends_at_the_last_layer():
    module = _chain()
    outputs = outputs_until(module, torch.zeros(1, 3, 1000, 4), layers("stem"))
    assert outputs["stem"].shape == (1, 8, 500, 2)


def test_what_a_consumer_returns_takes_the_outputs_place():
    module = _chain()
    with layer_outputs(module, layers("wide"), lambda _, output: torch.full_like(output, 3)):
        assert (module(torch.zeros(1, 3, 16, 16)) == 3).all()


def test_a_layer_that_runs_twice_is_refused():
    model = Model("shared", Shared(), (Site("relu"), Site("second")), PREPROCESSING, ("a",), "here", "")
    with pytest.raises(ModelError, match="'relu' runs more than once"):
        describe_layers(model)


def test_layers_are_described_from_a_dry_pass():
    model = Model("chain", _chain(), (Site("stem"), Site("wide", (0.0, 6.0))), PREPROCESSING, ("a",), "here", "")
    stem, wide = describe_layers(model)
    assert (stem.channels, stem.map_height, stem.map_width, stem.receptive_field) == (8, 16, 16, 3)
    assert (wide.channels, wide.clamp, wide.receptive_field) == (6, (0.0, 6.0), 3 + 4 * 2 * 2)


def test_the_packaged_model():
    model = load_model("efficientnet_lite0")
    layers = describe_layers(model)
    assert sum(layer.channels for layer in layers) == 10_240
    fields = {layer.name: layer.receptive_field for layer in layers}
    assert fields["_blocks.8._bn1"] == 211  # worked out by hand from kernels and strides
    assert len(model.categories) == 1000
    assert not model.module.training


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(ModelError, match="no model 'lenet'; nearest: "):
        load_model("lenet")
