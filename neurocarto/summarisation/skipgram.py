"""The paper's embedding: neurons that fire on the same image attract each other (section 5.2)."""

import numba
import numpy as np
import numpy.typing as npt

from neurocarto.summarisation.similarity import Stimuli

NEGATIVES = 10
"""Neurons drawn at random against each neuron of a pair, the paper's."""

EPOCHS = 60
RATE = 0.02
"""Passes over the images, and the size of a step at first; it falls to 0 linearly. The original's code: 1 and 0.01.
What little distinguishes most neurons drowns in the noise of random negatives at larger steps, and grows slowly at
these: lift still rises after 200 passes (docs/decisions.md)."""


def embed_skipgram(stimuli: Stimuli, image_count: int, dimensions: int, seed: int) -> npt.NDArray[np.float32]:
    """Embed neurons so that those with common stimuli have a high scalar product.

    For each image, the neurons that it is a stimulus of are shuffled, and each two that follow each other are a
    pair: see `learn`. One vector for each neuron, as in the original. O(N m dimensions) for each epoch.

    Returns (N, dimensions) float32; rows of neurons without stimuli are zero.
    """
    rng = np.random.default_rng(seed)
    alive = np.flatnonzero(stimuli.alive)
    vectors = np.zeros((len(stimuli), dimensions), np.float32)
    vectors[alive] = rng.uniform(-0.5, 0.5, (len(alive), dimensions))
    excited = [neurons for neurons in _neurons_by_image(stimuli, image_count) if len(neurons) > 1]
    for rate in RATE * np.linspace(1, 0, EPOCHS, endpoint=False, dtype=np.float32):
        for image in rng.permutation(len(excited)):
            drawn = rng.choice(alive, (len(excited[image]) - 1, 2, NEGATIVES))
            learn(vectors, rng.permutation(excited[image]), drawn, rate)
    return vectors


def _neurons_by_image(stimuli: Stimuli, image_count: int) -> list[npt.NDArray[np.int64]]:
    neuron, place = np.nonzero(stimuli.images >= 0)
    image = stimuli.images[neuron, place]
    order = np.argsort(image, kind="stable")
    return np.split(neuron[order], np.searchsorted(image[order], np.arange(1, image_count)))


@numba.njit(cache=True, fastmath={"reassoc"})
def _dot(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> np.float32:
    total = np.float32(0)
    for axis in range(len(one)):
        total += one[axis] * other[axis]
    return total


@numba.njit(cache=True)
def _add(vector: npt.NDArray[np.float32], factor: np.float32, other: npt.NDArray[np.float32]) -> None:
    for axis in range(len(vector)):
        vector[axis] += factor * other[axis]


@numba.njit(cache=True)
def learn(
    vectors: npt.NDArray[np.float32],
    neurons: npt.NDArray[np.int64],
    negatives: npt.NDArray[np.int64],
    rate: np.float32,
) -> None:
    """Change the vectors by one step of gradient descent for each two neurons (u, v) that follow each other.

    The loss of a pair is -log σ(u·v) - Σ log σ(-u·n) - Σ log σ(-v·m), for n in negatives[pair, 0] and m in
    negatives[pair, 1]; negatives (len(neurons) - 1, 2, n). The original had n·n in place of u·n, and left the
    negatives where they were.
    """
    one = np.float32(1)
    pushes = np.empty(negatives.shape[1:], np.float32)
    for pair in range(len(negatives)):
        ends = vectors[neurons[pair : pair + 2]]  # (2, d), a copy: all slopes are those before the step
        steps = ends[::-1] / (one + np.exp(_dot(ends[0], ends[1])))  # σ(-u·v) v, σ(-u·v) u
        for end in range(2):
            for i, negative in enumerate(negatives[pair, end]):
                pushes[end, i] = one / (one + np.exp(-_dot(ends[end], vectors[negative])))  # σ(u·n)
                _add(steps[end], -pushes[end, i], vectors[negative])
        for end in range(2):
            _add(vectors[neurons[pair + end]], rate, steps[end])
            for i, negative in enumerate(negatives[pair, end]):
                _add(vectors[negative], -rate * pushes[end, i], ends[end])
