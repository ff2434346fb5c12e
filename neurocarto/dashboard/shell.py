"""The app's frame: page settings, navigation, and what every page does before anything else."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from neurocarto.dashboard import components, state, widgets
from neurocarto.dashboard.components.scripts import copy_scripts
from neurocarto.dashboard.loaders import OpenRun, open_run, run_folders
from neurocarto.dashboard.memory import share_heaps
from neurocarto.errors import RunError

_SHELL, _PATH = "nc_shell", "nc_path"
_ICON = (Path(__file__).parent / "icon.svg").read_text(encoding="utf-8")
_STYLE = """<style>
.stMainBlockContainer { padding: 3.9rem clamp(1rem, 2vw, 2.5rem) 2rem; }
.st-key-nc_explore [data-testid="stHorizontalBlock"] { display: grid; gap: 1rem 1.2rem; grid-template: auto 1fr / 1fr 1fr; }
.st-key-nc_explore [data-testid="stColumn"] { width: auto; min-width: 0; }
.st-key-nc_explore [data-testid="stColumn"]:nth-child(2) { grid-row: 1 / 3; grid-column: 2; position: sticky; top: 3.9rem; align-self: start; }
@media (min-width: 1640px) {
  .st-key-nc_explore [data-testid="stHorizontalBlock"] { grid-template: auto / 1fr 1fr 1fr; }
  .st-key-nc_explore [data-testid="stColumn"]:nth-child(2) { grid-row: auto; }
  .st-key-nc_explore [data-testid="stColumn"]:nth-child(1) { position: sticky; top: 3.9rem; align-self: start; }
}
@media (max-width: 760px) {
  .st-key-nc_explore [data-testid="stHorizontalBlock"] { grid-template: none / 1fr; }
  .st-key-nc_explore [data-testid="stColumn"]:nth-child(2) { grid-row: auto; grid-column: auto; position: static; }
}
.nc-heading { margin: 0; padding: 0; font-size: 1.1rem; font-weight: 600; }
.nc-how { margin: 2px 0 0; font-size: .86rem; line-height: 1.4; opacity: .72; }
</style>"""
"""Streamlit's page leaves a third of a laptop's screen empty; the views need it."""
PAGES = {
    "explore": ("pages/explore.py", "Explore"),
    "cascade": ("pages/cascade.py", "Cascade"),
    "classes": ("pages/classes.py", "Classes"),
    "about": ("pages/about.py", "About"),
}


def run_app() -> None:
    """Draw the frame and run the page that the URL names. Called by app.py only."""
    st.session_state[_SHELL] = True
    share_heaps()
    copy_scripts()
    page = _navigation()
    st.session_state[_PATH] = page.url_path
    page.run()


def open_page(name: str, draw: Callable[[OpenRun], None]) -> None:
    """Show a page: `draw` gets the selected run. Every page calls this and nothing else.

    When the first request to a fresh server names a page, Streamlit runs the page without app.py; this
    declares the navigation and starts again through app.py, with the query parameters kept. Where there
    is no run to show, or it turns out to be damaged, the page says so.
    """
    if not st.session_state.get(_SHELL):
        _navigation()
        st.session_state[_SHELL] = True
        st.rerun()
    wanted = state.enter(name)
    if wanted:
        st.switch_page(PAGES[wanted][0])
    folders = run_folders()
    if not folders:
        widgets.no_runs()
        return

    def open_named(run: str) -> OpenRun:
        if run and run not in folders:
            raise RunError("there is no run of that name here")
        chosen = run or next(iter(folders))
        return open_run(chosen, folders[chosen])

    try:
        opened = state.restore(st.session_state.get(_PATH, name), open_named)
        for message in state.dropped():
            widgets.notice(message)
        draw(opened)
        components.answers(version=opened.version, answer=opened.cards.answer)
    except RunError as error:
        widgets.damaged_run(str(error))


def _navigation() -> "st.Page":
    st.set_page_config(page_title="NeuroCartography", page_icon=_ICON, layout="wide")
    home, *others = PAGES
    path, title = PAGES[home]
    pages = [
        st.Page(Path(path), title=title, url_path="home", default=True),
        # The default page answers at the root only; its own name must lead to it too.
        st.Page(Path(path), title=title, url_path=home, visibility="hidden"),
        *(st.Page(Path(PAGES[name][0]), title=PAGES[name][1], url_path=name) for name in others),
    ]
    st.html(_STYLE)
    return st.navigation(pages, position="top")
