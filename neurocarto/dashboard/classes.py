"""The views of Classes: two classes side by side, all classes by similarity, and what goes with errors."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import streamlit as st

from neurocarto.dashboard import components, state, texts, widgets
from neurocarto.dashboard.components import Event
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun, comparison_data, confusion_data, encoded, kinship, matrix_data
from neurocarto.dashboard.selection import MAX_EDGES, Selection
from neurocarto.views.comparison import GROUPS, compared
from neurocarto.views.comparison_lists import ComparisonLists
from neurocarto.views.error_lists import ErrorLists
from neurocarto.views.errors import Confusion
from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import SELECTED

NEAREST, OFFERED, CARDS = 5, 4, 3
Groups = Mapping[str, pd.DataFrame]


def pair(selection: Selection) -> tuple[str, str] | None:
    """Return the two classes that are compared, None where there are no two."""
    first, second = selection.class_, selection.other
    return (first, second) if first and second and first != second else None


def comparison(opened: OpenRun) -> None:
    """Show two classes as one graph; where there are no two, how to choose them."""
    widgets.heading(
        "Two classes side by side",
        "Left: clusters that only the first class relies on; right: only the second; between them, both. Read upwards, "
        "from the image to the classes; an edge is the stronger of both classes' influences. Click a picture to select "
        "its cluster, Ctrl-click to add.",
    )
    selection = state.current()
    _other_filter(opened, selection)
    both = pair(selection)
    if both:
        _graph(opened, selection, *both)
    else:
        _gallery(opened, "offer", _offer(opened, selection))


def _other_filter(opened: OpenRun, selection: Selection) -> None:
    """Choose the second class, the most similar ones first."""
    nearest = [kin.name for kin in kinship(opened).nearest(selection.class_)] if selection.class_ else []
    shown = selection.other if selection.other in nearest else ""
    # An option's text must not depend on the first class: the browser sends it back, also after that has changed.
    st.selectbox(
        "Compare with",
        ["", *nearest],
        format_func=lambda name: widgets.class_caption(opened.lookup, name) if name else "No other class",
        disabled=not nearest,
        **widgets.field("nc_other", shown, lambda name: state.change(replace(state.current(), other=name or ""))),
    )


def _graph(opened: OpenRun, selection: Selection, first: str, second: str) -> None:
    chosen = first, second, selection.layers, selection.least, selection.edges
    version = hashlib.sha256(repr((opened.named_version, "classes", *chosen)).encode()).hexdigest()[:16]
    data = comparison_data(opened, *chosen)
    components.publish("graph", version, encoded(data))
    shown = [cluster for cluster in selection.clusters if cluster in opened.lookup.cluster_layer]
    components.graph(
        version=version,
        highlight={
            "clusters": shown,
            "accent": SELECTED,
            "summary": f"{first} and {second}, {len(data['nodes'])} nodes in three columns",
            "controls": _controls(opened.lookup, selection, first, second),
            "empty": None if data["nodes"] else texts.nothing_to_compare(selection),
        },
        on_event=lambda event: on_event(opened, event),
    )


def _controls(lookup: Lookup, selection: Selection, first: str, second: str) -> dict[str, dict[str, float | str]]:
    """Sliders that thin the graph and the lists out, by link key, with the count that remains."""
    passing, of = (_count(compared(lookup, first, second, selection.layers, least)) for least in (selection.least, 0.0))
    value = max(selection.least, 0.5)
    return {
        "min": {
            "min": 0.5, "max": 1.0, "step": 0.01, "value": value,
            "text": f"Importance for either from {value:.2f}: {passing:,} of {of:,} clusters pass",
        },
        "edges": {
            "min": 0, "max": MAX_EDGES, "step": 1, "value": selection.edges,
            "text": f"Strongest {selection.edges} edges of each cluster, of either class",
        },
    }  # fmt: skip


def _count(groups: Groups) -> int:
    return sum(len(groups[name]) for name in GROUPS)


def _offer(opened: OpenRun, selection: Selection) -> str:
    """Why there is nothing to compare, and the classes that come closest."""
    title, advice = texts.no_two_classes(opened.lookup, selection)
    draw = ComparisonLists(opened.lookup, opened.patches)
    nearest = kinship(opened).nearest(selection.class_)[:OFFERED] if selection.class_ else []
    return draw.offer(title, advice, selection.class_, nearest)


def all_classes(opened: OpenRun) -> None:
    """Show all classes as a matrix, and the most similar ones of the chosen class as a list."""
    widgets.heading(
        "All classes by similarity",
        "A cell is two classes: the more they rely on the same clusters, the further along the scale. Similar classes "
        "lie together. Click a cell to compare its two; scroll to zoom, drag to move.",
    )
    selection, kin = state.current(), kinship(opened)
    components.publish("matrix", opened.version, matrix_data(opened))
    both = pair(selection)
    components.matrix(
        version=opened.version,
        highlight={
            "first": selection.class_,
            "second": both[1] if both else "",
            "accent": SELECTED,
            "summary": " and ".join(both) + " are compared" if both else "no two classes are compared",
        },
        on_event=lambda event: on_event(opened, event),
    )
    if selection.class_:
        nearest = kin.nearest(selection.class_)
        draw = ComparisonLists(opened.lookup, opened.patches)
        _gallery(opened, "nearest", draw.nearest(selection.class_, nearest[:NEAREST], len(nearest), selection.other))


def ranking(opened: OpenRun) -> None:
    """Show the ranked lists of two classes, and before them what is selected."""
    selection = state.current()
    both = pair(selection)
    if not both:
        return
    widgets.heading(
        "Ranked lists",
        "The same clusters, the best of each column first, with importance (0.5 is chance, 1 perfect) and q-value. "
        "Click a name to select the cluster in the graph, a patch to see its whole image.",
    )
    draw = ComparisonLists(opened.lookup, opened.patches)
    groups = compared(opened.lookup, *both, selection.layers, selection.least)
    clusters = selection.clusters
    _gallery(opened, "lists", draw.selected(*both, clusters[:CARDS]) + draw.groups(*both, groups, clusters))


def _gallery(opened: OpenRun, name: str, html: str) -> None:
    def receive(event: Event) -> None:
        on_event(opened, event)

    components.gallery(html=html, on_event=receive, name=name)


def errors(opened: OpenRun) -> None:
    """Show the confusions, those with a chosen class first, and what goes with one of them."""
    widgets.heading(
        "Errors",
        "Where the network says something else than the label, and the clusters that fire more on those images than on "
        "the label's others: what misled it. Choose a confusion; click a patch or an image to see it whole.",
    )
    selection = state.current()
    found = _confusions(opened, selection)
    if not found:
        widgets.empty(*texts.NO_CONFUSIONS)
        return
    chosen = next((one for one in found if (one.label, one.prediction) == selection.confusion), found[0])
    draw = ErrorLists(opened.lookup, opened.patches)
    left, right = st.columns([1, 3], gap="medium")
    with left:
        _confusion_filter(found, selection)
        _gallery(opened, "confusions", draw.listed(found, chosen))
    with right:
        _gallery(opened, "misleading", draw.confusion(chosen))


def _confusions(opened: OpenRun, selection: Selection) -> list[Confusion]:
    """All confusions: those of a compared class first, and of these the ones with most images."""
    mine = {selection.class_, selection.other} - {""}
    found = confusion_data(opened)
    return sorted(found, key=lambda one: not mine & {one.label, one.prediction})


def _confusion_filter(found: list[Confusion], selection: Selection) -> None:
    counts = {(one.label, one.prediction): one.images for one in found}
    shown = selection.confusion if selection.confusion in counts else None
    st.selectbox(
        "Confusion: label → prediction",
        list(counts),
        index=None,
        format_func=lambda one: f"{one[0]} → {one[1]} ({counts[one]:,} images)",
        placeholder=f"The first of {len(counts):,}",
        **widgets.field("nc_confusion", shown, lambda one: state.change(replace(state.current(), confusion=one))),
    )
