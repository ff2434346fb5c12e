import numpy as np
import pytest
from scipy.spatial import procrustes
from umap import umap_

from neurocarto.quality.embedding import trustworthiness
from neurocarto.settings import RunSettings
from neurocarto.summarisation.projection import COMPILED, _aligned, project, snapshots

SETTINGS = RunSettings(threads=1)


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 10))[np.repeat(np.arange(8), 25)] + rng.normal(size=(200, 10)) * 0.1
    vectors[5] = 0
    return vectors.astype(np.float32)


def test_neighbours_stay_together_and_silent_neurons_have_no_place(groups: np.ndarray):
    layout = project(groups, SETTINGS)
    assert np.isnan(layout[5]).all()
    placed = np.delete(np.arange(200), 5)
    assert not np.isnan(layout[placed]).any()
    distance = np.linalg.norm(layout[placed, None] - layout[None, placed], axis=2)
    near = placed[np.argsort(distance, axis=1)[:, 1:6]]
    assert (near // 25 == placed[:, None] // 25).mean() > 0.99


def test_the_same_seed_gives_the_same_map(groups: np.ndarray):
    assert project(groups, SETTINGS).tobytes() == project(groups, SETTINGS).tobytes()


@pytest.mark.parametrize("name", COMPILED)
def test_what_umap_compiles_is_kept_for_the_next_process(groups: np.ndarray, name: str):
    project(groups, SETTINGS)
    stats = getattr(umap_, name).stats
    assert stats.cache_path
    assert sum(stats.cache_hits.values()) + sum(stats.cache_misses.values()) >= 1


def test_another_seed_gives_nearly_the_same_map():
    surface = np.random.default_rng(0).uniform(0.2, 1, (300, 3)).astype(np.float32)  # directions: two dimensions
    maps = [project(surface, RunSettings(threads=1, seed=seed)) for seed in range(2)]
    assert 0 < procrustes(*maps)[2] < 0.05


def test_neighbours_on_the_map_are_neighbours_in_the_embedding(groups: np.ndarray):
    assert trustworthiness(groups, project(groups, SETTINGS))[0] > 0.9


def test_snapshots_are_aligned_with_the_last_map(groups: np.ndarray):
    early = groups.copy()
    early += np.random.default_rng(1).normal(0, 0.3, early.shape).astype(np.float32)
    early[[5, 30]] = 0
    done: list[int] = []
    maps = snapshots([early, groups], SETTINGS, done.append)
    assert maps.shape == (2, 200, 2)
    assert done == [1, 1]
    assert np.isnan(maps[0, [5, 30]]).all()
    both = ~np.isnan(maps).any(axis=(0, 2))
    spread = np.linalg.norm(maps[1, both] - maps[1, both].mean(0), axis=1).mean()
    assert np.linalg.norm(maps[0, both] - maps[1, both], axis=1).mean() < 0.5 * spread


def test_alignment_undoes_turning_mirroring_scaling_and_moving():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(30, 2)).astype(np.float32)
    turned = (3 * target @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 5).astype(np.float32)
    assert _aligned(turned, target) == pytest.approx(target, abs=1e-4)


def test_a_handful_of_neurons_still_gets_places():
    layout = project(np.eye(4, dtype=np.float32), SETTINGS)
    assert np.isfinite(layout).all()
    assert len(np.unique(layout, axis=0)) == 4
