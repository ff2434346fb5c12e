"""What a run is asked to study, in words: known without loading a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelRequest:
    """A network to study.

    name: a packaged or torchvision network, or package.module:factory; weights: DEFAULT, none (drawn at
    random, seeded) or a file; layers: module paths and globs, empty for the network's own defaults;
    preprocess, class_names: in place of what comes with the weights or the factory.
    """

    name: str = "efficientnet_lite0"
    weights: str = "DEFAULT"
    layers: tuple[str, ...] = ()
    preprocess: str | None = None
    class_names: Path | None = None

    def key(self) -> dict[str, Any]:
        """Return what decides the network's outputs and the layers studied: the same key, the same activations."""
        return {"name": self.name, "weights": self.weights, "layers": list(self.layers)}
