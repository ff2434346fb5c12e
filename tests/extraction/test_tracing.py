from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurocarto.extraction.tracing import Trace, Value, trace


class Function(nn.Module):
    """A network made of one function, with a module for a place to look at."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def traced(function: Callable[[nn.Module, Tensor], Tensor], side: int = 32, **children: nn.Module) -> Trace:
    return trace(Function(function, **children).eval(), torch.randn(2, 3, side, side))


def output(function: Callable[[nn.Module, Tensor], Tensor], side: int = 32, **children: nn.Module) -> Value:
    value = traced(function, side, **children).calls[-1].value
    assert value is not None
    return value


def conv(kernel: int | tuple[int, int], channels: int = 3, **knobs: int) -> nn.Conv2d:
    return nn.Conv2d(3, channels, kernel, **knobs)


def test_convolutions_and_poolings_widen_the_field():
    net = nn.Sequential(conv(3, stride=2), nn.MaxPool2d(3, 2), conv(3, dilation=2), nn.AvgPool2d(2), nn.ReLU())
    fields = [call.value.field for call in trace(net.eval(), torch.zeros(2, 3, 64, 64)).calls if call.value]
    # 1 + 2; + 2 · 2; + 2 · 2 · 4; + 1 · 4
    assert fields[:5] == [(3, 3), (7, 7), (23, 23), (27, 27), (27, 27)]


def test_sides_are_followed_apart():
    value = output(lambda net, x: net.b(net.a(x)), a=conv((1, 7)), b=conv((7, 1), stride=2))
    assert value.field == (7, 7)
    assert value.step == (2, 2)


def test_parallel_branches_take_the_widest_and_do_not_add_up():
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([net.a(x), net.c(net.b(x)), F.max_pool2d(x, 3, 1, 1)], 1) + x.mean(1, keepdim=True)

    value = output(forward, a=conv(1), b=conv(3, padding=1), c=conv(5, padding=2))
    assert value.field == (7, 7)
    assert value.axes == "BCHW"


@pytest.mark.parametrize(
    "mixing",
    [
        lambda _, x: x.mean((2, 3)),
        lambda _, x: F.adaptive_avg_pool2d(x, 1),
        lambda _, x: F.adaptive_avg_pool2d(x, 5),
        lambda _, x: x.flatten(1),
        lambda _, x: F.interpolate(x, scale_factor=2),
        lambda _, x: F.group_norm(x, 3),
        lambda _, x: F.layer_norm(x, x.shape[1:]),
        lambda _, x: F.softmax(x, -1),
        lambda _, x: x @ x.transpose(2, 3),
        lambda _, x: F.scaled_dot_product_attention(x, x, x),
        lambda _, x: torch.einsum("bchw,bcij->bhwij", x, x),
        lambda _, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),  # squeeze and excitation
        lambda net, x: net.linear(x),  # along rows
        lambda net, x: net.linear(x.flatten(2)[..., :32]),  # along tokens
        lambda _, x: torch.cumsum(x, 2),
        lambda _, x: x[..., ::2, :],
        lambda _, x: x.roll(1, 2),
    ],
)
def test_whatever_mixes_places_has_no_known_field(mixing: Callable[[nn.Module, Tensor], Tensor]):
    assert output(mixing, linear=nn.Linear(32, 8)).field is None


@pytest.mark.parametrize(
    ("keeping", "axes"),
    [
        (lambda _, x: F.adaptive_avg_pool2d(x, 32), "BCHW"),
        (lambda _, x: F.layer_norm(x.permute(0, 2, 3, 1), [3]), "BHWC"),
        (lambda _, x: F.softmax(x, 1), "BCHW"),
        (lambda net, x: net.norm(x) * 2 - 1, "BCHW"),
        (lambda net, x: net.linear(x.permute(0, 2, 3, 1)), "BHWC"),
        (lambda net, x: x.permute(0, 2, 3, 1) @ net.linear.weight.T, "BHWC"),
        (lambda _, x: F.pad(x, (1, 1, 1, 1)), "BCHW"),
        (lambda _, x: x.flatten(2).transpose(1, 2), "BTC"),
        (lambda _, x: x.reshape(2, 3, -1).permute(2, 0, 1), "TBC"),
        (lambda _, x: x.flatten(2).mT.transpose(1, 2).unflatten(2, (32, 32)), "BCHW"),
        (lambda _, x: x.view(2, 3, 1, 32, 32).transpose(1, 2).reshape(x.shape), "BCHW"),  # a channel shuffle
        (lambda _, x: torch.cat(x.chunk(3, 1)[::-1], 1), "BCHW"),
        (lambda _, x: torch.cat([x[:, i].unsqueeze(1) * 2 for i in range(3)], 1), "BCHW"),  # googlenet's inputs
        (lambda _, x: x.detach().clone().squeeze().contiguous(), "BCHW"),
        (lambda _, x: F.adaptive_max_pool2d(x, 16), "BCHW"),
    ],
)
def test_whatever_keeps_places_keeps_the_field(keeping: Callable[[nn.Module, Tensor], Tensor], axes: str):
    value = output(keeping, linear=nn.Linear(3, 3), norm=nn.BatchNorm2d(3))
    assert value.axes == axes
    assert value.field == ((2, 2) if value.step == (2, 2) else (1, 1))


def test_windows_and_places_in_them_are_told_apart():
    def windows(_: nn.Module, x: Tensor) -> Tensor:
        return x.view(2, 3, 4, 8, 4, 8).permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)

    assert output(windows).axes == "BTtC"
    assert output(lambda net, x: windows(net, x).swapaxes(1, 2)).axes == "BtTC"
    assert (
        output(lambda net, x: windows(net, x).view(2, 4, 4, 8, 8, 3).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)).axes
        == "BCHW"
    )


def test_patches_cut_by_reshaping_are_tokens():
    def patches(_: nn.Module, x: Tensor) -> Tensor:
        return x.reshape(2, 3, 4, 8, 4, 8).permute(0, 2, 4, 3, 5, 1).reshape(2, 16, -1)

    value = output(patches)
    assert value.axes == "BTC"
    assert value.field is None


def test_tokens_without_a_place_have_to_be_in_front():
    token = torch.zeros(2, 1, 3)
    assert output(lambda _, x: torch.cat([token, x.flatten(2).transpose(1, 2)], 1)).axes == "BTC"
    assert output(lambda _, x: torch.cat([x.flatten(2).transpose(1, 2), token], 1)).axes == "B?C"


def test_attention_has_the_axes_of_its_queries():
    layer = nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)
    net = traced(lambda net, x: net.layer(x.flatten(2).transpose(1, 2)), layer=layer)
    calls = {call.module: call for call in net.calls}
    linear = calls[layer.linear1].value  # the fused path would not run it
    assert linear is not None
    assert linear.axes == "BTC"
    assert linear.field is None
    assert calls[layer.self_attn].kind == "tuple"


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_module_in_front_of_an_activation_keeps_its_own_value(inplace: bool, inference: bool):
    net = nn.Sequential(conv(3), nn.BatchNorm2d(3), nn.ReLU(inplace), nn.Dropout(), nn.MaxPool2d(2))
    with torch.inference_mode(inference):
        result = trace(net.eval(), torch.randn(2, 3, 16, 16))
    norm, relu, dropout, pool = (call.value for call in result.calls[1:5])
    assert norm is not relu
    assert relu is dropout
    assert [value.rests for value in (norm, relu, pool) if value] == [False, True, True]
    ((after, activation),) = result.activations.items()
    assert after is relu
    assert activation.source is norm
    assert activation.running == (net, net[2])
    assert [call.lowest < 0 for call in result.calls[:4]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("function", "clamp"),
    [
        (lambda x: x.relu(), (0.0, None)),
        (lambda x: x.clone().relu_(), (0.0, None)),
        (lambda x: F.relu(x.clone(), inplace=True), (0.0, None)),
        (F.relu6, (0.0, 6.0)),
        (nn.ReLU6(), (0.0, 6.0)),
        (lambda x: F.hardtanh(x, 0, 4), (0.0, 4.0)),
        (lambda x: x.clamp(min=0), (0.0, None)),
        (lambda x: torch.clamp(x, 0, 1), (0.0, 1.0)),
        (lambda x: x.clamp_min(0), (0.0, None)),
        (F.gelu, None),
        (F.silu, None),
        (lambda x: x * x.sigmoid(), None),
    ],
)
def test_activations_rest_at_zero(function: Callable[[Tensor], Tensor], clamp: object):
    result = traced(lambda _, x: function(x))
    ((value, activation),) = result.activations.items()
    assert value is result.calls[-1].value
    assert value.rests
    assert activation.clamp == clamp


@pytest.mark.parametrize("function", [torch.tanh, F.hardtanh, lambda x: F.relu(x) - 1, lambda x: F.relu(x) + x])
def test_what_is_below_zero_too_does_not_rest_there(function: Callable[[Tensor], Tensor]):
    assert not output(lambda _, x: function(x)).rests


def test_a_gate_is_no_activation():
    assert not traced(lambda _, x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))).activations


def test_a_value_says_how_often_it_is_read():
    result = traced(lambda net, x: F.relu(net.a(x)) + net.b(x), a=conv(1), b=conv(1))
    assert result.uses[result.calls[0].value] == 1
    result = traced(lambda net, x: (y := net.a(x)) + F.relu(y), a=conv(1))
    assert result.uses[result.calls[0].value] == 2


def test_what_no_mode_sees_is_unknown_and_goes_on_from_there():
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return torch.from_numpy(x.numpy()[:, :, ::2] - 1)

    hidden = Function(lambda _, x: Own.apply(x))
    result = traced(lambda net, x: F.relu(net.hidden(x)), hidden=hidden)
    value = result.calls[-1].value
    assert value is not None
    assert (value.axes, value.field, value.rests) == ("????", None, True)


def test_no_hook_stays_even_after_an_error():
    net = nn.Sequential(nn.Conv2d(4, 3, 3))
    with pytest.raises(RuntimeError):
        trace(net, torch.zeros(2, 3, 8, 8))
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in net.modules())
