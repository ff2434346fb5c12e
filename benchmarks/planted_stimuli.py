"""Stimuli of any number of neurons of one layer, with planted groups among images of unequal popularity."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neurocarto.records import Layer
from neurocarto.summarisation.similarity import GRID, Stimuli

MAP = 14
"""Side of the layer's maps, in cells."""
LONELY = 0.2
"""Share of the neurons that are in no group."""
NOISE = 0.15
"""Share of a neuron's images that are not those of its group."""
_CHUNK = 20_000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Planted:
    """Stimuli of neurons, and the group (n,) of each, -1 for none."""

    stimuli: Stimuli
    group: Ints

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The one layer of all neurons."""
        return (Layer("planted", len(self.group), MAP, MAP),)


def plant(neurons: int, images: int, each: int = 100, seed: int = 0) -> Planted:
    """Plant groups of 5 to 20 neurons: up to `each` images a neuron, an image drawn twice counts once.

    A neuron has its group's images at the group's places, as strong as the group says give or take a third, but for
    NOISE of them, which it draws as all are drawn: the r-th most popular in proportion to (r + 10)^-0.8, so that the
    first of a million is in every fifth set.
    """
    rng = np.random.default_rng(seed)
    name = rng.permutation(images).astype(np.int32)
    sizes = rng.integers(5, 21, neurons // 8)
    sizes = sizes[np.cumsum(sizes) <= neurons * (1 - LONELY)]
    group = np.full(neurons, -1, np.int64)
    group[: sizes.sum()] = np.repeat(np.arange(len(sizes)), sizes)
    group = rng.permutation(group)
    concept = _draw(rng, len(sizes), each, images)
    stimuli = Stimuli(*(np.zeros((neurons, each), kind) for kind in (np.int32, *[np.float32] * 3)))
    for begin in range(0, neurons, _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        own = group[rows]
        drawn = _draw(rng, len(own), each, images)
        kept = (own >= 0)[:, None] & (rng.random((len(own), each)) > NOISE)
        image, strength, place = (np.where(kept, of[own], new) for of, new in zip(concept, drawn, strict=True))
        strength *= rng.uniform(0.7, 1.4, strength.shape)
        image = name[image]
        for _ in range(2):  # the second time, what came twice goes to the front
            order = image.argsort(axis=1, kind="stable")
            image, strength, place = (np.take_along_axis(of, order, axis=1) for of in (image, strength, place))
            twice = np.zeros(image.shape, np.bool_)
            twice[:, 1:] = image[:, 1:] == image[:, :-1]
            image[twice], strength[twice] = -1, 0
        stimuli.images[rows] = image
        stimuli.weights[rows] = strength / np.linalg.norm(strength, axis=1, keepdims=True)
        stimuli.rows[rows], stimuli.columns[rows] = (np.stack(np.divmod(place, MAP)) + 0.5) / MAP * GRID
    return Planted(stimuli, group)


def _draw(rng: np.random.Generator, rows: int, each: int, images: int) -> tuple[Ints, npt.NDArray[np.float64], Ints]:
    """Draw images by their popularity, how strongly they excite and where, (rows, each) each."""
    low, high = 10**0.2, (images + 10) ** 0.2
    rank = ((low + rng.random((rows, each)) * (high - low)) ** 5 - 10).astype(np.int64).clip(0, images - 1)
    return rank, rng.exponential(1, (rows, each)) + 0.3, rng.integers(0, MAP * MAP, (rows, each))


def judge(cluster: npt.NDArray[np.int32], group: Ints) -> tuple[float, float]:
    """Return the share of planted pairs that are in one cluster, and the share of clusters within one group."""
    planted = np.bincount(group[group >= 0])
    both = (cluster >= 0) & (group >= 0)
    _, shared = np.unique(cluster[both].astype(np.int64) * len(planted) + group[both], return_counts=True)
    recall = (shared * (shared - 1)).sum() / (planted * (planted - 1)).sum()
    order = np.argsort(cluster, kind="stable")
    order = order[cluster[order] >= 0]
    begins = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    low, high = np.minimum.reduceat(group[order], begins), np.maximum.reduceat(group[order], begins)
    return float(recall), float(((low == high) & (low >= 0)).mean())
