"""The browser half of the views: Streamlit components that keep one Plotly chart and one vis-network alive.

Large, rarely changing data (points, nodes, pictures) goes through `publish`, whose message the browser
caches, so it crosses the wire once; what is selected goes to the views in small messages of its own.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

Event = dict[str, Any]
_FOLDER = Path(__file__).parent


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _component(name: str) -> Any:
    """Register a component: its script behind the shared one, the shared style sheet, and an empty root."""
    return st.components.v2.component(
        f"neurocarto_{name}",
        html=f'<div class="nc nc-{name}"></div>',
        css=_read("style.css"),
        js=_read("common.js") + _read(f"{name}.js"),
        isolate_styles=False,
    )


def publish(name: str, version: str, content: dict[str, Any]) -> None:
    """Send data that a view refers to by name and version. Unchanged content is not sent again."""
    _component("publish")(key=f"nc_publish_{name}", data={"name": name, "version": version, "content": content})


def projection(*, version: str, highlight: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    """Show the published projection in the published colours.

    Events: {kind: click, neuron, add}, {kind: lasso, polygon}, {kind: clear},
    {kind: choose, name: colour or show, value}.
    """
    _mount("projection", {"version": version, **highlight}, on_event)


def graph(*, version: str, highlight: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    """Show the published cluster graph. Events: {kind: click, cluster, add}, {kind: clear}."""
    _mount("graph", {"version": version, **highlight}, on_event)


def gallery(*, html: str, on_event: Callable[[Event], None]) -> None:
    """Show a gallery (escaped HTML). Events: {kind: click, cluster or neuron, add}."""
    _mount("gallery", {"html": html}, on_event)


def copy_link(*, query: str) -> None:
    """Show a link to this page with a query string; clicking it copies its address."""
    _component("link")(key="nc_link", data={"query": query})


def _mount(name: str, data: dict[str, Any], on_event: Callable[[Event], None]) -> None:
    key = f"nc_{name}"

    def receive() -> None:
        event = st.session_state[key].get("event")
        if isinstance(event, dict):
            on_event(event)

    _component(name)(key=key, data=data, on_event_change=receive)
