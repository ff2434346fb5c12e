"""Explore: the map of neurons, the cluster graph and example patches, linked by one selection."""

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
    with right:
        linked.graph(opened, shown)
    st.markdown("##### Example patches")
    st.caption(
        "What the neurons respond to: the parts of the images on which they fire most strongly, strongest first. "
        "Click a name to select it."
    )
    linked.gallery(opened, shown)


open_page("explore", draw)
