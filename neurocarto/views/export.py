"""What can be taken out of a run as files: tables, the cluster graph, its drawing."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import pandas as pd
import pyarrow.compute as pc

from neurocarto.views.graph_svg import draw
from neurocarto.views.lookup import BoolArray, Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.strips import PATCH

FORMULA = re.compile(r"^[=+\-@\t\r]")
"""How a text begins that spreadsheets would compute."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clusters_table(lookup: Lookup, clusters: Sequence[int], class_: str = "") -> pd.DataFrame:
    """Return a row for each of some clusters: what the run says of it, its badge, its importance for a class."""
    table = lookup.clusters.loc[list(clusters)].reset_index()
    badges = lookup.scorecard.badges
    if badges:
        table["badge"] = table["cluster"].map(badges)
    if class_:
        own = lookup.run.rows("importance", pc.field("class") == class_, _importance_columns(lookup))
        own.insert(0, "class", class_)
        table = table.merge(own, on="cluster", how="left")
    return table


def neurons_table(lookup: Lookup, chosen: BoolArray) -> pd.DataFrame:
    """Return a row for each neuron of a mask (N,), with its cluster's label."""
    table: pd.DataFrame = lookup.run.neurons[chosen].reset_index(drop=True)
    return table.assign(label=table["cluster"].map(lookup.labels))


def importance_table(lookup: Lookup, class_: str) -> pd.DataFrame:
    """Return what was measured of every cluster for a class, by rank, with label and layer of the cluster."""
    rows = lookup.run.rows("importance", pc.field("class") == class_, _importance_columns(lookup))
    rows = rows.sort_values("rank", kind="stable", ignore_index=True)
    rows.insert(0, "class", class_)
    rows["label"] = rows["cluster"].map(lookup.labels)
    rows["layer"] = [lookup.layers[lookup.cluster_layer[cluster]] for cluster in rows["cluster"].tolist()]
    return rows


def _importance_columns(lookup: Lookup) -> list[str]:
    return [name for name in lookup.run.schema("importance").names if name != "class"]


def as_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8; a text that a spreadsheet would compute begins with an apostrophe."""
    safe = table.copy()
    for name in safe.select_dtypes(exclude=["number", "bool"]):
        safe[name] = [
            f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value for value in safe[name].tolist()
        ]
    return safe.to_csv(index=False, lineterminator="\r\n").encode()


def as_parquet(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet, with every text as it is."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def graph_json(data: Mapping[str, Any]) -> bytes:
    """Return nodes and edges of a graph as views.graph draws it, as JSON."""
    nodes, edges = _plain(data)
    return json.dumps({"directed": True, "nodes": nodes, "edges": edges}, indent=1, ensure_ascii=False).encode()


def graph_ml(data: Mapping[str, Any]) -> bytes:
    """Return the same as GraphML. Characters that XML cannot hold are left out."""
    nodes, edges = _plain(data)
    graph = nx.DiGraph()
    for node in nodes:
        own = {name: _xml(value) for name, value in node.items() if name != "id" and value is not None}
        graph.add_node(node["id"], **own)
    for edge in edges:
        graph.add_edge(edge["source"], edge["target"], weight=edge["weight"])
    buffer = io.BytesIO()
    nx.write_graphml(graph, buffer)
    return buffer.getvalue()


def graph_drawing(lookup: Lookup, patches: Patches, data: Mapping[str, Any]) -> bytes:
    """Return the drawing of a graph as an SVG file, with its pictures in it, in light colours."""

    def picture(cluster: int) -> str | None:
        for row in table_rows(lookup.cluster_examples(cluster, 1)):
            return patches.uri(int(row.image), (row.x0, row.y0, row.x1, row.y1), PATCH)
        return None

    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_xml(draw(data, picture).file())}\n'.encode()


def _plain(data: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A graph's nodes and edges without what only tells how they are drawn."""
    nodes = [
        {
            "id": f"cluster {node['id']}" if node["id"] >= 0 else "output",
            "kind": "cluster" if node["id"] >= 0 else "output",
            "cluster": node["id"] if node["id"] >= 0 else None,
            "label": node["name"],
            "layer": node.get("layer"),
            "neurons": node.get("neurons"),
            "badge": node.get("badge") or None,
            "strength": node.get("strength"),
            "x": node["x"],
            "y": node["y"],
        }
        for node in data["nodes"]
    ]
    names = {node["id"]: plain["id"] for node, plain in zip(data["nodes"], nodes, strict=True)}
    edges = [
        {"source": names[edge["from"]], "target": names[edge["to"]], "weight": edge["weight"]} for edge in data["edges"]
    ]
    return nodes, edges


def _xml(value: Any) -> Any:
    return _NOT_XML.sub("", value) if isinstance(value, str) else value
