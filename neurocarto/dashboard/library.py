"""The library of runs: open, export, rename, remove and import them."""

import os
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from neurocarto.dashboard import moves, policy, state, texts, widgets
from neurocarto.dashboard.loaders import ROOT, made_in, run_card, run_folders
from neurocarto.errors import NeurocartoError, RunError
from neurocarto.files import written_size
from neurocarto.runs.archive import export_run, import_run
from neurocarto.runs.library import remove_run, rename_run, restore_run

_SAID, _REMOVED = "nc_library_said", "nc_library_removed"
EXPORTED_HERE = 500e6
"""Bytes of a run up to which the browser gets it from the app's memory."""


def runs() -> None:
    """Show every run with what can be done with it."""
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    with left:
        widgets.heading("Runs", texts.LIBRARY_HOW)
    if not policy.view_only():
        with right.popover("Import a run", width="stretch"):
            _import()
    _say()
    for name, folder in run_folders().items():
        with st.container(border=True, key=f"nc_run_{_key(folder)}"):
            _run(name, folder)


def _run(name: str, folder: Path) -> None:
    picture, about, actions = st.columns([1.35, 4.4, 2], vertical_alignment="center")
    key = _key(folder)
    try:
        card = run_card(folder)
    except RunError as error:
        about.html(f"<strong>{escape(name)}</strong><br>{escape(str(error))}")
        return
    picture.html(card.picture)
    about.html(f'<strong>{escape(name)}</strong><div class="nc-how">{card.facts}</div>')
    with actions:
        st.button("Open", key=f"nc_open_{key}", width="stretch", on_click=open_run, args=(name,))
        first, second = st.columns(2)
        with first:
            _export(folder, card.bytes, key)
        if editable(folder):
            with second.popover("More", width="stretch"):
                _change(name, folder, key)


def open_run(name: str) -> None:
    """Show a run on Explore."""
    state.open_anew(name)
    moves.go("explore")


def _export(folder: Path, size: int, key: str) -> None:
    if size > EXPORTED_HERE:
        st.button(
            "Export", key=f"nc_export_{key}", width="stretch", disabled=True, help=texts.export_by_command(folder)
        )
        return

    def content() -> bytes:
        with TemporaryDirectory(prefix="neurocarto-") as place:
            return export_run(folder, Path(place) / f"{folder.name}.zip").read_bytes()

    st.download_button(
        "Export",
        content,
        f"{folder.name}.zip",
        "application/zip",
        key=f"nc_export_{key}",
        width="stretch",
        on_click="ignore",
        help=f"the whole run as one .zip, about {written_size(size)}",
    )


def _change(name: str, folder: Path, key: str) -> None:
    new = st.text_input("New name", folder.name, key=f"nc_name_{key}", max_chars=80, help=texts.RENAME_HOW)
    st.button(
        "Rename",
        key=f"nc_rename_{key}",
        disabled=new.strip() in {"", folder.name},
        on_click=_rename,
        args=(folder, new),
    )
    st.divider()
    sure = st.checkbox(f"Yes, remove {widgets.plain(name)}", key=f"nc_sure_{key}")
    st.button("Remove", key=f"nc_remove_{key}", disabled=not sure, on_click=_remove, args=(folder,))


def _rename(folder: Path, name: str) -> None:
    try:
        new = rename_run(folder, name)
    except RunError as error:
        st.session_state[_SAID] = str(error)
        return
    st.session_state[_SAID] = f"{folder.name} is called {new.name} now. Links that name it as before no longer find it."
    _forget_selection()


def _remove(folder: Path) -> None:
    try:
        st.session_state[_REMOVED] = remove_run(folder)
    except RunError as error:
        st.session_state[_SAID] = str(error)
        return
    st.session_state[_SAID] = f"{folder.name} was removed."
    _forget_selection()


def _restore() -> None:
    try:
        st.session_state[_SAID] = f"{restore_run(st.session_state.pop(_REMOVED)).name} is back."
    except RunError as error:
        st.session_state[_SAID] = str(error)


def _forget_selection() -> None:
    """Let the other pages open on a run that exists."""
    if state.current().run not in run_folders():
        state.open_anew(next(iter(run_folders()), ""))


def _import() -> None:
    st.caption(texts.IMPORT_HOW)
    given = st.file_uploader("A run as .zip", type="zip", key="nc_import", label_visibility="collapsed")
    if given is not None and st.button("Import", key="nc_import_go", type="primary"):
        try:
            with st.spinner("Unpacking and checking"):
                folder = import_run(given, made_in())  # under its own name, so that links to it open here too
            st.session_state[_SAID] = f"{folder.name} was imported and is whole."
        except NeurocartoError as error:
            st.session_state[_SAID] = str(error)
        st.rerun()


def _say() -> None:
    said = st.session_state.pop(_SAID, "")
    if said:
        widgets.notice(said)
    if _REMOVED in st.session_state:
        st.button("Undo: bring the removed run back", key="nc_restore", on_click=_restore)


def editable(folder: Path) -> bool:
    """Whether a run may be renamed and removed here: not where only viewing is allowed, and not what comes with us."""
    bundled = folder.is_relative_to(ROOT / "data")
    return not policy.view_only() and not bundled and os.access(folder.parent, os.W_OK)


def _key(folder: Path) -> str:
    return "".join(c if c.isalnum() else "_" for c in str(folder))
