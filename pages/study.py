"""Study: the intruder test for people, by a link and without a word on what is right before the end."""

from neurocarto.dashboard import study, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.run_and_link(opened)
    study.study(opened)


open_page("study", draw)
