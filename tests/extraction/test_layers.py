import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.layers import LayerRow, describe_layers, list_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Clamp, Layer, Site


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def model(module: nn.Module, *sites: Site, size: int = 32, channels: int = 3) -> Model:
    fit = Preprocessing(resize=size, size=size, mean=(0.0,) * channels, std=(1.0,) * channels)
    return Model("own", module.eval().requires_grad_(False), sites, fit, (), "here", "")


def family(name: str) -> Model:
    knobs = {"init_weights": False} if name == "googlenet" else {}
    return model(torchvision.models.get_model(name, weights=None, **knobs), size=224)


class SharedRelu(nn.Module):
    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(channels, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 5, 3, padding=1), nn.Conv2d(5, 6, 3, padding=1)
        self.relu, self.head = nn.ReLU6(inplace=True), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.second(self.relu(self.norm(self.first(x)))))
        return self.head(self.relu(self.last(x)).mean((2, 3)))


class Nested(nn.Module):
    """Sequentials in Sequentials; one block gives a tuple, one never runs, one runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.MaxPool2d(2))
        self.body = nn.Sequential(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.SiLU()), nn.Dropout())
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.spare = nn.Conv2d(6, 6, 3)
        self.pair = Apply(lambda x: (x, x))
        self.five = Apply(lambda x: x[:, :, None])
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.body(self.stem(x))))
        return self.head(self.five(self.pair(x)[0])[:, :, 0])


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)


class Tokens(nn.Module):
    """A small transformer with a class token."""

    def __init__(self, activation: str, batch_first: bool) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 16, 8, stride=8), nn.Parameter(torch.zeros(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 24, activation=activation, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.batch_first = nn.Linear(16, 7), batch_first

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        if self.batch_first:
            return self.head(self.encoder(tokens)[:, 0])
        return self.head(self.encoder(tokens.transpose(0, 1))[0])


class Residual(nn.Module):
    """A block of a ResNet with functional activations."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, channels, 3, stride, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(before, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.drop = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Dropout2d()
        self.fc1, self.fc2 = nn.Linear(16 * 25, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.drop(self.conv2(x)), 2))
        return F.log_softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), dim=1)


