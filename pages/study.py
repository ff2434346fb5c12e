"""Study."""

from neurocarto.dashboard import widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)


open_page("study", draw)
