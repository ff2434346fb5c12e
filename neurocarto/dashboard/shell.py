"""The app's frame: page settings, navigation, and what every page does before anything else."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from neurocarto.dashboard import access, components, moves, names, state, widgets
from neurocarto.dashboard.components.scripts import ROOT
from neurocarto.dashboard.loaders import OpenRun, open_run, run_folders
from neurocarto.dashboard.memory import leave_modules_alone, share_heaps
from neurocarto.errors import RunError

_SHELL = "nc_shell"
_ICON = (Path(__file__).parent / "icon.svg").read_text(encoding="utf-8")
_STYLE = f"<style>{(Path(__file__).parent / 'page.css').read_text(encoding='utf-8')}</style>"
PAGES = {
    "explore": ("pages/explore.py", "Explore"),
    "cascade": ("pages/cascade.py", "Cascade"),
    "classes": ("pages/classes.py", "Classes"),
    "quality": ("pages/quality.py", "Quality"),
    "study": ("pages/study.py", "Study"),
    "runs": ("pages/runs.py", "Runs"),
    "about": ("pages/about.py", "About"),
}
"""Each page's file and title. Files are named from ROOT on: Streamlit would look beside the entrypoint."""


def run_app() -> None:
    """Draw the frame and run the page that the URL names. Called by entrypoints only: app.py, deploy/view_only.py."""
    st.session_state[_SHELL] = True
    share_heaps()
    leave_modules_alone()
    _navigation().run()


def open_page(name: str, draw: Callable[[OpenRun], None]) -> None:
    """Show a page: `draw` gets the selected run. A page calls this, or open_plain, and nothing else.

    Where there is no run to show, or it turns out to be damaged, the page says so.
    """
    if not _enter(name):
        return
    folders = run_folders()
    if not folders:
        widgets.no_runs()
        return

    def open_named(run: str) -> OpenRun:
        if run and run not in folders:
            raise RunError("there is no run of that name here")
        chosen = run or next(iter(folders))
        return names.named(open_run(chosen, folders[chosen]))

    try:
        opened = state.restore(open_named)
        for message in state.dropped():
            widgets.notice(message)
        draw(opened)
        components.answers(page=name, version=opened.version, answer=opened.cards.answer)
    except RunError as error:
        widgets.damaged_run(str(error))


def open_plain(name: str, draw: Callable[[], None]) -> None:
    """Show a page that is of no run."""
    if _enter(name):
        draw()


def _enter(name: str) -> bool:
    """Do what comes before every page; returns whether it may be shown: who has to sign in sees nothing before.

    When the first request to a fresh server names a page, Streamlit runs the page without app.py; this
    declares the navigation and starts again through app.py, with the query parameters kept.
    """
    if not st.session_state.get(_SHELL):
        _navigation()
        st.session_state[_SHELL] = True
        st.rerun()
    if not access.granted():
        access.sign_in()
        return False
    wanted = moves.enter(name)
    if wanted:
        st.switch_page(ROOT / PAGES[wanted][0])
    return True


def _navigation() -> "st.Page":
    st.set_page_config(page_title="NeuroCartography", page_icon=_ICON, layout="wide")
    home, *others = PAGES
    path, title = PAGES[home]
    pages = [
        st.Page(ROOT / path, title=title, url_path="home", default=True),
        # The default page answers at the root only; its own name must lead to it too.
        st.Page(ROOT / path, title=title, url_path=home, visibility="hidden"),
        *(st.Page(ROOT / PAGES[name][0], title=PAGES[name][1], url_path=name) for name in others),
    ]
    st.html(_STYLE)
    return st.navigation(pages, position="top" if access.granted() else "hidden")
