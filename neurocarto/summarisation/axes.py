"""The axes along which neurons vary together: which images excite them, and at which places."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from neurocarto.summarisation.neighbours import unit_rows
from neurocarto.summarisation.similarity import GRID, Arrays, Floats, Stimuli

SAMPLE = 20_000
"""Neurons on whose stimuli the axes rest; of more, so many are drawn, and all are placed on what these vary along."""

BUCKETS = 2048
"""Buckets that the images of more than SAMPLE neurons are dealt to, under random signs."""

SPREAD = 0.15
"""Share of a peak's own cell below which its spread to other cells is dropped."""

BLOCK = 32
"""Vectors that are multiplied at once: the stimuli are read from memory once for all of them."""

DENSE = 768
"""Neurons up to which all products are held, and blocks of Krylov vectors together at most."""

TOLERANCE = 0.001
"""Residual of an axis, as a share of its eigenvalue, that counts as converged; those before the last are far below."""

PARTS = 8
"""Sums over buckets that are made apart, so that they are the same whatever number of threads makes them."""

_CHUNK = 2**14
"""Neurons placed together on known axes: a bound for memory."""


def placed_vectors(
    stimuli: Stimuli, axes: int, place_width: float, seed: int, threads: int = 1
) -> npt.NDArray[np.float32]:
    """Return each neuron's placed weights on the axes along which all neurons vary together, (n, d) of unit length.

    The weights, spread over cells as Gaussians of place_width cells, make a matrix of neurons × (images × cells); its
    SVD gives the axes, d = min(axes, n - 2), without the first, which only says how common a neuron's
    stimuli are. It is run until it has converged, so the seed, from which it starts, makes no difference to speak of.
    Of more than SAMPLE neurons it is the SVD of as many, drawn by the seed; images are then hashed to BUCKETS
    (Weinberger et al., 2009: feature hashing), so that products of weights are right on average, and places are rounded
    to half a cell. Neurons without stimuli have zeros. The number of threads changes nothing. O(n m d), memory O(n d)
    beside what SAMPLE neurons take.
    """
    n = len(stimuli)
    d = min(axes, n - 2)
    rng = np.random.default_rng(seed)
    if n <= SAMPLE:
        placed = _place(stimuli, place_width)
        values, left = leading(partial(_products, placed, n, threads), n, d + 1 if d > 0 else n, rng)
        scaled = left * np.sqrt(values.clip(0))
        # Too few neurons to have anything in common: each pair is compared as it is.
        return unit_rows(scaled[:, :-1] if d > 0 else scaled) * stimuli.alive[:, None]
    chosen = stimuli[np.sort(rng.choice(n, SAMPLE, replace=False))]
    placed = _place(replace(chosen, rows=_rounded(chosen.rows), columns=_rounded(chosen.columns)), place_width, BUCKETS)
    values, left = leading(partial(_products, placed, SAMPLE, threads), SAMPLE, d + 1, rng)
    cells = np.zeros((BUCKETS, GRID**2, d), np.float32)
    _to_images(placed, left[:, :-1] / np.sqrt(values[:-1].clip(1e-12)), cells)
    table = _at_places(cells, place_width)
    vectors = np.zeros((n, d), np.float32)

    def fill(begin: int) -> None:
        own = slice(begin, begin + _CHUNK)
        _on_axes(stimuli[own].arrays, table, vectors[own])
        vectors[own] = unit_rows(vectors[own])

    _each(fill, range(0, n, _CHUNK), threads)
    return vectors


