"""Classes: two of them side by side, all of them by similarity, and what goes with errors."""

import streamlit as st

from neurocarto.dashboard import classes, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        classes.comparison(opened)
    with right:
        classes.all_classes(opened)
    classes.ranking(opened)
    classes.errors(opened)


open_page("classes", draw)
