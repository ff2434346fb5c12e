"""The selection in the session and in the URL. Every change goes through `change`."""

from collections.abc import Callable

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

_SELECTION, _WRITTEN, _PAGE, _DROPPED, _OPENING = (
    "nc_selection", "nc_written", "nc_page", "nc_dropped", "nc_opening",
)  # fmt: skip

MAX_OPENING = 100
"""Classes that are looked at to choose the one that a run opens with."""


def current() -> Selection:
    """Return what is selected in this session."""
    selection: Selection = st.session_state.get(_SELECTION, Selection())
    return selection


def change(selection: Selection) -> None:
    """Select something else: the one way in which any view changes the selection."""
    st.session_state[_SELECTION] = selection
    st.session_state[_DROPPED] = []
    _write_url(selection)


def dropped() -> list[str]:
    """Return what the last link asked for that does not exist, in plain words."""
    messages: list[str] = st.session_state.get(_DROPPED, [])
    return messages


def restore(page: str, open_named: Callable[[str], OpenRun]) -> OpenRun:
    """Bring selection and URL together at the top of a page and return the selected run.

    A URL that this session did not write itself (a link, or the browser's Back) is read. A URL without
    a selection means the opening view, except right after moving to another page: then the selection
    comes along. RunError when no run can be opened.
    """
    params = _url()
    moved = st.session_state.get(_PAGE) not in (None, page)
    st.session_state[_PAGE] = page
    known = _SELECTION in st.session_state
    anew = st.session_state.pop(_OPENING, None)
    if anew is not None:
        opened = open_named(anew)
        change(opening(opened))
        return opened
    if known and params == st.session_state.get(_WRITTEN):
        return open_named(current().run)
    if known and moved and not params:
        _write_url(current())
        return open_named(current().run)
    reading = from_params(params)
    opened = _open_linked(reading, open_named)
    reading = restricted(reading, vocabulary(opened))
    st.session_state[_SELECTION] = reading.selection if params else opening(opened)
    st.session_state[_DROPPED] = reading.dropped
    st.session_state[_WRITTEN] = params
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
        reading.selection = Selection(run=opened.name)
        return opened
    reading.selection = Selection(**{**vars(reading.selection), "run": opened.name})
    return opened


def vocabulary(opened: OpenRun) -> Vocabulary:
    """Return what exists in a run."""
    lookup = opened.lookup
    return Vocabulary(lookup.classes, lookup.layers, lookup.cluster_layer, len(lookup.neuron_cluster))


def opening(opened: OpenRun) -> Selection:
    """Return what a run opens with: the class with the most important clusters, nothing selected.

    Classes come first for which the graph reaches up to their own output.
    """
    lookup = opened.lookup
    counts = {name: (lookup.has_output(name), len(lookup.important(name))) for name in lookup.classes[:MAX_OPENING]}
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
