"""NeuroCartography's app. Start it with: streamlit run app.py."""

from neurocarto.dashboard.components import preload

preload()

from neurocarto.dashboard.shell import run_app  # noqa: E402 - the browser is busy while this takes its time

run_app()
