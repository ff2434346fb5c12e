"""How alike the stimuli of two neurons are, and which pairs are worth comparing.

A neuron's stimuli are its strongest images, each weighted by how far its activation lies above the
next-best image's. Two neurons detect the same concept when they weigh the same images alike *and* peak
at the same places on them. Weights hold better on unseen images than bare sets do, and places tell
"the same thing" from "things that occur together" (docs/decisions.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from datasketch import MinHash

from neurocarto.records import TopActivations

GRID = 7
"""Side of the grid in whose cells distances between peaks are stated, whatever the layer's map."""

TABLED = 8192
"""Rows up to which pairs are ticked off in a table: on few images nearly all pairs meet, in nearly all bands."""

LEAST_EXCESS = 1e-3
"""Share of its own strength by which an image has to exceed the base: pruned channels are constant but for noise."""


@dataclass(frozen=True)
class Stimuli:
    """The images that excite each neuron of a layer, in rising order of image.

    images (n, m) int32, -1 (first) where there are fewer than m; weights (n, m) float32, 0 there, of
    unit length per neuron; rows, columns (n, m) float32: the peaks' places in cells of a 7 × 7 grid.
    """

    images: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, neurons: slice) -> "Stimuli":
        return Stimuli(self.images[neurons], self.weights[neurons], self.rows[neurons], self.columns[neurons])

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """Which neurons have any stimulus (n,)."""
        return np.asarray(self.images[:, -1] >= 0)


