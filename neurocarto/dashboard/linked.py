"""The linked views of Explore: projection, cluster graph and gallery, one selection."""

import hashlib
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import streamlit as st

from neurocarto.dashboard import components, state, widgets
from neurocarto.dashboard.components import Event
from neurocarto.dashboard.loaders import OpenRun, colour_data, graph_data, projection_data
from neurocarto.dashboard.selection import COLOURS, SHOWN, Selection
from neurocarto.views.gallery import Gallery
from neurocarto.views.highlight import Highlight, highlight, simplify
from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import SELECTED
from neurocarto.views.projection import bits

CHOICES = {"colour": ("Colour by", COLOURS), "show": ("Show", SHOWN)}
"""What one chooses on the map: the part of the selection, with its title and the kinds to choose from."""
SHOWN_CLUSTERS, SHOWN_FULL, SHOWN_NEURONS = 12, 3, 12


def current_highlight(opened: OpenRun) -> Highlight:
    """Return what stands out for the current selection."""
    chosen = state.current()
    return highlight(
        opened.lookup,
        class_=chosen.class_,
        layers=chosen.layers,
        clusters=chosen.clusters,
        neuron=chosen.neuron,
        lasso=chosen.lasso,
        show=chosen.show,
    )


def projection(opened: OpenRun, shown: Highlight) -> None:
    """Show the projection with how to read it."""
    silent, count = int(opened.lookup.silent.sum()), len(opened.lookup.silent)
    st.markdown("##### Map of neurons")
    st.caption(
        "Each point is a neuron; points lie close together when their neurons fire on the same images. "
        + (
            f"{silent:,} of {count:,} never fired on these images, or fired alike on all, and have no point."
            if silent
            else ""
        )
    )
    selection = state.current()
    components.publish("projection", opened.version, projection_data(opened))
    colours, content = colour_data(opened, selection.colour, selection.class_)
    components.publish("colours", colours, content)
    components.projection(
        version=opened.version,
        highlight={
            "selected": bits(shown.selected),
            "context": None if shown.context.all() else bits(shown.context),
            "neuron": selection.neuron,
            "lasso": selection.lasso,
            "colours": colours,
            "choices": {name: (title, getattr(selection, name), kinds) for name, (title, kinds) in CHOICES.items()},
            "summary": summary(opened.lookup, selection, shown),
        },
        on_event=lambda event: on_event(opened, event),
    )


def graph(opened: OpenRun, shown: Highlight) -> None:
    """Show the cluster graph with how to read it, or why it is empty."""
    selection, lookup = state.current(), opened.lookup
    st.markdown("##### What it builds on what" if not selection.class_ else "##### What the class relies on")
    st.caption(
        "Each picture is a cluster of neurons that detect the same; read upwards, from the image to the class. "
        "Click one to see its neurons on the map, Ctrl-click to add."
    )
    data = graph_data(opened, selection.class_, selection.layers, selection.least, selection.edges)
    if data["nodes"]:
        version = graph_version(opened, selection)
        components.publish("graph", version, data)
        components.graph(
            version=version,
            highlight={
                "clusters": shown.clusters,
                "accent": SELECTED,
                "summary": summary(lookup, selection, shown),
            },
            on_event=lambda event: on_event(opened, event),
        )
    else:
        widgets.empty(*no_clusters(lookup, selection))
    widgets.graph_filters(lookup, selection)


def gallery(opened: OpenRun, shown: Highlight) -> None:
    """Show example patches of what is selected."""
    html = gallery_html(opened, state.current(), shown)
    components.gallery(html=html, on_event=lambda event: on_event(opened, event))


def graph_version(opened: OpenRun, selection: Selection) -> str:
    """Return a short name for exactly this graph."""
    shown = (opened.version, selection.class_, selection.layers, selection.least, selection.edges)
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def on_event(opened: OpenRun, event: Event) -> None:
    """Change the selection as a view asks; events that name nothing that exists change nothing."""
    selection, lookup = state.current(), opened.lookup
    add = bool(event.get("add"))
    cluster, neuron = _number(event.get("cluster")), _number(event.get("neuron"))
    if event.get("kind") == "clear":
        state.change(selection.cleared())
    elif event.get("kind") == "choose":
        _choose(selection, event)
    elif event.get("kind") == "lasso":
        state.change(selection.with_lasso(simplify(_polygon(event))))
    elif cluster in lookup.cluster_layer:
        state.change(selection.with_cluster(cluster, add))
    elif 0 <= neuron < len(lookup.neuron_cluster):
        state.change(selection.with_neuron(neuron, int(lookup.neuron_cluster[neuron]), add))


