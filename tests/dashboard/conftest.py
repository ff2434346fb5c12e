from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from synthetic import write_synthetic_run

from neurocarto.dashboard import loaders
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.runs.store import Run
from neurocarto.views.cards import Cards
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches

ROOT = Path(__file__).resolve().parents[2]
Visit = Callable[..., AppTest]


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("dashboard") / "planted")


@pytest.fixture
def opened(run_folder: Path) -> OpenRun:
    run = Run(run_folder)
    lookup, patches = Lookup(run), Patches(run)
    return OpenRun("planted", "1", lookup, patches, Cards(lookup, patches))


@pytest.fixture
def only_planted(run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the app find the planted run and no other."""
    monkeypatch.setattr(loaders, "ROOT", tmp_path)
    monkeypatch.setenv("NEUROCARTO_RUNS", str(run_folder.parent))
    return run_folder


@pytest.fixture
def visit(only_planted: Path) -> Visit:
    """Open the app by a link, on a page, and run it."""

    def open_app(page: str = "", **params: object) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        for name, value in params.items():
            app.query_params[name.rstrip("_")] = value
        if page:
            app.switch_page(f"pages/{page}.py")
        return app.run()

    return open_app
