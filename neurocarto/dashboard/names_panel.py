"""Names of clusters as a file: the ways in and out, and what cannot be kept."""

import streamlit as st

from neurocarto.dashboard import names, texts, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.runs.names import FILE_NAME, LARGEST

_LOADED, _FIELD = "nc_names_loaded", "nc_names_field"
"""In the session: what came of the last file, and the number of the field for the next."""


def button(opened: OpenRun) -> None:
    """Show how many clusters have a name; behind it are the ways in and out for a file of them."""
    shown = opened.lookup.names
    key = f"nc_names_file_{st.session_state.get(_FIELD, 0)}"
    with st.popover(f"Names ({len(shown):,})", key="nc_names_panel"):
        st.caption(texts.NAMES_HOW if names.are_kept(opened) else f"{texts.NAMES_HOW} {texts.NAMES_UNKEPT}")
        st.download_button(
            "Download names",
            lambda: shown.to_json(opened.run.manifest.run_id),
            FILE_NAME,
            "application/json",
            key="nc_names_download",
            on_click="ignore",
            disabled=not shown.entries,
        )
        size = LARGEST // 2**20
        st.file_uploader("Load names", "json", key=key, on_change=_receive, args=(opened, key), max_upload_size=size)


def lines(opened: OpenRun) -> None:
    """Say what there is to say of a run's names, and what came of the file that was just loaded."""
    loaded = st.session_state.pop(_LOADED, "")
    for line in filter(None, [*names.lines(opened), loaded]):
        widgets.notice(line)


def _receive(opened: OpenRun, key: str) -> None:
    """Load the file that a person has chosen; the field for the next is an empty one."""
    file = st.session_state.get(key)
    if file is not None:
        st.session_state[_FIELD] = st.session_state.get(_FIELD, 0) + 1
        st.session_state[_LOADED] = names.load(opened, file.getvalue())
