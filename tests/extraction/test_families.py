"""Every family's layers: that the table finds them, in order, once each, and that docs/models.md tells them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from neurocarto.extraction.families import FAMILIES, Rule, default_sites
from neurocarto.extraction.layouts import fold
from neurocarto.extraction.models import load_model
from neurocarto.records import Site
from neurocarto.request import ModelRequest

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "models.md"

# The smallest member, the number of its layers, and the first and last with channels and side of the map.
SMALLEST = {
    "googlenet": ("googlenet", 27, ("inception3a.branch2.1", 128, 28), ("inception5b", 1024, 7)),
    "inception_v3": ("inception_v3", 11, ("Mixed_5b", 256, 35), ("Mixed_7c", 2048, 8)),
    "alexnet": ("alexnet", 5, ("features.1", 64, 55), ("features.11", 256, 13)),
    "vgg": ("vgg11", 8, ("features.1", 64, 224), ("features.19", 512, 14)),
    "resnet": ("resnet18", 8, ("layer1.0", 64, 56), ("layer4.1", 512, 7)),
    "regnet": (
        "regnet_y_400mf", 16, ("trunk_output.block1.block1-0", 48, 56), ("trunk_output.block4.block4-5", 440, 7),
    ),
    "densenet": ("densenet121", 5, ("features.relu0", 64, 112), ("features.norm5", 1024, 7)),
    "squeezenet": ("squeezenet1_1", 8, ("features.3", 128, 55), ("features.12", 512, 13)),
    "shufflenet": ("shufflenet_v2_x0_5", 20, ("stage2.0.branch1", 24, 28), ("conv5", 1024, 7)),
    "mnasnet": ("mnasnet0_5", 18, ("layers.5", 16, 112), ("layers.16", 1280, 7)),
    "mobilenet_v2": ("mobilenet_v2", 18, ("features.1.conv.0", 32, 112), ("features.18", 1280, 7)),
    "mobilenet_v3": ("mobilenet_v3_small", 12, ("features.1.block.0.2", 16, 56), ("features.12", 576, 7)),
    "efficientnet_v2": ("efficientnet_v2_s", 41, ("features.1.0.block.0.2", 24, 192), ("features.7", 1280, 12)),
    "efficientnet": ("efficientnet_b0", 17, ("features.1.0.block.0.2", 32, 112), ("features.8", 1280, 7)),
    "efficientnet_lite": ("efficientnet_lite0", 17, ("_blocks.0._bn1", 32, 112), ("_bn1", 1280, 7)),
    "convnext": ("convnext_tiny", 18, ("features.1.0.block.4", 384, 56), ("features.7.2.block.4", 3072, 7)),
    "vit": (
        "vit_b_32", 12, ("encoder.layers.encoder_layer_0.mlp.1", 3072, 7),
        ("encoder.layers.encoder_layer_11.mlp.1", 3072, 7),
    ),
    "swin": ("swin_t", 12, ("features.1.0.mlp.1", 384, 56), ("features.7.1.mlp.1", 3072, 7)),
    "maxvit": (
        "maxvit_t", 33, ("blocks.0.layers.0.layers.MBconv.layers.conv_b", 256, 56),
        ("blocks.3.layers.1.layers.grid_attention.mlp_layer.2", 2048, 7),
    ),
}  # fmt: skip

OTHERS = {
    "vgg11_bn": 8,
    "resnext50_32x4d": 16,
    "wide_resnet50_2": 16,
    "squeezenet1_0": 8,
    "mobilenet_v3_large": 16,
    "swin_v2_t": 12,
}
"""Other makes of the same classes, and the number of their layers."""


def recorded(module: nn.Module, sites: tuple[Site, ...], batch: Tensor) -> list[tuple[str, Tensor]]:
    """What the sites give in one forward pass, in the order in which they run."""
    runs: list[tuple[str, Tensor]] = []

    def keep(name: str) -> None:
        module.get_submodule(name).register_forward_hook(lambda _m, _i, output: runs.append((name, output.clone())))

    for site in sites:
        keep(site.name)
    with torch.inference_mode():
        module(batch)
    return runs


def side(output: Tensor, layout: str) -> int:
    cells = {"B(1+T)C": lambda: output.shape[1] - 1, "BHWC": lambda: output.shape[1] ** 2}
    windows = {"B(HW)(hw)C", "B(hw)(HW)C"}
    return round((output.shape[1] * output.shape[2] if layout in windows else cells[layout]()) ** 0.5)


@pytest.mark.parametrize("family", SMALLEST)
def test_layers_run_once_in_order_and_fold_to_square_maps(family: str) -> None:
    name, count, first, last = SMALLEST[family]
    model = load_model(ModelRequest(name, weights="none"))
    runs = recorded(model.module, model.sites, model.blank(2))
    assert [run for run, _ in runs] == [site.name for site in model.sites]
    assert len(runs) == count
    maps = []
    for site, (_, output) in zip(model.sites, runs, strict=True):
        cells = 0 if site.layout == "BCHW" else side(output, site.layout or "")
        folded = fold(output, site.layout or "", cells, cells)
        assert folded.ndim == 4
        assert folded.shape[0] == 2
        assert folded.shape[2] == folded.shape[3]
        maps.append((site.name, folded.shape[1], folded.shape[3]))
    assert (maps[0], maps[-1]) == (first, last)


@pytest.mark.parametrize("name", OTHERS)
def test_other_members_have_their_familys_layers(name: str) -> None:
    with torch.device("meta"):
        sites = default_sites(models.get_model(name, weights=None))
    assert len(sites) == OTHERS[name]


@pytest.mark.parametrize("family", ["resnet", "googlenet", "shufflenet", "squeezenet", "mnasnet", "mobilenet_v2"])
def test_where_there_is_a_relu_nothing_falls_below_zero(family: str) -> None:
    model = load_model(ModelRequest(SMALLEST[family][0], weights="none"))
    batch = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for name, output in recorded(model.module, model.sites, batch):
        assert output.min() >= 0, name
        assert output.max() > 0, name


def test_the_table_has_each_torchvision_network() -> None:
    prefixes = tuple(family.name for family in FAMILIES) + ("resnext", "wide_resnet")
    assert [name for name in models.list_models(module=models) if not name.startswith(prefixes)] == []
    assert set(SMALLEST) == {family.name for family in FAMILIES}


def row(family: str, rule: Rule) -> str:
    low, high = ("" if bound is None else f"{bound:g}" for bound in rule.clamp or (None, None))
    bounds = f"{low} … {high}".strip() if rule.clamp else "–"
    return f"| {family} | `{rule.path}` | {rule.kind or 'any'} | `{rule.layout}` | {bounds} |"


def test_the_documentation_has_the_same_table() -> None:
    table = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and "`B" in line]
    assert table == [row(family.name, rule) for family in FAMILIES for rule in family.rules]


class TestOwnNetworks:
    def test_a_subclass_of_torchvisions_has_the_same_layers(self) -> None:
        class Mine(models.ResNet):
            pass

        sites = default_sites(Mine(models.resnet.BasicBlock, [1, 1, 1, 1]))
        assert [site.name for site in sites] == [f"layer{i}.0" for i in (1, 2, 3, 4)]

    def test_one_that_lacks_some_of_them_has_none(self) -> None:
        module = models.densenet121()
        del module.features.norm5
        assert default_sites(module) == ()

    def test_a_class_of_the_same_name_from_elsewhere_has_none(self) -> None:
        class ResNet(nn.Module):
            layer1 = None

        assert default_sites(ResNet()) == ()


@pytest.mark.parametrize(
    ("rule", "path", "expected"),
    [
        (Rule("layer*.*"), "layer1.0", True),
        (Rule("layer*.*"), "layer1.0.conv1", False),
        (Rule("layer*.*"), "layer1", False),
        (Rule("features.*", "ReLU"), "features.3", True),
        (Rule("features.*", "Conv2d"), "features.3", False),
    ],
)
def test_a_star_stays_within_one_part_of_the_path(rule: Rule, path: str, expected: bool) -> None:
    assert rule.matches(path, nn.ReLU()) is expected
