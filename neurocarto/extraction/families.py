"""The layers that are studied by default, family by family (docs/models.md says why these)."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from neurocarto.records import Clamp, Site


@dataclass(frozen=True)
class Rule:
    """Layers of a family: modules whose path matches and, where it is given, whose class has that name.

    path: a glob in which * stands within one part of a path, between two points.
    """

    path: str
    kind: str | None = None
    layout: str = "BCHW"
    clamp: Clamp | None = None

    def matches(self, path: str, module: nn.Module) -> bool:
        """Tell whether a module is one of these layers."""
        parts, globs = path.split("."), self.path.split(".")
        return (
            len(parts) == len(globs)
            and all(map(fnmatchcase, parts, globs))
            and self.kind in {None, type(module).__name__}
        )


@dataclass(frozen=True)
class Family:
    """Networks of one class, and their layers.

    package, network: where the class comes from, and its name; block: the class of a module that a network must
    have to belong here, where several families share a class.
    """

    name: str
    package: str
    network: str
    rules: tuple[Rule, ...]
    block: str | None = None

    def sites(self, module: nn.Module) -> tuple[Site, ...]:
        """Return the network's layers in the order in which they run; none when it is of another make."""
        if not any(
            kind.__name__ == self.network and kind.__module__.startswith(self.package) for kind in type(module).__mro__
        ):
            return ()
        if self.block and self.block not in {type(inner).__name__ for inner in module.modules()}:
            return ()
        found = [(path, rule) for path, inner in _paths(module) for rule in self.rules if rule.matches(path, inner)]
        if {rule for _, rule in found} != set(self.rules):
            return ()
        return tuple(Site(path, rule.clamp, rule.layout) for path, rule in found)


TORCHVISION = "torchvision.models."
RELU: Clamp = (0.0, None)
RELU6: Clamp = (0.0, 6.0)

FAMILIES = (
    Family("googlenet", TORCHVISION, "GoogLeNet", (
        Rule("inception*.branch2.1"), Rule("inception*.branch3.1"), Rule("inception*"),
    )),
    Family("inception_v3", TORCHVISION, "Inception3", (Rule("Mixed_*"),)),
    Family("alexnet", TORCHVISION, "AlexNet", (Rule("features.*", "ReLU"),)),
    Family("vgg", TORCHVISION, "VGG", (Rule("features.*", "ReLU"),)),
    Family("resnet", TORCHVISION, "ResNet", (Rule("layer*.*"),)),
    Family("regnet", TORCHVISION, "RegNet", (Rule("trunk_output.*.*", "ResBottleneckBlock"),)),
    Family("densenet", TORCHVISION, "DenseNet", (
        Rule("features.relu0"), Rule("features.transition*.relu"), Rule("features.norm5", clamp=RELU),
    )),
    Family("squeezenet", TORCHVISION, "SqueezeNet", (Rule("features.*", "Fire"),)),
    Family("shufflenet", TORCHVISION, "ShuffleNetV2", (
        Rule("stage*.0.branch1"), Rule("stage*.*.branch2"), Rule("conv5"),
    )),
    Family("mnasnet", TORCHVISION, "MNASNet", (
        Rule("layers.5"), Rule("layers.*.*.layers.5"), Rule("layers.16"),
    )),
    Family("mobilenet_v2", TORCHVISION, "MobileNetV2", (
        Rule("features.1.conv.0"), Rule("features.*.conv.1", "Conv2dNormActivation"), Rule("features.18"),
    )),
    Family("mobilenet_v3", TORCHVISION, "MobileNetV3", (
        Rule("features.1.block.0.2"), Rule("features.*.block.1.2"), Rule("features.1[26]", "Conv2dNormActivation"),
    )),
    Family("efficientnet_v2", TORCHVISION, "EfficientNet", (
        Rule("features.[123].*.block.0.2"), Rule("features.*.*.block.1.2"),
        Rule("features.[78]", "Conv2dNormActivation"),
    ), block="FusedMBConv"),
    Family("efficientnet", TORCHVISION, "EfficientNet", (
        Rule("features.1.*.block.0.2"), Rule("features.*.*.block.1.2"), Rule("features.8"),
    )),
    Family("efficientnet_lite", "efficientnet_lite_pytorch", "EfficientNet", (
        Rule("_blocks.*._bn1", clamp=RELU6), Rule("_bn1", clamp=RELU6),
    )),
    Family("convnext", TORCHVISION, "ConvNeXt", (Rule("features.*.*.block.4", "GELU", "BHWC"),)),
    Family("vit", TORCHVISION, "VisionTransformer", (
        Rule("encoder.layers.*.mlp.1", "GELU", "B(1+T)C"),
    )),
    Family("swin", TORCHVISION, "SwinTransformer", (Rule("features.*.*.mlp.1", "GELU", "BHWC"),)),
    Family("maxvit", TORCHVISION, "MaxVit", (
        Rule("blocks.*.layers.*.layers.MBconv.layers.conv_b"),
        Rule("blocks.*.layers.*.layers.window_attention.mlp_layer.2", "GELU", "B(HW)(hw)C"),
        Rule("blocks.*.layers.*.layers.grid_attention.mlp_layer.2", "GELU", "B(hw)(HW)C"),
    )),
)  # fmt: skip
"""In this order: the first family that a network belongs to counts."""


def default_sites(module: nn.Module) -> tuple[Site, ...]:
    """Return the layers of a network that the table knows, in the order in which they run; else none."""
    return next((sites for family in FAMILIES if (sites := family.sites(module))), ())


def _paths(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module with its path, inner ones first: as they finish running in the networks of the table."""
    for name, child in module.named_children():
        yield from _paths(child, f"{prefix}{name}.")
        yield prefix + name, child
