"""What the inspector shows of a selection, as HTML."""

from html import escape

import numpy as np

from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection
from neurocarto.dashboard.texts import no_clusters
from neurocarto.views.gallery import Gallery
from neurocarto.views.highlight import Highlight
from neurocarto.views.inspector import Inspector
from neurocarto.views.lookup import Lookup

SHOWN_CLUSTERS, SHOWN_FULL, SHOWN_NEURONS = 12, 3, 12


def html(opened: OpenRun, selection: Selection, shown: Highlight) -> str:
    """Return the cards of what is selected; with nothing selected, of the most important clusters."""
    lookup = opened.lookup
    draw = Gallery(lookup, opened.patches, selection.class_)
    more = Inspector(lookup, opened.patches, selection.class_)
    if selection.lasso:
        return _lasso_html(lookup, draw, shown)
    if selection.neuron is not None:
        own = int(lookup.neuron_cluster[selection.neuron])
        others = [cluster for cluster in selection.clusters if cluster != own]
        card = draw.neuron(selection.neuron) + more.neuron(selection.neuron)
        return card + (_section("Also selected", draw.clusters(others, others)) if others else "")
    if selection.clusters:
        full, rest = selection.clusters[:SHOWN_FULL], selection.clusters[SHOWN_FULL:]
        cards = "".join(draw.cluster(cluster) + more.cluster(cluster) for cluster in full)
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
