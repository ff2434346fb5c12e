"""What the embedding predicts of unseen images, and what the map keeps of the embedding."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neurocarto.quality.measures import interval
from neurocarto.records import TopActivations
from neurocarto.summarisation.neighbours import unit_rows
from neurocarto.summarisation.similarity import Stimuli, find_stimuli

NEIGHBOURS = 10
"""Nearest neurons that are looked at, and strongest unseen images of each."""
LEARNT_SHARE = 0.8
"""Share of the images that an embedding is learnt from; it is judged on the others."""
QUERIES = 2000
"""Neurons whose neighbours are looked at, drawn once for each split."""
RESAMPLES = 1000
"""Bootstrap samples behind an interval."""

_CHUNK = 256

Interval = tuple[float, float, float]
"""A value and the low and high end of its central 95 % bootstrap interval; NaN where there is none."""

Embed = Callable[[Stimuli, int], npt.NDArray[np.float32]]
"""What is judged: from stimuli and the number of images to vectors (N, d)."""


def lift(
    profile: npt.NDArray[np.floating[Any]],
    embed: Embed,
    splits: int = 5,
    seed: int = 0,
    share: float = 0.1,
    top_k: int = 100,
) -> Interval:
    """Say how many more of its strongest unseen images a neuron shares with its neighbours than with any neuron.

    profile (P, N): activations above rest on P images (`extraction.profile - extraction.rest`). For each of the
    splits, from seed on, embed learns from LEARNT_SHARE of the images: the stimuli of share of them, found in the
    top_k strongest. Then the images that a neuron has among its 10 strongest of the rest in common with each of its
    10 nearest neighbours (by cosine) are counted, and divided by what random pairs of the living neurons have in
    common (exactly, over all pairs). 1 is chance. The interval is over splits and over neurons within them, as if these
    were independent: neighbours are not, so it is somewhat narrow. NaN where fewer than 11 neurons have stimuli.
    O(splits × QUERIES × N) and the embeddings.
    """
    values = np.asarray(profile.T, np.float32)  # (N, P)
    lifts = [_lift(values, embed, np.random.default_rng(seed + split), share, top_k) for split in range(splits)]
    return _interval(lifts, seed)


def _lift(
    values: npt.NDArray[np.float32], embed: Embed, rng: np.random.Generator, share: float, top_k: int
) -> npt.NDArray[np.float64]:
    """Return the lift of each neuron asked, on one split."""
    shuffled = rng.permutation(values.shape[1])
    cut = round(LEARNT_SHARE * len(shuffled))
    stimuli = find_stimuli(_strongest(values, shuffled[:cut], top_k), cut, share)
    alive = np.flatnonzero(stimuli.alive)
    if len(alive) <= NEIGHBOURS:
        return np.empty(0)
    points = unit_rows(embed(stimuli, values.shape[1])[alive])
    top = _strongest(values[alive], shuffled[cut:], NEIGHBOURS).images
    asked = rng.choice(len(alive), min(QUERIES, len(alive)), replace=False)
    shared = np.concatenate(
        [_shared(top[rows], top[_nearest(points, rows)]) for rows in np.split(asked, range(_CHUNK, len(asked), _CHUNK))]
    )
    neurons = np.bincount(top[top >= 0]).astype(np.float64)  # of each image
    by_chance = (neurons * (neurons - 1)).sum() / (len(alive) * (len(alive) - 1))
    return shared / by_chance if by_chance > 0 else np.empty(0)


def _strongest(values: npt.NDArray[np.float32], images: npt.NDArray[np.int64], k: int) -> TopActivations:
    """Return each neuron's k strongest of these images, from activations (N, P); places are not known."""
    own = values[:, images]
    order = np.argsort(-own, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(own, order, axis=1)
    nowhere = np.zeros_like(best)
    return TopActivations(best, best, np.where(best > 0, images[order], -1).astype(np.int32), nowhere, nowhere)


def _nearest(points: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the nearest neighbours (r, 10) of these rows, in no order."""
    cosines = points[rows] @ points.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    return np.argpartition(-cosines, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]


def _shared(own: npt.NDArray[np.int32], others: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return the mean number of images that rows of own (r, 10) share with rows of others (r, neighbours, 10)."""
    same = (own[:, None, :, None] == others[:, :, None, :]) & (own >= 0)[:, None, :, None]
    return np.asarray(same.sum(axis=(2, 3)).mean(axis=1), np.float64)


def trustworthiness(
    embedding: npt.NDArray[np.float32],
    layout: npt.NDArray[np.float32],
    n: int = NEIGHBOURS,
    points: int = 3000,
    seed: int = 0,
) -> Interval:
    """Say how far neighbours on the map are neighbours in the embedding: 1 where all are, about .5 by chance.

    Venna and Kaski (2001): 1 - 2 / (N n (2N - 3n - 1)) Σ max(0, rank - n), over each neuron's n nearest on the map,
    rank their place among all by cosine. embedding (N, d), layout (N, 2), NaN where a neuron has no place; those do
    not count. At most so many points are drawn, each ranked exactly among all; the interval is over points. NaN for
    2n neurons or fewer. O(points × N (d + n)).
    """
    placed = np.isfinite(layout).all(axis=1) & embedding.any(axis=1)
    vectors, places = unit_rows(embedding[placed]), layout[placed].astype(np.float64)
    count = len(places)
    if count <= 2 * n:
        return np.nan, np.nan, np.nan
    asked = np.random.default_rng(seed).choice(count, min(points, count), replace=False)
    intruded = [_intruded(vectors, places, rows, n) for rows in np.split(asked, range(_CHUNK, len(asked), _CHUNK))]
    return _interval([1 - np.concatenate(intruded) * 2 / (n * (2 * count - 3 * n - 1))], seed)


def _intruded(
    vectors: npt.NDArray[np.float32], places: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.int64]:
    """Return, for each of these rows, by how many ranks its n nearest on the map fail to be its n nearest."""
    own = np.arange(len(rows)), rows
    apart = np.hypot(*(places[rows, axis, None] - places[:, axis] for axis in range(2)))
    apart[own] = np.inf
    distances = 1 - vectors[rows] @ vectors.T
    distances[own] = np.inf
    ranks = np.zeros(len(rows), np.int64)
    for neighbour in np.argpartition(apart, n - 1, axis=1)[:, :n].T:
        nearer = (distances < distances[own[0], neighbour][:, None]).sum(axis=1)
        ranks += np.maximum(0, nearer + 1 - n)
    return ranks


def _interval(parts: Sequence[npt.NDArray[np.float64]], seed: int) -> Interval:
    """Return the mean of the parts' means, and its bootstrap interval over parts and over what is in them."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(parts), size=(RESAMPLES, len(parts)))
    means = [[rng.choice(parts[part], len(parts[part])).mean() for part in row] for row in drawn]
    return float(np.mean([part.mean() for part in parts])), *interval(np.mean(means, axis=1))
