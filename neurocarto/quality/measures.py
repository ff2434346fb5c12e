"""Measures on clusters: values, bootstrap intervals, and nulls from random groups of the same sizes and layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.quality.groups import Groups
from neurocarto.records import MEASURES, FloatArray

REPLICATES = 400
"""Bootstrap samples behind an interval."""
REGROUPINGS = 20
"""Times that the neurons of a layer are dealt into random groups."""
PER_CLUSTER = 64
"""Things drawn from a cluster at least, so that it has a figure of its own."""

Draw = Callable[[Groups, int, np.random.Generator], tuple[FloatArray, FloatArray]]
"""Draws `count` things from each cluster and measures them: part and of, (C, count). A cluster's value is the sum of
part ÷ the sum of `of`; a layer's the same over its clusters, each weighted by its size."""


@dataclass(frozen=True)
class Measured:
    """A measure on the clusters of one layer.

    cluster (C,); value (C,); replicates (B, C): the values of bootstrap samples; null (R, C): those of random groups of
    the same sizes; layer, layer_replicates (B,), layer_null (R,): the same of the whole layer; count: things drawn from
    each cluster.
    """

    cluster: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    value: FloatArray
    replicates: FloatArray
    null: FloatArray
    layer: float
    layer_replicates: FloatArray
    layer_null: FloatArray
    count: int


Directed = tuple[Measured, Mapping[int, int]]
"""What was measured, and which final cluster each measured one stands for."""


def measure(groups: Groups, draw: Draw, draws: int, seed: int) -> Measured | None:
    """Measure the clusters of a layer by at least so many draws; None where there are none.

    Clusters are drawn from alike and weighted by size, as if each draw chose a cluster with probability by size.
    Intervals resample clusters, then what was drawn from them; one cluster's only the latter. Time: linear in clusters.
    """
    if not len(groups):
        return None
    rng = np.random.default_rng(seed)
    count = max(PER_CLUSTER, -(-draws // len(groups)))
    part, of = draw(groups, count, rng)
    parts, ofs = _resampled(part, of, rng)
    chosen = rng.integers(len(groups), size=(REPLICATES, len(groups)))
    weights, rows = groups.size[chosen], np.arange(REPLICATES)[:, None]
    nulls = [draw(groups.shuffled(rng), count, rng) for _ in range(REGROUPINGS)]
    return Measured(
        groups.cluster,
        groups.size,
        _ratio(part.sum(axis=1), of.sum(axis=1)),
        _ratio(parts, ofs),
        np.stack([_ratio(part.sum(axis=1), of.sum(axis=1)) for part, of in nulls]),
        float(_weighted(part, of, groups.size)),
        _ratio((parts[rows, chosen] * weights).sum(axis=1), (ofs[rows, chosen] * weights).sum(axis=1)),
        np.array([_weighted(part, of, groups.size) for part, of in nulls]),
        count,
    )


def _ratio(part: FloatArray, of: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(part, of, out=np.full(np.shape(part), np.nan), where=np.asarray(of) > 0)
    return ratio


def _weighted(part: FloatArray, of: FloatArray, size: npt.NDArray[np.int64]) -> FloatArray:
    """A layer's value."""
    return _ratio(part.sum(axis=1) @ size, of.sum(axis=1) @ size)


def _resampled(part: FloatArray, of: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Sums of part and of over bootstrap samples of what was drawn from each cluster, (B, C) each."""
    parts, ofs = np.empty((2, REPLICATES, len(part)))
    for c in range(len(part)):
        times = rng.multinomial(part.shape[1], np.full(part.shape[1], 1 / part.shape[1]), REPLICATES)
        parts[:, c], ofs[:, c] = times @ part[c], times @ of[c]
    return parts, ofs


@dataclass(frozen=True)
class Figure:
    """A value, its bootstrap samples, its null's, and how many draws are behind it."""

    value: float
    replicates: FloatArray
    null: FloatArray
    count: int

    def row(self, measure: str, layer: str = "", cluster: int = -1) -> dict[str, object]:
        """The figure as a row of a table of measures."""
        low, high = interval(self.replicates)
        null_low, null_high = interval(self.null)
        return {
            "layer": layer, "cluster": cluster, "measure": measure, "value": self.value, "low": low, "high": high,
            "null": _mean(self.null), "null_low": null_low, "null_high": null_high, "count": self.count,
        }  # fmt: skip


def tabulate(measure: str, layers: Mapping[str, Sequence[Directed]]) -> pd.DataFrame:
    """Return the table of a measure: a row for each cluster, for each layer, and for the whole run.

    layers: what was measured on each layer, in one direction or in both. A layer measured in both has the mean, and the
    whole run the mean of its layers.
    """
    figures: list[Figure] = []
    found: list[dict[str, object]] = []
    for layer, directed in layers.items():
        if not directed:
            continue
        parts = [Figure(m.layer, m.layer_replicates, m.layer_null, m.count * len(m.cluster)) for m, _ in directed]
        figures.append(pooled(parts))
        found.append(figures[-1].row(measure, layer))
        clusters: dict[int, list[Figure]] = {}
        for measured, final in directed:
            for c, number in enumerate(measured.cluster.tolist()):
                if number in final:
                    clusters.setdefault(final[number], []).append(_of_cluster(measured, c))
        found += [pooled(own).row(measure, layer, cluster) for cluster, own in sorted(clusters.items())]
    whole = [pooled(figures).row(measure)] if figures else []
    return pd.DataFrame([*whole, *found], columns=MEASURES.names)


def _of_cluster(measured: Measured, c: int) -> Figure:
    alike = measured.size == measured.size[c]  # random groups of one size are alike: more of them tell more
    null = measured.null[:, alike].ravel()
    return Figure(float(measured.value[c]), measured.replicates[:, c], null, measured.count)


def pooled(parts: Sequence[Figure]) -> Figure:
    """The mean of independent figures."""
    shortest = min(len(part.null) for part in parts)
    return Figure(
        _mean(np.array([part.value for part in parts])),
        _means(np.stack([part.replicates for part in parts])),
        _means(np.stack([part.null[:shortest] for part in parts])),
        sum(part.count for part in parts),
    )


def _means(values: FloatArray) -> FloatArray:
    """Means over the first axis of what is a number."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))


def _mean(values: FloatArray) -> float:
    return float(_means(np.asarray(values)[:, None])[0])


def interval(values: FloatArray) -> tuple[float, float]:
    """Return the central 95 % of bootstrap samples; NaN, which do not count, where there are none."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (np.nan, np.nan)
    return float(low), float(high)
