import pandas as pd
import pytest

from neurocarto.views.graph_layout import Row, choose_clusters, choose_edges, order_rows, positions
from neurocarto.views.lookup import Lookup


def edges(*rows: tuple[int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "target", "weight"])


def test_rows_hold_the_strongest_of_each_layer(lookup: Lookup) -> None:
    strengths = {20: 0.9, 0: 0.8, 19: 0.7, 1: 0.6, 2: 0.5}
    assert choose_clusters(lookup, strengths, (), 2) == [Row(0, (0, 1), 3), Row(2, (20, 19), 2)]
    assert choose_clusters(lookup, strengths, ("block2",), 1) == [Row(2, (20,), 2)]


def test_edges_are_kept_when_strong_for_either_end() -> None:
    rows = [Row(0, (1, 2, 3), 3), Row(1, (10,), 1)]
    found = choose_edges(edges((1, 10, 0.1), (2, 10, -0.9), (3, 10, 0.5), (1, 99, 5.0)), rows, 1)
    assert set(found["source"]) == {1, 2, 3}
    assert 99 not in set(found["target"])


def test_edges_into_the_class_compete_with_no_others() -> None:
    rows = [Row(0, (1, 2), 2), Row(1, (10,), 1)]
    found = choose_edges(edges((1, 10, 0.9), (1, -1, 0.1), (2, 10, 0.3), (2, -1, 0.2)), rows, 1)
    assert set(found.loc[found["target"] == -1, "source"]) == {1, 2}
    assert len(choose_edges(edges((1, -1, 0.1)), rows, 0)) == 0


def test_ordering_uncrosses_edges() -> None:
    rows = [Row(0, (1, 2, 3), 3), Row(1, (11, 12, 13), 3)]
    crossed = edges((1, 13, 1.0), (2, 12, -1.0), (3, 11, 1.0))
    below, above = order_rows(rows, crossed)
    assert [c + 10 for c in below.clusters] in ([11, 12, 13], [13, 12, 11])
    partner = {1: 13, 2: 12, 3: 11}
    assert [partner[c] for c in below.clusters] == list(above.clusters)


def test_rows_go_up_and_are_centred() -> None:
    places = positions([Row(0, (1, 2), 2), Row(1, (3,), 1)], 100, 50)
    assert places == {1: (-50, 0), 2: (50, 0), 3: (0, -50)}


@pytest.mark.parametrize("weight", [0.0, float("nan")])
def test_edges_without_weight_change_no_order(weight: float) -> None:
    rows = [Row(0, (1, 2), 2), Row(1, (3, 4), 2)]
    assert order_rows(rows, edges((1, 4, weight), (2, 3, weight))) == rows
