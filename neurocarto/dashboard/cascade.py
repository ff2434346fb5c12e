"""The cascade page: the flow from what is selected, and what is said of it."""

from neurocarto.dashboard import cascade_html, components, state, widgets
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.linked import current_highlight
from neurocarto.dashboard.loaders import OpenRun, cascade_data, encoded
from neurocarto.dashboard.selection import MAX_BRANCHES, Selection
from neurocarto.views.cascade import Cascade
from neurocarto.views.palette import SELECTED


def cascade(opened: OpenRun) -> None:
    """Show the cascade of what is selected, or how to choose where it starts."""
    selection = state.current()
    widgets.heading(
        "Cascade",
        "From one cluster, in the coloured frame: to its left what it is built from, to its right what it feeds, layer "
        "after layer. Play the steps; click a picture to pin it.",
    )
    start, others = start_of(opened, selection)
    if start is None:
        html = cascade_html.starts_html(opened, selection)
    else:
        found, content = cascade_data(opened, start, selection.class_, selection.branches)
        if found.strong:
            _flow(opened, found, content)
        html = cascade_html.html(opened, selection, found, others)
    components.gallery(html=html, on_event=lambda event: on_event(opened, event))


def start_of(opened: OpenRun, selection: Selection) -> tuple[int | None, list[int]]:
    """Return the cluster that the cascade starts from, None for none, and the others that are selected.

    A neuron's own cluster comes first, then the first that stands out.
    """
    clusters = list(current_highlight(opened).clusters)
    if selection.neuron is None or selection.lasso:
        return (clusters[0], clusters[1:]) if clusters else (None, [])
    own = int(opened.lookup.neuron_cluster[selection.neuron])
    return (own if own >= 0 else None), [cluster for cluster in clusters if cluster != own]


def _flow(opened: OpenRun, found: Cascade, content: dict[str, object]) -> None:
    version = f"{opened.named_version} {found.class_} {found.start} {found.count}"
    components.publish("cascade", version, encoded(content))
    components.cascade(
        version=version,
        highlight={
            "clusters": [found.start],
            "accent": SELECTED,
            "summary": f"{found.shown} concepts around {opened.lookup.label(found.start)}",
            "controls": {"branches": branches_control(found)},
            "over": "influence " + cascade_html.over(found, state.current().class_),
            "empty": None if found.count else ("No concept per step", "Allow more per step below."),
        },
        on_event=lambda event: on_event(opened, event),
    )


def branches_control(found: Cascade) -> dict[str, float | str]:
    """Return the slider for the concepts per step, with the count that is shown."""
    text = f"Up to {found.count} per step: {found.shown} of {found.available} concepts"
    return {"min": 0, "max": MAX_BRANCHES, "step": 1, "value": found.count, "text": text}
