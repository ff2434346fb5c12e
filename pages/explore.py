"""Explore: the map of neurons, the cluster graph and the inspector, linked by one selection."""

import streamlit as st

from neurocarto.dashboard import linked, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)
    shown = linked.current_highlight(opened)
    left, right = st.columns(2)
    with left:
        linked.projection(opened, shown)
        linked.inspector(opened, shown)
    with right:
        linked.graph(opened, shown)


open_page("explore", draw)