def find_stimuli(top: TopActivations, image_count: int, share: float) -> Stimuli:
    """Take each neuron's strongest images, at most `share` of all and one fewer than were kept.

    The next image after them is the base from which their weights are measured; images that do not
    exceed it are no stimuli, so a neuron that fires equally everywhere has none. O(N k log k).
    """
    m = min(max(1, round(share * image_count)), top.images.shape[1] - 1)
    peaks, base = top.peaks[:, :m], top.peaks[:, m : m + 1]
    exceeds = (top.images[:, :m] >= 0) & (peaks - base > LEAST_EXCESS * abs(peaks))
    images = np.where(exceeds, top.images[:, :m], -1).astype(np.int32)
    weights = np.where(exceeds, peaks - base, 0)
    length = np.sqrt(np.einsum("nm,nm->n", weights, weights, dtype=np.float64))[:, None]
    order = images.argsort(axis=1, kind="stable")

    def arrange(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.take_along_axis(values, order, axis=1).astype(np.float32)

    return Stimuli(
        images=np.take_along_axis(images, order, axis=1),
        weights=arrange(weights / np.maximum(length, 1e-30)),
        rows=arrange(top.rows[:, :m] * GRID),
        columns=arrange(top.columns[:, :m] * GRID),
    )


def signatures(images: npt.NDArray[np.int32], permutations: int, seed: int) -> npt.NDArray[np.uint32]:
    """Return the MinHash signature (n, permutations) of each row's set of images; negative ids do not count.

    datasketch's scheme "affine32", every row hashed with the same permutations: the share of equal
    entries estimates the Jaccard similarity of two rows, and equal sets have equal signatures. O(n m).
    """
    sets = [row[row >= 0].astype(np.uint32) for row in images]
    hashed = MinHash.bulk(sets, num_perm=permutations, seed=seed, hashfunc=int, scheme="affine32")
    return np.stack([minhash.hashvalues for minhash in hashed])


def candidate_pairs(
    signature: npt.NDArray[np.uint32], band_rows: int, reach: int | None = None
) -> npt.NDArray[np.int64]:
    """Return the pairs (p, 2) of rows whose signatures agree in at least one band, each pair once.

    Locality-sensitive hashing: a pair of Jaccard similarity j is found with probability
    1 - (1 - j^r)^b for b bands of r rows. Each band is sorted, so the cost is near-linear in rows plus
    the pairs found; with reach, rows are paired only with the next so many that agree with them.
    """
    n = len(signature)
    bands = [signature[:, start : start + band_rows] for start in range(0, signature.shape[1], band_rows)]
    if n <= TABLED:
        table = np.zeros((n, n), np.bool_)
        for band in bands:
            order = np.lexsort(band.T)
            begins = (band[order][1:] != band[order][:-1]).any(axis=1)
            _tick_off(table, order, np.concatenate([[0], begins.cumsum()]), reach or n)
        return np.argwhere(table)
    codes = [first * n + second for band in bands for first, second in _equal_rows(band, reach)]
    unique = np.unique(np.concatenate(codes)) if codes else np.empty(0, np.int64)
    return np.stack(np.divmod(unique, n), axis=1)


@numba.njit(cache=True)
def _tick_off(
    table: npt.NDArray[np.bool_], order: npt.NDArray[np.int64], bucket: npt.NDArray[np.int64], reach: int
) -> None:
    """Set table[first, second] for the pairs of a bucket; bucket (n,) never falls, order says which row each is."""
    for i in range(len(order)):
        for j in range(i + 1, min(len(order), i + 1 + reach)):
            if bucket[i] != bucket[j]:
                break
            table[min(order[i], order[j]), max(order[i], order[j])] = True


def _equal_rows(
    band: npt.NDArray[np.uint32], reach: int | None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield the pairs (first < second) of equal rows, by their distance in sorted order."""
    order = np.lexsort(band.T)
    ordered = band[order]
    for distance in range(1, min(len(band), (reach or len(band)) + 1)):
        equal = (ordered[distance:] == ordered[:-distance]).all(axis=1)
        if not equal.any():
            return
        ends = order[:-distance][equal], order[distance:][equal]
        yield np.minimum(*ends), np.maximum(*ends)


@numba.njit(cache=True)
def _similarities(
    pairs: npt.NDArray[np.int64],
    images: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    rows: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
    place_width: float,
    least_agreement: float,
) -> npt.NDArray[np.float64]:
    result = np.zeros(len(pairs))
    spread = 4.0 * place_width * place_width
    m = images.shape[1]
    for p in range(len(pairs)):
        a, b = pairs[p, 0], pairs[p, 1]
        i = j = 0
        together = same_place = 0.0
        while i < m and j < m:
            if images[a, i] < images[b, j]:
                i += 1
            elif images[a, i] > images[b, j]:
                j += 1
            else:
                if images[a, i] >= 0:
                    product = weights[a, i] * weights[b, j]
                    dy, dx = rows[a, i] - rows[b, j], columns[a, i] - columns[b, j]
                    together += product
                    same_place += product * np.exp(-(dy * dy + dx * dx) / spread)
                i += 1
                j += 1
        if same_place >= least_agreement * together:
            result[p] = np.sqrt(together * same_place)
    return result


def similarities(
    stimuli: Stimuli, pairs: npt.NDArray[np.int64], place_width: float, least_agreement: float
) -> npt.NDArray[np.float64]:
    """Return the similarity (p,), 0 … 1, of each pair of neurons.

    The geometric mean of two cosines: of the weights over images, and of the same weights placed at
    their peaks as Gaussians of place_width cells; 0 where the second is less than least_agreement of the
    first, for neurons that fire on the same images at different places detect different things. Exact,
    O(p m).
    """
    table = (stimuli.images, stimuli.weights, stimuli.rows, stimuli.columns)
    return np.asarray(_similarities(pairs, *table, place_width, least_agreement))


@numba.njit(cache=True)
def _agreements(
    pairs: npt.NDArray[np.int64],
    images: npt.NDArray[np.int32],
    rows: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    counts = np.zeros((2, len(pairs)), np.int64)
    m = images.shape[1]
    for p in range(len(pairs)):
        a, b = pairs[p, 0], pairs[p, 1]
        i = j = 0
        while i < m and j < m:
            if images[a, i] < images[b, j]:
                i += 1
            elif images[a, i] > images[b, j]:
                j += 1
            else:
                if images[a, i] >= 0:
                    near = abs(rows[a, i] - rows[b, j]) <= 1 and abs(columns[a, i] - columns[b, j]) <= 1
                    counts[0, p] += 1
                    counts[1, p] += near
                i += 1
                j += 1
    return counts


def peak_agreement(
    stimuli: Stimuli, pairs: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count, for each pair, the stimuli that both share, and those on which their peaks lie within one cell.

    Returns (shared, agreeing), (p,) each. O(p m).
    """
    shared, agreeing = _agreements(pairs, stimuli.images, stimuli.rows, stimuli.columns)
    return shared, agreeing
