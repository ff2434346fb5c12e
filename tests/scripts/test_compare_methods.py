import numpy as np
import pytest

from neurocarto.summarisation.similarity import Stimuli
from scripts.compare_methods import _agreement, _lift


def test_lift_compares_neighbours_with_random_neurons():
    concept = np.arange(400) % 20
    top = np.where(np.arange(10) < 5, concept[:, None] * 5 + np.arange(10), -1).astype(np.int32)  # five own images
    assert _lift(np.eye(20, dtype=np.float32)[concept], top) == pytest.approx(20, rel=0.15)
    noise = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    assert _lift(noise, top) == pytest.approx(1, abs=0.2)


def test_agreement_is_judged_within_clusters_of_these_sizes():
    images = np.tile(np.array([3, 8], np.int32), (5, 1))
    rows = np.array([[0, 0], [0, 3], [0, 3], [6, 6], [6, 6]], np.float32)
    stimuli = Stimuli(images, np.ones((5, 2), np.float32), rows, np.zeros((5, 2), np.float32))
    cluster = np.array([0, 0, 0, 1, 1])
    assert _agreement(cluster, stimuli, range(3, 4)) == pytest.approx(4 / 6)
    assert _agreement(cluster, stimuli, range(2, 4)) == pytest.approx(6 / 8)
    assert np.isnan(_agreement(cluster, stimuli, range(4, 9)))
