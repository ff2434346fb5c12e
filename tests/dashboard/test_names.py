"""Names that sessions give: kept beside the run, or in the session where that cannot be."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from dashboard.conftest import Visit
from neurocarto.dashboard import names, state, study
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import (
    OpenRun,
    graph_data,
    index_data,
    names_data,
    open_run,
    projection_data,
    quality_html,
)
from neurocarto.dashboard.policy import view_only
from neurocarto.errors import NamesError
from neurocarto.runs.names import FILE_NAME, Name, Names, keep, read

RUN_ID = "synthetic0"


@pytest.fixture
def opened(run_folder: Path) -> Iterator[OpenRun]:
    """The run as all sessions share it, in a new session."""
    st.session_state.clear()
    yield open_run("planted", run_folder)
    st.session_state.clear()
    (run_folder / FILE_NAME).unlink(missing_ok=True)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, *_: object) -> None:
        raise NamesError(f"{folder / FILE_NAME} cannot be written: Read-only file system")

    monkeypatch.setattr(names, "keep", refuse)


def label(opened: OpenRun, cluster: int = 3) -> str:
    return names.named(opened).lookup.label(cluster)


def test_a_name_is_kept_beside_the_run_and_every_session_sees_it(opened: OpenRun) -> None:
    computed = label(opened)
    on_event(opened, {"kind": "name", "cluster": 3, "name": " wheels\n", "note": "of cars"})
    assert read(opened.run.folder, RUN_ID).noted == {3: "of cars"}
    st.session_state.clear()
    assert label(opened) == f"wheels · {computed}"
    on_event(opened, {"kind": "name", "cluster": 3, "name": "", "note": ""})
    assert label(opened) == computed


@pytest.mark.parametrize(
    "event",
    [{"cluster": 999, "name": "a"}, {"cluster": "3", "name": "a"}, {"cluster": True, "name": "a"}, {"name": "a"}],
    ids=str,
)
def test_a_name_for_nothing_that_exists_is_none(opened: OpenRun, event: dict[str, object]) -> None:
    on_event(opened, {"kind": "name", **event})
    assert not (opened.run.folder / FILE_NAME).exists()


@pytest.mark.parametrize("event", [{"name": ["a"], "note": {"b": 1}}, {"name": 5, "note": "x" * 10**6}, {}], ids=repr)
def test_whatever_a_browser_sends_becomes_text_within_the_limits(opened: OpenRun, event: dict[str, object]) -> None:
    on_event(opened, {"kind": "name", "cluster": 3, **event})
    entry = read(opened.run.folder, RUN_ID).entries[3]
    assert len(entry.name) <= 80
    assert len(entry.note) <= 2000


def test_a_name_changes_no_selection_and_no_link(opened: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "change", lambda _: pytest.fail("the selection changed"))
    on_event(opened, {"kind": "name", "cluster": 3, "name": "wheels"})


def test_a_name_opens_and_computes_nothing_anew_but_what_shows_labels(opened: OpenRun) -> None:
    before = names.named(opened)
    names.rename(opened, 3, "wheels", "")
    after = names.named(open_run("planted", opened.run.folder))
    assert after.run is before.run
    assert after.version == before.version
    assert projection_data(after) is projection_data(before)
    assert index_data(after) is index_data(before)
    assert graph_data(after, "", (), 0.0, 3) is not graph_data(before, "", (), 0.0, 3)
    assert graph_data(after, "", (), 0.0, 3) is graph_data(names.named(opened), "", (), 0.0, 3)
    assert quality_html(after, ()) is quality_html(names.named(opened), ())
    assert json.loads(names_data(before)) == {}
    assert json.loads(names_data(after)) == {"3": "wheels"}


def test_what_cannot_be_kept_lives_in_the_session_and_is_said(opened: OpenRun, read_only: None) -> None:
    computed = label(opened)
    assert names.lines(opened) == []
    names.rename(opened, 3, "wheels", "")
    assert label(opened) == f"wheels · {computed}"
    (line,) = names.lines(opened)
    assert "live in this session alone" in line
    assert "Read-only file system" in line
    st.session_state.clear()
    assert label(opened) == computed


def test_a_session_can_rename_and_remove_what_it_cannot_write(opened: OpenRun, read_only: None) -> None:
    computed = label(opened)
    keep(opened.run.folder, RUN_ID, lambda found: found.with_name(3, "wheels", ""))
    names.rename(opened, 3, "tyres", "")
    assert label(opened) == f"tyres · {computed}"
    names.rename(opened, 3, "", "")
    assert label(opened) == computed
    assert read(opened.run.folder, RUN_ID).given == {3: "wheels"}


def test_what_waits_in_the_session_is_kept_as_soon_as_that_works(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("NEUROCARTO_VIEW_ONLY", "1")
        names.rename(opened, 3, "wheels", "")
    names.rename(opened, 4, "fur", "")
    assert read(opened.run.folder, RUN_ID).given == {3: "wheels", 4: "fur"}
    assert names.lines(opened) == []


def test_a_server_that_only_shows_writes_nothing(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEUROCARTO_VIEW_ONLY", "1")
    before = {path: path.stat().st_mtime_ns for path in opened.run.folder.rglob("*")}
    names.rename(opened, 3, "wheels", "")
    names.load(opened, Names({4: Name("", "fur")}).to_json(RUN_ID).encode())
    assert not study._keep(tmp_path / "studies" / "1-1.csv", None)  # type: ignore[arg-type]
    assert {path: path.stat().st_mtime_ns for path in opened.run.folder.rglob("*")} == before
    assert names.named(opened).lookup.names.given == {3: "wheels", 4: "fur"}
    assert "this server keeps nothing" in names.lines(opened)[0]


@pytest.mark.parametrize(
    ("value", "only"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False), (" False ", False)]
)
def test_view_only_is_read_from_the_environment(value: str, only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROCARTO_VIEW_ONLY", value)
    assert view_only() is only


def test_a_damaged_file_is_said_stays_and_the_run_opens(opened: OpenRun) -> None:
    path = opened.run.folder / FILE_NAME
    path.write_text("{")
    computed = opened.lookup.label(3)
    assert label(opened) == computed
    assert "no JSON that can be read" in names.lines(opened)[0]
    names.rename(opened, 3, "wheels", "")
    assert path.read_text() == "{"
    assert label(opened) == f"wheels · {computed}"


def test_a_file_of_names_is_merged_and_what_came_of_it_said(opened: OpenRun) -> None:
    names.rename(opened, 3, "wheels", "")
    theirs = Names({3: Name("", "older"), 4: Name("", "fur"), 999: Name("", "nothing")})
    said = names.load(opened, theirs.to_json(RUN_ID).encode())
    assert names.named(opened).lookup.names.given == {3: "wheels", 4: "fur"}
    assert "2 clusters are merged" in said
    assert "no such cluster: 1" in said


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 10**5, b"PK\x03\x04", b'{"format": 1, "runs": {"other": {"3": {"name": "a"}}}}', b" " * 5_000_000],
    ids=range(5),
)
def test_a_hostile_file_is_one_line_and_changes_nothing(opened: OpenRun, content: bytes) -> None:
    said = names.load(opened, content)
    assert said.startswith("Nothing was loaded: ")
    assert "\n" not in said
    assert not (opened.run.folder / FILE_NAME).exists()


def test_explore_offers_names_and_says_what_is_damaged(visit: Visit, only_planted: Path) -> None:
    keep(only_planted, RUN_ID, lambda found: found.with_name(3, "wheels", "<b>round</b>"))
    try:
        app = visit(run="planted", clusters="3")
        assert not app.exception
        (only_planted / FILE_NAME).write_text("[]")
        app = visit(run="planted", clusters="3")
        assert not app.exception
        assert "names that people gave cannot be shown" in str([element.proto for element in app.get("html")])
    finally:
        (only_planted / FILE_NAME).unlink()
