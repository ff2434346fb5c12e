"""What the cascade page says in words and patches, as HTML: the start, the way to the class, and every step."""

from collections.abc import Sequence
from html import escape

from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection
from neurocarto.records import ALL_IMAGES
from neurocarto.views.cascade import LEAST_SHARE, Cascade, best_way, layers_of
from neurocarto.views.cascade_cards import CascadeCards
from neurocarto.views.gallery import Gallery
from neurocarto.views.inspector import class_button, cluster_button
from neurocarto.views.lookup import Lookup

SHOWN_STARTS, SHOWN_LINKS = 12, 8
_HOW_TO_START = "Click a name below, search for a cluster or a neuron (press /), or select one in Explore."


def html(opened: OpenRun, selection: Selection, found: Cascade, others: Sequence[int]) -> str:
    """Return what is said of a cascade. others: clusters that are selected besides its start."""
    lookup = opened.lookup
    draw = CascadeCards(lookup, opened.patches, selection.class_)
    notes = [*_origin(lookup, selection, others), *_measured(lookup, selection.class_, found)]
    start = _section(f"The start: {_name(lookup, found.start)}", "".join(map(_note, notes)))
    way = _way(lookup, draw, selection.class_, found)
    if found.strong:
        return start + way + _side(draw, found, 1) + _side(draw, found, -1)
    points = [cluster for cluster in starting_points(lookup, selection.class_) if cluster != found.start]
    return start + draw.alone(found.start) + way + _starts(opened, selection, "Other places to start", points)


def starts_html(opened: OpenRun, selection: Selection) -> str:
    """Return why there is no cascade yet, and where one can start."""
    lookup = opened.lookup
    title = f"Important for {escape(selection.class_)}" if selection.class_ else "Important over all images"
    points = starting_points(lookup, selection.class_)
    why = "No neuron of a cluster lies in the lasso." if selection.lasso else "Nothing is selected yet."
    if selection.neuron is not None and not selection.lasso:
        name = escape(lookup.neuron_name(selection.neuron))
        why = f"Neuron {name} is in no cluster, and influence is measured between clusters only."
        related = (int(lookup.neuron_cluster[neuron]) for neuron, _ in lookup.related(selection.neuron))
        near = [cluster for cluster in dict.fromkeys(related) if cluster >= 0]
        title, points = ("Clusters of its most related neurons", near) if near else (title, points)
    return _section(f"{why} {_HOW_TO_START}", "") + _starts(opened, selection, title, points)


def starting_points(lookup: Lookup, class_: str) -> list[int]:
    """Return the most important clusters whose influence was measured, for the class or else over all images."""
    for name in dict.fromkeys((class_, ALL_IMAGES)):
        edges = lookup.edges(name)
        measured = {*edges["source"].tolist(), *edges["target"].tolist()}
        if found := [cluster for cluster in lookup.strengths(name) if cluster in measured]:
            return found[:SHOWN_STARTS]
    return []


def _origin(lookup: Lookup, selection: Selection, others: Sequence[int]) -> list[str]:
    """How the start follows from what is selected, where that is more than one cluster."""
    notes = []
    if selection.neuron is not None and not selection.lasso:
        neuron = escape(lookup.neuron_name(selection.neuron))
        notes.append(f"Influence is measured between clusters, so it starts at the cluster of neuron {neuron}.")
    if others:
        links = ", ".join(cluster_button(lookup, cluster) for cluster in others[:SHOWN_LINKS])
        rest = f" and {len(others) - SHOWN_LINKS:,} more" if len(others) > SHOWN_LINKS else ""
        notes.append(f"{len(others) + 1:,} clusters are selected, it starts at the first. The others: {links}{rest}")
    if selection.layers:
        notes.append("It runs through all layers; the choice of layers above does not cut it.")
    return notes


