"""Small pieces of page: filters, messages, empty states. Texts from a run or a link are only shown escaped."""

import re
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import streamlit as st

from neurocarto.dashboard import components, exports, moves, state
from neurocarto.dashboard.components import Event
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun, index_data, names_data, run_folders
from neurocarto.dashboard.selection import Selection, query_string
from neurocarto.views.lookup import Lookup

SHOWING_SELECTION = ("explore", "cascade")
"""Pages on which one sees what is selected."""
_BOX = (
    "padding:{padding};border-radius:8px;border:1px solid color-mix(in srgb,currentColor 22%,transparent);"
    "background:color-mix(in srgb,currentColor 4%,transparent);overflow-wrap:anywhere"
)


def heading(title: str, how: str) -> None:
    """Name a view, and say in one line what it shows and how to read it."""
    st.html(f'<h5 class="nc-heading">{escape(title)}</h5><p class="nc-how">{escape(how)}</p>')


def notice(text: str) -> None:
    """Say something plainly above the page."""
    st.html(f'<div role="status" style="{_BOX.format(padding="8px 14px")}">{escape(text)}</div>')


def empty(title: str, advice: str) -> None:
    """Fill the place of a view that has nothing to show: why, and what to do."""
    style = _BOX.format(padding="64px 32px") + ";text-align:center"
    st.html(f'<div role="status" style="{style}"><strong>{escape(title)}</strong><br>{escape(advice)}</div>')


def plain(text: str) -> str:
    """Return a text so that Streamlit's Markdown shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>~:$-])", r"\\\1", text)


def no_runs() -> None:
    """Explain how to make the first run."""
    st.title("No run to show yet")
    st.markdown(
        "A *run* is what NeuroCartography computes from a model and a folder of images. Make one from your own "
        "images (subfolders are taken as classes), then reload this page:"
    )
    st.code("python -m neurocarto run --images FOLDER --out runs/NAME", language="bash")
    st.markdown(
        "The app looks for runs in `data/` and `runs/` of the project, and in the folders that the environment "
        "variable `NEUROCARTO_RUNS` names."
    )


def damaged_run(message: str) -> None:
    """Say that the selected run cannot be opened, and offer the others."""
    st.title("This run cannot be opened")
    notice(message)
    for index, name in enumerate(run_folders()):
        # Buttons show Markdown, so the name stands beside the button as plain text.
        left, right = st.columns([1, 5], vertical_alignment="center")
        left.button("Open", key=f"nc_other_{index}", on_click=state.change, args=(Selection(run=name),))
        right.html(escape(name))


def filters(opened: OpenRun, beside: Callable[[OpenRun], None] | None = None) -> None:
    """Show the bar that every page shares: run, class and layers with their counts, clear, and the link.

    beside: draws what a page has in it besides.
    """
    selection, lookup = state.current(), opened.lookup
    widths = [1.7, 2.9, 1.8, 2.35, 1.45, *([] if beside is None else [1.35]), 1.1, 1.15]
    run, class_, layers, find, clear, *more, out, link = st.columns(widths, vertical_alignment="bottom")
    with run:
        _run_filter(opened)
    with class_:
        _class_filter(lookup, selection)
    with layers:
        _layer_filter(lookup, selection)
    with find:
        components.publish("index", opened.version, index_data(opened))
        components.publish("names", opened.named_version, names_data(opened))
        components.search(
            version=opened.version, names=opened.named_version, on_event=lambda event: _found(opened, event)
        )
    clear.button(
        "Clear selection",
        key="nc_clear",
        disabled=selection.is_empty,
        on_click=lambda: state.change(state.current().cleared()),
        width="stretch",
    )
    if beside:
        with more[0]:
            beside(opened)
    with out:
        exports.popover(opened)
    with link:
        components.copy_link(query=query_string(selection))


def run_and_link(opened: OpenRun) -> None:
    """Show the bar of a page on which nothing but the run is chosen."""
    run, _, link = st.columns([1.7, 9.45, 1.05], vertical_alignment="bottom")
    with run:
        _run_filter(opened)
    with link:
        components.copy_link(query=query_string(state.current()))


def _found(opened: OpenRun, event: Event) -> None:
    on_event(opened, event)
    # A neuron or a cluster is seen where it can be looked at; a class on every page.
    if "name" not in event and moves.current() not in SHOWING_SELECTION:
        moves.go(SHOWING_SELECTION[0])


def field(key: str, shown: Any, choose: Callable[[Any], None]) -> dict[str, Any]:
    """Return the key and callback of one of Streamlit's fields: it shows a value, and `choose` hears of another one.

    Every message from the browser brings the values of all fields along, and Streamlit (1.67) reports those that
    differ from what it knows. A message sent before a newly shown value has arrived would so take that value back, so a
    field that is to show what nobody chose in it is a new one, whose key ends in the next number; and what a field
    shows anyway was not chosen by anyone.
    """
    number = f"{key}_number"
    st.session_state.setdefault(number, 0)
    if st.session_state.get(f"{key}_{st.session_state[number]}", shown) != shown:
        st.session_state[number] += 1
    named = f"{key}_{st.session_state[number]}"
    st.session_state[named] = shown

    def changed() -> None:
        if st.session_state.get(named, shown) != shown:
            choose(st.session_state[named])

    return {"key": named, "on_change": changed}


def _run_filter(opened: OpenRun) -> None:
    # Nothing but the run is chosen: what it opens with is decided when it is open.
    st.selectbox("Run", list(run_folders()), **field("nc_run", opened.name, state.open_anew))


def _class_filter(lookup: Lookup, selection: Selection) -> None:
    st.selectbox(
        "Class",
        ["", *lookup.classes],
        format_func=lambda name: class_caption(lookup, name),
        **field("nc_class", selection.class_, lambda name: state.change(replace(state.current(), class_=name or ""))),
    )


def class_caption(lookup: Lookup, name: str) -> str:
    """Return a class's name with its kind and the number of its important clusters."""
    if not name:
        return f"All images ({len(lookup.clusters):,} clusters)"
    return f"{name} ({lookup.class_kinds[name]}, {lookup.important_counts[name]:,} clusters)"


def _layer_filter(lookup: Lookup, selection: Selection) -> None:
    channels = {layer.name: layer.channels for layer in lookup.run.manifest.layers}

    def choose(chosen: list[str]) -> None:
        state.change(replace(state.current(), layers=tuple(name for name in lookup.layers if name in chosen)))

    st.multiselect(
        "Layers",
        lookup.layers,
        format_func=lambda name: f"{name} ({channels[name]:,} neurons)",
        placeholder=f"All {len(lookup.layers)} layers",
        **field("nc_layers", list(selection.layers), choose),
    )