class ChannelsLast(nn.Module):
    """A block of a ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
        self.wide, self.act, self.narrow = nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.narrow(self.act(self.wide(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return x + inner.permute(0, 3, 1, 2)


def told(layers: tuple[Layer, ...]) -> list[tuple[str, int, int, str, Clamp | None, bool, int | None]]:
    return [
        (layer.name, layer.channels, layer.map_width, layer.layout, layer.clamp, layer.signed, layer.receptive_field)
        for layer in layers
    ]


def names(layers: tuple[Layer, ...]) -> list[str]:
    return [layer.name for layer in layers]


def test_sites_are_described_from_a_dry_pass():
    chain = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 6, 5, dilation=2, padding=4), nn.Conv2d(6, 6, 1))
    assert told(describe_layers(model(chain, Site("1", (0.0, 6.0)), Site("0")))) == [
        ("0", 8, 16, "BCHW", None, True, 3),
        ("1", 6, 16, "BCHW", (0.0, 6.0), False, 3 + 4 * 2 * 2),
    ]


def test_the_packaged_network():
    packaged = load_model("efficientnet_lite0")
    layers = {layer.name: layer for layer in describe_layers(packaged)}
    assert sum(layer.channels for layer in layers.values()) == 10_240
    fields = {"_blocks.0._bn1": 7, "_blocks.8._bn1": 211, "_blocks.14._bn1": 787, "_bn1": 851}  # worked out by hand
    assert {name: layers[name].receptive_field for name in fields} == fields
    # Nothing but the trace tells what its one shared ReLU6 is applied to.
    found = describe_layers(dataclasses.replace(packaged, sites=()))
    assert {layers[layer.name] for layer in found if layer.name in layers} <= {*found}
    assert found[-1] == layers["_bn1"]
    assert {layer.clamp for layer in found} == {(0.0, 6.0)}


def test_a_shared_activation_is_read_in_front_of_it_and_clamped_alike():
    own = model(SharedRelu())
    assert told(describe_layers(own)) == [
        ("norm", 4, 16, "BCHW", (0.0, 6.0), False, 3),
        ("second", 5, 16, "BCHW", (0.0, 6.0), False, 7),
        ("last", 6, 16, "BCHW", (0.0, 6.0), False, 11),
    ]
    assert told(describe_layers(own, ["norm", "first"]))[0] == ("first", 4, 16, "BCHW", None, True, 3)
    with pytest.raises(ModelError, match=r"^layer 'relu' runs more than once .* applied to: 'norm', 'second', 'last'$"):
        describe_layers(own, ["relu"])


def test_a_nested_network():
    assert told(describe_layers(model(Nested()))) == [
        ("stem.0.1", 4, 30, "BCHW", None, False, 3),
        ("body.0.2", 6, 13, "BCHW", None, False, 8),
    ]


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_with_a_class_token(batch_first: bool):
    layout = "B(1+T)C" if batch_first else "(1+T)BC"
    own = model(Tokens("gelu", batch_first))
    assert told(describe_layers(own)) == [
        (f"encoder.layers.{block}.linear1", 24, 4, layout, None, True, None) for block in (0, 1)
    ]
    relu = describe_layers(model(Tokens("relu", batch_first)))
    assert {(layer.clamp, layer.signed) for layer in relu} == {((0.0, None), False)}


def test_the_hooked_pass_of_a_transformer_runs_the_layers():
    own = model(Tokens("gelu", batch_first=True))
    seen = {}
    with torch.inference_mode(), layer_outputs(own.module, describe_layers(own), seen.__setitem__):
        own.module(own.blank(2))  # without a hook the fused path would run
    assert {name: maps.shape for name, maps in seen.items()} == {
        f"encoder.layers.{block}.linear1": (2, 24, 4, 4) for block in (0, 1)
    }


def test_functional_activations_of_a_residual_network():
    blocks = nn.Sequential(Residual(3, 4, 1), Residual(4, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))
    assert told(describe_layers(model(blocks))) == [
        ("0.bn1", 4, 32, "BCHW", (0.0, None), False, 3),
        ("0", 4, 32, "BCHW", None, False, 5),
        ("1.bn1", 8, 16, "BCHW", (0.0, None), False, 7),
        ("1", 8, 16, "BCHW", None, False, 11),
    ]


def test_what_is_also_used_without_the_activation_is_not_clamped():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.last(x + F.relu(x))

    assert told(describe_layers(model(Both()))) == [("conv", 4, 30, "BCHW", None, True, 3)]


def test_a_network_of_fully_connected_layers_has_maps_of_one_cell():
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    assert told(describe_layers(model(mlp, size=8, channels=1))) == [
        ("2", 5, 1, "BC", None, False, None),
        ("4", 4, 1, "BC", None, True, None),
    ]


def test_a_network_that_sees_grey_pooled_before_its_activations():
    assert told(describe_layers(model(LeNet(), channels=1))) == [
        ("conv1", 6, 28, "BCHW", (0.0, None), False, 5),
        ("conv2", 16, 10, "BCHW", (0.0, None), False, 14),
    ]


def test_channels_last():
    own = model(nn.Sequential(nn.Conv2d(3, 8, 4, 4), ChannelsLast(), nn.Flatten(), nn.Linear(512, 7)))
    assert told(describe_layers(own)) == [("1.act", 32, 8, "BHWC", None, False, 4 + 6 * 4)]
    assert told(describe_layers(own, ["1.*"]))[1:3] == [
        ("1.norm", 8, 8, "BHWC", None, True, 28),
        ("1.wide", 32, 8, "BHWC", None, True, 28),
    ]


def test_without_activations_the_weights_are_studied():
    linear = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(3920, 2))
    assert names(describe_layers(model(linear))) == ["0", "2"]
    with pytest.raises(ModelError, match="no layers could be discovered in 'own'; name those to study"):
        describe_layers(model(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))))


def test_many_layers_are_thinned_evenly_and_the_last_is_kept():
    blocks = [module for _ in range(30) for module in (nn.Conv2d(3, 3, 1), nn.ReLU())]
    found = [int(name) // 2 for name in names(describe_layers(model(nn.Sequential(*blocks, nn.Conv2d(3, 2, 1)))))]
    assert len(found) == 20
    assert (found[0], found[-1]) == (0, 29)
    assert set(torch.tensor(found).diff().tolist()) == {1, 2}


def test_ends_of_blocks_are_preferred():
    blocks = [Residual(3, 3, 1) for _ in range(12)]
    found = names(describe_layers(model(nn.Sequential(*blocks, nn.Flatten(), nn.Linear(3072, 2)))))
    assert found == [str(block) for block in range(12)]


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("twice", "^layer 'twice' runs more than once in a forward pass, which would mix its outputs; choose one that"),
        ("spare", "^layer 'spare' never runs in a forward pass; choose one that does$"),
        ("pair", "^layer 'pair' returns a tuple, not a tensor; choose a module inside it or behind it$"),
        ("five", r"^layer 'five' gives an output of shape \(2, 6, 1, 13, 13\) with axes that are not known; choose"),
        ("[ps]*[er]", "^'.*' matches no layer that can be used; for example, 'spare' never runs"),
    ],
)
def test_a_layer_that_cannot_be_used_is_refused_with_the_reason(pattern: str, error: str):
    with pytest.raises(ModelError, match=error) as raised:
        describe_layers(model(Nested()), ["stem", pattern])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("stemm", "^the model has no layer 'stemm'; nearest: 'stem', 'stem.1', 'stem.0'$"),
        ("bodyx*", "nearest: 'body'"),
        ("", "no layer ''"),
        ("a\nb", r"no layer 'a\\nb'; nearest: none"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_before_any_forward_pass(pattern: str, error: str):
    own = Nested()
    own.forward = lambda x: pytest.fail("it ran")  # type: ignore[method-assign, assignment]
    with pytest.raises(ModelError, match=error):
        describe_layers(model(own), ["stem", pattern])


def test_a_glob_takes_what_can_be_hooked_and_no_neuron_twice():
    own = model(Nested())
    assert names(describe_layers(own, ["*"])) == [
        *("stem.0.0", "stem.0.1", "stem.1", "body.0.0", "body.0.1", "body.0.2"),  # not stem.0, stem, body.1, body
        *("head.0", "head.1", "head.2", "head.3", "head.4"),
    ]
    assert names(describe_layers(own, ["body*"])) == ["body.0.0", "body.0.1", "body.0.2"]
    assert names(describe_layers(own, ["body*", "body"])) == ["body.0.0", "body.0.1", "body"]
    with pytest.raises(ModelError, match="layers 'body.0' and 'body' have the same output; choose one of them"):
        describe_layers(own, ["body", "body.0"])


def test_a_clamped_layer_and_the_activation_behind_it_are_the_same_neurons():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop, self.last = nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.drop(F.relu(self.conv(x))))

    assert names(describe_layers(model(Mixed()), ["*"])) == ["conv", "last"]


def test_a_named_layer_takes_clamp_and_layout_from_the_models_sites():
    own = model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), Site("0", (0.0, 6.0), "BHWC"))
    (layer,) = describe_layers(own, ["0"])
    assert (layer.clamp, layer.layout, layer.channels) == ((0.0, 6.0), "BHWC", 30)
    with pytest.raises(ModelError, match=r"layer '0' cannot be read: an output of shape .* layout 'BTC'"):
        describe_layers(model(own.module, Site("0", None, "BTC")))


def test_a_site_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="no layer 'lastt'; nearest: 'last'"):
        describe_layers(model(SharedRelu(), Site("lastt")))


def test_a_network_that_does_not_take_the_input_is_refused_in_one_line():
    with pytest.raises(ModelError, match=r"'own' does not run on an input of shape \(2, 1, 32, 32\): .*") as raised:
        describe_layers(model(SharedRelu(), channels=1))
    assert "\n" not in str(raised.value)


def test_sides_as_long_as_the_batch_are_told_from_it_by_another_pass():
    class Hidden(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return torch.from_numpy(x.flatten(2).mT.numpy()[:, :2].copy())  # (B, 2, C)

    own = model(nn.Sequential(Apply(Hidden.apply), nn.Flatten(), nn.Linear(6, 2)))
    assert told(describe_layers(own, ["0"])) == [("0", 3, 1, "B(1+T)C", None, True, None)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "googlenet",
            {
                "conv1": (64, 112, "BCHW", False, 7),
                "inception3a": (256, 28, "BCHW", False, 59 - 16),
                "inception4a.branch2.0": (96, 14, "BCHW", False, 75),
                "inception3b.branch4": (64, 28, "BCHW", False, 59),
                "inception3b": (480, 28, "BCHW", False, 59),
                "maxpool3": (480, 14, "BCHW", False, 75),
                "inception3a.branch2.0.bn": (96, 28, "BCHW", True, 27),
            },
        ),
        (
            "resnet18",
            {
                "bn1": (64, 112, "BCHW", True, 7),
                "maxpool": (64, 56, "BCHW", False, 11),
                "layer1": (64, 56, "BCHW", False, 43),
                "layer2": (128, 28, "BCHW", False, 99),
                "layer3": (256, 14, "BCHW", False, 211),
                "layer4": (512, 7, "BCHW", False, 435),
                "layer4.1.bn2": (512, 7, "BCHW", True, 435),
                "avgpool": (512, 1, "BCHW", False, None),
            },
        ),
        (
            "vit_b_16",
            {
                "conv_proj": (768, 14, "BCHW", True, 16),
                "encoder.layers.encoder_layer_0.ln_1": (768, 14, "B(1+T)C", True, 16),
                "encoder.layers.encoder_layer_0.mlp.1": (3072, 14, "B(1+T)C", False, None),
                "encoder.layers.encoder_layer_11": (768, 14, "B(1+T)C", True, None),
            },
        ),
        (
            "swin_t",
            {
                "features.1.0.norm1": (96, 56, "BHWC", True, 4),
                "features.1.0.mlp.1": (384, 56, "BHWC", False, None),
                "features.3": (192, 28, "BHWC", True, None),
                "features.7.1.mlp.1": (3072, 7, "BHWC", False, None),
            },
        ),
        (
            "maxvit_t",
            {
                "stem.0.2": (64, 112, "BCHW", False, 3),
                "blocks.0.layers.0.layers.MBconv.layers.conv_b": (256, 56, "BCHW", False, 11),
                "blocks.0.layers.0.layers.MBconv.layers.squeeze_excitation": (256, 56, "BCHW", False, None),
                "blocks.0.layers.0.layers.window_attention.mlp_layer.2": (256, 56, "B(HW)(hw)C", False, None),
                "blocks.0.layers.0.layers.grid_attention.mlp_layer.2": (256, 56, "B(hw)(HW)C", False, None),
                "blocks.3": (512, 7, "BCHW", True, None),
            },
        ),
    ],
)
def test_layers_of_torchvisions_networks(name: str, expected: dict[str, tuple[int, int, str, bool, int | None]]):
    found = {
        layer.name: (layer.channels, layer.map_width, layer.layout, layer.signed, layer.receptive_field)
        for layer in describe_layers(family(name), list(expected))
    }
    assert found == expected


def _change(own: Model, layer: Layer, row: int, column: int) -> Tensor:
    """How much each cell of a layer (H, W) changes when one of 28 × 28 squares of the input does."""
    seen: list[Tensor] = []
    noise = torch.randn(own.blank().shape, generator=torch.Generator().manual_seed(1))
    changed = noise.clone()
    changed[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] *= -1
    with torch.inference_mode(), layer_outputs(own.module, [layer], lambda _, maps: seen.append(maps.clone())):
        own.module(noise)
        own.module(changed)
    return (seen[0] - seen[1]).abs().mean((0, 1))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vit_b_16", "encoder.layers.encoder_layer_0.mlp.1"),
        ("swin_t", "features.1.0.mlp.1"),
        ("maxvit_t", "blocks.0.layers.0.layers.window_attention.mlp_layer.2"),
        ("maxvit_t", "blocks.0.layers.0.layers.grid_attention.mlp_layer.2"),
    ],
)
def test_a_map_changes_where_the_image_does(name: str, path: str):
    own = family(name)
    (layer,) = describe_layers(own, [path])
    change = _change(own, layer, row=5, column=20)
    strong = (change > change.max() / 2).nonzero().to(torch.float32)
    cells = layer.map_width / 28  # cells per square
    middle = torch.tensor([5.5, 20.5]) * cells - 0.5
    assert ((strong - middle).abs() <= 2 * cells).all()


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("googlenet", ["conv1", "inception3a", "inception3b.branch2", "inception4b"]),
        ("resnet18", ["layer1.0.bn1", "layer2", "layer3.0"]),
        ("densenet121", ["features.denseblock1", "features.transition2.relu"]),
        ("convnext_tiny", ["features.1.1.block.4", "features.3.0"]),
    ],
)
def test_no_gradient_reaches_beyond_the_field(name: str, paths: list[str]):
    own = family(name)
    layers = {layer.name: layer for layer in describe_layers(own, paths)}
    inputs = torch.randn(own.blank().shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        maps[name] = output.clone()

    with layer_outputs(own.module, layers.values(), keep):
        own.module(inputs)
    for path, output in maps.items():
        middle = output[0, :, output.shape[2] // 2, output.shape[3] // 2]
        (gradient,) = torch.autograd.grad(middle.sum(), inputs, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()
        field = layers[path].receptive_field
        assert field is not None
        assert field / 2 < rows.max() - rows.min() + 1 <= field


def test_every_module_is_listed_with_what_it_is_like_or_why_it_cannot_be_used():
    rows = {row.name: row for row in list_layers(model(Nested()), bytes_per_neuron=10)}
    assert list(rows)[:3] == ["stem.0.0", "stem.0.1", "stem.0"]
    assert list(rows)[-1] == "spare"
    assert rows["stem.0.1"] == LayerRow(
        "stem.0.1", "ReLU", Layer("stem.0.1", 4, 30, 30, receptive_field=3), "", default=True, kept_bytes=40
    )
    assert [name for name, row in rows.items() if row.default] == ["stem.0.1", "body.0.2"]
    assert rows["spare"].layer is None
    assert rows["spare"].problem == "never runs in a forward pass; choose one that does"
    assert {name for name, row in rows.items() if row.problem} == {"spare", "twice", "pair", "five"}


def test_the_list_shows_default_clamps():
    rows = {row.name: row.layer for row in list_layers(model(SharedRelu()), 1)}
    assert rows["norm"] == describe_layers(model(SharedRelu()))[0]
    assert rows["relu"] is None
