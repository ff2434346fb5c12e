"""How active clusters are: the measure that influence and effect are shares of.

A cluster's activation is here the mean over the map of how far each channel lies above rest, relative to how far
its maximum does. At rest a channel is zero; one of a signed layer, whose values would cancel, is at its mean map.
The class's own output: see class_output. Mean maps are over the sampled images.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.models import Model
from neurocarto.records import Layer, layer_slices

Groups = Mapping[str, Mapping[int, npt.NDArray[np.int64]]]
"""For each layer, the channels of its clusters, or of other groups of neurons, by number."""


@dataclass(frozen=True)
class Study:
    """One class (or all images): its groups of neurons, its images, the outputs that mean it."""

    name: str
    groups: Groups
    images: npt.NDArray[np.int64]
    outputs: list[int]


@dataclass(frozen=True)
class Pictures:
    """Images as a network takes them. files: where each image, by its number, stands in the source."""

    model: Model
    source: ImageSet
    files: npt.NDArray[np.int64]
    batch_size: int

    def batches(self, images: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield images, by their numbers, as the network's input."""
        for begin in range(0, len(images), self.batch_size):
            files = self.files[images[begin : begin + self.batch_size]]
            yield self.model.inputs([self.source.open(file) for file in files.tolist()])


class Strengths:
    """Measures how active groups of neurons are, against the mean maps of some images."""

    def __init__(
        self, model: Model, layers: Sequence[Layer], reach: npt.NDArray[np.float32], pictures: "Pictures"
    ) -> None:
        """layers, reach (N,): as of an Extraction."""
        self.model, self.pictures = model, pictures
        self.layers = {layer.name: layer for layer in layers}
        slices = layer_slices(layers)
        self._living = {name: np.flatnonzero(reach[own] > 0) for name, own in slices.items()}
        # Constant neurons count as 0.
        bounds = torch.from_numpy(np.where(reach > 0, reach, np.float32(np.inf))).to(model.device)
        self._reach = {name: bounds[own] for name, own in slices.items()}
        self.means: dict[str, Tensor] = {}

    def of(self, twin: Model) -> "Strengths":
        """Return the same measures, with the mean maps learnt so far, of a copy of the network."""
        measures = copy.copy(self)
        measures.model, measures.pictures = twin, replace(self.pictures, model=twin)
        return measures

    def living(self, layer: str) -> npt.NDArray[np.int64]:
        """Return the channels of a layer that are not constant."""
        return self._living[layer]

    def random_set(self, layer: str, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw so many living channels of a layer, or all where there are no more."""
        living = self.living(layer)
        return rng.choice(living, min(size, len(living)), replace=False)

    def cluster(self, maps: Tensor, layer: str, channels: npt.NDArray[np.int64]) -> Tensor:
        """Return a group's activation (B,) from its layer's maps (B, C, H, W), not clamped."""
        members = torch.from_numpy(channels)
        own = self._clamped(layer, maps[:, members])
        above = own - self.means[layer][members] if self.layers[layer].signed else own
        return (above.clamp(min=0).mean((2, 3)) / self._reach[layer][members]).mean(1)

    def _clamped(self, name: str, maps: Tensor) -> Tensor:
        """Maps of a layer as the network sees them behind its clamp."""
        clamp = self.layers[name].clamp
        return maps if clamp is None else maps.clamp(*clamp)

    def learn_means(self, sampled: npt.NDArray[np.int64]) -> None:
        """Run some images to learn every channel's mean map: the next of what is measured is against these."""
        sums: dict[str, Tensor] = {}

        def add(name: str, output: Tensor) -> None:
            # On the processor: not every card knows double precision.
            sums[name] = sums.get(name, 0) + _sum(self._clamped(name, output).cpu())

        with torch.inference_mode(), layer_outputs(self.model.module, self.layers.values(), add):
            for batch in self.pictures.batches(sampled):
                self.model.module(batch)
        means = {name: (total / len(sampled)).to(torch.float32) for name, total in sums.items()}
        self.means = {name: mean.to(self.model.device) for name, mean in means.items()}


def _sum(maps: Tensor) -> Tensor:
    """Sum of maps (B, C, H, W) over the images, in double precision. Tensor.sum takes ten times as long for it."""
    total = maps[0].double()
    for image in maps[1:]:
        total += image
    return total


def class_output(logits: Tensor, outputs: Sequence[int]) -> Tensor:
    """Return a class's own output (B,) from logits (B, outputs): how far it lies above the mean of all logits.

    Of several outputs that mean the class, the logarithm of their mean exponential, which follows the one that fires:
    their mean would rise when a dog's breed is forgotten, because all other breeds become likelier.
    """
    own = logits[:, torch.tensor(outputs)]
    return own.logsumexp(1) - log(len(outputs)) - logits.mean(1)
