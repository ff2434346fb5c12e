import numpy as np
import pytest
from planted import IMAGES, plant

from neurocarto.summarisation.embedding import embed, refine
from neurocarto.summarisation.neighbours import nearest, unit_rows
from neurocarto.summarisation.similarity import Stimuli, find_stimuli


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


def test_the_smallest_networks_have_an_embedding_too():
    one_image = Stimuli(*(np.full((3, 1), value, kind) for value, kind in ((4, np.int32), *[(1, np.float32)] * 3)))
    for count in (1, 2, 3):
        vectors = embed(one_image[:count], IMAGES, 30, seed=0)
        assert len(vectors) == count
        assert np.isfinite(vectors).all()
    silent = Stimuli(one_image.images * 0 - 1, *[np.zeros((3, 1), np.float32)] * 3)
    assert not embed(silent, IMAGES, 30, seed=0).any()


def test_refined_places_keep_more_of_the_neighbours_than_the_first_axes():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 8)
    axes = unit_rows((rng.normal(size=(60, 60))[groups] + rng.normal(0, 0.5, (480, 60))).astype(np.float32))

    def together(places: np.ndarray) -> float:
        found, _ = nearest(unit_rows(places), 8, seed=0)
        return float((groups[found] == groups[:, None]).mean())

    refined = refine(axes, 6, seed=0)
    assert np.linalg.norm(refined, axis=1) == pytest.approx(1, abs=1e-5)
    assert together(refined) > together(axes[:, :6]) + 0.2
