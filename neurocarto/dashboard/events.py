"""What the views ask for when someone clicks, draws or chooses: each changes the one selection, or a cluster's name."""

from dataclasses import replace
from typing import Any

from neurocarto.dashboard import moves, names, state
from neurocarto.dashboard.components import Event
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import with_choice
from neurocarto.views.highlight import simplify
from neurocarto.views.lookup import Lookup

PAGES = ("explore", "cascade", "classes")
"""Pages that a view may lead to."""


def on_event(opened: OpenRun, event: Event) -> None:
    """Change the selection, or a cluster's name, as a view asks; what names nothing that exists changes nothing."""
    selection, lookup = state.current(), opened.lookup
    kind, add = event.get("kind"), bool(event.get("add"))
    if kind == "click" and event.get("page") in PAGES:
        kind = "select"  # what leads to another page is to be seen there, never to be toggled off
    cluster, neuron, name = _number(event.get("cluster")), _number(event.get("neuron")), event.get("name")
    if kind == "name" and cluster in lookup.cluster_layer:
        names.rename(opened, cluster, str(name or ""), str(event.get("note") or ""))
        return
    if kind == "clear":
        state.change(selection.cleared())
    elif kind == "choose":
        state.change(with_choice(selection, str(name), str(event.get("value"))))
    elif kind == "lasso" and (corners := _polygon(event)):
        state.change(selection.with_lasso(simplify(corners)))
    elif kind in ("class", "select") and isinstance(name, str) and name in lookup.classes:
        state.change(replace(selection, class_=name))
    elif kind == "select" and _exists(lookup, cluster, neuron):
        state.change(replace(selection.cleared(), clusters=(cluster,) if cluster >= 0 else (), neuron=_or_none(neuron)))
    elif kind == "compare" and all(event.get(end) in lookup.classes for end in ("first", "second")):
        state.change(replace(selection, class_=event["first"], other=event["second"]))
    elif kind == "confusion" and (pair := (str(event.get("label")), str(event.get("prediction")))) in lookup.pairs:
        state.change(replace(selection, confusion=pair))
    elif kind == "click" and cluster in lookup.cluster_layer:
        state.change(selection.with_cluster(cluster, add))
    elif kind == "click" and 0 <= neuron < len(lookup.neuron_cluster):
        state.change(selection.with_neuron(neuron, int(lookup.neuron_cluster[neuron]), add))
    else:
        return
    if event.get("page") in PAGES:
        moves.go(str(event["page"]))


def _exists(lookup: Lookup, cluster: int, neuron: int) -> bool:
    return cluster in lookup.cluster_layer or 0 <= neuron < len(lookup.neuron_cluster)


def _or_none(number: int) -> int | None:
    return number if number >= 0 else None


def _number(value: object) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e9
    return int(value) if whole and isinstance(value, int | float) else -1


def _polygon(event: Event) -> list[tuple[float, float]]:
    """The corners of a lasso, none where any of them is not two finite numbers."""
    points: Any = event.get("polygon")
    try:
        corners = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        return []
    return corners if all(abs(part) < 1e9 for corner in corners for part in corner) else []
