"""What people call clusters: kept beside the run, or in the session where nothing can be kept there."""

import os
from pathlib import Path

import streamlit as st

from neurocarto.dashboard import texts
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.policy import view_only
from neurocarto.errors import NamesError
from neurocarto.runs.names import FILE_NAME, Change, Names, keep, merge, parse, read

_MINE, _PROBLEM = "nc_names", "nc_names_problem"
"""In the session: by run the names that are not beside it, and why the last could not be kept there."""


def named(opened: OpenRun) -> OpenRun:
    """Return a run under the names that lie beside it and those of this session."""
    names = _shown(opened)
    return opened.named(names) if names.entries else opened


def rename(opened: OpenRun, cluster: int, name: str, note: str) -> None:
    """Call a cluster by a name, with a note; both empty remove what it has."""
    _change(opened, lambda names: names.with_name(cluster, name, note))


def load(opened: OpenRun, content: bytes) -> str:
    """Merge a file of names into those of a run, and return in one line what came of it."""
    try:
        found = parse(content, opened.run.manifest.run_id)
    except NamesError as error:
        return f"Nothing was loaded: {error}."
    known = Names({c: entry for c, entry in found.entries.items() if c in opened.lookup.cluster_layer})
    _change(opened, lambda names: merge(names, known))
    return texts.names_loaded(len(known.entries), len(found.entries) - len(known.entries))


def are_kept(opened: OpenRun) -> bool:
    """Return whether names can be kept beside the run, as far as that is known before it is tried."""
    return not view_only() and os.access(opened.run.folder, os.W_OK)


def lines(opened: OpenRun) -> list[str]:
    """Return what there is to say of a run's names: that the file is damaged, that the session's are not kept."""
    _, damaged = _kept(opened)
    said = [texts.names_damaged(damaged)] if damaged else []
    if _mine(opened.run.manifest.run_id).entries:
        said.append(texts.names_of_session(st.session_state.get(_PROBLEM, "")))
    return said


def _change(opened: OpenRun, change: Change) -> None:
    """Change the names beside a run, together with what waits in the session; or else those of the session."""
    run_id, mine = opened.run.manifest.run_id, st.session_state.setdefault(_MINE, {})
    waiting = _mine(run_id)
    try:
        if not view_only():
            keep(opened.run.folder, run_id, lambda names: change(merge(names, waiting)))
            mine.pop(run_id, None)
            return
        st.session_state[_PROBLEM] = ""
    except NamesError as error:
        st.session_state[_PROBLEM] = str(error)
    kept, _ = _kept(opened)
    changed = change(_shown(opened)).entries
    mine[run_id] = Names({c: entry for c, entry in changed.items() if kept.entries.get(c) != entry})


def _mine(run_id: str) -> Names:
    names: Names = st.session_state.get(_MINE, {}).get(run_id, Names())
    return names


def _shown(opened: OpenRun) -> Names:
    """The names beside a run, under those that this session has given it."""
    (kept, _), mine = _kept(opened), _mine(opened.run.manifest.run_id)
    return Names({**kept.entries, **mine.entries}) if mine.entries else kept


def _kept(opened: OpenRun) -> tuple[Names, str]:
    """The names beside a run, and why they cannot be read."""
    folder = opened.run.folder
    try:
        found = os.stat(folder / FILE_NAME)
    except OSError:
        return Names(), ""
    return _read(str(folder), opened.run.manifest.run_id, (found.st_mtime_ns, found.st_ino, found.st_size))


@st.cache_resource(max_entries=6, show_spinner=False)
def _read(folder: str, run_id: str, state: tuple[int, int, int]) -> tuple[Names, str]:
    try:
        return read(Path(folder), run_id), ""
    except NamesError as error:
        return Names(), str(error)
