"""Cascade: what a cluster feeds and what it is built from, layer after layer, and its way to a class."""

from neurocarto.dashboard import widgets
from neurocarto.dashboard.cascade import cascade
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)
    cascade(opened)


open_page("cascade", draw)
