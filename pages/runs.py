"""Runs: all runs that can be opened, and new ones made in the app."""

from neurocarto.dashboard import library, new_run, watching
from neurocarto.dashboard.shell import open_plain


def draw() -> None:
    """Draw the page."""
    watching.jobs()
    library.runs()
    new_run.form()


open_plain("runs", draw)
