"""Neurons that fire on the same images lie near each other: the embedding."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from neurocarto.summarisation.similarity import Stimuli


def embed(stimuli: Stimuli, image_count: int, dimensions: int, seed: int) -> npt.NDArray[np.float32]:
    """Embed neurons so that those with common stimuli have a high cosine.

    The co-activation counts of the paper (section 5.2) are X Xᵀ for X the neurons × images incidence of
    stimuli; instead of sampling pairs for a skip-gram, X is factorised: scaled by the square roots of
    its row and column sums, randomised SVD, the first axis (how common a neuron's stimuli are) left
    out, axes scaled by the square roots of the singular values. O(N m dimensions).

    Returns (N, d) float32 with d = min(dimensions, what the data carry); rows of neurons without stimuli
    are zero.
    """
    n, m = stimuli.images.shape
    present = stimuli.images >= 0
    incidence = sparse.csr_matrix(
        (np.ones(present.sum(), np.float32), (np.repeat(np.arange(n), m)[present.ravel()], stimuli.images[present])),
        shape=(n, image_count),
    )
    d = min(dimensions, min(incidence.shape) - 2)
    left, values, _ = randomized_svd(_scaled(incidence), d + 1, n_iter=4, random_state=seed)
    embedding: npt.NDArray[np.float32] = (left * np.sqrt(values))[:, 1:].astype(np.float32)
    embedding[~stimuli.alive] = 0
    return embedding


def _scaled(incidence: sparse.csr_matrix) -> sparse.csr_matrix:
    rows, columns = (np.maximum(np.asarray(incidence.sum(axis)).ravel(), 1) for axis in (1, 0))
    return sparse.csr_matrix(sparse.diags_array(rows**-0.5) @ incidence @ sparse.diags_array(columns**-0.5))
