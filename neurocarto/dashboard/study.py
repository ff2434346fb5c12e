"""The Study page: a person takes the intruder test, question by question, and sees at the end what it comes to."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from neurocarto.dashboard import components, state, texts, widgets
from neurocarto.dashboard.components import Event
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun, study_questions
from neurocarto.dashboard.policy import view_only
from neurocarto.dashboard.selection import MAX_QUESTIONS, Selection
from neurocarto.quality.study import PLACES, STUDIES, answered, append, as_csv, participant, read
from neurocarto.views.study import Questions, results, review

_PROGRESS = "nc_progress"
LONGEST = 36_000.0
"""Seconds that an answer is taken to have taken at most."""


@dataclass
class Progress:
    """One participant's way through one study.

    study: what it is of; started: whether the first question was asked for; named, seconds: the neuron named at each
    question so far, and how long that took; kept: whether the answers were added to the study's file, None before.
    """

    study: tuple[str, int, int]
    started: bool = False
    named: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    who: str = field(default_factory=participant)
    kept: bool | None = None


def study(opened: OpenRun) -> None:
    """Show where the person is: before the study, at a question, or at its end."""
    selection = state.current()
    questions = study_questions(opened, selection.study, selection.questions)
    progress = _progress(opened, selection)
    if not len(questions):
        widgets.empty(*texts.NO_QUESTIONS)
    elif len(progress.named) >= len(questions):
        _end(opened, selection, questions, progress)
    elif progress.started:
        _question(opened, questions, progress)
    else:
        _start(opened, selection, questions, progress)


def _progress(opened: OpenRun, selection: Selection) -> Progress:
    """This session's progress; another run or another study begins at its start."""
    wanted = (opened.version, selection.study, selection.questions)
    found: Progress | None = st.session_state.get(_PROGRESS)
    if found is None or found.study != wanted:
        found = st.session_state[_PROGRESS] = Progress(wanted)
    return found


def _start(opened: OpenRun, selection: Selection, questions: Questions, progress: Progress) -> None:
    widgets.heading("Study: can people tell the clusters' neurons from others?", texts.STUDY_HOW)
    text, _ = st.columns([3, 2])
    text.markdown(texts.study_task(len(questions), questions.shown, questions.held_out))
    seed, count, start, _ = st.columns([1.2, 1.2, 1.2, 4], vertical_alignment="bottom")
    with seed:
        chosen = _field("nc_study_number", selection.study, lambda value: replace(state.current(), study=value))
        st.number_input("Study number", 0, 999_999_999, step=1, **chosen)
    with count:
        chosen = _field("nc_questions", selection.questions, lambda value: replace(state.current(), questions=value))
        st.number_input("Questions", 1, MAX_QUESTIONS, step=1, **chosen)
    start.button("Start", key="nc_start", type="primary", width="stretch", on_click=_begin, args=(progress,))


def _field(key: str, shown: int, changed: Callable[[int], Selection]) -> dict[str, Any]:
    return widgets.field(key, shown, lambda value: state.change(changed(int(value))))


def _begin(progress: Progress) -> None:
    progress.started = True


def _question(opened: OpenRun, questions: Questions, progress: Progress) -> None:
    number = len(progress.named)

    def receive(event: Event) -> None:
        _answer(opened, questions, progress, event)

    components.study(html=questions.html(number), question=number, on_event=receive)


def _answer(opened: OpenRun, questions: Questions, progress: Progress, event: Event) -> None:
    """Take an answer to the question that is asked; one that comes twice, or names nothing, changes nothing."""
    place: Any = event.get("place")
    seconds: Any = event.get("seconds")
    if event.get("question") != len(progress.named) or place not in range(len(PLACES)):
        return
    progress.named.append(questions.neuron(len(progress.named), int(place)))
    known = isinstance(seconds, int | float) and 0 <= seconds <= LONGEST
    progress.seconds.append(float(seconds) if known else float("nan"))
    if len(progress.named) == len(questions):
        progress.kept = _keep(_file(opened, progress), _own(opened, questions, progress))


def _own(opened: OpenRun, questions: Questions, progress: Progress) -> pd.DataFrame:
    return answered(opened.name, questions.table, progress.named, progress.seconds, progress.who)


def _file(opened: OpenRun, progress: Progress) -> Path:
    _, seed, count = progress.study
    return opened.run.folder / STUDIES / f"{seed}-{count}.csv"


def _keep(path: Path, own: pd.DataFrame) -> bool:
    if view_only():
        return False
    try:
        append(path, own)
    except OSError:
        return False
    return True


def _end(opened: OpenRun, selection: Selection, questions: Questions, progress: Progress) -> None:
    own, everyone = _own(opened, questions, progress), read(_file(opened, progress))
    widgets.heading("What your answers come to", texts.study_kept(bool(progress.kept), progress.who))
    _show(opened, "results", results(opened.lookup, own, everyone))
    if not opened.lookup.scorecard.judges:
        widgets.notice(texts.STUDY_UNSCORED)
    elif not questions.held_out:
        widgets.notice(texts.STUDY_SEEN)
    mine, all_, again, other, _ = st.columns([1.5, 1.8, 1.2, 1.3, 2])
    name = f"study-{selection.study}-{len(questions)}"
    _download(mine, "Download your answers", f"{name}-{progress.who}.csv", own)
    people = everyone["participant"].nunique()
    if people > 1:
        _download(all_, f"Download all {people:,} participants'", f"{name}.csv", everyone)
    again.button("Take it again", key="nc_again", width="stretch", on_click=_restart)
    other.button("Another study", key="nc_next", width="stretch", on_click=_next)
    widgets.heading("The questions", "Each with its intruder. Click a name to see the cluster in Explore.")
    _show(opened, "review", review(opened.lookup, opened.patches, questions, own))


def _show(opened: OpenRun, name: str, html: str) -> None:
    # What is named here is to be seen where one can look at it.
    components.gallery(html=html, on_event=lambda event: on_event(opened, {**event, "page": "explore"}), name=name)


def _download(place: "st.delta_generator.DeltaGenerator", label: str, name: str, table: pd.DataFrame) -> None:
    place.download_button(label, as_csv(table), name, "text/csv", key=f"nc_{name}", on_click="ignore", width="stretch")


def _restart() -> None:
    st.session_state.pop(_PROGRESS, None)


def _next() -> None:
    state.change(replace(state.current(), study=state.current().study + 1))
