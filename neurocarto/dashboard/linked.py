"""The linked views of Explore: projection and cluster graph, and what is inspected of the selection."""

import hashlib

import streamlit as st

from neurocarto.dashboard import components, inspected, names_panel, own_image, state, widgets
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun, colour_data, encoded, graph_data, projection_data
from neurocarto.dashboard.selection import COLOURS, MAX_EDGES, SHOWN, Selection
from neurocarto.dashboard.texts import no_clusters
from neurocarto.views.highlight import Highlight
from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import FIRING, SELECTED
from neurocarto.views.projection import bits


def current_highlight(opened: OpenRun) -> Highlight:
    """Return what stands out for the current selection."""
    return state.highlighted(opened, state.current(), own_image.fires(opened))


def projection(opened: OpenRun, shown: Highlight) -> None:
    """Show the projection with how to read it."""
    lookup, selection = opened.lookup, state.current()
    silent = int(lookup.silent.sum())
    widgets.heading(
        "Map of neurons",
        "A point is a neuron; near ones fire on the same images. "
        + (f"{silent:,} silent ones have no point." if silent else "Click, or draw a lasso, to select."),
    )
    components.publish("projection", opened.version, projection_data(opened))
    colours, content = colour_data(opened, selection.colour, selection.class_)
    components.publish("colours", colours, content)
    related = [] if selection.neuron is None else lookup.related(selection.neuron)
    components.projection(
        version=opened.version,
        highlight={
            "selected": bits(shown.selected),
            "context": None if shown.context.all() else bits(shown.context),
            "fires": fires(shown),
            "neuron": selection.neuron,
            "related": [neuron for neuron, _ in related],
            "lasso": selection.lasso,
            "colours": colours,
            "choices": {
                "colour": ("Colour", selection.colour, COLOURS),
                "show": ("Show", selection.show, {k: f"{v} ({shown.counts[k]:,})" for k, v in SHOWN.items()}),
            },
            "fractions": lookup.run.manifest.snapshots,
            "snapshot": selection.snapshot,
            "pictures": selection.pictures,
            "summary": summary(lookup, selection, shown),
        },
        on_event=lambda event: on_event(opened, event),
    )


def fires(shown: Highlight) -> dict[str, float]:
    """Return the clusters that fire on the visitor's image as the browser gets them."""
    return {str(cluster): round(strength, 3) for cluster, strength in shown.fires.items()}


def graph(opened: OpenRun, shown: Highlight) -> None:
    """Show the cluster graph with how to read it, or why it is empty."""
    selection, lookup = state.current(), opened.lookup
    widgets.heading(
        "What the class relies on" if selection.class_ else "What it builds on what",
        "Clusters of neurons that detect the same, from the image up to the class. Ctrl-click adds.",
    )
    data = graph_data(opened, selection.class_, selection.layers, selection.least, selection.edges)
    version = graph_version(opened, selection)
    components.publish("graph", version, encoded(data))
    components.graph(
        version=version,
        highlight={
            "clusters": shown.clusters,
            "fires": fires(shown),
            "accent": SELECTED,
            "firing": FIRING,
            "summary": summary(lookup, selection, shown),
            "controls": graph_controls(lookup, selection),
            "empty": None if data["nodes"] else no_clusters(lookup, selection),
        },
        on_event=lambda event: on_event(opened, event),
    )


def graph_controls(lookup: Lookup, selection: Selection) -> dict[str, dict[str, float | str]]:
    """Return the sliders that thin the graph out, by link key, with the count that remains."""
    low = 0.5 if selection.class_ else 0.0
    found = lookup.importances(selection.class_).values()
    count = sum(value >= selection.least for value in found)
    value = max(selection.least, low)
    return {
        "min": {
            "min": low, "max": 1.0, "step": 0.01, "value": value,
            "text": f"Importance ≥ {value:.2f} ({count:,} of {len(found):,})",
        },
        "edges": {
            "min": 0, "max": MAX_EDGES, "step": 1, "value": selection.edges,
            "text": f"Strongest edges of each: {selection.edges}",
        },
    }  # fmt: skip


def graph_version(opened: OpenRun, selection: Selection) -> str:
    """Return a short name for exactly this graph."""
    shown = (opened.named_version, selection.class_, selection.layers, selection.least, selection.edges)
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def inspector(opened: OpenRun, shown: Highlight) -> None:
    """Show what is known of what is selected."""
    with st.container(key="nc_inspecting", horizontal=True, wrap=False, vertical_alignment="center"):
        widgets.heading(
            "Inspector",
            "What the selection responds to, is related to and is needed for.",
        )
        names_panel.button(opened)
    names_panel.lines(opened)
    html = inspected.html(opened, state.current(), shown)
    components.gallery(html=html, on_event=lambda event: on_event(opened, event))


def summary(lookup: Lookup, selection: Selection, shown: Highlight) -> str:
    """Return in words what is selected."""
    count = f"{int(shown.selected.sum()):,} neurons in {len(shown.clusters):,} clusters"
    if selection.lasso:
        return f"lasso around {count}"
    if selection.neuron is not None:
        return f"neuron {lookup.neuron_name(selection.neuron)} selected"
    if len(selection.clusters) == 1:
        return f"cluster {selection.clusters[0]} selected, {lookup.label(selection.clusters[0])}"
    return f"{count} selected" if selection.clusters else "nothing selected"
