"""The Quality page: what is known of how far a run can be trusted, or how to find out."""

import shlex

import streamlit as st

from neurocarto.dashboard import components, state, texts, widgets
from neurocarto.dashboard.components import Event
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import ROOT, OpenRun
from neurocarto.views.quality import QualityCards


def headline(opened: OpenRun) -> None:
    """Show what the tests come to over the whole run; where there were none, how to make them."""
    widgets.heading(
        "Quality",
        "Every claim of the map, tested on images that did not form it, beside what random groups of the same sizes "
        "and layers reach. Dot: measured; bar: its 95% interval; grey band: random.",
    )
    if not opened.lookup.scorecard.judges:
        widgets.notice(texts.UNSCORED)
        st.code(score_command(opened), language="bash")
    draw = _cards(opened)
    figures = draw.figures()
    _show(opened, "verdict", draw.verdict() + figures)
    if opened.run.quality is None:
        widgets.notice(texts.UNMEASURED)


def layers(opened: OpenRun) -> None:
    """Show the layers side by side."""
    table = _cards(opened).by_layer()
    if table:
        widgets.heading(
            "Layer by layer",
            "From the image (top) to the class. Choose layers above to see only these, here and below.",
        )
        _show(opened, "by_layer", table)


def ranking(opened: OpenRun) -> None:
    """Show the clusters by badge."""
    ranked = _cards(opened).ranking()
    if ranked:
        widgets.heading(
            "Cluster by cluster",
            "The best of each badge first, by how often its odd one out was named. Click a name to open it in Explore.",
        )
        _show(opened, "by_badge", ranked)


def score_command(opened: OpenRun) -> str:
    """Return the command that scores a run."""
    folder = opened.run.folder.resolve()
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    return f"python -m neurocarto score {shlex.quote(str(shown))}"


def _cards(opened: OpenRun) -> QualityCards:
    return QualityCards(opened.lookup, opened.patches, state.current().layers)


def _show(opened: OpenRun, name: str, html: str) -> None:
    def receive(event: Event) -> None:
        on_event(opened, event)

    if html:
        components.gallery(html=html, on_event=receive, name=name)
