"""A person's way through a study, by the events that the page sends."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st

from dashboard.conftest import Visit
from neurocarto.dashboard import study
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.quality import score_command
from neurocarto.dashboard.selection import Selection
from neurocarto.dashboard.study import Progress
from neurocarto.quality.study import read
from neurocarto.views.study import Questions


@pytest.fixture
def questions(opened: OpenRun) -> Questions:
    return Questions(opened.lookup, opened.patches, 5, 3)


@pytest.fixture
def progress(opened: OpenRun) -> Iterator[Progress]:
    yield Progress((opened.version, 5, 3), started=True)
    for path in (opened.run.folder / "studies").glob("*"):
        path.unlink()


def answer(opened: OpenRun, questions: Questions, progress: Progress, **event: object) -> None:
    study._answer(opened, questions, progress, {"kind": "answer", "seconds": 1.5, **event})


def test_answers_are_kept_beside_the_run_when_all_are_given(
    opened: OpenRun, questions: Questions, progress: Progress
) -> None:
    path = opened.run.folder / "studies" / "5-3.csv"
    for number in range(3):
        assert not path.exists()
        answer(opened, questions, progress, question=number, place=number)
    table = read(path)
    assert table["answer"].tolist() == [questions.neuron(number, number) for number in range(3)]
    assert table["participant"].unique().tolist() == [progress.who]
    assert progress.kept


def test_what_comes_twice_or_names_nothing_is_no_answer(
    opened: OpenRun, questions: Questions, progress: Progress
) -> None:
    answer(opened, questions, progress, question=0, place=2)
    for question, place in ((0, 1), (1, 4), (1, "1"), (1, None), (None, 1), (2, 1), (1, [1])):
        answer(opened, questions, progress, question=question, place=place)
    assert progress.named == [questions.neuron(0, 2)]


@pytest.mark.parametrize("seconds", [None, "soon", -1.0, 1e9, math.nan])
def test_a_time_that_cannot_be_is_left_out(
    opened: OpenRun, questions: Questions, progress: Progress, seconds: object
) -> None:
    answer(opened, questions, progress, question=0, place=0, seconds=seconds)
    assert math.isnan(progress.seconds[0])


def test_a_server_that_cannot_write_says_so_and_goes_on(
    opened: OpenRun, questions: Questions, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(study, "append", refuse)
    for number in range(3):
        answer(opened, questions, progress, question=number, place=0)
    assert progress.kept is False


def test_where_one_looks_only_nothing_is_written(
    opened: OpenRun, questions: Questions, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROCARTO_VIEW_ONLY", "1")
    for number in range(3):
        answer(opened, questions, progress, question=number, place=0)
    assert progress.kept is False
    assert not [*(opened.run.folder / "studies").glob("*")]


def test_another_study_or_run_begins_at_its_start(opened: OpenRun) -> None:
    st.session_state.clear()
    first = study._progress(opened, Selection(study=1))
    first.started = True
    assert study._progress(opened, Selection(study=1)) is first
    assert not study._progress(opened, Selection(study=2)).started


def test_the_start_says_what_to_do_and_its_fields_are_in_the_address(visit: Visit) -> None:
    app = visit("study", run="planted", study="7")
    assert app.number_input(key="nc_study_number_0").value == 7
    assert "10 questions" in app.markdown[0].value
    app.number_input(key="nc_questions_0").set_value(4).run()
    assert app.query_params["questions"] == "4"
    assert app.query_params["study"] == "7"
    app.button(key="nc_start").click().run()
    assert not app.exception
    assert not app.number_input


def test_the_quality_page_says_how_to_score_a_run(visit: Visit, run_folder: Path, opened: OpenRun) -> None:
    app = visit("quality", run="planted")
    assert app.code[0].value == f"python -m neurocarto score {run_folder}"
    assert score_command(opened) == app.code[0].value
