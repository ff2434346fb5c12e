"""NeuroCartography's app. Start it with: streamlit run app.py."""

from neurocarto.dashboard.shell import run_app

run_app()
