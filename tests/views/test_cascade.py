import json
from collections.abc import Iterator

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.records import CLASS_OUTPUT
from neurocarto.views.cascade import LEAST_SHARE, Cascade, best_way, cascade, flow, follow, layers_of, with_shares
from neurocarto.views.cascade_cards import CascadeCards
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches

LAYERS = {1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, CLASS_OUTPUT: 3}
"""Seven clusters in three layers, and the output after the last."""
Edge = tuple[int, int, float]


def table(*edges: Edge, uncertain: frozenset[tuple[int, int]] = frozenset()) -> pd.DataFrame:
    """Edges with an interval of a tenth of their weight around it, or one that holds 0."""
    rows = []
    for source, target, weight in edges:
        reach = abs(weight) * (2 if (source, target) in uncertain else 0.1)
        rows.append((source, target, weight, weight - reach, weight + reach))
    return pd.DataFrame(rows, columns=["source", "target", "weight", "low", "high"])


FOUND = table(
    (1, 3, 0.6), (2, 3, 0.4), (1, 4, -3.0), (2, 4, 1.0), (1, 5, 0.05), (2, 5, 0.95),
    (3, 6, 0.3), (4, 6, 0.7), (3, 7, 1.0),
    (6, CLASS_OUTPUT, 0.2), (7, CLASS_OUTPUT, -0.2),
)  # fmt: skip


def steps(found: Cascade) -> list[tuple[int, tuple[int, ...], int]]:
    return [(step.number, step.clusters, step.available) for step in found.steps]


def test_a_share_is_the_part_of_all_influence_on_the_target() -> None:
    assert with_shares(FOUND)["share"].round(6).tolist() == [0.6, 0.4, 0.75, 0.25, 0.05, 0.95, 0.3, 0.7, 1.0, 0.5, 0.5]
    assert with_shares(table((1, 3, 0.0)))["share"].tolist() == [0.0]


def test_what_a_cluster_feeds_comes_layer_after_layer_the_strongest_way_first() -> None:
    found = follow(FOUND, LAYERS, 1, 3)
    # 7 is reached by .6 × 1 and 6 by .75 × .7; 5 is fed too weakly, a twentieth of all on it.
    assert steps(found) == [(0, (1,), 1), (1, (4, 3), 2), (2, (7, 6), 2), (3, (CLASS_OUTPUT,), 1)]
    assert set(zip(found.edges["source"], found.edges["target"], strict=True)) == {
        (1, 3), (1, 4), (3, 6), (4, 6), (3, 7), (6, CLASS_OUTPUT), (7, CLASS_OUTPUT),
    }  # fmt: skip
    assert (found.shown, found.available) == (4, 4)


def test_what_it_is_built_from_has_negative_steps_and_is_kept_apart_from_what_it_feeds() -> None:
    found = follow(FOUND, LAYERS, 4, 3)
    assert steps(found) == [(-1, (1, 2), 2), (0, (4,), 1), (1, (6,), 1), (2, (CLASS_OUTPUT,), 1)]
    assert set(zip(found.edges["source"], found.edges["target"], strict=True)) == {
        (1, 4), (2, 4), (4, 6), (6, CLASS_OUTPUT),
    }  # fmt: skip


def test_a_step_shows_no_more_than_is_asked_for_and_says_how_many_there_were() -> None:
    assert steps(follow(FOUND, LAYERS, 1, 1)) == [(0, (1,), 1), (1, (4,), 2), (2, (6,), 1), (3, (CLASS_OUTPUT,), 1)]
    none = follow(FOUND, LAYERS, 1, 0)
    assert steps(none) == [(0, (1,), 1)]
    assert none.strong


def test_what_is_uncertain_does_not_count_but_is_part_of_all_influence() -> None:
    edges = table((1, 3, 0.5), (2, 3, 0.5), uncertain=frozenset({(1, 3)}))
    assert steps(follow(edges, LAYERS, 3, 3)) == [(-1, (2,), 1), (0, (3,), 1)]
    assert follow(edges, LAYERS, 3, 3).edges["share"].tolist() == [0.5]


def test_an_influence_may_skip_a_layer() -> None:
    found = follow(table((1, 3, 1.0), (1, 6, 0.5), (3, 6, 0.5)), LAYERS, 1, 3)
    assert steps(found) == [(0, (1,), 1), (1, (3,), 1), (2, (6,), 1)]
    assert len(found.edges) == 3


def test_a_cluster_with_weak_influence_only_is_isolated() -> None:
    found = follow(table((1, 3, 0.09), (2, 3, 0.91)), LAYERS, 1, 3)
    assert (found.measured, found.strong) == (True, False)
    assert steps(found) == [(0, (1,), 1)]


