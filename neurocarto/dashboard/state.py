"""The selection in the session and in the URL. Every change goes through `change`."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import streamlit as st

from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import (
    Params,
    Reading,
    Selection,
    Vocabulary,
    from_params,
    restricted,
    to_params,
)
from neurocarto.errors import RunError
from neurocarto.views.highlight import Highlight, highlight

_SELECTION, _WRITTEN, _DROPPED, _OPENING = "nc_selection", "nc_written", "nc_dropped", "nc_opening"

MAX_OPENING = 100
"""Classes that are looked at to choose the one that a run opens with."""


def current() -> Selection:
    """Return what is selected in this session."""
    selection: Selection = st.session_state.get(_SELECTION, Selection())
    return selection


def highlighted(opened: OpenRun, selection: Selection, fires: Mapping[int, float] | None = None) -> Highlight:
    """Return what of a run stands out for a selection. fires: clusters that an image of the visitor's excites."""
    return highlight(
        opened.lookup,
        class_=selection.class_,
        layers=selection.layers,
        clusters=selection.clusters,
        neuron=selection.neuron,
        lasso=selection.lasso,
        show=selection.show,
        fires=fires,
    )


def change(selection: Selection) -> None:
    """Select something else: the one way in which any view changes the selection."""
    st.session_state[_SELECTION] = selection
    st.session_state[_DROPPED] = []
    _write_url(selection)


def dropped() -> list[str]:
    """Return what the last link asked for that does not exist, in plain words."""
    messages: list[str] = st.session_state.get(_DROPPED, [])
    return messages


def restore(open_named: Callable[[str], OpenRun]) -> OpenRun:
    """Bring selection and URL together at the top of a page and return the selected run.

    A URL that this session did not write itself (a link, or the browser's Back) is read. A URL without a selection
    is that of another page just moved to, where the selection comes along, or a first visit, which gets the opening
    view. The "Copy link" component writes the selection into such a URL, in the place of the entry in the history.
    RunError when no run can be opened.
    """
    params = _url()
    anew = st.session_state.pop(_OPENING, None)
    if anew is not None:
        opened = open_named(anew)
        change(opening(opened))
        return opened
    if _SELECTION in st.session_state and params in ({}, st.session_state.get(_WRITTEN)):
        return open_named(current().run)
    reading = from_params(params)
    opened = _open_linked(reading, open_named)
    reading = restricted(reading, vocabulary(opened))
    st.session_state[_SELECTION] = reading.selection if params else opening(opened)
    st.session_state[_DROPPED] = reading.dropped
    st.session_state[_WRITTEN] = params or to_params(current())
    return opened


def _open_linked(reading: Reading, open_named: Callable[[str], OpenRun]) -> OpenRun:
    wanted = reading.selection.run
    try:
        opened = open_named(wanted)
    except RunError as error:
        opened = open_named("")
        if wanted == opened.name:
            raise
        reading.dropped.append(f"The run {wanted!r} cannot be opened, so {opened.name!r} is shown instead ({error}).")
        gone = reading.selection
        if gone != gone.cleared():
            reading.dropped.append("Clusters, neurons and a lasso mean nothing in another run, so none is selected.")
        reading.selection = gone.cleared()
    reading.selection = replace(reading.selection, run=opened.name)
    return opened


def vocabulary(opened: OpenRun) -> Vocabulary:
    """Return what exists in a run."""
    lookup = opened.lookup
    return Vocabulary(
        classes=lookup.classes,
        layers=lookup.layers,
        clusters=lookup.cluster_layer,
        neurons=len(lookup.neuron_cluster),
        snapshots=len(lookup.run.manifest.snapshots),
        confusions=lookup.pairs,
    )


def opening(opened: OpenRun) -> Selection:
    """Return what a run opens with: the class with the most important clusters, nothing selected.

    Classes come first for which the graph reaches up to their own output.
    """
    lookup = opened.lookup
    counts = {name: (lookup.has_output(name), lookup.important_counts[name]) for name in lookup.classes[:MAX_OPENING]}
    best = max((name for name in counts if counts[name][1]), key=counts.__getitem__, default="")
    return Selection(run=opened.name, class_=best)


def open_anew(run: str) -> None:
    """Select a run with nothing else chosen; the page then shows what it opens with."""
    st.session_state[_OPENING] = run
    change(Selection(run=run))


def _url() -> Params:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def _write_url(selection: Selection) -> None:
    params = to_params(selection)
    st.query_params.from_dict(params)
    st.session_state[_WRITTEN] = params
