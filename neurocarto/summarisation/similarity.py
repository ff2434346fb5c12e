"""How alike the stimuli of two neurons are, and which pairs are worth comparing.

A neuron's stimuli are its strongest images, each weighted by how far its activation lies above the
next-best image's. Two neurons detect the same concept when they weigh the same images alike *and* peak
at the same places on them. Weights hold better on unseen images than bare sets do, and places tell
"the same thing" from "things that occur together". What two neurons share by accident of the images is lost
when the weights are reduced to the axes along which the neurons of all layers vary together: those hold best on unseen
images (docs/decisions.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from datasketch import MinHash
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from neurocarto.records import IntArray, TopActivations
from neurocarto.summarisation.neighbours import unit_rows

GRID = 7
"""Side of the grid in whose cells distances between peaks are stated, whatever the layer's map."""

_CHUNK = 2**16
"""Pairs whose vectors are compared together: a bound for memory."""

TABLED = 8192
"""Rows up to which pairs are ticked off in a table: on few images nearly all pairs meet, in nearly all bands."""

SPREAD = 0.15
"""Share of a peak's own cell below which its spread to other cells is dropped."""

COLUMNS = 2**17
"""Columns up to which images × cells are told apart when axes are found; more are summed under random signs."""

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

    def __getitem__(self, neurons: slice | IntArray) -> "Stimuli":
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
    factors, summands = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
    signature = np.empty((len(images), permutations), np.uint32)
    _hash(images, factors, summands, signature)
    return signature


