import io
import json
import xml.etree.ElementTree as ElementTree

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from neurocarto.records import CLASS_OUTPUT
from neurocarto.views.export import (
    as_csv,
    as_parquet,
    clusters_table,
    graph_drawing,
    graph_json,
    graph_ml,
    importance_table,
    neurons_table,
)
from neurocarto.views.graph import graph
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from views.conftest import MARKUP

BEYOND_XML = f"{MARKUP} \x00\x1b\ud800"


def test_clusters_come_in_the_order_asked_for_with_their_importance(lookup: Lookup) -> None:
    table = clusters_table(lookup, [5, 2], "birds")
    assert table["cluster"].tolist() == [5, 2]
    assert table["layer"].tolist() == [lookup.clusters["layer"][c] for c in (5, 2)]
    everything = lookup.run.importance
    own = everything[everything["class"] == "birds"].set_index("cluster")
    assert table["score"].tolist() == own.loc[[5, 2], "score"].tolist()
    assert "score" not in clusters_table(lookup, [5, 2])
    assert len(clusters_table(lookup, [], "birds")) == 0


def test_neurons_are_the_chosen_ones_with_their_label(lookup: Lookup) -> None:
    chosen = np.zeros(len(lookup.neuron_cluster), bool)
    chosen[[3, 39]] = True
    table = neurons_table(lookup, chosen)
    assert table["neuron"].tolist() == [3, 39]
    assert table["label"].tolist()[0] == lookup.label(int(lookup.neuron_cluster[3]))
    assert pd.isna(table["label"].tolist()[1])  # in no cluster


def test_importance_holds_every_cluster_by_rank(lookup: Lookup) -> None:
    table = importance_table(lookup, "birds")
    everything = lookup.run.importance
    assert len(table) == (everything["class"] == "birds").sum()
    assert table["rank"].is_monotonic_increasing
    assert set(table["class"]) == {"birds"}


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_in_a_csv_is_a_formula(begins: str) -> None:
    text = f"{begins}HYPERLINK(1)"
    table = pd.DataFrame({"label": [text, "a=b", None], "score": [-0.5, 1.0, np.nan]})
    read = pd.read_csv(io.BytesIO(as_csv(table)))
    assert read["label"].tolist()[:2] == ["'" + text, "a=b"]
    assert read["label"].isna().tolist() == [False, False, True]
    assert read["score"].tolist()[:2] == [-0.5, 1.0]  # a number below 0 stays one
    assert table["label"].tolist()[0] == text
    assert pd.read_parquet(io.BytesIO(as_parquet(table)))["label"].tolist()[0] == text


def test_texts_that_come_as_categories_are_guarded_too() -> None:
    table = pd.DataFrame({"class": pd.Categorical(["=1+1", "b"])})
    assert as_csv(table) == b"class\r\n'=1+1\r\nb\r\n"


def test_both_formats_hold_the_same(lookup: Lookup) -> None:
    table = importance_table(lookup, "birds")
    csv, parquet = pd.read_csv(io.BytesIO(as_csv(table))), pd.read_parquet(io.BytesIO(as_parquet(table)))
    assert list(csv) == list(parquet) == list(table)
    assert csv["cluster"].tolist() == parquet["cluster"].tolist() == table["cluster"].tolist()
    np.testing.assert_allclose(csv["score"], parquet["score"], rtol=1e-6)


def test_a_graph_is_the_same_in_json_and_graphml(lookup: Lookup) -> None:
    data = graph(lookup, class_="birds", per_layer=9)
    plain = json.loads(graph_json(data))
    network = nx.read_graphml(io.BytesIO(graph_ml(data)))
    assert network.is_directed()
    assert set(network.nodes) == {node["id"] for node in plain["nodes"]}
    assert {*network.edges} == {(edge["source"], edge["target"]) for edge in plain["edges"]}
    assert len(plain["edges"]) == len(data["edges"]) > 0
    assert "output" in network
    first = next(node for node in plain["nodes"] if node["kind"] == "cluster")
    for name in ("label", "layer", "neurons", "cluster", "x", "y"):
        assert network.nodes[first["id"]][name] == first[name]
    for edge in plain["edges"]:
        assert network.edges[edge["source"], edge["target"]]["weight"] == edge["weight"]


def test_names_that_xml_cannot_hold_lose_only_those_characters(lookup: Lookup) -> None:
    data = graph(lookup, class_="birds", per_layer=9)
    for node in data["nodes"]:
        if node["id"] == CLASS_OUTPUT:
            node["name"] = node["label"] = BEYOND_XML
    network = nx.read_graphml(io.BytesIO(graph_ml(data)))
    assert network.nodes["output"]["label"] == f"{MARKUP} "
    root = ElementTree.fromstring(graph_drawing(lookup, Patches(lookup.run), data))
    assert MARKUP in "".join(root.itertext())


def test_a_drawing_is_a_file_of_its_own_with_every_node_and_edge(lookup: Lookup) -> None:
    data = graph(lookup, class_="birds")
    root = ElementTree.fromstring(graph_drawing(lookup, Patches(lookup.run), data))
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{svg}svg"
    clusters = [node for node in data["nodes"] if node["id"] != CLASS_OUTPUT]
    assert len(root.findall(f".//{svg}image")) == len(clusters)
    assert len(root.findall(f".//{svg}path")) == len(data["edges"])
    assert all(image.attrib["href"].startswith("data:image/webp") for image in root.iter(f"{svg}image"))
    assert float(root.attrib["width"]) > 100
    titles = [title.text for title in root.iter(f"{svg}title")]
    assert sorted(titles) == sorted(f"{n['name']}, cluster {n['id']} in {n['layer']}" for n in clusters)


def test_a_graph_without_nodes_can_be_taken_out_too(lookup: Lookup) -> None:
    data = graph(lookup, class_="birds", least=2.0)
    assert json.loads(graph_json(data))["nodes"] == []
    assert len(nx.read_graphml(io.BytesIO(graph_ml(data)))) == 0
    ElementTree.fromstring(graph_drawing(lookup, Patches(lookup.run), data))