def leading(product: Callable[[Floats], Floats], n: int, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the largest eigenvalues (count,), rising, and their vectors (n, count) of a symmetric matrix (n, n).

    product multiplies it by (n, b). Up to DENSE rows exact; beyond by block Lanczos iteration (Golub and Underwood,
    1977), every block orthogonalised against all before, until the residual of every one is at most TOLERANCE of the
    last value, or DENSE vectors are reached. O(n DENSE²) and DENSE / BLOCK products.
    """
    if n <= DENSE:
        values, vectors = eigh(product(np.eye(n, dtype=np.float32)))
        return _floats(values[-count:]), _floats(vectors[:, -count:])
    basis = np.empty((DENSE, n), np.float32)
    ritz = np.zeros((DENSE, DENSE), np.float32)
    block, _ = _orthonormal(rng.standard_normal((n, BLOCK)).astype(np.float32))
    for size in range(BLOCK, DENSE + 1, BLOCK):
        basis[size - BLOCK : size] = block.T
        known = basis[:size]
        image = product(block)
        inner = known @ image
        ritz[:size, size - BLOCK : size] = inner
        block, step = _orthonormal(image - known.T @ inner)
        block, again = _orthonormal(block - known.T @ (known @ block))
        if size >= 3 * count and size % (4 * BLOCK) == 0 or size == DENSE:
            values, mixed = eigh(ritz[:size, :size], lower=False, subset_by_index=(size - count, size - 1))
            residual = np.linalg.norm(again @ step @ mixed[-BLOCK:], axis=0)
            if residual.max() <= TOLERANCE * values[0] or size == DENSE:
                break
    return _floats(values), _floats(known.T @ mixed)


def _floats(values: npt.NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(values, np.float32)


def _orthonormal(block: Floats) -> tuple[Floats, Floats]:
    """Return orthonormal columns (n, b) and what to multiply them by to get the block; zeros where it lacks rank."""
    values, vectors = np.linalg.eigh((block.T @ block).astype(np.float64))
    size = np.sqrt(np.where(values > 1e-12 * values[-1], values, 0))
    inverse = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    return block @ (vectors * inverse).astype(np.float32), (vectors * size).T.astype(np.float32)


class _Placed(NamedTuple):
    """Stimuli by image and place: those of one image at one place spread alike over its cells.

    neuron, weight (e): the stimuli; groups (g + 1): where those of an image at a place begin; buckets (b + 1): where an
    image's groups begin; spread (g + 1): where the cells of a group begin; cell, value: how a group spreads over cells.
    """

    neuron: npt.NDArray[np.int32]
    weight: Floats
    groups: npt.NDArray[np.int64]
    buckets: npt.NDArray[np.int64]
    spread: npt.NDArray[np.int64]
    cell: npt.NDArray[np.uint8]
    value: Floats


def _place(stimuli: Stimuli, place_width: float, buckets: int = 0) -> _Placed:
    """Sort stimuli by image, or by one of so many buckets of images, and by place. O(n m log(n m / buckets))."""
    count = buckets or int(stimuli.images.max(initial=-1)) + 1
    order, sign, begins = _in_order(stimuli.arrays, count, buckets > 0)
    rows, columns = (values.ravel()[order] for values in (stimuli.rows, stimuli.columns))
    new = np.append((np.diff(rows, prepend=-1) != 0) | (np.diff(columns, prepend=-1) != 0), True)
    new[begins] = True
    groups = np.flatnonzero(new)
    spread = _spread(rows[groups[:-1]], columns[groups[:-1]], place_width)
    neuron, weight = (order // stimuli.images.shape[1]).astype(np.int32), stimuli.weights.ravel()[order] * sign
    return _Placed(neuron, weight, groups, np.searchsorted(groups, begins), *spread)


@numba.njit(cache=True, nogil=True)
def _bucket(image: int, buckets: int) -> tuple[np.int64, np.float32]:
    """Return a bucket and a sign for an image, by multiplication with a large odd number."""
    mixed = np.uint64(image) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) % np.uint64(buckets)), np.float32(1 if mixed >> np.uint64(63) else -1)


@numba.njit(cache=True, nogil=True)
def _in_order(stimuli: Arrays, count: int, hashed: bool) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]:
    """Return which stimuli (e,) come by bucket, then place; their signs (e,); where each bucket begins (count + 1)."""
    images, weights, rows, columns = stimuli
    n, m = images.shape
    begins = np.zeros(count + 1, np.int64)
    for row in range(n):
        for i in range(m):
            if weights[row, i] > 0:
                begins[(_bucket(images[row, i], count)[0] if hashed else images[row, i]) + 1] += 1
    begins = begins.cumsum()
    into, key = begins.copy(), np.empty(begins[-1], np.int64)
    for row in range(n):
        for i in range(m):
            if weights[row, i] > 0:
                bucket = _bucket(images[row, i], count)[0] if hashed else np.int64(images[row, i])
                place = np.int64(rows[row, i] * 256) << 11 | np.int64(columns[row, i] * 256)
                key[into[bucket]] = place << 40 | (row * m + i)
                into[bucket] += 1
    sign = np.ones(len(key), np.float32)
    for b in range(count):
        key[begins[b] : begins[b + 1]] = np.sort(key[begins[b] : begins[b + 1]])
    for e in range(len(key)):
        key[e] &= (1 << 40) - 1
        if hashed:
            sign[e] = _bucket(images[key[e] // m, key[e] % m], count)[1]
    return key, sign, begins


def _rounded(places: Floats) -> Floats:
    """Round places, in cells, to the middle of a half of a cell."""
    return _floats((np.floor(places * 2).clip(max=2 * GRID - 1) + 0.5) / 2)


def _at_places(cells: Floats, place_width: float) -> Floats:
    """Return what the cells of images, (images, cells, d), give at each of the rounded places, (images, places, d)."""
    rows, columns = _floats((np.indices((2 * GRID, 2 * GRID)).reshape(2, -1) + 0.5) / 2)
    begins, cell, value = _spread(rows, columns, place_width)
    spread = np.zeros((len(begins) - 1, GRID**2), np.float32)
    spread[np.repeat(np.arange(len(spread)), np.diff(begins)), cell] = value
    return _floats(spread @ cells)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _on_axes(stimuli: Arrays, table: Floats, vectors: Floats) -> None:
    """Add up what each neuron's stimuli give on the axes, table (buckets, places, d), into vectors (n, d)."""
    images, weights, rows, columns = stimuli
    for row in range(len(images)):
        for i in range(images.shape[1]):
            if weights[row, i] > 0:
                bucket, sign = _bucket(images[row, i], len(table))
                y, x = min(int(rows[row, i] * 2), 2 * GRID - 1), min(int(columns[row, i] * 2), 2 * GRID - 1)
                place, weight = y * 2 * GRID + x, sign * weights[row, i]
                for k in range(vectors.shape[1]):
                    vectors[row, k] += weight * table[bucket, place, k]


@numba.njit(cache=True, nogil=True)
def _spread(rows: Floats, columns: Floats, width: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], Floats]:
    """Spread each place over cells as a Gaussian of unit length, without the cells below SPREAD of its own."""
    begins = np.zeros(len(rows) + 1, np.int64)
    cell, value = np.empty(len(rows) * GRID**2, np.uint8), np.empty(len(rows) * GRID**2, np.float32)
    down, along, at = np.empty(GRID), np.empty(GRID), 0
    for i in range(len(rows)):
        for k in range(GRID):
            down[k] = np.exp(-((rows[i] - k - 0.5) ** 2) / (2 * width * width))
            along[k] = np.exp(-((columns[i] - k - 0.5) ** 2) / (2 * width * width))
        length = np.sqrt((down**2).sum() * (along**2).sum())
        least = SPREAD * down.max() * along.max()
        for y in range(GRID):
            for x in range(GRID):
                if down[y] * along[x] >= least:
                    cell[at], value[at] = y * GRID + x, down[y] * along[x] / length
                    at += 1
        begins[i + 1] = at
    return begins, cell[:at].copy(), value[:at].copy()


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sum_cells(group: int, placed: _Placed, vectors: Floats, tile: Floats, total: Floats) -> None:
    """Add what a group's neurons have on vectors (n, d) to the cells of its image, tile (cells, d)."""
    neuron, weight, groups, _, spread, cell, value = placed
    total[:] = 0
    for e in range(groups[group], groups[group + 1]):
        row, w = np.int64(neuron[e]), weight[e]
        for k in range(vectors.shape[1]):
            total[k] += w * vectors[row, k]
    for p in range(spread[group], spread[group + 1]):
        c, v = np.int64(cell[p]), value[p]
        for k in range(vectors.shape[1]):
            tile[c, k] += v * total[k]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sum_neurons(group: int, placed: _Placed, tile: Floats, result: Floats, total: Floats) -> None:
    """Add what the cells of an image hold at a group's place, tile (cells, d), to its neurons, result (n, d)."""
    neuron, weight, groups, _, spread, cell, value = placed
    total[:] = 0
    for p in range(spread[group], spread[group + 1]):
        c, v = np.int64(cell[p]), value[p]
        for k in range(result.shape[1]):
            total[k] += v * tile[c, k]
    for e in range(groups[group], groups[group + 1]):
        row, w = np.int64(neuron[e]), weight[e]
        for k in range(result.shape[1]):
            result[row, k] += w * total[k]


