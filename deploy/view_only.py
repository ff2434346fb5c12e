"""The app for looking only: it needs deploy/requirements.txt and writes nothing. streamlit run deploy/view_only.py."""

import os
import sys
from pathlib import Path

os.environ["NEUROCARTO_VIEW_ONLY"] = "1"
HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:  # Streamlit looks for modules beside this file, and the package lies above it
    sys.path.insert(0, str(HERE.parent))

from neurocarto.dashboard.components import preload  # noqa: E402 - found only now

preload(HERE)

from neurocarto.dashboard.shell import run_app  # noqa: E402 - the browser is busy while this takes its time

run_app()
