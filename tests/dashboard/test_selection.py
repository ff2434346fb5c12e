from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.dashboard.selection import (
    _KEYS,
    COLOURS,
    MAX_BRANCHES,
    MAX_CLUSTERS,
    MAX_EDGES,
    MAX_QUESTIONS,
    MAX_VERTICES,
    SHOWN,
    Reading,
    Selection,
    Vocabulary,
    from_params,
    query_string,
    restricted,
    to_params,
)

names = st.text(min_size=1, max_size=12)
numbers = st.integers(0, 10**8)
coordinates = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.5g}"))
selections = st.builds(
    Selection,
    run=names,
    class_=st.text(max_size=12),
    layers=st.lists(names, max_size=4, unique=True).map(tuple),
    clusters=st.lists(numbers, max_size=6, unique=True).map(tuple),
    neuron=st.none() | numbers,
    lasso=st.one_of(st.just(()), st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=32).map(tuple)),
    least=st.floats(0, 1).map(lambda value: float(f"{value:.5g}")),
    colour=st.sampled_from(list(COLOURS)),
    show=st.sampled_from(list(SHOWN)),
    edges=st.integers(0, MAX_EDGES),
    snapshot=st.none() | st.integers(0, 9),
    pictures=st.booleans(),
    branches=st.integers(0, MAX_BRANCHES),
    other=st.text(max_size=12),
    confusion=st.none() | st.tuples(names, names),
    study=numbers,
    questions=st.integers(1, MAX_QUESTIONS),
)


@given(selections)
def test_a_link_is_read_back_as_the_selection_it_was_made_from(selection: Selection) -> None:
    reading = from_params(to_params(selection))
    assert reading.selection == selection
    assert reading.dropped == []


@given(selections.filter(lambda s: "\ud800" not in s.run))
def test_the_query_string_holds_the_same(selection: Selection) -> None:
    try:
        query = query_string(selection)
    except UnicodeEncodeError:
        return
    assert from_params(parse_qs(query, keep_blank_values=True)).selection == selection


def test_a_link_of_version_1_keeps_its_meaning() -> None:
    # Links are out in the world: another default needs another version, and these values under "1".
    assert from_params({"v": ["1"]}).selection == Selection(
        run="", class_="", layers=(), clusters=(), neuron=None, lasso=(), least=0.0, colour="layer", show="class",
        edges=3, snapshot=None, pictures=True, branches=3, other="", confusion=None, study=0, questions=10,
    )  # fmt: skip


KEYS = [*to_params(Selection()), *_KEYS]


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(),
                       st.lists(st.text(max_size=60), max_size=3)))  # fmt: skip
def test_mutilated_links_never_raise_and_never_lie(params: dict[str, list[str]]) -> None:
    known = Vocabulary({"a"}, ("l1", "l2"), range(5), 10, 3, {("a", "b")})
    selection = restricted(from_params(params), known).selection
    assert selection.class_ in {"", "a"}
    assert set(selection.layers) <= {"l1", "l2"}
    assert set(selection.clusters) <= set(range(5))
    assert selection.neuron is None or 0 <= selection.neuron < 10
    assert selection.other in {"", "a"}
    assert selection.snapshot in {None, 0, 1, 2}
    assert selection.confusion in {None, ("a", "b")}
    assert 0 <= selection.branches <= MAX_BRANCHES
    assert len(selection.lasso) in {0, *range(3, MAX_VERTICES + 1)}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"v": ["2"]}, "version '2'"),
        ({"clusters": ["1.x"]}, "clusters '1.x' cannot be read"),
        ({"neuron": ["-1"]}, "neuron '-1' cannot be read"),
        ({"neuron": ["٣"]}, "cannot be read"),
        ({"lasso": ["0,0_1,1"]}, "lasso"),
        ({"lasso": ["0,0_1,1_nan,2"]}, "lasso"),
        ({"lasso": ["_".join(["0,0"] * 33)]}, "lasso"),
        ({"min": ["1.5"]}, "min '1.5' cannot be read"),
        ({"min": ["nan"]}, "min 'nan' cannot be read"),
        ({"colour": ["red"]}, "colour 'red' cannot be read"),
        ({"edges": ["11"]}, "edges '11' cannot be read"),
        ({"pictures": ["maybe"]}, "pictures 'maybe' cannot be read"),
        ({"branches": ["9"]}, "branches '9' cannot be read"),
        ({"confusion": ["a"]}, "confusion 'a' cannot be read"),
        ({"confusion": ["b", "a"]}, "no image of 'b' is taken for 'a'"),
        ({"map": ["3"]}, "no map number 3"),
        ({"with": ["gone"]}, "no class 'gone' to compare with"),
        ({"class": ["gone"]}, "no class 'gone'"),
        ({"layer": ["l1", "gone"]}, "no layer 'gone'"),
        ({"clusters": ["1.9"]}, "no cluster 9"),
        ({"neuron": ["10"]}, "no neuron 10"),
    ],
)
def test_what_is_dropped_is_said_and_the_rest_restored(params: dict[str, list[str]], message: str) -> None:
    known = Vocabulary({"a"}, ("l1", "l2"), range(5), 10, 3, {("a", "b")})
    reading = restricted(from_params({"run": ["r"], **params}), known)
    assert len(reading.dropped) == 1
    assert message in reading.dropped[0]
    assert reading.selection.run == "r"


def test_layers_take_the_runs_order() -> None:
    known = Vocabulary((), ("l1", "l2"), (), 0, 1, ())
    assert restricted(Reading(Selection(layers=("l2", "l1"))), known).selection.layers == ("l1", "l2")


def test_clicking_a_cluster_toggles_it_and_adding_keeps_the_others() -> None:
    start = Selection(run="r", class_="c", neuron=3)
    one = start.with_cluster(7, add=False)
    assert (one.clusters, one.neuron, one.class_) == ((7,), None, "c")
    assert one.with_cluster(7, add=False).is_empty
    assert one.with_cluster(8, add=True).clusters == (7, 8)
    assert one.with_cluster(8, add=True).with_cluster(7, add=True).clusters == (8,)


def test_clicking_a_neuron_toggles_it_and_adding_brings_its_cluster() -> None:
    start = Selection(clusters=(1,))
    assert start.with_neuron(5, 2, add=False) == Selection(neuron=5)
    assert Selection(neuron=5).with_neuron(5, 2, add=False).is_empty
    assert start.with_neuron(5, 2, add=True) == Selection(clusters=(1, 2), neuron=5)
    assert start.with_neuron(5, -1, add=True) == Selection(clusters=(1,), neuron=5)


def test_the_number_of_selected_clusters_is_bounded() -> None:
    selection = Selection()
    for cluster in range(MAX_CLUSTERS + 5):
        selection = selection.with_cluster(cluster, add=True)
    assert len(selection.clusters) == MAX_CLUSTERS


def test_a_lasso_keeps_the_digits_that_its_link_keeps() -> None:
    selection = Selection(run="r").with_lasso([(1.23456789, 2.0), (3.0, 4.0), (5.0, -0.000123456)])
    assert from_params(to_params(selection)).selection == selection
