"""Activations whose concepts are known, for tests of everything that looks for concepts."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neurocarto.records import Layer, TopActivations

IMAGES = 1000


@dataclass(frozen=True)
class Planted:
    """Neurons (N) of one layer; concept (N,) is -1 for noise and -2 for dead neurons."""

    top: TopActivations
    concept: npt.NDArray[np.int64]

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (Layer("planted", len(self.concept), 14, 14),)


def top_activations(
    values: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], k: int = 100
) -> TopActivations:
    """The k strongest images of each neuron, from all activations and places (N, images)."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    best, row, column = (
        np.take_along_axis(table, order, axis=1).astype(np.float32) for table in (values, rows, columns)
    )
    images = np.where(best > 0, order, -1).astype(np.int32)
    return TopActivations(best, best, images, row, column)


def plant(
    rng: np.random.Generator,
    sizes: list[int],
    *,
    together: list[tuple[int, int]] | None = None,
    overlapping: list[tuple[int, int]] | None = None,
    skew: float = 1.0,
    both: float = 0.0,
    noise: int = 40,
    dead: int = 20,
) -> Planted:
    """Plant one concept for each size; pairs in `together` occur on the same images, three cells apart.

    A neuron fires on its concept's 60 images, within half a cell of the concept's place, as strongly as the
    concept is present, give or take a fifth; everywhere else it fires weakly at random places. Pairs in `overlapping`
    share half of their images, at places of their own. skew: some images hold this many times more concepts than
    others. both: share of the neurons of concepts that fire for a second one too (concept -3: they belong to either).
    """
    concepts, count = len(sizes), sum(sizes) + noise + dead
    present = np.zeros((concepts, IMAGES))
    popularity = None
    if skew > 1:
        popularity = skew ** rng.uniform(0, 1, IMAGES)
        popularity /= popularity.sum()
    for concept in range(concepts):
        present[concept, rng.choice(IMAGES, 60, replace=False, p=popularity)] = rng.uniform(1, 3, 60)
    for a, b in overlapping or []:
        kept, shared = (rng.permutation(np.flatnonzero(present[one]))[:30] for one in (b, a))
        strengths = present[b, kept]
        present[b] = 0
        present[b, shared], present[b, kept] = rng.uniform(1, 3, len(shared)), strengths
    place = rng.uniform(0.1, 0.9, (concepts, IMAGES, 2))
    for a, b in together or []:
        present[b] = present[a]
        place[b] = np.where(place[a] < 0.5, place[a] + 3 / 7, place[a] - 3 / 7)
    concept = np.concatenate([np.repeat(np.arange(concepts), sizes), np.full(noise, -1), np.full(dead, -2)])
    values = rng.exponential(0.1, (count, IMAGES))
    places = rng.uniform(0, 1, (count, IMAGES, 2))
    for neuron in np.flatnonzero(concept >= 0):
        own = concept[neuron]
        fires = present[own] > 0
        values[neuron] += present[own] * rng.uniform(0.8, 1.2, IMAGES) * rng.uniform(0.5, 2)
        places[neuron, fires] = (place[own] + rng.uniform(-0.5 / 7, 0.5 / 7, (IMAGES, 2)))[fires].clip(0, 1)
    several = rng.permutation(np.flatnonzero(concept >= 0))[: round(both * sum(sizes))] if both else []
    for neuron in several:
        other = rng.choice(np.setdiff1d(np.arange(concepts), concept[neuron]))
        fires = present[other] > 0
        values[neuron] += present[other] * rng.uniform(0.8, 1.2, IMAGES)
        places[neuron, fires] = place[other, fires].clip(0, 1)
        concept[neuron] = -3
    for neuron in np.flatnonzero(concept == -1):
        values[neuron, rng.choice(IMAGES, 60, replace=False)] += rng.uniform(1, 3, 60)
    values[concept == -2] = 0
    return Planted(top_activations(values, places[..., 0], places[..., 1]), concept)
