"""The browser half of the views: Streamlit components that keep one Plotly chart and one vis-network alive.

Large, rarely changing data (points, nodes, pictures) goes through `publish`, whose message the browser
caches, so it crosses the wire once; what is selected goes to the views in small messages of its own. What
only matters while one looks around (the card under the mouse, the whole image behind a patch) the views
ask for, and `answers` sends it without the page running again.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from neurocarto.dashboard import moves
from neurocarto.dashboard.components.scripts import ROOT, SCRIPTS, copy_scripts

Event = dict[str, Any]
MAX_ASKED = 150
_ASKED, _HEARD, _RUNS = "nc_asked", "nc_heard", "nc_runs"
_FOLDER = Path(__file__).parent


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_PARTS = {
    "cascade": ("graph", "naming", "cascade"),
    "gallery": ("naming", "gallery"),
    "own": ("naming", "gallery", "own"),
}
"""Components whose class builds on others: the scripts in their order. Each of its messages carries them."""


@cache
def _component(name: str) -> Any:
    """Register a component: its class behind the shared script, and an empty root.

    The style sheet comes with the first component of every page, and holds for all of them.
    """
    scripts = ("common", *_PARTS.get(name, (name,)))
    return st.components.v2.component(
        f"neurocarto_{name}",
        html=f'<div class="nc nc-{name}"></div>',
        css=_read("style.css") if name == "preload" else None,
        js="".join(_read(f"{part}.js") for part in scripts) + f"\nexport default component({name.capitalize()});\n",
        isolate_styles=False,
    )


def preload(beside: Path = ROOT) -> None:
    """Bring the style sheet, and let the browser read the views' scripts while Python imports what makes the views.

    beside: the folder of the app's entrypoint, in whose static/ Streamlit looks for what it serves.
    """
    copy_scripts(beside)
    _component("preload")(key="nc_preload", data={"scripts": list(SCRIPTS)})


def publish(name: str, version: str, content: bytes) -> None:
    """Send data that a view refers to by name and version. Unchanged content is not sent again.

    content: JSON, made once; Streamlit would make the text of a dictionary anew, twice, in every run of the page.
    """
    head = json.dumps([name, version]).encode()
    _component("publish")(key=f"nc_publish_{name}", data=head + b"\n" + content)


def answers(*, page: str, version: str, answer: Callable[[str], Any]) -> None:
    """Answer what the views ask for, in a fragment of its own, so that looking around runs no page.

    answer: returns the answer to one question as JSON, None where there is none; page: its name; version: of
    the run, so that no view gets an answer about another one. How many pages have run, and which event was heard last,
    tell the browser that what it waits for has come. At most MAX_ASKED questions are answered at once.
    """
    st.session_state[_RUNS] = runs = st.session_state.get(_RUNS, 0) + 1
    _answers({"page": page, "runs": runs, "version": version, "heard": st.session_state.get(_HEARD, 0)}, answer)


@st.fragment
def _answers(about: dict[str, Any], answer: Callable[[str], Any]) -> None:
    key = "nc_answers"

    def receive() -> None:
        asked = _received(key)
        st.session_state[_ASKED] = asked if isinstance(asked, list) else []

    questions = [text for text in st.session_state.pop(_ASKED, [])[:MAX_ASKED] if isinstance(text, str)]
    found = {text: answer(text) for text in questions}
    _component("answers")(key=key, data={**about, "answers": found}, on_event_change=receive)


def projection(*, version: str, highlight: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    """Show the published projection in the published colours.

    Events: {kind: click, neuron, add}, {kind: lasso, polygon}, {kind: clear},
    {kind: choose, name: link key, value}.
    """
    _mount("projection", {"version": version, **highlight}, on_event)


def graph(*, version: str, highlight: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    """Show the published cluster graph. Events as of the projection, but {kind: click, cluster, add} and no lasso."""
    _mount("graph", {"version": version, **highlight}, on_event)


def cascade(*, version: str, highlight: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    """Show the published cascade.

    Events: {kind: select, cluster, page}, {kind: choose, name, value}, {kind: clear},
    {kind: name, cluster, name, note}.
    """
    _mount("cascade", {"version": version, **highlight}, on_event)


def matrix(*, version: str, highlight: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    """Show the published matrix of classes. Events: {kind: compare, first, second}, {kind: class, name}."""
    _mount("matrix", {"version": version, **highlight}, on_event)


def gallery(*, html: str, on_event: Callable[[Event], None], name: str = "gallery") -> None:
    """Show cards (escaped HTML).

    Events: {kind: click, cluster or neuron, add, page}, {kind: class, name, page}, {kind: name, cluster, name, note}.
    A button's data-event holds any other event as JSON. name: where a page shows several, that of this one.
    """
    _mount("gallery", {"html": html}, on_event, f"nc_{name}")


def own_image(*, html: str, on_event: Callable[[Event], None]) -> None:
    """Show a visitor's image with its cards (escaped HTML). Events as of the gallery."""
    _mount("own", {"html": html}, on_event)


def study(*, html: str, question: int, on_event: Callable[[Event], None]) -> None:
    """Show a question of a study (escaped HTML). Events: {kind: answer, question, place, seconds}."""
    _mount("study", {"html": html, "question": question}, on_event)


def search(*, version: str, names: str, on_event: Callable[[Event], None]) -> None:
    """Show the search box over the published index and names. Events: {kind: select, cluster, neuron or name}."""
    _mount("search", {"version": version, "names": names}, on_event)


def copy_link(*, query: str) -> None:
    """Show a link to this page with a query string; clicking it copies its address."""
    _component("link")(key="nc_link", data={"query": query})


def export(*, query: str, citation: str) -> None:
    """Show how to take away the figures on the page, and a citation with a link to this page with a query string."""
    _component("export")(key="nc_export_figures", data={"query": query, "citation": citation})


def _mount(name: str, data: dict[str, Any], on_event: Callable[[Event], None], key: str = "") -> None:
    key = key or f"nc_{name}"

    def receive() -> None:
        event = _received(key)
        if isinstance(event, dict):
            # Where several arrive at once, they come in no order.
            st.session_state[_HEARD] = max(st.session_state.get(_HEARD) or 0, event.get("number", 0))
            on_event(event)
        elif event is None:
            st.session_state[_HEARD] = None
            moves.go(moves.current())

    _component(name)(key=key, data=data, on_event_change=receive)


def _received(key: str) -> Any:
    """Return what the browser sent to a component, None where that is lost.

    Where the page has changed while it was on its way, Streamlit (1.67) has dropped the component's state but calls
    for the event all the same; the event is read together with the state, so an empty one takes its place.
    """
    if key not in st.session_state:
        st.session_state[key] = {}
    return st.session_state[key].get("event")
