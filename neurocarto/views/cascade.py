"""Cascades: the concepts that a cluster feeds and those it is built from, layer after layer.

One measure serves all of it. The *share* of an edge is its part of all influence measured on its target: weights of
different layers differ a hundredfold, their shares do not. Going backwards from a concept, taking each influence as
often as its share says, is a random walk; the product of the shares along a way is the probability of that way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pyvis.network import Network

from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT
from neurocarto.views.graph import add_cluster, add_edges, add_output, layer_colours, options
from neurocarto.views.graph_layout import Row, order_rows, positions
from neurocarto.views.lookup import Lookup, table_rows

LEAST_SHARE = 0.1
"""An influence is strong from a tenth of all that was measured on its target: of the demo's clusters that leaves one in
a hundred isolated, and two to three strong influences for each of the others."""
COLUMN, ROW = 124.0, 118.0
"""Distance between neighbouring steps, and between neighbours in a step, in graph units (pixels at scale 1)."""


@dataclass(frozen=True)
class Step:
    """One step of a cascade.

    number: distance from the start, negative for what it is built from; layer: index in the run, one past the last
    for the class's output; clusters: those shown, the strongest first; available: how many there were.
    """

    number: int
    layer: int
    clusters: tuple[int, ...]
    available: int


@dataclass(frozen=True)
class Cascade:
    """What a cluster feeds and is built from.

    class_: on whose images the influence was measured, "" for all; measured: whether any was; strong: whether
    any is strong, in either direction; where it was measured and none is, the cluster is isolated; count: how many
    concepts a step may show; steps: in the order of the layers, the start's among them; edges: the strong ones between
    clusters shown (source, target, weight, low, high, share).
    """

    start: int
    class_: str
    measured: bool
    strong: bool
    count: int
    steps: tuple[Step, ...]
    edges: pd.DataFrame

    @property
    def shown(self) -> int:
        """How many concepts are shown beside the start; the class's output is not a concept."""
        return sum(cluster != CLASS_OUTPUT for step in self.steps if step.number for cluster in step.clusters)

    @property
    def available(self) -> int:
        """How many concepts the steps had to choose from."""
        return sum(step.available for step in self.steps if step.number and step.clusters != (CLASS_OUTPUT,))


def cascade(lookup: Lookup, start: int, class_: str, count: int) -> Cascade:
    """Return the cascade of a cluster on a class's images, over all images where the class's do not reach it.

    count: concepts kept of each step.
    """
    used = next((name for name in (class_, ALL_IMAGES) if _touching(lookup.edges(name), start)), None)
    edges = lookup.edges(used or ALL_IMAGES)
    return follow(edges, layers_of(lookup), start, count, class_=used or ALL_IMAGES, measured=used is not None)


def _touching(edges: pd.DataFrame, cluster: int) -> bool:
    return bool(((edges["source"] == cluster) | (edges["target"] == cluster)).any())


def layers_of(lookup: Lookup) -> dict[int, int]:
    """Return the index of the layer of each cluster; the class's output comes after the last."""
    return {**lookup.cluster_layer, CLASS_OUTPUT: len(lookup.layers)}


def follow(
    edges: pd.DataFrame,
    layer_of: Mapping[int, int],
    start: int,
    count: int,
    *,
    class_: str = ALL_IMAGES,
    measured: bool = True,
) -> Cascade:
    """Follow the strong influences from a cluster, layer by layer in both directions, `count` concepts at each step.

    A step keeps the concepts with the strongest way from the start: the largest product of shares along it.
    """
    found = with_shares(edges)
    strong = found[is_certain(found) & (found["share"] >= LEAST_SHARE)]
    built, fed = (list(_steps(strong, layer_of, start, count, sign)) for sign in (-1, 1))
    sides = [{start, *(cluster for step in side for cluster in step.clusters)} for side in (built, fed)]
    within = [strong["source"].isin(side) & strong["target"].isin(side) for side in sides]
    return Cascade(
        start=start,
        class_=class_,
        measured=measured,
        strong=_touching(strong, start),
        count=count,
        steps=(*reversed(built), Step(0, layer_of[start], (start,), 1), *fed),
        edges=strong[within[0] | within[1]].reset_index(drop=True),
    )


def with_shares(edges: pd.DataFrame) -> pd.DataFrame:
    """Return the edges with their share (0…1) of all influence measured on their target."""
    size = edges["weight"].abs()
    return edges.assign(share=(size / size.groupby(edges["target"]).transform("sum")).fillna(0.0))


