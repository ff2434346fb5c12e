import numpy as np
import pytest
from sklearn.manifold import trustworthiness as exact_trustworthiness

from neurocarto.quality.embedding import lift, trustworthiness
from neurocarto.summarisation.similarity import Stimuli

CONCEPTS = np.arange(400) % 20


@pytest.fixture(scope="module")
def profile() -> np.ndarray:
    """Activations (200, 400): each of 20 concepts is on 10 images of its own and excites 20 neurons."""
    rng = np.random.default_rng(0)
    fires = np.arange(200)[:, None] % 20 == CONCEPTS
    return (fires * rng.uniform(1, 2, (200, 400))).astype(np.float16)


def test_neighbours_that_share_every_unseen_image_have_the_lift_of_their_rarity(profile: np.ndarray) -> None:
    def by_concept(stimuli: Stimuli, image_count: int) -> np.ndarray:
        assert stimuli.images.max() < image_count == 200
        return np.eye(20, dtype=np.float32)[CONCEPTS[: len(stimuli)]]

    value, low, high = lift(profile, by_concept, share=0.05, top_k=20)
    assert low <= value <= high
    assert value == pytest.approx(20, rel=0.2)  # one neuron in 20 shares all, the others none


def test_chance_is_one(profile: np.ndarray) -> None:
    vectors = np.random.default_rng(1).normal(size=(400, 8)).astype(np.float32)
    assert lift(profile, lambda *_: vectors, share=0.05, top_k=20)[0] == pytest.approx(1, abs=0.2)


def test_the_embedding_sees_only_its_share_of_the_images_and_the_seed_decides_which(profile: np.ndarray) -> None:
    seen: list[set[int]] = []

    def note(stimuli: Stimuli, image_count: int) -> np.ndarray:
        seen.append(set(stimuli.images[stimuli.images >= 0].tolist()))
        return np.eye(20, dtype=np.float32)[CONCEPTS]

    first = lift(profile, note, splits=2, share=0.05, top_k=20)
    assert lift(profile, note, splits=2, share=0.05, top_k=20) == first
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]
    assert all(len(images) <= 160 for images in seen)


def test_lift_needs_living_neurons(profile: np.ndarray) -> None:
    few = np.where(np.arange(400) < 10, profile, 0)
    assert np.isnan(lift(few, lambda stimuli, _: np.ones((len(stimuli), 2), np.float32), share=0.05, top_k=20)).all()


def test_trustworthiness_is_what_scikit_learn_computes() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(120, 6)).astype(np.float32)
    layout = (vectors[:, :2] + rng.normal(0, 0.3, (120, 2))).astype(np.float32)
    value, low, high = trustworthiness(vectors, layout)
    assert value == pytest.approx(exact_trustworthiness(vectors, layout, n_neighbors=10, metric="cosine"), abs=1e-6)
    assert low < value < high


def test_a_sample_of_points_is_ranked_among_all() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(700, 6)).astype(np.float32)
    layout = vectors[:, :2]
    sampled, low, high = trustworthiness(vectors, layout, points=300)
    assert low < trustworthiness(vectors, layout)[0] < high
    assert sampled != trustworthiness(vectors, layout, points=300, seed=1)[0]


def test_neurons_without_a_place_do_not_count_and_a_handful_has_no_trustworthiness() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 6)).astype(np.float32)
    layout = vectors[:, :2].copy()
    expected = trustworthiness(vectors[:80], layout[:80])
    layout[80:90], vectors[90:] = np.nan, 0
    assert trustworthiness(vectors, layout) == expected
    assert np.isnan(trustworthiness(vectors[:20], layout[:20])).all()
