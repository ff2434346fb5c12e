import numpy as np
from planted import IMAGES, plant

from neurocarto.summarisation.embedding import embed
from neurocarto.summarisation.similarity import find_stimuli


def test_neurons_of_a_concept_lie_near_each_other_and_silent_ones_nowhere():
    planted = plant(np.random.default_rng(0), [6] * 20)
    stimuli = find_stimuli(planted.top, IMAGES, 0.1)
    vectors = embed(stimuli, IMAGES, dimensions=30, seed=0)
    assert vectors.shape == (len(planted.concept), 30)
    assert not vectors[planted.concept == -2].any()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    nearest = np.argsort(-unit @ unit.T, axis=1)[:, 1:6]
    planted_rows = planted.concept >= 0
    assert (planted.concept[nearest] == planted.concept[:, None])[planted_rows].mean() > 0.95


def test_the_same_seed_gives_the_same_bytes():
    stimuli = find_stimuli(plant(np.random.default_rng(1), [4] * 10).top, IMAGES, 0.1)
    assert embed(stimuli, IMAGES, 8, seed=3).tobytes() == embed(stimuli, IMAGES, 8, seed=3).tobytes()


def test_few_neurons_get_the_dimensions_that_they_carry():
    planted = plant(np.random.default_rng(1), [2, 2], noise=1, dead=0)
    assert embed(find_stimuli(planted.top, IMAGES, 0.1), IMAGES, 30, seed=0).shape == (5, 3)
