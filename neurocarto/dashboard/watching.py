"""Runs that are being made: how far they are, stopping them and going on, each by its own link."""

from html import escape

import streamlit as st

from neurocarto.dashboard import library, policy, texts, widgets
from neurocarto.dashboard.loaders import made_in, run_folders
from neurocarto.errors import NeurocartoError
from neurocarto.runs.jobs import Job, Jobs, Status
from neurocarto.stages import STAGES

PARAM, _SAID = "job", "nc_job_said"
EVERY = 1.0
"""Seconds between two looks at a run that is being made."""


def jobs() -> None:
    """Show the job that the address names, or else those that are under way or ended without anybody seeing it."""
    if policy.view_only():
        return
    known = Jobs(made_in())
    wanted = st.query_params.get(PARAM, "")
    job = known.get(wanted) if wanted else None
    if wanted and job is None:
        widgets.notice("There is no run being made under this link any more; finished ones are below.")
    for each in [job] if job else known.all():
        _panel(known, each)


def watch(job: Job) -> None:
    """Put a job into the address, so that a reload or a colleague sees it."""
    st.query_params[PARAM] = job.id


def _panel(known: Jobs, job: Job) -> None:
    with st.container(border=True, key=f"nc_job_{job.id}"):
        if job.status().is_over:
            _over(known, job)
        else:
            _live(job)


@st.fragment(run_every=EVERY)
def _live(job: Job) -> None:
    status = job.status()
    if status.is_over:
        st.rerun()
    heading, stop = st.columns([5, 1], vertical_alignment="center")
    heading.html(f"<strong>{escape(job.out.name)}</strong> is being made{_since(status)}")
    asked = job.is_asked_to_stop
    stop.button(
        "End it now" if asked else "Stop",
        key=f"nc_stop_{job.id}",
        on_click=job.stop,
        width="stretch",
        help="What is finished is kept; the run can go on later.",
    )
    share, text = _now(status, asked)
    st.progress(share, text)
    st.html(_steps(status))
    _log(job, status)


def _now(status: Status, asked: bool) -> tuple[float, str]:
    """How far the present stage is, and in words."""
    if asked:
        return 0.0, "Stopping"
    if status.state == "starting" or not status.stage:
        return 0.0, "Starting"
    words = texts.STAGES.get(status.stage, status.stage)
    if status.total <= 1:
        return 0.0, f"{words}, {_time(status.elapsed_in_stage)}"
    parts = [f"{words}: {status.done:,} of {status.total:,} {_many(status.unit)}"]
    if status.rate:
        parts.append(f"{status.rate:,.1f} a second" if status.rate < 10 else f"{status.rate:,.0f} a second")
    if status.left is not None:
        parts.append(f"{_time(status.left)} left of this step")
    return min(1.0, status.done / status.total), ", ".join(parts)


def _many(unit: str) -> str:
    return f"{unit}es" if unit.endswith("s") else f"{unit}s"


def _steps(status: Status) -> str:
    """All steps in their order: done with their seconds, at work, and to come."""
    items = []
    for name in STAGES:
        words = escape(texts.STAGES.get(name, name))
        if name in status.seconds:
            items.append(f'<li class="nc-done">{words} <span>{_time(status.seconds[name])}</span></li>')
        else:
            items.append(f'<li class="{"nc-now" if name == status.stage else "nc-later"}">{words}</li>')
    return f'<ol class="nc-steps">{"".join(items)}</ol>'


def _over(known: Jobs, job: Job) -> None:
    status, name = job.status(), job.out.name
    about, first, second = st.columns([5, 1, 1], vertical_alignment="center")
    about.html(f"<strong>{escape(name)}</strong> {escape(texts.job_over(status))}")
    shown = next((shown for shown, folder in run_folders().items() if folder == job.out.resolve()), "")
    if status.state == "finished" and shown:
        first.button(
            "Open",
            key=f"nc_jobopen_{job.id}",
            type="primary",
            on_click=library.open_run,
            args=(shown,),
            width="stretch",
        )
    elif status.state != "finished" and not policy.cannot_compute():
        first.button("Go on", key=f"nc_goon_{job.id}", on_click=_go_on, args=(known, job), width="stretch")
    second.button("Dismiss", key=f"nc_dismiss_{job.id}", on_click=_dismiss, args=(known, job), width="stretch")
    if status.state == "finished":
        job.tidy()
    else:
        _log(job, status)
    said = st.session_state.pop(_SAID, "")
    if said:
        widgets.notice(said)


def _go_on(known: Jobs, job: Job) -> None:
    try:
        known.resume(job, policy.most_jobs())
    except NeurocartoError as error:
        st.session_state[_SAID] = str(error)


def _dismiss(known: Jobs, job: Job) -> None:
    known.forget(job)
    st.query_params.pop(PARAM, None)


def _log(job: Job, status: Status) -> None:
    with st.expander("Log"):
        st.code("\n".join(status.said) + "\n" + job.log() or "nothing yet", language=None, height=220)


def _since(status: Status) -> str:
    return f", for {_time(status.elapsed)}" if status.elapsed > 0 else ""


def _time(seconds: float) -> str:
    """Return a length of time as people say it."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
