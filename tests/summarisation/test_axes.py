import numpy as np
import pytest
from planted import IMAGES, plant

from neurocarto.summarisation import axes
from neurocarto.summarisation.axes import leading, placed_vectors
from neurocarto.summarisation.similarity import find_stimuli, similarities


def _cosines(vectors, pairs):
    return (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(axis=1)


def test_all_axes_give_the_cosines_of_the_placed_weights():
    planted = plant(np.random.default_rng(3), [4] * 5, noise=10, dead=3)
    stimuli = find_stimuli(planted.top, IMAGES, 0.2)
    pairs = np.argwhere(np.triu(np.ones((20, 20), bool), 1))
    # Vectors of one axis, the same for all, leave the root of the placed weights' cosine.
    exact = similarities(stimuli, np.ones((len(stimuli), 1), np.float32), pairs, 1.0, 0.0) ** 2
    products = axes._products(axes._place(stimuli, 1.0), len(stimuli), 1, np.eye(len(stimuli), dtype=np.float32))
    assert products[tuple(pairs.T)] == pytest.approx(exact, abs=0.06)  # what lies beyond the map's edge is dealt out
    vectors = placed_vectors(stimuli, 1000, 1.0, seed=0)
    assert np.linalg.norm(vectors[:30], axis=1) == pytest.approx(1, abs=1e-5)
    assert not vectors[planted.concept == -2].any()


def test_blocks_of_vectors_converge_to_the_leading_ones():
    rng = np.random.default_rng(0)
    n, count = axes.DENSE + 100, 20
    factor = rng.standard_normal((n, 60)).astype(np.float32) * np.linspace(3, 1, 60, dtype=np.float32)  # of rank 60
    values, vectors = leading(lambda block: factor @ (factor.T @ block), n, count, rng)
    _, singular, right = np.linalg.svd(factor.T, full_matrices=False)
    assert values == pytest.approx(singular[:count][::-1] ** 2, rel=1e-4)
    assert abs((vectors * right[:count][::-1].T).sum(axis=0)) == pytest.approx(1, abs=1e-3)


def test_neither_threads_nor_seeds_change_the_axes():
    stimuli = find_stimuli(plant(np.random.default_rng(0), [8] * 100, noise=100).top, IMAGES, 0.2)
    assert len(stimuli) > axes.DENSE
    one, many = (placed_vectors(stimuli, 20, 1.0, 0, threads) for threads in (1, 3))
    assert np.array_equal(one, many)
    pairs = np.random.default_rng(0).integers(0, len(stimuli), (1000, 2))
    other = placed_vectors(stimuli, 20, 1.0, 1)
    assert _cosines(other, pairs) == pytest.approx(_cosines(one, pairs), abs=0.01)


def test_axes_of_a_sample_of_neurons_serve_all_of_them(monkeypatch: pytest.MonkeyPatch):
    planted = plant(np.random.default_rng(0), [10] * 30, noise=50)
    stimuli = find_stimuli(planted.top, IMAGES, 0.2)
    exact = placed_vectors(stimuli, 100, 1.0, 0)
    monkeypatch.setattr(axes, "SAMPLE", 200)
    monkeypatch.setattr(axes, "_CHUNK", 128)
    sampled = placed_vectors(stimuli, 100, 1.0, 0)
    assert np.linalg.norm(sampled[stimuli.alive], axis=1) == pytest.approx(1, abs=1e-5)
    assert not sampled[~stimuli.alive].any()
    pairs = np.argwhere(np.triu(planted.concept[:, None] == planted.concept, 1) & (planted.concept >= 0)[:, None])
    strangers = np.random.default_rng(0).integers(0, 300, (1000, 2))
    strangers = strangers[planted.concept[strangers[:, 0]] != planted.concept[strangers[:, 1]]]
    assert _cosines(sampled, pairs).mean() == pytest.approx(_cosines(exact, pairs).mean(), abs=0.1)
    assert abs(_cosines(sampled, strangers).mean()) < 0.1