def test_isolated_is_told_from_not_measured(lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    of_class = pd.DataFrame(table((1, 9, 0.01), (2, 9, 0.99), (9, 18, 1.0)))
    monkeypatch.setattr(lookup, "edges", {"birds": of_class, "": table((4, 13, 1.0))}.__getitem__)
    isolated, elsewhere, unknown = (cascade(lookup, start, "birds", 3) for start in (1, 4, 6))
    assert (isolated.class_, isolated.measured, isolated.strong) == ("birds", True, False)
    assert (elsewhere.class_, elsewhere.measured, elsewhere.strong) == ("", True, True)
    assert (unknown.measured, unknown.strong) == (False, False)


def test_the_best_way_has_the_largest_product_of_shares() -> None:
    # By 3 and 7: .6 × 1 × .5; by 4 and 6: .75 × .7 × .5.
    way = best_way(FOUND, LAYERS, 1)
    assert list(zip(way["source"], way["target"], strict=True)) == [(1, 3), (3, 7), (7, CLASS_OUTPUT)]
    assert way["share"].prod() == pytest.approx(0.3)
    blocked = table((1, 3, 1.0), (3, CLASS_OUTPUT, 1.0), uncertain=frozenset({(3, CLASS_OUTPUT)}))
    assert best_way(blocked, LAYERS, 1).empty
    assert best_way(FOUND, LAYERS, 5).empty


def every_way(edges: pd.DataFrame, start: int) -> Iterator[float]:
    """The product of every way to the output, by going all of them."""
    for row in table_rows(edges[edges["source"] == start]):
        onward = [1.0] if row.target == CLASS_OUTPUT else every_way(edges, row.target)
        for rest in onward:
            yield row.share * rest


PAIRS = [(a, b) for a in LAYERS for b in LAYERS if LAYERS[a] < LAYERS[b]]
WEIGHTS = st.lists(st.none() | st.floats(-8, 8), min_size=len(PAIRS), max_size=len(PAIRS))


@given(weights=WEIGHTS, doubtful=st.sets(st.sampled_from(PAIRS)), start=st.sampled_from(list(LAYERS)[:-1]))
def test_no_way_is_better_than_the_best(
    weights: list[float | None], doubtful: set[tuple[int, int]], start: int
) -> None:
    chosen = [(*pair, weight) for pair, weight in zip(PAIRS, weights, strict=True) if weight]
    edges = table(*chosen, uncertain=frozenset(doubtful))
    certain = with_shares(edges)[(edges["low"] > 0) | (edges["high"] < 0)]
    products = [product for product in every_way(certain, start) if product > 0]
    way = best_way(edges, LAYERS, start)
    assert way.empty == (not products)
    if products:
        assert way["share"].prod() == pytest.approx(max(products), rel=1e-9)
        assert way["source"].tolist() == [start, *way["target"].tolist()[:-1]]
        assert way["target"].iat[-1] == CLASS_OUTPUT


@given(weights=WEIGHTS, start=st.sampled_from(list(LAYERS)[:-1]), count=st.integers(0, 4))
def test_every_concept_shown_is_joined_to_the_start_by_strong_influence(
    weights: list[float | None], start: int, count: int
) -> None:
    edges = table(*((*pair, weight) for pair, weight in zip(PAIRS, weights, strict=True) if weight))
    found = follow(edges, LAYERS, start, count)
    assert (found.edges["share"] >= LEAST_SHARE).all()
    for step in found.steps:
        assert len(step.clusters) <= max(count, 1)
        assert {LAYERS[cluster] for cluster in step.clusters} == {step.layer}
    shown = {cluster: step.number for step in found.steps for cluster in step.clusters}
    for cluster, number in shown.items():
        near = found.edges[found.edges["target" if number > 0 else "source"] == cluster]
        ends = near["source" if number > 0 else "target"].map(shown)
        assert number == 0 or (ends.abs() < abs(number)).any()


def test_the_flow_runs_from_left_to_right_and_is_plain_json(lookup: Lookup) -> None:
    content = json.loads(json.dumps(flow(lookup, cascade(lookup, 12, "birds", 3))))
    nodes = {node["id"]: node for node in content["nodes"]}
    assert nodes[12]["step"] == 0
    for node in nodes.values():
        assert node["x"] - nodes[12]["x"] == content["column"] * node["step"]
        assert node["title"] == ""
    assert all(nodes[edge["from"]]["step"] < nodes[edge["to"]]["step"] for edge in content["edges"])
    assert all(edge["share"] >= LEAST_SHARE for edge in content["edges"])
    assert [row["step"] for row in content["rows"]] == sorted({node["step"] for node in nodes.values()})


def test_a_flow_up_to_the_output_ends_in_the_class(lookup: Lookup) -> None:
    fed = set(lookup.edges("birds").query("target == -1")["source"])
    content = flow(lookup, cascade(lookup, min(fed), "birds", 3))
    assert content["rows"][-1]["name"] == "output"
    assert {node["name"] for node in content["nodes"] if node["id"] == CLASS_OUTPUT} == {"birds"}


def test_cards_show_every_concept_with_its_influence_and_the_way_to_explore(lookup: Lookup, patches: Patches) -> None:
    found = cascade(lookup, 12, "birds", 3)
    html = CascadeCards(lookup, patches, "birds").steps(found, -1)
    concepts = [cluster for step in found.steps if step.number < 0 for cluster in step.clusters]
    assert concepts
    for cluster in concepts:
        assert f'data-cluster="{cluster}" data-page="explore"' in html
    assert html.count("nc-value") == len(found.edges[found.edges["target"] == 12])
    assert 'data-cluster="12"' not in html


def test_names_full_of_markup_are_escaped(odd: Lookup) -> None:
    draw = CascadeCards(odd, Patches(odd.run), odd.classes[0])
    start = min(set(odd.edges(odd.classes[0]).query("target == -1")["source"]))
    found = cascade(odd, start, odd.classes[0], 8)
    way = best_way(odd.edges(odd.classes[0]), layers_of(odd), start)
    assert len(way)
    html = draw.steps(found, 1) + draw.steps(found, -1) + draw.way(start, way) + draw.alone(start)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
