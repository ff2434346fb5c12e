"""Neurons that fire on the same images lie near each other: the embedding."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from neurocarto.summarisation.neighbours import nearest, unit_rows
from neurocarto.summarisation.similarity import Stimuli

AXES = 200
"""Axes of the factorisation that tell who is whose neighbour: few dimensions do not hold all that images say."""
NEIGHBOURS = 10
"""Neurons that each neuron is pulled to."""

STEPS = 40
RATE = 0.01
"""Steps of the refinement and the size of the first in each coordinate; it falls to 0 linearly."""
SHARPNESS = 20
"""How much nearer than others neighbours have to be: a neuron drives others off by exp(SHARPNESS × cosine)."""
OTHERS = 1024
"""Neurons, drawn anew for each step, that every neuron is driven off."""

_CHUNK = 512
"""Rows whose cosines with the others are held at once: they stay in the processor's cache."""


def embed(stimuli: Stimuli, image_count: int, dimensions: int, seed: int) -> npt.NDArray[np.float32]:
    """Embed neurons so that those with common stimuli have a high cosine.

    The co-activation counts of the paper (section 5.2) are X Xᵀ for X the neurons × images incidence of
    stimuli; instead of sampling pairs for a skip-gram, X is factorised: the square roots of the stimuli's
    weights, scaled by the square roots of their row and column sums; randomised SVD, the first axis (how common a
    neuron's stimuli are) left out. Many axes say which neurons are neighbours, the first few are where `refine`
    starts from. O(N (m + OTHERS) dimensions) and the search for neighbours, O(N²) below neighbours.EXACT_BELOW.

    Returns (N, d) float32 with rows of unit length and d = min(dimensions, what the data carry); rows of neurons
    without stimuli are zero.
    """
    alive = np.flatnonzero(stimuli.alive)
    axes = unit_rows(_factorise(stimuli, image_count, max(AXES, dimensions), seed))
    embedding = np.zeros((len(stimuli), min(dimensions, axes.shape[1])), np.float32)
    if len(alive):
        embedding[alive] = refine(axes[alive], embedding.shape[1], seed)
    return embedding


def _factorise(stimuli: Stimuli, image_count: int, count: int, seed: int) -> npt.NDArray[np.float32]:
    """Return the neurons' places on the axes after the first (N, at most count), scaled by the singular values."""
    n, m = stimuli.images.shape
    present = stimuli.images >= 0
    weights, neurons = np.sqrt(stimuli.weights[present]), np.repeat(np.arange(n), m)[present.ravel()]
    incidence = sparse.csr_matrix((weights, (neurons, stimuli.images[present])), shape=(n, image_count))
    kept = min(count + 1, max(1, min(incidence.shape) - 1))
    left, values, _ = randomized_svd(_scaled(incidence), kept, n_iter=4, random_state=seed)
    return np.asarray(left * values, np.float32)[:, min(1, kept - 1) :]


def _scaled(incidence: sparse.csr_matrix) -> sparse.csr_matrix:
    rows, columns = (np.asarray(incidence.sum(axis)).ravel() for axis in (1, 0))
    by_row, by_column = (sparse.diags_array(np.where(sums > 0, sums, 1) ** -0.5) for sums in (rows, columns))
    return sparse.csr_matrix(by_row @ incidence @ by_column)


def refine(axes: npt.NDArray[np.float32], dimensions: int, seed: int) -> npt.NDArray[np.float32]:
    """Find places in fewer dimensions, for rows (n, d) of unit length, that keep their nearest neighbours.

    On the sphere, from the first axes: each row u climbs Σ w u·v - log Σ exp(SHARPNESS u·o) / SHARPNESS, for v its
    NEIGHBOURS nearest on all axes, w their share of its cosines, and o OTHERS rows drawn at random, as in noise
    contrastive estimation (InfoNCE); neighbours and others move with it. Steps as Adam's, one scale for each row.
    """
    rng = np.random.default_rng(seed)
    pull = _pull(axes, seed)
    places = unit_rows(axes[:, :dimensions])
    momentum, power = np.zeros_like(places), np.zeros((len(places), 1), np.float32)
    for step, rate in enumerate(RATE * np.linspace(1, 0, STEPS, endpoint=False, dtype=np.float32), start=1):
        others = rng.choice(len(places), min(OTHERS, len(places)), replace=False)
        slope = pull @ places - _push(places, others)
        slope -= places * (slope * places).sum(axis=1, keepdims=True)  # along the sphere
        momentum += np.float32(0.1) * (slope - momentum)
        power += np.float32(0.02) * ((slope**2).mean(axis=1, keepdims=True) - power)
        size = np.sqrt(power / (1 - 0.98**step)) + 1e-8
        places = unit_rows(places + rate * momentum / (1 - 0.9**step) / size)
    return places


def _pull(axes: npt.NDArray[np.float32], seed: int) -> sparse.csr_matrix:
    """Return what the neighbours' attraction adds to each slope, as a matrix (n, n) to multiply places by."""
    n, k = len(axes), min(NEIGHBOURS, len(axes) - 1)
    found, distances = nearest(axes, k + 1, seed)
    cosines = (1 - distances[:, 1:]).clip(min=0)
    shares = cosines / np.maximum(cosines.sum(axis=1, keepdims=True), 1e-12)
    pairs = (np.repeat(np.arange(n), k), found[:, 1:].ravel())
    graph = sparse.csr_matrix((shares.ravel(), pairs), shape=(n, n))
    return sparse.csr_matrix(graph + graph.T)


def _push(places: npt.NDArray[np.float32], others: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the slope (n, d) of Σ log Σ exp(SHARPNESS u·o) / SHARPNESS, of every row u and of the others o."""
    slope = np.zeros_like(places)
    away = places[others]
    for begin in range(0, len(places), _CHUNK):
        rows = places[begin : begin + _CHUNK]
        share = rows @ away.T
        share -= 1
        share *= SHARPNESS
        np.exp(share, out=share)
        own = np.flatnonzero((others >= begin) & (others < begin + len(rows)))
        share[others[own] - begin, own] = 0  # none drives itself off
        share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-30)
        slope[begin : begin + _CHUNK] += share @ away
        slope[others] += share.T @ rows
    return slope
