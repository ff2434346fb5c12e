"""Explore: the map of neurons, the cluster graph and the inspector, linked by one selection."""

import streamlit as st

from neurocarto.dashboard import linked, own_image, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened, own_image.control)
    own_image.panel(opened)
    shown = linked.current_highlight(opened)
    # Side by side on a wide screen; on others the inspector stands beneath the map (shell.py).
    with st.container(key="nc_explore"):
        left, middle, right = st.columns(3)
    with left:
        linked.projection(opened, shown)
    with middle:
        linked.graph(opened, shown)
    with right:
        linked.inspector(opened, shown)


open_page("explore", draw)
