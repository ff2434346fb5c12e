"""The Quality page: what is known of how far a run can be trusted, or how to find out."""

import shlex

import streamlit as st

from neurocarto.dashboard import components, state, texts, widgets
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import ROOT, OpenRun, quality_html


def headline(opened: OpenRun) -> None:
    """Show what the tests come to over the whole run; where there were none, how to make them."""
    widgets.heading(
        "Quality",
        "What clusters, map and edges are worth beside chance. Clusters are judged on images that did not form them. "
        "Dot: measured; bar: its 95% interval; grey band: random groups of the same sizes and layers.",
    )
    if opened.lookup.scorecard.problem:
        widgets.notice(texts.unreadable_scores(opened.lookup.scorecard.problem))
    elif not opened.lookup.scorecard.judges:
        widgets.notice(texts.UNSCORED)
        st.code(score_command(opened), language="bash")
    _show(opened, "verdict")
    if opened.run.quality is None:
        widgets.notice(texts.UNMEASURED)


def layers(opened: OpenRun) -> None:
    """Show the layers side by side."""
    if _drawn(opened)["layers"]:
        widgets.heading(
            "Layer by layer",
            "From the image (top) to the class. Choose layers above to see only these, here and below.",
        )
        _show(opened, "layers")


def ranking(opened: OpenRun) -> None:
    """Show the clusters by badge."""
    if _drawn(opened)["ranking"]:
        widgets.heading(
            "Cluster by cluster",
            "The best of each badge first, by how often its odd one out was named. A cluster is judged by its match "
            "among those found on one half of the images alone, on the other half. Click a name to open it in Explore.",
        )
        _show(opened, "ranking")


def score_command(opened: OpenRun) -> str:
    """Return the command that scores a run."""
    folder = opened.run.folder.resolve()
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    return f"python -m neurocarto score {shlex.quote(str(shown))}"


def _drawn(opened: OpenRun) -> dict[str, str]:
    return quality_html(opened, state.current().layers)


def _show(opened: OpenRun, part: str) -> None:
    html = _drawn(opened)[part]
    if html:
        components.gallery(html=html, on_event=lambda event: on_event(opened, event), name=f"quality_{part}")
