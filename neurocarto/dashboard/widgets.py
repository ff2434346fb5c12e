"""Small pieces of page: filters, messages, empty states. Texts from a run or a link are only shown escaped."""

from dataclasses import replace
from html import escape

import streamlit as st

from neurocarto.dashboard import state
from neurocarto.dashboard.components import copy_link
from neurocarto.dashboard.loaders import OpenRun, run_folders
from neurocarto.dashboard.selection import MAX_EDGES, Selection, query_string
from neurocarto.views.lookup import Lookup

_BOX = (
    "padding:{padding};border-radius:8px;border:1px solid color-mix(in srgb,currentColor 22%,transparent);"
    "background:color-mix(in srgb,currentColor 4%,transparent);overflow-wrap:anywhere"
)


def notice(text: str) -> None:
    """Say something plainly above the page."""
    st.html(f'<div role="status" style="{_BOX.format(padding="8px 14px")}">{escape(text)}</div>')


def empty(title: str, advice: str) -> None:
    """Fill the place of a view that has nothing to show: why, and what to do."""
    style = _BOX.format(padding="64px 32px") + ";text-align:center"
    st.html(f'<div role="status" style="{style}"><strong>{escape(title)}</strong><br>{escape(advice)}</div>')


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


def filters(opened: OpenRun) -> None:
    """Show the bar that every page shares: run, class and layers with their counts, clear, and the link."""
    selection, lookup = state.current(), opened.lookup
    run, class_, layers, clear, link = st.columns([2.1, 3.5, 3.9, 1.5, 1.1], vertical_alignment="bottom")
    with run:
        _run_filter(opened)
    with class_:
        _class_filter(lookup, selection)
    with layers:
        _layer_filter(lookup, selection)
    clear.button(
        "Clear selection",
        key="nc_clear",
        disabled=selection.is_empty,
        on_click=lambda: state.change(state.current().cleared()),
        width="stretch",
    )
    with link:
        copy_link(query=query_string(selection))


def _run_filter(opened: OpenRun) -> None:
    st.session_state["nc_run"] = opened.name
    st.selectbox("Run", list(run_folders()), key="nc_run", on_change=_choose_run)


def _choose_run() -> None:
    # Nothing but the run: what it opens with is decided when it is open.
    state.open_anew(st.session_state["nc_run"])


def _class_filter(lookup: Lookup, selection: Selection) -> None:
    st.session_state["nc_class"] = selection.class_
    st.selectbox(
        "Class",
        ["", *lookup.classes],
        key="nc_class",
        format_func=lambda name: class_caption(lookup, name),
        on_change=lambda: state.change(replace(state.current(), class_=st.session_state["nc_class"] or "")),
    )


def class_caption(lookup: Lookup, name: str) -> str:
    """Return a class's name with its kind and the number of its important clusters."""
    if not name:
        return f"All images ({len(lookup.clusters):,} clusters)"
    return f"{name} ({lookup.class_kinds[name]}, {len(lookup.important(name)):,} clusters)"


def graph_filters(lookup: Lookup, selection: Selection) -> None:
    """Show what thins the graph out: the least importance, with the count that remains, and edges per cluster."""
    least, edges = st.columns(2)
    low = 0.5 if selection.class_ else 0.0
    found = lookup.importances(selection.class_).values()
    count = sum(value >= selection.least for value in found)
    st.session_state["nc_least"] = max(selection.least, low)
    st.session_state["nc_edges"] = selection.edges
    least.slider(
        f"Least importance: {count:,} of {len(found):,} clusters pass",
        low, 1.0, step=0.01, key="nc_least",
        on_change=lambda: state.change(replace(state.current(), least=_above(st.session_state["nc_least"], low))),
    )  # fmt: skip
    edges.slider(
        "Strongest edges of each cluster",
        0, MAX_EDGES, key="nc_edges",
        on_change=lambda: state.change(replace(state.current(), edges=st.session_state["nc_edges"])),
    )  # fmt: skip


def _above(value: float, low: float) -> float:
    return 0.0 if value <= low else round(value, 2)


def _layer_filter(lookup: Lookup, selection: Selection) -> None:
    st.session_state["nc_layers"] = list(selection.layers)
    channels = {layer.name: layer.channels for layer in lookup.run.manifest.layers}

    def choose() -> None:
        chosen = set(st.session_state["nc_layers"])
        state.change(replace(state.current(), layers=tuple(name for name in lookup.layers if name in chosen)))

    st.multiselect(
        "Layers",
        lookup.layers,
        key="nc_layers",
        format_func=lambda name: f"{name} ({channels[name]:,} neurons)",
        placeholder=f"All {len(lookup.layers)} layers ({len(lookup.neuron_layer):,} neurons)",
        on_change=choose,
    )
