"""How alike the stimuli of two neurons are.

A neuron's stimuli are its strongest images, each weighted by how far its activation lies above the
next-best image's. Two neurons detect the same concept when they weigh the same images alike *and* peak
at the same places on them. Weights hold better on unseen images than bare sets do, and places tell
"the same thing" from "things that occur together". What two neurons share by accident of the images is lost
when the weights are reduced to the axes along which the neurons of all layers vary together (axes.py): those hold best
on unseen images (docs/decisions.md).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from neurocarto.records import IntArray, TopActivations

GRID = 7
"""Side of the grid in whose cells distances between peaks are stated, whatever the layer's map."""

Images = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

LEAST_EXCESS = 1e-3
"""Share of its own strength by which an image has to exceed the base: pruned channels are constant but for noise."""


class Arrays(NamedTuple):
    """The fields of Stimuli, in the form that compiled code takes."""

    images: Images
    weights: Floats
    rows: Floats
    columns: Floats


@dataclass(frozen=True)
class Stimuli:
    """The images that excite each neuron of a layer, in rising order of image.

    images (n, m) int32, -1 (first) where there are fewer than m; weights (n, m) float32, 0 there, of
    unit length per neuron; rows, columns (n, m) float32: the peaks' places in cells of a 7 × 7 grid.
    """

    images: Images
    weights: Floats
    rows: Floats
    columns: Floats

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, neurons: slice | IntArray) -> "Stimuli":
        return Stimuli(self.images[neurons], self.weights[neurons], self.rows[neurons], self.columns[neurons])

    @property
    def arrays(self) -> Arrays:
        """All fields, for compiled code."""
        return Arrays(self.images, self.weights, self.rows, self.columns)

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


@numba.njit(cache=True, nogil=True)
def _next_common(first: Images, second: Images, i: int, j: int) -> tuple[int, int]:
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


@numba.njit(cache=True, nogil=True, fastmath=True)
def _cosine(first: Floats, second: Floats) -> np.float32:
    total = np.float32(0)
    for k in range(len(first)):
        total += first[k] * second[k]
    return total


@numba.njit(cache=True, nogil=True)
def compare(
    at: npt.NDArray[np.int32],
    first: int,
    second: int,
    stimuli: Arrays,
    vectors: Floats,
    place_width: float,
    least_agreement: float,
    least: float,
) -> float:
    """Return what similarities does for one pair, 0 where it is certain to be below `least`.

    at (images,): where in the first neuron's row each image lies, -1 where it does not (see lay_out).
    """
    smoothed = min(1.0, max(0.0, float(_cosine(vectors[first], vectors[second]))))
    if smoothed <= least * least * (1 - 1e-6):  # the other cosine is 1 at most
        return 0.0
    images, weights, rows, columns = stimuli
    together = same_place = 0.0
    spread = 4.0 * place_width * place_width
    for j in range(images.shape[1]):
        if images[second, j] < 0 or at[images[second, j]] < 0:
            continue
        i = at[images[second, j]]
        product = weights[first, i] * weights[second, j]
        dy, dx = rows[first, i] - rows[second, j], columns[first, i] - columns[second, j]
        together += product
        same_place += product * np.exp(-(dy * dy + dx * dx) / spread)
    return np.sqrt(same_place * smoothed) if same_place >= least_agreement * together else 0.0


@numba.njit(cache=True, nogil=True)
def lay_out(at: npt.NDArray[np.int32], images: Images, there: bool) -> None:
    """Note where each image lies in a row of them (m,), or take the notes away again; at (images,) else holds -1."""
    for i in range(len(images)):
        if images[i] >= 0:
            at[images[i]] = i if there else -1


@numba.njit(cache=True, nogil=True)
def _similarities(
    pairs: npt.NDArray[np.int64], stimuli: Arrays, vectors: Floats, place_width: float, least_agreement: float
) -> npt.NDArray[np.float64]:
    result, images = np.empty(len(pairs)), stimuli.images
    at = np.full(images.max() + 1 if images.size else 0, -1, np.int32)
    laid = -1
    for p in range(len(pairs)):
        if laid != pairs[p, 0]:
            if laid >= 0:
                lay_out(at, images[laid], False)
            laid = pairs[p, 0]
            lay_out(at, images[laid], True)
        result[p] = compare(at, laid, pairs[p, 1], stimuli, vectors, place_width, least_agreement, 0.0)
    return result


def similarities(
    stimuli: Stimuli,
    vectors: Floats,
    pairs: npt.NDArray[np.int64],
    place_width: float,
    least_agreement: float,
) -> npt.NDArray[np.float64]:
    """Return the similarity (p,), 0 … 1, of each pair of neurons.

    The geometric mean of two cosines: of the weights placed at their peaks as Gaussians of place_width cells, and of
    the same reduced to the common axes (vectors (n, d), see axes.placed_vectors; negative ones count as 0). It is 0
    where the placed weights agree less than least_agreement of the weights over images alone: neurons that fire on the
    same images at different places detect different things. Exact, O(p (m + d)), quickest where pairs with the same
    first neuron follow each other.
    """
    return np.asarray(_similarities(pairs, stimuli.arrays, vectors, place_width, least_agreement))


def strongest_half(stimuli: Stimuli) -> Images:
    """Return the images (n, m // 2 or more) of each neuron's heavier stimuli, -1 where there are fewer.

    Sets of fewer images meet less often by chance, and similar neurons share the heaviest first. O(n m).
    """
    return np.asarray(_strongest_half(stimuli.images, stimuli.weights))


@numba.njit(cache=True, nogil=True)
def _strongest_half(images: Images, weights: Floats) -> Images:
    n, m = images.shape
    half = (m + 1) // 2
    result = np.empty((n, half), np.int32)
    for row in range(n):
        least, at = np.partition(weights[row], m - half)[m - half], 0
        equal = half - (weights[row] > least).sum()
        for i in range(m):
            if weights[row, i] > least or (weights[row, i] == least and equal > 0):
                equal -= weights[row, i] == least
                result[row, at] = images[row, i]
                at += 1
    return result


@numba.njit(cache=True, nogil=True)
def _agreements(pairs: npt.NDArray[np.int64], stimuli: Arrays) -> npt.NDArray[np.int64]:
    images, _, rows, columns = stimuli
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
    shared, agreeing = _agreements(pairs, stimuli.arrays)
    return shared, agreeing
