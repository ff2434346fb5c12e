"""Which neurons and clusters stand out, given what is selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from neurocarto.records import ALL_IMAGES, FloatArray
from neurocarto.views.lookup import BoolArray, Lookup


@dataclass(frozen=True)
class Highlight:
    """What every view shows of one selection.

    selected (N,): neurons that stand out; context (N,): neurons of the chosen class and layers, which
    keep their colour while the rest recedes; clusters: those that stand out, most selected members first;
    counts: how many neurons each choice of `show` would make the context; fires: clusters that fire on an image of the
    visitor's own, which are lit by their strength in 0…1.
    """

    selected: BoolArray
    context: BoolArray
    clusters: tuple[int, ...]
    counts: Mapping[str, int]
    fires: Mapping[int, float] = field(default_factory=dict)


def highlight(
    lookup: Lookup,
    *,
    class_: str = ALL_IMAGES,
    layers: Sequence[str] = (),
    clusters: Sequence[int] = (),
    neuron: int | None = None,
    lasso: Sequence[tuple[float, float]] = (),
    show: str = "class",
    fires: Mapping[int, float] | None = None,
) -> Highlight:
    """Compute what stands out. A lasso goes before a neuron, and a neuron before clusters.

    show: whose neurons are the context, all of the layers' ("all"), the class's ("class") or only the selected
    ones ("clusters"). fires: as of Highlight, where only those of the layers remain.
    """
    shown = in_layers(lookup, layers)
    of_class = shown
    if class_ != ALL_IMAGES:
        of_class = shown & np.isin(lookup.neuron_cluster, np.fromiter(lookup.strengths(class_), np.int64))
    if lasso:
        selected = shown & points_in_polygon(lookup.places, lasso)
        found, counts = np.unique(lookup.neuron_cluster[selected], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        chosen = [int(c) for c in found[order] if c >= 0]
    else:
        chosen = list(clusters)
        selected = np.zeros(len(lookup.neuron_cluster), bool)
        if neuron is not None:
            selected[neuron] = True
            own = int(lookup.neuron_cluster[neuron])
            if own >= 0 and own not in chosen:
                chosen.insert(0, own)
        selected |= np.isin(lookup.neuron_cluster, np.array(chosen, np.int64))
    contexts = {"all": shown, "class": of_class, "clusters": selected}
    sizes = {name: int(context.sum()) for name, context in contexts.items()}
    lit = {c: s for c, s in (fires or {}).items() if not layers or lookup.layers[lookup.cluster_layer[c]] in layers}
    return Highlight(selected, contexts[show], tuple(chosen), sizes, lit)


def in_layers(lookup: Lookup, layers: Sequence[str]) -> BoolArray:
    """Return which neurons lie in the named layers (N,); no names mean all of them."""
    if not layers:
        return np.ones(len(lookup.neuron_layer), bool)
    codes = [index for index, name in enumerate(lookup.layers) if name in set(layers)]
    return np.isin(lookup.neuron_layer, codes)


def points_in_polygon(points: FloatArray, polygon: Sequence[tuple[float, float]]) -> BoolArray:
    """Return which points (N, 2) lie inside a closed polygon (even-odd rule). NaN points never do."""
    inside = np.zeros(len(points), bool)
    if len(polygon) < 3:
        return inside
    x, y = np.asarray(points[:, 0], np.float64), np.asarray(points[:, 1], np.float64)
    for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if ay == by:
            continue
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside & ~np.isnan(x) & ~np.isnan(y)


def simplify(polygon: Sequence[tuple[float, float]], vertices: int = 32) -> tuple[tuple[float, float], ...]:
    """Reduce a closed polygon to a number of vertices, dropping the least visible corner each time (Visvalingam)."""
    points = [(float(x), float(y)) for x, y in polygon]
    while len(points) > vertices:
        p = np.array(points)
        before, after = p - np.roll(p, 1, axis=0), np.roll(p, -1, axis=0) - p
        area = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
        points.pop(int(area.argmin()))
    return tuple(points)
