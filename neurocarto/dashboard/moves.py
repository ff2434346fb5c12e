"""Which page the session is on, and which one a view has asked for."""

import streamlit as st

_PAGE, _WANTED = "nc_page", "nc_wanted"


def enter(page: str) -> str | None:
    """Note the page that is being drawn; return another one if a view has asked for it."""
    wanted: str | None = st.session_state.pop(_WANTED, None)
    if wanted not in (None, page):
        return wanted
    st.session_state[_PAGE] = page
    return None


def current() -> str:
    """Return the page that the session is on, empty before the first."""
    return str(st.session_state.get(_PAGE, ""))


def go(page: str) -> None:
    """Ask for another page, which the next run of the script opens with the selection."""
    st.session_state[_WANTED] = page