def is_certain(edges: pd.DataFrame) -> pd.Series:
    """Return for each edge whether its interval leaves out 0."""
    return (edges["low"] > 0) | (edges["high"] < 0)


def _steps(edges: pd.DataFrame, layer_of: Mapping[int, int], start: int, count: int, sign: int) -> Iterator[Step]:
    """The steps in one direction.

    Influence only goes to later layers, so when a layer's turn comes, all ways to it are known.
    """
    near, far = ("source", "target") if sign > 0 else ("target", "source")
    reachable: dict[int, dict[int, float]] = {}
    number, here = 0, {start: 1.0}
    while True:
        for row in table_rows(edges[edges[near].isin(here)]):
            other = int(getattr(row, far))
            found = reachable.setdefault(layer_of[other], {})
            found[other] = max(found.get(other, 0.0), here[getattr(row, near)] * row.share)
        if not reachable or not count:
            return
        layer = min(reachable, key=lambda index: sign * index)
        found = reachable.pop(layer)
        number += sign
        kept = sorted(found, key=lambda cluster: (-found[cluster], cluster))[:count]
        here = {cluster: found[cluster] for cluster in kept}
        yield Step(number, layer, tuple(kept), len(found))


def best_way(edges: pd.DataFrame, layer_of: Mapping[int, int], start: int) -> pd.DataFrame:
    """Return the edges of the best way from a cluster to the class's output, in their order; none where there is none.

    Best: the largest product of shares, of all ways of which every edge is certain. Exact: influence only goes to
    later layers, so going through the edges from the last layer back, each target's best is known before it is needed.
    """
    certain = with_shares(edges).loc[is_certain(edges)]
    certain = certain.iloc[certain["source"].map(layer_of).argsort(kind="stable")[::-1]]
    best, onward = {CLASS_OUTPUT: 1.0}, dict[int, tuple[int, int]]()
    for place, row in enumerate(table_rows(certain)):
        value = row.share * best.get(row.target, 0.0)
        if value > best.get(row.source, 0.0):
            best[row.source], onward[row.source] = value, (place, row.target)
    way = []
    while start in onward:
        place, start = onward[start]
        way.append(place)
    return certain.iloc[way]


def flow(lookup: Lookup, found: Cascade) -> dict[str, Any]:
    """Return a cascade as content for the graph component, from the image (left) to the class (right).

    Nodes carry `step`, their distance from the start, and edges their `share`, of whose root they are as wide;
    `rows` describe the steps' columns.
    """
    rows = order_rows([Row(step.layer, step.clusters, step.available) for step in found.steps], found.edges)
    numbers = {cluster: step.number for step in found.steps for cluster in step.clusters}
    strengths = lookup.strengths(found.class_)
    network = Network(directed=True, cdn_resources="local")
    # The graph's rows, turned by a right angle.
    places = {cluster: (-up, across) for cluster, (across, up) in positions(rows, ROW, COLUMN).items()}
    for cluster, place in places.items():
        if cluster == CLASS_OUTPUT:
            add_output(network, found.class_, place)
        else:
            add_cluster(network, lookup, cluster, strengths.get(cluster, 0.0), place)
    add_edges(network, found.edges, found.edges["share"])
    nodes, links, *_ = network.get_network_data()
    for node in nodes:
        node["step"] = numbers[node["id"]]
    for link, share in zip(links, found.edges["share"], strict=True):
        link["share"] = round(float(share), 4)
    return {
        "nodes": nodes,
        "edges": links,
        "options": options("horizontal"),
        "rows": [_column(lookup, step, places[step.clusters[0]][0]) for step in found.steps],
        "start": found.start,
        "column": COLUMN,
        "row": ROW,
    }


def _column(lookup: Lookup, step: Step, x: float) -> dict[str, Any]:
    output = step.layer == len(lookup.layers)
    return {
        "name": "output" if output else lookup.layers[step.layer],
        "step": step.number,
        "shown": len(step.clusters),
        "available": step.available,
        "x": x,
        **layer_colours(lookup, min(step.layer, len(lookup.layers) - 1)),
    }


def edges_towards_start(found: Cascade, cluster: int, number: int) -> pd.DataFrame:
    """Return the edges that connect a concept `number` steps away with what is nearer to the start, strongest first."""
    edges = found.edges[found.edges["target" if number > 0 else "source"] == cluster]
    return edges.sort_values("share", ascending=False, kind="stable") if number else edges.head(0)
