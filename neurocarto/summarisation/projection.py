"""The embedding laid out on a plane."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from neurocarto.settings import RunSettings
from neurocarto.summarisation.neighbours import nearest, unit_rows

EPOCHS: int | None = None
"""Epochs of a map from nothing; None: UMAP's own choice, 200 to 500."""
STARTED_EPOCHS = 60
"""Epochs of a map that starts from a finished one."""
NEGATIVES = 10
"""Others that each neuron is driven off at each step. UMAP's own 5 leave more strangers side by side."""

COMPILED = "smooth_knn_dist", "compute_membership_strengths"
"""Functions that UMAP would compile anew in every process, which takes seconds."""


def project(
    embedding: npt.NDArray[np.float32], settings: RunSettings, start: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Lay the embedding (N, d) out on a plane (N, 2) with seeded UMAP on cosine distances.

    start (N, 2): positions to begin from, NaN for neurons without one. Rows of zeros (neurons without
    stimuli) get NaN. O(N² d) below neighbours.EXACT_BELOW neurons, near-linear above.
    """
    placed = embedding.any(axis=1)
    result = np.full((len(embedding), 2), np.nan, np.float32)
    points = unit_rows(embedding[placed])
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
    from umap import UMAP, umap_

    for name in COMPILED:
        getattr(umap_, name).enable_caching()
    neighbours = min(settings.neighbours, len(points) - 1)
    model = UMAP(
        n_neighbors=neighbours,
        min_dist=settings.min_distance,
        metric="cosine",
        init="pca" if start is None else _filled(start, settings.seed),
        n_epochs=EPOCHS if start is None else STARTED_EPOCHS,
        negative_sample_rate=NEGATIVES,
        random_state=settings.seed,
        n_jobs=1,
        precomputed_knn=(*nearest(points, neighbours, settings.seed), None),
    )
    with warnings.catch_warnings():
        # UMAP notes that given neighbours cannot place new points later; none will come.
        warnings.filterwarnings("ignore", message="precomputed_knn", module="umap")
        layout: npt.NDArray[np.float32] = model.fit_transform(points)
    return layout


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
