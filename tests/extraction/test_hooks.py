from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import layer_outputs, outputs_until
from neurocarto.extraction.models import load_model
from neurocarto.records import Layer


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
    with pytest.raises(ModelError, match=r"no layer 'stm'; nearest: 'stem'"):
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


@pytest.mark.parametrize("inplace", [False, True])
def test_maps_that_are_kept_are_not_changed_by_what_comes_behind(inplace: bool):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Conv2d(4, 4, 3)).eval()
    with torch.inference_mode():
        outputs = outputs_until(module, torch.randn(2, 3, 8, 8), layers("1", "2", "3"))
    assert (outputs["1"] < 0).any()
    assert torch.equal(outputs["2"], outputs["1"].relu())


def test_a_layer_that_runs_twice_in_a_forward_pass_is_refused():
    module = Shared()
    with layer_outputs(module, layers("second"), lambda *_: None):
        module(torch.zeros(1, 3, 8, 8))
        module(torch.zeros(1, 3, 8, 8))  # another pass
    with (
        layer_outputs(module, layers("relu"), lambda *_: None),
        pytest.raises(ModelError, match="'relu' ran more than"),
    ):
        module(torch.zeros(1, 3, 8, 8))


def test_consumers_get_maps_in_place_of_tokens_and_give_maps():
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    layer = Layer("0", 5, 2, 2, "B(1+T)C")
    shapes = []

    def consume(_: str, maps: Tensor) -> Tensor:
        shapes.append(maps.shape)
        return torch.zeros_like(maps)

    tokens = torch.randn(2, 5, 3)
    with layer_outputs(module, [layer], consume):
        output = module(tokens)
    assert shapes == [(2, 5, 2, 2)]
    assert torch.equal(output[:, 0], module(tokens)[:, 0])  # the class token is left alone
    assert torch.equal(output[:, 1:], module[1].bias.expand(2, 4, 2))


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(ModelError, match="no model 'lenet'; nearest: "):
        load_model("lenet")
