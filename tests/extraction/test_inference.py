from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Layer


class _Network(nn.Module):
    """Two convolutions with BatchNorms; `between` is what happens to the first convolution's output."""

    def __init__(self, between: Callable[["_Network", Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.second, self.last = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.between = between

    def forward(self, inputs: Tensor) -> Tensor:
        maps: Tensor = self.last(self.second(self.between(self, self.first(inputs))))
        return maps.mean((2, 3))


def _model(between: Callable[[_Network, Tensor], Tensor]) -> Model:
    torch.manual_seed(0)
    module = _Network(between).eval().requires_grad_(False)
    for norm in (module.norm, module.last):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            tensor.uniform_(0.5, 2)
    return Model("net", module, (), Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3), (), "here", "")


def _outputs(model: Model, layers: tuple[Layer, ...]) -> list[Tensor]:
    found: list[Tensor] = []
    with torch.inference_mode(), layer_outputs(model.module, layers, lambda _, maps: found.append(maps.clone())):
        inputs = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(1))
        return [*found, model.logits(inputs)]


def _norms(model: Model) -> int:
    return sum(isinstance(inner, nn.BatchNorm2d) for inner in model.module.modules())


FIRST, NORM = Layer("first", 4, 14, 14), Layer("norm", 4, 14, 14)


@pytest.mark.parametrize(
    ("between", "layers", "norms"),
    [
        pytest.param(lambda net, x: net.relu(net.norm(x)), (NORM,), 0, id="both folded"),
        pytest.param(lambda net, x: net.norm(net.relu(x)), (NORM,), 1, id="what follows something else is not"),
        pytest.param(lambda net, x: net.relu(net.norm(x)), (FIRST, NORM), 1, id="a convolution that is a layer"),
        pytest.param(lambda net, x: net.relu(net.norm(x)) + x, (NORM,), 2, id="its output goes elsewhere too"),
        pytest.param(lambda net, x: net.relu(net.norm(net.norm(x))), (), 1, id="a norm that runs twice"),
        pytest.param(lambda net, x: net.norm(x) * net.norm.weight.mean(), (NORM,), 2, id="its weights are asked for"),
    ],
)
def test_the_same_network_with_fewer_batchnorms(
    between: Callable[[_Network, Tensor], Tensor], layers: tuple[Layer, ...], norms: int
) -> None:
    model = _model(between)
    fast = for_inference(model, layers)
    assert _norms(fast) == norms
    assert _norms(model) == 2
    for expected, found in zip(_outputs(model, layers), _outputs(fast, layers), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_activations_work_in_place_only_where_nobody_needs_what_was_there() -> None:
    once = for_inference(_model(lambda net, x: net.relu(net.norm(x))), ())
    assert once.module.relu.inplace

    def twice(net: _Network, x: Tensor) -> Tensor:
        x = net.norm(x)
        return x + net.relu(x)

    model = _model(twice)
    fast = for_inference(model, ())
    assert not fast.module.relu.inplace
    assert _norms(fast) == 0
    torch.testing.assert_close(_outputs(fast, ()), _outputs(model, ()))


def test_a_network_that_cannot_be_copied_stays_as_it_is() -> None:
    model = _model(lambda net, x: net.relu(net.norm(x)))
    module = model.module
    module.__deepcopy__ = lambda _: 1 / 0  # type: ignore[method-assign]
    assert for_inference(replace(model), ()).module is module