@numba.njit(cache=True, nogil=True)
def _to_images(placed: _Placed, vectors: Floats, result: Floats) -> None:
    """Multiply the transposed placed weights by vectors (n, d); result (buckets, cells, d) holds zeros."""
    buckets, total = placed.buckets, np.empty(vectors.shape[1], np.float32)
    for bucket in range(len(buckets) - 1):
        for group in range(buckets[bucket], buckets[bucket + 1]):
            _sum_cells(group, placed, vectors, result[bucket], total)


@numba.njit(cache=True, nogil=True)
def _products_of(begin: int, end: int, placed: _Placed, vectors: Floats, result: Floats) -> None:
    """Multiply the placed weights of some images by their transpose and vectors (n, d); result (n, d) holds zeros."""
    tile = np.empty((GRID**2, vectors.shape[1]), np.float32)
    buckets, total = placed.buckets, np.empty(vectors.shape[1], np.float32)
    for bucket in range(begin, end):
        if buckets[bucket] == buckets[bucket + 1]:  # an image that is no stimulus of any
            continue
        tile[:] = 0
        for group in range(buckets[bucket], buckets[bucket + 1]):
            _sum_cells(group, placed, vectors, tile, total)
        for group in range(buckets[bucket], buckets[bucket + 1]):
            _sum_neurons(group, placed, tile, result, total)


def _products(placed: _Placed, n: int, threads: int, vectors: Floats) -> Floats:
    """Multiply the neurons' products with one another by vectors (n, d)."""
    shares = np.linspace(0, placed.groups[-1], PARTS + 1)
    bounds = np.searchsorted(placed.groups[placed.buckets], shares)
    sums = np.zeros((PARTS, n, vectors.shape[1]), np.float32)
    vectors = np.ascontiguousarray(vectors)

    def fill(part: int) -> None:
        _products_of(bounds[part], bounds[part + 1], placed, vectors, sums[part])

    _each(fill, range(PARTS), threads)
    return _floats(sums.sum(axis=0))


def _each(work: Callable[[int], None], parts: Iterable[int], threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
