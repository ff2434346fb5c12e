"""Cascade."""

from neurocarto.dashboard import widgets
from neurocarto.dashboard.shell import open_page

open_page("cascade", widgets.filters)
