"""Classes."""

from neurocarto.dashboard import widgets
from neurocarto.dashboard.shell import open_page

open_page("classes", widgets.filters)
