"""Which clusters and edges a graph shows, and where: one row per layer, from the image up to the class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocarto.views.lookup import Lookup

SWEEPS = 6
GAP = 0.35
"""Between columns of a row, as a part of the distance between neighbours."""


@dataclass(frozen=True)
class Row:
    """One layer's row: its index in the run, the clusters in it from left to right, and how many there were."""

    layer: int
    clusters: tuple[int, ...]
    available: int


def choose_clusters(lookup: Lookup, strengths: Mapping[int, float], layers: Sequence[str], per_layer: int) -> list[Row]:
    """Return the rows of the strongest clusters of each layer, from the image to the class; empty layers are left out.

    strengths: cluster → strength, strongest first.
    """
    found: dict[int, list[int]] = {}
    for cluster in strengths:
        found.setdefault(lookup.cluster_layer[cluster], []).append(cluster)
    shown = [i for i, name in enumerate(lookup.layers) if i in found and (not layers or name in layers)]
    return [Row(i, tuple(found[i][:per_layer]), len(found[i])) for i in shown]


def choose_edges(edges: pd.DataFrame, rows: Sequence[Row], per_node: int) -> pd.DataFrame:
    """Return the edges between shown clusters that are among the strongest `per_node` of their source or target.

    Edges into a class's output compete with no others: they say what the prediction rests on.
    """
    shown = {cluster for row in rows for cluster in row.clusters}
    kept = edges[edges["source"].isin(shown) & (edges["target"].isin(shown) | (edges["target"] < 0))]
    strength = kept["weight"].abs()
    into_class = kept["target"] < 0
    out_rank = strength[~into_class].groupby(kept["source"]).rank(ascending=False, method="first")
    in_rank = strength.groupby(kept["target"]).rank(ascending=False, method="first")
    best = (out_rank.reindex(kept.index) <= per_node) | (in_rank <= per_node)
    return kept[best | (into_class & (per_node > 0))].reset_index(drop=True)


def order_rows(rows: Sequence[Row], edges: pd.DataFrame, columns: Mapping[int, int] | None = None) -> list[Row]:
    """Return the rows reordered so that edges are short: barycentre sweeps up and down.

    columns: cluster → column, where the graph has columns; clusters then stay in theirs, from left to right.
    """
    of = columns or {}
    place = {cluster: _spread(len(row.clusters), i) for row in rows for i, cluster in enumerate(row.clusters)}
    neighbours: dict[int, list[tuple[int, float]]] = {cluster: [] for cluster in place}
    for source, target, weight in zip(edges["source"], edges["target"], edges["weight"].abs(), strict=True):
        if target in place:
            neighbours[source].append((target, weight))
            neighbours[target].append((source, weight))
    ordered = list(rows)
    for sweep in range(SWEEPS):
        for i in range(len(ordered)) if sweep % 2 == 0 else reversed(range(len(ordered))):
            wanted = {c: (of.get(c, 0), _barycentre(neighbours[c], place, place[c])) for c in ordered[i].clusters}
            clusters = tuple(sorted(ordered[i].clusters, key=wanted.__getitem__))
            place.update({c: _spread(len(clusters), k) for k, c in enumerate(clusters)})
            ordered[i] = Row(ordered[i].layer, clusters, ordered[i].available)
    return ordered


def _spread(count: int, index: int) -> float:
    return index - (count - 1) / 2


def _barycentre(neighbours: list[tuple[int, float]], place: Mapping[int, float], default: float) -> float:
    total = sum(weight for _, weight in neighbours)
    if total == 0 or not np.isfinite(total):
        return default
    return sum(place[other] * weight for other, weight in neighbours) / total


def side_by_side(lookup: Lookup, rows: Sequence[Row], most: int) -> list[Row]:
    """Return the rows with those of one level joined: branches of a network that run beside each other.

    most: clusters in a joined row, of which each branch has as many as the others, but two at least.
    """
    levels: dict[int, list[Row]] = {}
    for row in rows:
        levels.setdefault(lookup.levels[row.layer], []).append(row)
    return [_joined(branches, most) for _, branches in sorted(levels.items())]


def _joined(branches: Sequence[Row], most: int) -> Row:
    if len(branches) == 1:
        return branches[0]
    each = max(2, most // len(branches))
    clusters = tuple(cluster for row in branches for cluster in row.clusters[:each])
    return Row(branches[-1].layer, clusters, sum(row.available for row in branches))


def positions(
    rows: Sequence[Row], across: float, down: float, columns: Mapping[int, int] | None = None
) -> dict[int, tuple[float, float]]:
    """Return the place of each cluster: rows centred, the first row at 0 and later ones above it (negative y).

    columns: cluster → column; between columns a gap is left.
    """
    of = columns or {}
    places: dict[int, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        groups = [of.get(cluster, 0) for cluster in row.clusters]
        gaps = np.cumsum([0.0, *(GAP * (a != b) for a, b in zip(groups[:-1], groups[1:], strict=True))])
        for i, cluster in enumerate(row.clusters):
            places[cluster] = (across * (_spread(len(groups), i) + float(gaps[i] - gaps[-1] / 2)), -down * level)
    return places
