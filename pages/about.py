"""About: the method with its sources, what it cannot tell, and the facts of the run."""

import streamlit as st

from neurocarto.dashboard import access, facts, widgets
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.shell import open_page
from neurocarto.views import method


def draw(opened: OpenRun) -> None:
    """Draw the page."""
    widgets.filters(opened)
    words, run = st.columns([3, 2], gap="large")
    with words:
        st.markdown(method.METHOD)
        st.markdown(method.influence(opened.run.manifest))
        st.markdown(method.LIMITS)
        st.markdown(method.SOURCES)
    with run:
        st.markdown("### This run")
        facts.run_facts(opened.run.manifest)
        access.sign_out()


open_page("about", draw)
