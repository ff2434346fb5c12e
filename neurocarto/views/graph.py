"""The cluster graph: what a class relies on, layer by layer, as pyvis network data."""

import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pyvis.network import Network

from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT
from neurocarto.views.graph_layout import Row, choose_clusters, choose_edges, order_rows, positions, side_by_side
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.palette import ramp_colours

ACROSS, DOWN = 118.0, 138.0
"""Distance between neighbours in a row, and between rows, in graph units (pixels at scale 1)."""
NODE_SIZES = (20.0, 32.0)
"""Half the side of a node's picture, for strengths 0 and 1."""
EDGE_WIDTHS = (0.8, 6.0)


def graph(
    lookup: Lookup,
    *,
    class_: str = ALL_IMAGES,
    layers: tuple[str, ...] = (),
    least: float = 0.0,
    per_layer: int = 6,
    per_node: int = 3,
) -> dict[str, Any]:
    """Return nodes, edges and options for vis-network, and `rows` that describe the layers' bands.

    Rows run from the image (bottom) to the class (top); branches side by side share one. A node's size is the cluster's
    strength for the class, its picture the patch that most members share. An edge's width grows with the root of its
    influence, since a few are far stronger than the rest; inhibiting ones are dashed. The class is the
    last node where influence on its output is known. least: importance below which clusters are left
    out; per_node: edges kept of each node's strongest.
    """
    passing = lookup.importances(class_)
    strengths = {c: s for c, s in lookup.strengths(class_).items() if passing[c] >= least}
    rows = side_by_side(lookup, choose_clusters(lookup, strengths, layers, per_layer), per_layer + 2)
    edges = choose_edges(lookup.edges(class_), rows, per_node)
    rows = order_rows(rows, edges, lookup.cluster_layer)
    network = Network(directed=True, cdn_resources="local")
    places = positions(rows, ACROSS, DOWN, lookup.cluster_layer)
    for row in rows:
        for cluster in row.clusters:
            add_cluster(network, lookup, cluster, strengths[cluster], places[cluster])
    if (edges["target"] == CLASS_OUTPUT).any():
        add_output(network, class_, (0.0, -DOWN * len(rows)))
    else:
        edges = edges[edges["target"] != CLASS_OUTPUT]
    add_edges(network, edges, relative_strengths(lookup, edges))
    return drawn(network, lookup, rows)


def drawn(network: Network, lookup: Lookup, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a network whose rows are layers as the graph component draws it."""
    nodes, links, *_ = network.get_network_data()
    return {
        "nodes": nodes,
        "edges": links,
        "options": options(),
        "rows": [band(lookup, row, level, len(rows)) for level, row in enumerate(rows)],
        "down": DOWN,
    }


def add_cluster(
    network: Network,
    lookup: Lookup,
    cluster: int,
    strength: float,
    place: tuple[float, float],
    **more: Any,
) -> None:
    """Add a cluster as a square, for which the browser asks a picture (`Cards`) when it comes in sight.

    strength: 0…1, its size; place: x, y in graph units; more: of the node's data.
    """
    low, high = NODE_SIZES
    # vis-network writes the label beneath the node; the full one travels in `name` and is only ever set as text.
    network.add_node(
        int(cluster),
        label=wrapped(lookup.short_label(cluster), 16),
        name=lookup.label(cluster),
        level=lookup.cluster_layer[cluster],
        layer=lookup.layers[lookup.cluster_layer[cluster]],
        **layer_colours(lookup, lookup.cluster_layer[cluster]),
        neurons=int(lookup.clusters["size"][cluster]),
        badge=lookup.scorecard.badges.get(int(cluster), ""),
        strength=round(float(strength), 4),
        x=place[0],
        y=place[1],
        size=low + (high - low) * float(strength),
        physics=False,
        title="",
        shape="square",
        **more,
    )


def add_output(network: Network, class_: str, place: tuple[float, float], node: int = CLASS_OUTPUT) -> None:
    """Add a class's own output as a box with its name. node: a negative number."""
    network.add_node(
        node, label=wrapped(class_, 24), name=class_, shape="box", x=place[0], y=place[1], margin=12,
        font={"size": 18}, physics=False, title="",
    )  # fmt: skip


def relative_strengths(lookup: Lookup, edges: pd.DataFrame) -> pd.Series:
    """Return how strong each edge is beside the strongest into the same layer, 0…1: layers differ a hundredfold."""
    strength = edges["weight"].abs()
    layer = edges["target"].map(lookup.cluster_layer).fillna(CLASS_OUTPUT)
    strongest = strength.groupby(layer).transform("max")
    return (strength / strongest.where(strongest > 0, 1.0)).fillna(0.0)


def add_edges(network: Network, edges: pd.DataFrame, strengths: pd.Series) -> None:
    """Add edges as wide as the root of their strengths; those of negative weight are dashed."""
    low, high = EDGE_WIDTHS
    strongest = float(strengths.max()) if len(edges) else 1.0
    for row, strength in zip(table_rows(edges), strengths, strict=True):
        network.add_edge(
            int(row.source),
            int(row.target),
            weight=float(row.weight),
            width=round(low + (high - low) * math.sqrt(float(strength) / (strongest or 1.0)), 2),
            dashes=[6, 5] if row.weight < 0 else False,
            title="",
        )


def layer_colours(lookup: Lookup, layer: int) -> dict[str, str]:
    """Return the colour of a layer in either theme."""
    return {theme: ramp_colours(len(lookup.layers), theme)[layer] for theme in ("light", "dark")}


def band(lookup: Lookup, row: Row, level: int, levels: int) -> dict[str, Any]:
    """Return a row's band: its layer, or its branches from left to right, with the counts."""
    layers = dict.fromkeys(lookup.cluster_layer[cluster] for cluster in row.clusters)
    return {
        "name": "  |  ".join(lookup.layers[layer] for layer in layers),
        "shown": len(row.clusters),
        "available": row.available,
        "y": -DOWN * level,
        **layer_colours(lookup, row.layer),
        "last": level == levels - 1,
    }


def options(direction: str = "vertical") -> dict[str, Any]:
    """Return vis-network's options: places are computed, so nothing moves by itself or by dragging.

    direction: in which edges leave and arrive, `vertical` or `horizontal`.
    """
    content: dict[str, Any] = json.loads(
        """{
        "physics": {"enabled": false},
        "interaction": {"hover": true, "dragNodes": false, "selectable": false, "tooltipDelay": 100000,
                        "zoomSpeed": 0.5},
        "nodes": {"shapeProperties": {"useBorderWithImage": true, "interpolation": true}, "borderWidth": 2,
                  "font": {"size": 12.5, "vadjust": 0, "multi": false}, "chosen": false},
        "edges": {"smooth": {"enabled": true, "type": "cubicBezier", "roundness": 0.35},
                  "arrows": {"to": {"enabled": true, "scaleFactor": 0.4}}, "chosen": false,
                  "arrowStrikethrough": false}
    }"""
    )
    content["edges"]["smooth"]["forceDirection"] = direction
    return content


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """Return a text broken into at most `lines` lines of `width` characters, the rest cut with an ellipsis."""
    parts = textwrap.wrap(" ".join(text.split()), width) or [""]
    if len(parts) <= lines:
        return "\n".join(parts)
    last = parts[lines - 1][: width - 1].rstrip() + "…"
    return "\n".join([*parts[: lines - 1], last])