def _measured(lookup: Lookup, class_: str, found: Cascade) -> list[str]:
    """Where its influence was measured, and what it means that there is none."""
    if not found.measured:
        where = f"measured neither on the images of {escape(class_)} nor" if class_ else "not measured"
        text = (
            f"<strong>Its influence was {where} over all images</strong>: that is done between the most important "
            "clusters of each class only. It may well feed others."
        )
        known = _classes("It was measured for", lookup.measured_for(found.start))
        return [text, known or "No class has it among those."]
    over = f"on the images of {escape(found.class_)}" if found.class_ else "over all images"
    why = f", since it is not among the clusters measured for {escape(class_)}" if class_ != found.class_ else ""
    strong = f"strong is what is certain (its interval leaves out 0) and {LEAST_SHARE:.0%} or more of all on its target"
    if found.strong:
        return [f"Influence {over}{why}. Only what is strong counts; {strong}."]
    return [f"<strong>It is isolated</strong>: no influence on it or of it is strong {over}{why}; {strong}."]


def _way(lookup: Lookup, draw: CascadeCards, class_: str, found: Cascade) -> str:
    if not class_:
        title, reason = "The way to a class", "Choose a class to see the way from here to its output."
    else:
        title, reason = f"The way to {escape(class_)}", _no_way(lookup, class_, found)
    if reason:
        known = [name for name in lookup.measured_for(found.start) if lookup.has_output(name) and name != class_]
        return _section(
            title, _note(reason) + _note(_classes("Classes with an output, measured at this cluster", known))
        )
    way = best_way(lookup.edges(class_), layers_of(lookup), found.start)
    if way.empty:
        text = "On every way there, some influence is uncertain (its interval holds 0) or was not measured."
        return _section(title, _note(text))
    share = 100 * way["share"].to_numpy().prod()
    text = (
        "Of all ways on which every influence is certain, the one with the largest product of shares (percentages: "
        f"share of all influence on the next). {share:.2g}% of the influence on the output comes "
        f"along it; {int((way['weight'] < 0).sum())} of its {len(way)} influences inhibit."
    )
    return _section(title, _note(text) + draw.way(found.start, way))


def _no_way(lookup: Lookup, class_: str, found: Cascade) -> str:
    """Why no way to a class can be known, nothing where one can."""
    name = escape(class_)
    if not lookup.has_output(class_):
        if lookup.outputs[class_]:
            return f"No influence on the output of {name} was measured."
        return f"{name} is a name of images; the output of {name} is not among the network's, so no way leads to it."
    if not found.measured or found.class_ != class_:
        return f"This cluster is not among those measured for {name}, so no way is known."
    return ""


def _side(draw: CascadeCards, found: Cascade, direction: int) -> str:
    steps = [step for step in found.steps if step.number * direction > 0]
    word = "Feeds" if direction > 0 else "Built from"
    if not steps:
        none = "No influence of it on others is strong." if direction > 0 else "No influence on it is strong."
        return _section(word, _note(none if found.count else "No concept per step is to be shown."))
    concepts = sum(cluster >= 0 for step in steps for cluster in step.clusters)
    title = f"{word}: {concepts:,} concepts in {len(steps)} step{'s' * (len(steps) > 1)}"
    how = "Each influence with its interval and its share of all on its target. Click a name to start there."
    return _section(title, _note(how) + draw.steps(found, direction))


def _starts(opened: OpenRun, selection: Selection, title: str, clusters: Sequence[int]) -> str:
    return _section(f"{title} ({len(clusters)})", _cards(opened, selection, clusters)) if clusters else ""


def _cards(opened: OpenRun, selection: Selection, clusters: Sequence[int]) -> str:
    return Gallery(opened.lookup, opened.patches, selection.class_).clusters(clusters)


def _classes(text: str, names: Sequence[str]) -> str:
    named = [name for name in names if name != ALL_IMAGES]
    rest = f" and {len(named) - SHOWN_LINKS:,} more" if len(named) > SHOWN_LINKS else ""
    return f"{text}: {', '.join(map(class_button, named[:SHOWN_LINKS]))}{rest}." if named else ""


def _name(lookup: Lookup, cluster: int) -> str:
    return f"{escape(lookup.label(cluster))} (cluster {cluster})"


def _note(text: str) -> str:
    return f'<p class="nc-note">{text}</p>' if text else ""


def _section(title: str, content: str) -> str:
    """A titled part; both are HTML, in which every text of the run is escaped already."""
    return f'<div class="nc-section"><h4>{title}</h4>{content}</div>'
