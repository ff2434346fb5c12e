import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.views.highlight import highlight, points_in_polygon, simplify
from neurocarto.views.lookup import Lookup

SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]
coordinates = st.floats(-5, 5, allow_subnormal=False)


def test_points_in_a_square() -> None:
    points = np.array([[1, 1], [3, 1], [-1, 1], [1, 3], [np.nan, 1]], np.float32)
    assert points_in_polygon(points, SQUARE).tolist() == [True, False, False, False, False]


def test_a_hollow_polygon_excludes_its_hollow() -> None:
    horseshoe = [(0, 0), (3, 0), (3, 3), (2, 3), (2, 1), (1, 1), (1, 3), (0, 3)]
    points = np.array([[0.5, 2], [1.5, 2], [2.5, 2]], np.float32)
    assert points_in_polygon(points, horseshoe).tolist() == [True, False, True]


def test_fewer_than_three_corners_hold_nothing() -> None:
    assert not points_in_polygon(np.zeros((3, 2), np.float32), SQUARE[:2]).any()


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12), st.integers(0, 11))
def test_where_a_polygon_starts_does_not_matter(polygon: list[tuple[float, float]], turn: int) -> None:
    points = np.random.default_rng(0).uniform(-5, 5, (50, 2)).astype(np.float32)
    turned = polygon[turn % len(polygon) :] + polygon[: turn % len(polygon)]
    assert np.array_equal(points_in_polygon(points, polygon), points_in_polygon(points, turned))


def test_what_is_shown_decides_the_context(lookup: Lookup) -> None:
    def context(show: str) -> np.ndarray:
        return highlight(lookup, class_="birds", clusters=(2,), layers=("block0",), show=show).context

    important = np.isin(lookup.neuron_cluster, list(lookup.strengths("birds")))
    np.testing.assert_array_equal(context("all"), lookup.neuron_layer == 0)
    np.testing.assert_array_equal(context("class"), (lookup.neuron_layer == 0) & important)
    np.testing.assert_array_equal(context("clusters"), lookup.neuron_cluster == 2)


def test_simplifying_a_circle_keeps_its_area() -> None:
    angle = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    circle = list(zip(np.cos(angle).tolist(), np.sin(angle).tolist(), strict=True))
    kept = simplify(circle, 32)
    assert len(kept) == 32
    points = np.random.default_rng(1).uniform(-1.2, 1.2, (2000, 2)).astype(np.float32)
    same = points_in_polygon(points, circle) == points_in_polygon(points, kept)
    assert same.mean() > 0.99


@given(st.lists(st.tuples(coordinates, coordinates), max_size=60), st.integers(3, 32))
def test_simplified_corners_are_corners_of_the_original(polygon: list[tuple[float, float]], most: int) -> None:
    kept = simplify(polygon, most)
    assert len(kept) == min(len(polygon), most)
    assert set(kept) <= set(polygon)


def test_selected_clusters_light_up_their_neurons(lookup: Lookup) -> None:
    shown = highlight(lookup, clusters=[2, 5])
    assert np.flatnonzero(shown.selected).tolist() == [8, 9, 10, 11, 20, 21, 22, 23]
    assert shown.clusters == (2, 5)
    assert shown.context.all()


def test_a_neuron_brings_its_cluster(lookup: Lookup) -> None:
    shown = highlight(lookup, neuron=9)
    assert shown.clusters == (2,)
    assert shown.selected.sum() == 4
    alone = highlight(lookup, neuron=38)
    assert alone.clusters == ()
    assert np.flatnonzero(alone.selected).tolist() == [38]


def test_a_lasso_stays_within_the_layers(lookup: Lookup) -> None:
    everywhere = [(-99.0, -99.0), (99.0, -99.0), (99.0, 99.0), (-99.0, 99.0)]
    shown = highlight(lookup, layers=["block1"], lasso=everywhere)
    assert shown.selected.sum() == 39
    assert {lookup.cluster_layer[c] for c in shown.clusters} == {1}


def test_the_context_of_a_class_is_its_important_clusters(lookup: Lookup) -> None:
    shown = highlight(lookup, class_="birds", layers=["block0"])
    clusters = set(lookup.neuron_cluster[shown.context].tolist())
    assert clusters == {c for c in lookup.strengths("birds") if lookup.cluster_layer[c] == 0}
