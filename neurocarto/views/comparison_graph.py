"""What two classes rely on as one graph with three columns: only the first, both, only the second."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pyvis.network import Network

from neurocarto.records import CLASS_OUTPUT
from neurocarto.views.comparison import BOTH, FIRST, GROUPS, SECOND, compared
from neurocarto.views.graph import ACROSS, DOWN, add_cluster, add_edges, add_output, drawn, relative_strengths
from neurocarto.views.graph_layout import Row, choose_clusters, choose_edges, order_rows
from neurocarto.views.lookup import Lookup, table_rows

GAP = 36.0
"""Room between two columns, in graph units."""
OUTPUTS = {FIRST: CLASS_OUTPUT, SECOND: CLASS_OUTPUT - 1}
Places = dict[int, tuple[float, float]]


def comparison_graph(
    lookup: Lookup,
    first: str,
    second: str,
    *,
    layers: tuple[str, ...] = (),
    least: float = 0.0,
    per_layer: int = 2,
    per_node: int = 3,
) -> dict[str, Any]:
    """Return nodes, edges and options for vis-network, `rows` (the layers' bands) and `zones` (the three columns).

    Of each layer and group the `per_layer` best clusters are shown; size is the score that ranks them. An edge is the
    stronger of the two classes' influences, since influence is measured between the most important clusters of each
    class: a mean would halve what was measured for one of them. Nodes of a class's own output (-1 and -2) appear where
    influence on it is known.
    """
    groups = compared(lookup, first, second, layers, least)
    scores = {row.cluster: row for table in groups.values() for row in table_rows(table)}
    column = {cluster: GROUPS.index(name) for name, table in groups.items() for cluster in table["cluster"]}
    rows = _rows(lookup, groups, per_layer)
    edges = choose_edges(_stronger(lookup, first, second), rows, per_node)
    rows = order_rows(rows, edges, column)
    bounds = _bounds(rows, column)
    places = _places(rows, column, bounds)
    network = Network(directed=True, cdn_resources="local")
    for cluster, place in places.items():
        row = scores[cluster]
        notes = [f"{name}: {_importance(value)}" for name, value in ((first, row.first), (second, row.second))]
        add_cluster(network, lookup, cluster, 2 * row.score - 1, place, notes=notes)
    outputs = {FIRST: first, SECOND: second}
    known = [name for name in outputs if (edges["target"] == OUTPUTS[name]).any()]
    for name in known:
        left, right = bounds[GROUPS.index(name)]
        add_output(network, outputs[name], ((left + right) / 2, -DOWN * len(rows)), OUTPUTS[name])
    add_edges(network, edges, relative_strengths(lookup, edges))
    levels = len(rows) + bool(known)
    titles = {FIRST: f"Only {first}", BOTH: "Both", SECOND: f"Only {second}"}
    zones = [_zone(f"{titles[name]} ({len(groups[name]):,})", bounds[i], levels) for i, name in enumerate(GROUPS)]
    return drawn(network, lookup, rows) | {"zones": zones}


def _importance(score: float) -> str:
    return f"importance {score:.2f}" if score == score else "not important"


def _rows(lookup: Lookup, groups: Mapping[str, pd.DataFrame], per_layer: int) -> list[Row]:
    """Rows of the best of each group; each row counts all groups' clusters."""
    found: dict[int, Row] = {}
    for table in groups.values():
        strengths = dict(zip(table["cluster"].tolist(), table["score"].tolist(), strict=True))
        for row in choose_clusters(lookup, strengths, (), per_layer):
            before = found.get(row.layer, Row(row.layer, (), 0))
            found[row.layer] = Row(row.layer, before.clusters + row.clusters, before.available + row.available)
    return [found[layer] for layer in sorted(found)]


def _stronger(lookup: Lookup, first: str, second: str) -> pd.DataFrame:
    """Both classes' edges, each pair of ends once, as the stronger of the two."""
    own, other = lookup.edges(first), lookup.edges(second)
    target = other["target"].where(other["target"] != CLASS_OUTPUT, OUTPUTS[SECOND])
    edges = pd.concat([own, other.assign(target=target)], ignore_index=True)
    strongest = edges["weight"].abs().sort_values(ascending=False, kind="stable").index
    return edges.loc[strongest].drop_duplicates(["source", "target"]).reset_index(drop=True)


def _bounds(rows: Sequence[Row], column: Mapping[int, int]) -> list[tuple[float, float]]:
    """Left and right end of each column: as wide as its fullest row, the middle one centred on 0."""
    most = [max((sum(column[c] == i for c in row.clusters) for row in rows), default=0) for i in range(len(GROUPS))]
    left, middle, right = (ACROSS * max(count, 2) for count in most)
    return [
        (-middle / 2 - GAP - left, -middle / 2 - GAP),
        (-middle / 2, middle / 2),
        (middle / 2 + GAP, middle / 2 + GAP + right),
    ]


def _places(rows: Sequence[Row], column: Mapping[int, int], bounds: Sequence[tuple[float, float]]) -> Places:
    places: Places = {}
    for level, row in enumerate(rows):
        for i, (left, right) in enumerate(bounds):
            own = [cluster for cluster in row.clusters if column[cluster] == i]
            start = (left + right - ACROSS * (len(own) - 1)) / 2
            places |= {cluster: (start + ACROSS * k, -DOWN * level) for k, cluster in enumerate(own)}
    return places


def _zone(name: str, bounds: tuple[float, float], levels: int) -> dict[str, Any]:
    """A column with its name; levels: rows, with that of the outputs."""
    top, bottom = -DOWN * (levels - 0.58), 0.58 * DOWN
    return {"name": name, "left": bounds[0], "right": bounds[1], "top": top, "bottom": bottom}
