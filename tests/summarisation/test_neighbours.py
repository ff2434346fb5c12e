import numpy as np
import pytest

from neurocarto.summarisation import neighbours
from neurocarto.summarisation.neighbours import nearest, unit_rows


@pytest.fixture
def points() -> np.ndarray:
    return unit_rows(np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32))


def test_nearest_are_the_nearest_by_cosine_itself_first(points: np.ndarray) -> None:
    indices, distances = nearest(points, 6, seed=0)
    assert indices[:, 0].tolist() == list(range(200))
    full = 1 - points @ points.T
    np.fill_diagonal(full, -1)
    assert np.array_equal(indices, np.argsort(full, axis=1, kind="stable")[:, :6])
    assert (distances >= 0).all()


def test_many_points_are_searched_with_a_seed(points: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _ = nearest(points, 6, seed=0)
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 100)
    found, distances = nearest(points, 6, seed=0)
    assert found[:, 0].tolist() == list(range(200))
    assert (found[:, :, None] == exact[:, None]).any(axis=2).mean() > 0.95
    assert distances == pytest.approx(1 - np.einsum("nd,nkd->nk", points, points[found]), abs=1e-4)
    assert nearest(points, 6, seed=0)[0].tobytes() == found.tobytes()


def test_rows_are_scaled_to_length_one_and_zeros_stay() -> None:
    assert unit_rows(np.array([[3, 4], [0, 0]], np.float32)) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
