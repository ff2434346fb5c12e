"""The embedding laid out on a plane."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from neurocarto.settings import RunSettings

EXACT_NEIGHBOURS_BELOW = 30_000
"""Neurons up to which exact neighbours by matrix product beat the approximate search and its compilation."""

EPOCHS: int | None = None
"""Epochs of a map from nothing; None: UMAP's own choice, 200 to 500."""
STARTED_EPOCHS = 60
"""Epochs of a map that starts from a finished one."""

_CHUNK = 1024


def project(
    embedding: npt.NDArray[np.float32], settings: RunSettings, start: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Lay the embedding (N, d) out on a plane (N, 2) with seeded UMAP on cosine distances.

    start (N, 2): positions to begin from, NaN for neurons without one. Rows of zeros (neurons without
    stimuli) get NaN. O(N² d) below EXACT_NEIGHBOURS_BELOW neurons, near-linear above.
    """
    placed = embedding.any(axis=1)
    result = np.full((len(embedding), 2), np.nan, np.float32)
    points = embedding[placed] / np.linalg.norm(embedding[placed], axis=1, keepdims=True)
    if len(points) < 5:  # UMAP needs a neighbourhood
        result[placed] = np.stack([np.arange(len(points)), np.zeros(len(points))], axis=1)
        return result
    result[placed] = _umap(points, settings, None if start is None else start[placed])
    return result


def snapshots(
    embeddings: Sequence[npt.NDArray[np.float32]], settings: RunSettings, advance: Callable[[int], object]
) -> npt.NDArray[np.float32]:
    """Lay out embeddings learnt from more and more images on one aligned map, (S, N, 2).

    The last map is made on its own; each earlier one starts from the next and is then turned, mirrored
    and scaled onto it, so that what moves is what changed. advance is called once per map.
    """
    maps = [project(embeddings[-1], settings)]
    advance(1)
    for embedding in reversed(embeddings[:-1]):
        maps.insert(0, _aligned(project(embedding, settings, start=maps[0]), maps[0]))
        advance(1)
    return np.stack(maps)


def _umap(
    points: npt.NDArray[np.float32], settings: RunSettings, start: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    from umap import UMAP

    neighbours = min(settings.neighbours, len(points) - 1)
    exact = len(points) <= EXACT_NEIGHBOURS_BELOW
    model = UMAP(
        n_neighbors=neighbours,
        min_dist=settings.min_distance,
        metric="cosine",
        init="pca" if start is None else _filled(start, settings.seed),
        n_epochs=EPOCHS if start is None else STARTED_EPOCHS,
        random_state=settings.seed,
        n_jobs=1,
        precomputed_knn=(*nearest(points, neighbours), None) if exact else (None, None, None),
    )
    with warnings.catch_warnings():
        # UMAP notes that given neighbours cannot place new points later; none will come.
        warnings.filterwarnings("ignore", message="precomputed_knn", module="umap")
        layout: npt.NDArray[np.float32] = model.fit_transform(points)
    return layout


def nearest(points: npt.NDArray[np.float32], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return each point's `count` nearest by cosine, itself first: indices and distances (N, count).

    points (N, d) of unit length. Exact, O(N² d) time, O(N) memory.
    """
    indices = np.empty((len(points), count), np.int64)
    distances = np.empty((len(points), count), np.float32)
    for begin in range(0, len(points), _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, len(points)))
        distance = 1 - points[rows] @ points.T
        distance[np.arange(len(rows)), rows] = -1  # itself first, whatever rounding says
        near = np.argpartition(distance, count - 1, axis=1)[:, :count]
        order = np.take_along_axis(distance, near, axis=1).argsort(axis=1, kind="stable")
        indices[rows] = np.take_along_axis(near, order, axis=1)
        distances[rows] = np.take_along_axis(distance, indices[rows], axis=1).clip(min=0)
    return indices, distances


def _filled(start: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Put points without a start near the middle, so that their neighbours pull them into place."""
    missing = np.isnan(start).any(axis=1)
    middle = np.random.default_rng(seed).normal(np.nanmedian(start, axis=0), 1e-2, (int(missing.sum()), 2))
    filled = start.copy()
    filled[missing] = middle.astype(np.float32)
    return filled


def _aligned(points: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Move, turn, mirror and scale points onto the target (orthogonal Procrustes) where both have places."""
    common = ~(np.isnan(points).any(axis=1) | np.isnan(target).any(axis=1))
    if common.sum() < 2:
        return points
    centre, target_centre = points[common].mean(axis=0), target[common].mean(axis=0)
    moved, wanted = points[common] - centre, target[common] - target_centre
    left, values, right = np.linalg.svd(moved.T @ wanted)
    scale = values.sum() / max(float((moved**2).sum()), 1e-12)
    aligned: npt.NDArray[np.float32] = ((points - centre) @ (left @ right) * scale + target_centre).astype(np.float32)
    return aligned
