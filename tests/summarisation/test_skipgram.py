import numpy as np
import pytest
from planted import IMAGES, plant

from neurocarto.summarisation.similarity import find_stimuli
from neurocarto.summarisation.skipgram import embed_skipgram, learn


def _loss(vectors, u, v, against_u, against_v):
    def cost(product):
        return np.log1p(np.exp(-product)).sum()

    ends = vectors[u], vectors[v]
    return cost(ends[0] @ ends[1]) + cost(-vectors[against_u] @ ends[0]) + cost(-vectors[against_v] @ ends[1])


@pytest.mark.parametrize("against", [[[2, 3, 4], [5, 6, 7]], [[0, 2, 2], [1, 0, 7]]], ids=["others", "themselves"])
def test_a_step_goes_down_the_gradient_of_the_loss(against):
    vectors = np.random.default_rng(0).normal(size=(8, 5))
    gradient = np.zeros_like(vectors)
    for place in np.ndindex(vectors.shape):
        nudge = np.zeros_like(vectors)
        nudge[place] = 1e-6
        gradient[place] = (_loss(vectors + nudge, 0, 1, *against) - _loss(vectors - nudge, 0, 1, *against)) / 2e-6
    stepped = vectors.copy()
    learn(stepped, np.array([0, 1]), np.array([against]), 0.1)
    assert stepped == pytest.approx(vectors - 0.1 * gradient, abs=1e-7)


def test_each_neuron_is_paired_with_the_next():
    vectors = np.eye(5, dtype=np.float32)
    learn(vectors, np.array([0, 2, 4]), np.zeros((2, 2, 0), np.int64), np.float32(0.1))
    # The third is attracted by the second, which the first has changed before.
    assert vectors[0] == pytest.approx([1, 0, 0.05, 0, 0])
    assert vectors[1] == pytest.approx([0, 1, 0, 0, 0])
    assert vectors[2] == pytest.approx([0.05, 0, 1, 0, 0.05])
    assert vectors[4] == pytest.approx([0.0025, 0, 0.05, 0, 1])


def test_neurons_of_a_concept_lie_near_each_other_and_silent_ones_nowhere():
    planted = plant(np.random.default_rng(0), [6] * 20)
    vectors = embed_skipgram(find_stimuli(planted.top, IMAGES, 0.1), IMAGES, dimensions=30, seed=0)
    assert vectors.shape == (len(planted.concept), 30)
    assert vectors.dtype == np.float32
    assert not vectors[planted.concept == -2].any()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    nearest = np.argsort(-unit @ unit.T, axis=1)[:, 1:6]
    planted_rows = planted.concept >= 0
    assert (planted.concept[nearest] == planted.concept[:, None])[planted_rows].mean() > 0.9


def test_the_same_seed_gives_the_same_bytes():
    stimuli = find_stimuli(plant(np.random.default_rng(1), [4] * 10).top, IMAGES, 0.1)
    one, two, other = (embed_skipgram(stimuli, IMAGES, 8, seed).tobytes() for seed in (3, 3, 4))
    assert one == two != other


def test_silent_neurons_only():
    stimuli = find_stimuli(plant(np.random.default_rng(1), [], noise=0, dead=4).top, IMAGES, 0.1)
    assert not embed_skipgram(stimuli, IMAGES, 8, seed=0).any()
