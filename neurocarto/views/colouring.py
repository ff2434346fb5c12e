"""What the colours of the map mean: layer, cluster, importance for a class, or firing rate."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neurocarto.records import ALL_IMAGES
from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import CATEGORIES, NEUTRAL, ramp_colours

STEPS = 9
"""Steps of a colour scale that stands for a quantity."""
Codes = npt.NDArray[np.int64]


def colouring(lookup: Lookup, colour: str, class_: str = ALL_IMAGES) -> dict[str, Any]:
    """Return each neuron's colour code, and what the codes look like and mean.

    colour: layer, cluster, importance (of the neuron's cluster, for the class) or rate. codes: (N,) int16 as base64;
    light, dark: one colour per code; low, high: what the first and the last colour of the legend mean; legend: codes
    in it, with a title each. A neuron to which the question does not apply has the neutral colour.
    """
    by = {"layer": _by_layer, "cluster": _by_cluster, "importance": _by_importance, "rate": _by_rate}[colour]
    codes, low, high, titles = by(lookup, class_)
    return {
        "codes": base64.b64encode(codes.astype("<i2").tobytes()).decode(),
        **{theme: [*_colours(colour, len(titles), theme), NEUTRAL[theme]] for theme in ("light", "dark")},
        "low": low,
        "high": high,
        "legend": titles,
    }


def _colours(colour: str, count: int, theme: str) -> Sequence[str]:
    return CATEGORIES[theme] if colour == "cluster" else ramp_colours(count, theme)


def _by_layer(lookup: Lookup, class_: str) -> tuple[Codes, str, str, list[str]]:
    layers = lookup.run.manifest.layers
    titles = [f"{layer.name}: {layer.channels:,} neurons" for layer in layers]
    codes = lookup.neuron_layer.astype(np.int64)
    return codes, f"early: {layers[0].name}", f"late: {layers[-1].name}", titles


def _by_cluster(lookup: Lookup, class_: str) -> tuple[Codes, str, str, list[str]]:
    count = len(CATEGORIES["light"])
    cluster = lookup.neuron_cluster.astype(np.int64)
    titles = [f"every {count}th cluster"] * count
    return np.where(cluster < 0, count, cluster % count), "clusters; colours repeat", "grey: in none", titles


def _by_importance(lookup: Lookup, class_: str) -> tuple[Codes, str, str, list[str]]:
    value = np.full(len(lookup.neuron_cluster), np.nan)
    found = lookup.importances(class_)
    if found:
        clusters = np.array(sorted(found))
        at = np.searchsorted(clusters, lookup.neuron_cluster).clip(0, len(clusters) - 1)
        known = clusters[at] == lookup.neuron_cluster
        value[known] = np.array([found[cluster] for cluster in clusters.tolist()])[at[known]]
    low, what = (0.0, "influence") if class_ == ALL_IMAGES else (0.5, "importance")
    return _in_steps(value, low, 1.0, what, ".2f")


def _by_rate(lookup: Lookup, class_: str) -> tuple[Codes, str, str, list[str]]:
    rate = lookup.run.neurons["active_fraction"].to_numpy(np.float64)
    return _in_steps(rate, 0.0, 1.0, "active on", ".0%")


def _in_steps(
    value: npt.NDArray[np.float64], low: float, high: float, what: str, form: str
) -> tuple[Codes, str, str, list[str]]:
    edges = np.linspace(low, high, STEPS + 1)
    known = ~np.isnan(value)
    codes = np.full(len(value), STEPS)
    codes[known] = np.searchsorted(edges[1:-1], value[known], side="right")
    titles = [f"{what} {a:{form}} to {b:{form}}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    end = "" if known.all() else "; grey: none"
    return codes, f"{what} {low:{form}}", f"{high:{form}}{end}", titles
