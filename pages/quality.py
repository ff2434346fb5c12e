"""Quality: what the clusters, the map and the edges are worth, measured against chance."""

from neurocarto.dashboard import quality, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)
    quality.headline(opened)
    quality.layers(opened)
    quality.ranking(opened)


open_page("quality", draw)
