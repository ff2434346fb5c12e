import json

import pytest

from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT
from neurocarto.views.graph import EDGE_WIDTHS, NODE_SIZES, graph, wrapped
from neurocarto.views.lookup import Lookup


def test_the_graph_is_plain_json_with_fixed_places(lookup: Lookup) -> None:
    content = json.loads(json.dumps(graph(lookup, class_="birds")))
    assert content["options"]["physics"]["enabled"] is False
    for node in content["nodes"]:
        assert {"x", "y", "label"} <= set(node)
        assert node["physics"] is False


def test_nodes_are_the_important_clusters_with_their_size(lookup: Lookup) -> None:
    content = graph(lookup, class_="birds")
    clusters = [node for node in content["nodes"] if node["id"] != CLASS_OUTPUT]
    assert {node["id"] for node in clusters} <= set(lookup.important("birds")["cluster"])
    assert not any("image" in node for node in clusters)  # asked for when a node comes in sight
    low, high = NODE_SIZES
    assert all(low <= node["size"] <= high for node in clusters)


def test_what_is_less_important_is_left_out_and_without_edges_only_clusters_remain(lookup: Lookup) -> None:
    content = graph(lookup, class_="birds", least=0.9, per_node=0)
    expected = {cluster for cluster, score in lookup.importances("birds").items() if score >= 0.9}
    assert {node["id"] for node in content["nodes"]} == expected
    assert content["edges"] == []


def test_the_class_is_the_last_node_where_its_output_is_known(lookup: Lookup) -> None:
    content = graph(lookup, class_="birds", per_layer=9)
    top = min(content["nodes"], key=lambda node: node["y"])
    assert top["id"] == CLASS_OUTPUT
    assert CLASS_OUTPUT in {edge["to"] for edge in content["edges"]}
    without = graph(lookup, class_="fish")
    assert CLASS_OUTPUT not in {node["id"] for node in without["nodes"]}


def test_inhibiting_edges_are_dashed_and_widths_grow_with_influence(lookup: Lookup) -> None:
    edges = graph(lookup)["edges"]
    assert all(bool(edge["dashes"]) == (edge["weight"] < 0) for edge in edges)
    for layer in (1, 2):  # each layer has its own measure: their strongest weights differ a hundredfold
        into = [edge for edge in edges if lookup.cluster_layer[edge["to"]] == layer]
        widths = [edge["width"] for edge in sorted(into, key=lambda edge: abs(edge["weight"]))]
        assert widths == sorted(widths)
        assert EDGE_WIDTHS[0] <= widths[0] <= widths[-1] == EDGE_WIDTHS[1]


def test_branches_side_by_side_share_a_band_and_stay_apart_in_it(
    lookup: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lookup.__dict__, "levels", (0, 0, 1))
    content = graph(lookup, class_="birds")
    assert [row["name"] for row in content["rows"]] == ["block0  |  block1", "block2"]
    shared = sorted((node for node in content["nodes"] if node.get("level") in (0, 1)), key=lambda node: node["x"])
    assert len({node["y"] for node in shared}) == 1
    layers = [node["layer"] for node in shared]
    assert layers == sorted(layers)
    steps = [b["x"] - a["x"] for a, b in zip(shared[:-1], shared[1:], strict=True)]
    assert max(steps) == steps[layers.index("block1") - 1] > min(steps)


def test_layers_filter_the_rows_and_counts_tell_what_is_left_out(lookup: Lookup) -> None:
    content = graph(lookup, class_=ALL_IMAGES, layers=("block1",), per_layer=4)
    assert [(row["name"], row["shown"], row["available"]) for row in content["rows"]] == [("block1", 4, 9)]
    assert content["edges"] == []


def test_a_class_without_important_clusters_has_an_empty_graph(lookup: Lookup) -> None:
    content = graph(lookup, class_="no such class")
    assert (content["nodes"], content["edges"], content["rows"]) == ([], [], [])


def test_no_title_is_ever_set_since_vis_network_would_show_it_as_html(odd: Lookup) -> None:
    content = graph(odd)
    assert {item["title"] for item in [*content["nodes"], *content["edges"]]} == {""}


def test_labels_wrap_and_end_in_an_ellipsis() -> None:
    assert wrapped("Labrador retriever 9/20", 16) == "Labrador\nretriever 9/20"
    assert wrapped("x" * 50, 10) == "xxxxxxxxxx\nxxxxxxxxx…"
    assert wrapped("", 10) == ""
    assert all(len(line) <= 16 for line in wrapped("word " * 20, 16).split("\n"))
