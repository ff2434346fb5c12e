"""About: the method with its sources, what it cannot tell, and the facts of the run."""

import streamlit as st

from neurocarto.dashboard import access, facts, texts, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)
    method, run = st.columns([3, 2], gap="large")
    with method:
        st.markdown(texts.METHOD)
        st.markdown(texts.influence(opened.run.manifest))
        st.markdown(texts.LIMITS)
        st.markdown(texts.SOURCES)
    with run:
        st.markdown("### This run")
        facts.run_facts(opened.run.manifest)
        access.sign_out()


open_page("about", draw)
