"""Which clusters and edges a graph shows, and where: one row per layer, from the image up to the class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocarto.views.lookup import Lookup

SWEEPS = 6


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
    """Return the edges between shown clusters that are among the strongest `per_node` of their source or target."""
    shown = {cluster for row in rows for cluster in row.clusters}
    kept = edges[edges["source"].isin(shown) & (edges["target"].isin(shown) | (edges["target"] < 0))]
    strength = kept["weight"].abs()
    out_rank = strength.groupby(kept["source"]).rank(ascending=False, method="first")
    in_rank = strength.groupby(kept["target"]).rank(ascending=False, method="first")
    into_class = kept["target"] < 0
    return kept[(out_rank <= per_node) | ((in_rank <= per_node) & ~into_class)].reset_index(drop=True)


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


def positions(rows: Sequence[Row], across: float, down: float) -> dict[int, tuple[float, float]]:
    """Return the place of each cluster: rows centred, the first row at 0 and later ones above it (negative y)."""
    return {
        cluster: (across * _spread(len(row.clusters), i), -down * level)
        for level, row in enumerate(rows)
        for i, cluster in enumerate(row.clusters)
    }
