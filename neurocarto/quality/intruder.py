"""The intruder test: can a judge that sees their patches tell three neurons of a cluster from a fourth?

A question shows three members of a cluster and one other neuron of the same layer. The judge names the neuron with
the lowest summed cosine to the other three; by chance it is right in one of four. Held out, the patches come from
images that did not form the clusters. It is the paper's study (Park et al., IEEE VIS 2021) with a network in the
person's place.

Neurons that fire on the same pictures are known by the pictures, whatever they detect: those of a network with random
weights too. So there is a stricter test, in which no picture is shown twice in a question: what the members share has
to come again in other pictures.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from neurocarto.quality.groups import Groups, find_groups
from neurocarto.quality.judge import PATCHES, Sights, mean_features
from neurocarto.quality.measures import PER_CLUSTER, Draw
from neurocarto.records import FloatArray, IntArray, Layer, layer_slices

_CHUNK = 2048
"""Questions that are judged together: a bound for memory."""

Features = npt.NDArray[np.float32]
"""What the judge sees of neurons (n, d): of unit length, zeros for neurons without patches."""


def intruder(features: Features) -> Draw:
    """Return how questions about the clusters of a layer are drawn and judged: part is 1 for a right answer."""

    def draw(groups: Groups, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        asked = _questions(groups, count, rng)
        right = named(features, asked.reshape(-1, 4)).reshape(asked.shape[:2]) == 3
        return right.astype(float), np.ones(right.shape)

    return draw


def intruder_distinct(sights: Sights) -> Draw:
    """Return the same for questions in which no picture is shown twice.

    sights: of the layer's neurons. of: 0 where a neuron has no picture left that the others do not show.
    """

    def draw(groups: Groups, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        asked = _questions(groups, count, rng).reshape(-1, 4)
        right, whole = np.empty((2, len(asked)), bool)
        for begin in range(0, len(asked), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            shown = distinct_patches(sights, asked[part], rng)
            four = mean_features(sights.features, shown.reshape(-1, PATCHES)).reshape(len(shown), 4, -1)
            right[part], whole[part] = _least_like(four) == 3, (shown[..., 0] >= 0).all(axis=1)
        return (right & whole).reshape(-1, count).astype(float), whole.reshape(-1, count).astype(float)

    return draw


def distinct_patches(sights: Sights, asked: IntArray, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Return the patches that the neurons of questions (q, 4) show, no two of a question from one picture.

    The four take turns, in a new order each time; each takes its strongest patch from a picture that none has taken.
    Returns rows of sights.features, (q, 4, PATCHES), -1 where a neuron has none left.
    """
    images, rows = sights.image[asked], np.arange(len(asked))
    gone = images < 0
    shown = np.full((*asked.shape, PATCHES), -1, np.int32)
    for turn in range(PATCHES):
        for who in rng.permuted(np.tile(np.arange(4), (len(asked), 1)), axis=1).T:
            rank = gone[rows, who].argmin(axis=1)
            left = ~gone[rows, who, rank]
            shown[rows, who, turn] = np.where(left, sights.patch[asked[rows, who], rank], -1)
            gone |= left[:, None, None] & (images == images[rows, who, rank][:, None, None])
    return shown


def named(features: Features, asked: IntArray) -> npt.NDArray[np.int64]:
    """Return which neuron of each question (q, 4) the judge names, 0 … 3."""
    answers = np.empty(len(asked), np.int64)
    for begin in range(0, len(asked), _CHUNK):
        answers[begin : begin + _CHUNK] = _least_like(features[asked[begin : begin + _CHUNK]])
    return answers


def _questions(groups: Groups, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Three members and one neuron outside, (C, count, 4)."""
    return np.concatenate([groups.draw(3, count, rng), groups.draw_outside(count, rng)[..., None]], axis=2)


def _least_like(four: Features) -> npt.NDArray[np.int64]:
    """Of each four (q, 4, d), which has the lowest sum of the cosines to the other three (and 1 to itself)."""
    least: npt.NDArray[np.int64] = (four @ four.sum(axis=1)[..., None])[..., 0].argmin(axis=1)
    return least


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