@numba.njit(cache=True)
def _hash(
    images: npt.NDArray[np.int32],
    factors: npt.NDArray[np.uint32],
    summands: npt.NDArray[np.uint32],
    signature: npt.NDArray[np.uint32],
) -> None:
    """Fill in the least value of factor × mixed + summand modulo 2³², mixed by the finaliser of MurmurHash3."""
    for row in range(len(images)):
        least = signature[row]
        least[:] = 0xFFFFFFFF
        for image in images[row]:
            if image < 0:
                continue
            mixed = np.uint32(image)
            mixed = np.uint32((mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            mixed = np.uint32((mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            mixed ^= mixed >> np.uint32(16)
            for k in range(len(factors)):
                least[k] = min(least[k], np.uint32(factors[k] * mixed + summands[k]))


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
def _next_common(first: npt.NDArray[np.int32], second: npt.NDArray[np.int32], i: int, j: int) -> tuple[int, int]:
    """Where, from i and j on, two rising rows of images next have one in common; their ends where they have none."""
    while i < len(first) and j < len(second):
        if first[i] < second[j]:
            i += 1
        elif first[i] > second[j]:
            j += 1
        elif first[i] >= 0:
            return i, j
        else:
            i += 1
            j += 1
    return len(first), len(second)


@numba.njit(cache=True)
def _cosines(
    pairs: npt.NDArray[np.int64],
    images: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    rows: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
    place_width: float,
) -> npt.NDArray[np.float64]:
    result = np.zeros((2, len(pairs)))
    spread = 4.0 * place_width * place_width
    m = images.shape[1]
    for p in range(len(pairs)):
        a, b = pairs[p, 0], pairs[p, 1]
        together = same_place = 0.0
        i, j = _next_common(images[a], images[b], 0, 0)
        while i < m:
            product = weights[a, i] * weights[b, j]
            dy, dx = rows[a, i] - rows[b, j], columns[a, i] - columns[b, j]
            together += product
            same_place += product * np.exp(-(dy * dy + dx * dx) / spread)
            i, j = _next_common(images[a], images[b], i + 1, j + 1)
        result[0, p], result[1, p] = together, same_place
    return result


def similarities(
    stimuli: Stimuli,
    vectors: npt.NDArray[np.float32],
    pairs: npt.NDArray[np.int64],
    place_width: float,
    least_agreement: float,
) -> npt.NDArray[np.float64]:
    """Return the similarity (p,), 0 … 1, of each pair of neurons.

    The geometric mean of two cosines: of the weights placed at their peaks as Gaussians of place_width cells, and of
    the same reduced to the common axes (vectors (n, d), see placed_vectors; negative ones count as 0). It is 0 where
    the placed weights agree less than least_agreement of the weights over images alone: neurons that fire on the same
    images at different places detect different things. Exact, O(p (m + d)).
    """
    table = (stimuli.images, stimuli.weights, stimuli.rows, stimuli.columns)
    together, same_place = _cosines(pairs, *table, place_width)
    smoothed = np.zeros(len(pairs))
    for begin in range(0, len(pairs), _CHUNK):
        first, second = vectors[pairs[begin : begin + _CHUNK].T]
        smoothed[begin : begin + _CHUNK] = np.einsum("pd,pd->p", first, second).clip(0, 1)
    agrees = same_place >= least_agreement * together
    return np.asarray(np.where(agrees, np.sqrt(same_place * smoothed), 0))


def placed_vectors(stimuli: Stimuli, axes: int, place_width: float, seed: int) -> npt.NDArray[np.float32]:
    """Return each neuron's placed weights on the axes along which all neurons vary together, (n, d) of unit length.

    The weights, spread over cells as Gaussians of place_width cells, make a matrix of neurons × (images × cells); its
    SVD gives the axes, d = min(axes, what the data carry), without the first, which only says how common a neuron's
    stimuli are. It is run until it has converged, so the seed, from which it starts, makes no difference to speak of.
    Neurons without stimuli have zeros. O(n m d).
    """
    placed = _placed_weights(stimuli, place_width)
    d = min(axes, min(placed.shape) - 2)
    if d < 1:  # too few neurons or images to have anything in common: each pair is compared as it is
        return unit_rows(placed.toarray())
    n = len(stimuli)
    # Of the neurons' products with one another, and one added to each with itself: ARPACK fails where all are zero.
    products = LinearOperator((n, n), lambda v: placed @ (v @ placed) + v, dtype=np.float32)
    start = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    values, left = eigsh(products, d + 1, v0=start)  # the largest come last
    vectors = left * np.sqrt((values - 1).clip(0))
    return unit_rows(vectors[:, :-1].astype(np.float32)) * stimuli.alive[:, None]


def _placed_weights(stimuli: Stimuli, place_width: float) -> sparse.csr_matrix:
    """Neurons × (images × cells): the cosine of two rows is that of weights placed as Gaussians."""
    neuron, at = (stimuli.weights > 0).nonzero()
    centres = np.arange(GRID) + 0.5
    along = [
        np.exp(-((places[neuron, at][:, None] - centres) ** 2) / (2 * place_width**2))
        for places in (stimuli.rows, stimuli.columns)
    ]
    spread = (along[0][:, :, None] * along[1][:, None, :]).reshape(len(neuron), GRID**2)
    spread /= np.maximum(np.linalg.norm(spread, axis=1, keepdims=True), 1e-12)
    spread[spread < SPREAD * spread.max(axis=1, keepdims=True)] = 0
    stimulus, cell = spread.nonzero()
    values = (spread * stimuli.weights[neuron, at][:, None])[stimulus, cell].astype(np.float32)
    column = stimuli.images[neuron, at].astype(np.int64)[stimulus] * GRID**2 + cell
    width = int(stimuli.images.max(initial=0) + 1) * GRID**2
    if width > COLUMNS:
        column, sign = _hashed(column)
        values, width = values * sign, COLUMNS
    return sparse.csr_matrix((values, (neuron[stimulus], column)), (len(stimuli), width))


def _hashed(column: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """One of COLUMNS places for each column, and a sign: sums of products stay right on average.

    Feature hashing (Weinberger et al., 2009) by multiplication with a large odd number.
    """
    mixed = column.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    place = (mixed >> np.uint64(64 - COLUMNS.bit_length() + 1)).astype(np.int64)
    sign = np.where(mixed >> np.uint64(20) & np.uint64(1), np.float32(1), np.float32(-1))
    return place, sign


def strongest_half(stimuli: Stimuli) -> npt.NDArray[np.int32]:
    """Return the images (n, m // 2 or more) of each neuron's heavier stimuli, -1 where there are fewer.

    Sets of fewer images meet less often by chance, and similar neurons share the heaviest first.
    """
    half = (stimuli.images.shape[1] + 1) // 2
    order = np.argsort(-stimuli.weights, axis=1, kind="stable")[:, :half]
    return np.take_along_axis(stimuli.images, order, axis=1)


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
        i, j = _next_common(images[a], images[b], 0, 0)
        while i < m:
            near = abs(rows[a, i] - rows[b, j]) <= 1 and abs(columns[a, i] - columns[b, j]) <= 1
            counts[0, p] += 1
            counts[1, p] += near
            i, j = _next_common(images[a], images[b], i + 1, j + 1)
    return counts


def peak_agreement(
    stimuli: Stimuli, pairs: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count, for each pair, the stimuli that both share, and those on which their peaks lie within one cell.

    Returns (shared, agreeing), (p,) each. O(p m).
    """
    shared, agreeing = _agreements(pairs, stimuli.images, stimuli.rows, stimuli.columns)
    return shared, agreeing