def _choose(selection: Selection, event: Event) -> None:
    name, value = str(event.get("name")), str(event.get("value"))
    if name in CHOICES and value in CHOICES[name][1]:
        changed: dict[str, Any] = {name: value}
        state.change(replace(selection, **changed))


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1


def _polygon(event: Event) -> list[tuple[float, float]]:
    points: Any = event.get("polygon")
    return [(float(x), float(y)) for x, y in points] if isinstance(points, list) else []


def no_clusters(lookup: Lookup, selection: Selection) -> tuple[str, str]:
    """Return why the graph is empty and what to do."""
    where = " in the chosen layers" if selection.layers else ""
    if selection.least and lookup.importances(selection.class_):
        return f"No cluster{where} passes importance {selection.least:.2f}", "Lower it, or choose another class."
    if not selection.class_:
        return f"No influence between clusters was measured{where}", "Choose a class, or all layers."
    rate = float(lookup.run.manifest.settings.get("false_discovery_rate", 0.05))
    advice = "Choose all layers or another class." if selection.layers else "Choose another class, or All images."
    return f"No cluster is important for {selection.class_}{where} (false discovery rate {rate:.0%})", advice


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


def gallery_html(opened: OpenRun, selection: Selection, shown: Highlight) -> str:
    """Return the gallery of what is selected; with nothing selected, of the most important clusters."""
    lookup = opened.lookup
    draw = Gallery(lookup, opened.patches, selection.class_)
    if selection.lasso:
        return _lasso_html(lookup, draw, shown)
    if selection.neuron is not None:
        own = int(lookup.neuron_cluster[selection.neuron])
        others = [cluster for cluster in selection.clusters if cluster != own]
        return draw.neuron(selection.neuron) + _section("", draw.clusters(others, others) if others else "")
    if selection.clusters:
        full, rest = selection.clusters[:SHOWN_FULL], selection.clusters[SHOWN_FULL:]
        cards = "".join(draw.cluster(cluster) for cluster in full)
        return cards + (_section("Also selected", draw.clusters(rest, rest)) if rest else "")
    best = [c for c in lookup.strengths(selection.class_) if _in_layers(lookup, c, selection)]
    if not best:
        return _section(". ".join(no_clusters(lookup, selection)), "")
    name = f"for {selection.class_}" if selection.class_ else "over all images"
    title = f"The most important clusters {name}: {min(len(best), SHOWN_CLUSTERS)} of {len(best):,}"
    return _section(title, draw.clusters(best[:SHOWN_CLUSTERS]))


def _in_layers(lookup: Lookup, cluster: int, selection: Selection) -> bool:
    return not selection.layers or lookup.layers[lookup.cluster_layer[cluster]] in selection.layers


def _lasso_html(lookup: Lookup, draw: Gallery, shown: Highlight) -> str:
    neurons = np.flatnonzero(shown.selected)
    if not len(neurons):
        return _section("No neuron lies in the lasso. Draw around some points, or clear the selection.", "")
    # Activations are clamped, so the strongest are too many to choose from; the middle of a lasso is one place.
    places = lookup.places[neurons]
    away = np.square(places - np.median(places, axis=0)).sum(axis=1)
    middle = neurons[np.argsort(away, kind="stable")][:SHOWN_NEURONS]
    clusters = shown.clusters[:SHOWN_CLUSTERS]
    parts = f"{len(neurons):,} neurons in the lasso, {len(shown.clusters):,} clusters"
    first = _section(f"{parts}; those with most neurons in it", draw.clusters(clusters)) if clusters else ""
    title = f"The neurons nearest to its middle: {len(middle)} of {len(neurons):,}"
    return first + _section(title, draw.neurons(middle.tolist()))


def _section(title: str, content: str) -> str:
    heading = f"<h4>{escape(title)}</h4>" if title else ""
    return f'<div class="nc-section">{heading}{content}</div>'
