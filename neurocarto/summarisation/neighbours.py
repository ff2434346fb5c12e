"""Each neuron's nearest by cosine."""

import numba
import numpy as np
import numpy.typing as npt

EXACT_BELOW = 60_000
"""Points up to which exact neighbours by matrix product beat the approximate search and its compilation."""

_CHUNK = 512


def unit_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale each row to length 1; rows of zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def nearest(
    points: npt.NDArray[np.float32], count: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return each point's `count` nearest by cosine, itself first: indices and distances (N, count).

    points (N, d) of unit length. Up to EXACT_BELOW points exact, O(N² d) time, O(N) memory; beyond by seeded descent
    in the graph of neighbours, near-linear.
    """
    if len(points) <= EXACT_BELOW:
        return _exact(points, count)
    from pynndescent import NNDescent  # compiles for seconds: only where it is worth while

    search = NNDescent(points, "cosine", n_neighbors=count, random_state=seed, n_jobs=1)
    indices, distances = search.neighbor_graph
    return indices.astype(np.int64), distances


def _exact(points: npt.NDArray[np.float32], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    indices = np.empty((len(points), count), np.int64)
    distances = np.empty((len(points), count), np.float32)
    for begin in range(0, len(points), _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, len(points)))
        distance = 1 - points[rows] @ points.T
        distance[np.arange(len(rows)), rows] = -1  # itself first, whatever rounding says
        _least(distance, indices[rows[0] : rows[-1] + 1], distances[rows[0] : rows[-1] + 1])
    return indices, distances.clip(min=0)


@numba.njit(cache=True)
def _least(values: npt.NDArray[np.float32], indices: npt.NDArray[np.int64], least: npt.NDArray[np.float32]) -> None:
    """Fill in the least values of each row, rising, and where they are; of equals the first. O(row length)."""
    for row in range(len(values)):
        mine, where = least[row], indices[row]
        mine[:] = np.inf
        for column in range(values.shape[1]):
            value = values[row, column]
            if value >= mine[-1]:
                continue
            place = len(mine) - 1
            while place > 0 and mine[place - 1] > value:
                mine[place], where[place] = mine[place - 1], where[place - 1]
                place -= 1
            mine[place], where[place] = value, column
