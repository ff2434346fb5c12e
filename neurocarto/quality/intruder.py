"""The intruder test: can a judge that sees their patches tell three neurons of a cluster from a fourth?

A question shows three members of a cluster and one other neuron of the same layer. The judge names the neuron with
the lowest summed cosine to the other three; by chance it is right in one of four. Held out, the patches come from
images that did not form the clusters. It is the paper's study (Park et al., IEEE VIS 2021) with a network in the
person's place.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neurocarto.quality.groups import Groups, find_groups
from neurocarto.quality.measures import PER_CLUSTER, Draw
from neurocarto.records import FloatArray, IntArray, Layer, layer_slices

_CHUNK = 2048
"""Questions that are judged together: a bound for memory."""

Features = npt.NDArray[np.float32]
"""What the judge sees of neurons (n, d): of unit length, zeros for neurons without patches."""


def intruder(features: Features) -> Draw:
    """Return how questions about the clusters of a layer are drawn and judged: part is 1 for a right answer."""

    def draw(groups: Groups, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        asked = np.concatenate([groups.draw(3, count, rng), groups.draw_outside(count, rng)[..., None]], axis=2)
        right = named(features, asked.reshape(-1, 4)).reshape(asked.shape[:2]) == 3
        return right.astype(float), np.ones(right.shape)

    return draw


def named(features: Features, asked: IntArray) -> npt.NDArray[np.int64]:
    """Return which neuron of each question (q, 4) the judge names, 0 … 3."""
    answers = np.empty(len(asked), np.int64)
    for begin in range(0, len(asked), _CHUNK):
        four = features[asked[begin : begin + _CHUNK]]  # (q, 4, d)
        # The sum of the cosines to the other three, and 1 to itself.
        answers[begin : begin + _CHUNK] = (four @ four.sum(axis=1)[..., None])[..., 0].argmin(axis=1)
    return answers


def coherence(features: Features) -> Draw:
    """Return how pairs of members are drawn and compared: part is the cosine between their features."""

    def draw(groups: Groups, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        pairs = groups.draw(2, count, rng).reshape(-1, 2)
        cosines = np.concatenate(
            [
                np.einsum("pd,pd->p", *(features[pairs[begin : begin + _CHUNK, side]] for side in (0, 1)))
                for begin in range(0, len(pairs), _CHUNK)
            ]
        ).astype(float)
        return cosines.reshape(len(groups), count), np.ones((len(groups), count))

    return draw


def accuracy(
    cluster: IntArray, layers: Sequence[Layer], features: Features, draws: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Return the intruder accuracy of every layer with clusters of 3 to 40, without intervals or nulls.

    cluster (N,), features (N, d): of all neurons. A quick look, to compare ways of clustering.
    """
    found = {}
    for layer, neurons in layer_slices(layers).items():
        own = features[neurons]
        groups = find_groups(cluster[neurons], np.flatnonzero(own.any(axis=1)))
        if len(groups):
            count = max(PER_CLUSTER, -(-draws // len(groups)))
            right, _ = intruder(own)(groups, count, np.random.default_rng(seed))
            found[layer] = float(groups.size @ right.mean(axis=1) / groups.size.sum())
    return found
