from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches

MARKUP = '<script>alert(1)</script> & "q" \u202eאב 🐦'


@pytest.fixture(scope="session")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    return Lookup(Run(write_synthetic_run(tmp_path_factory.mktemp("views") / "run")))


@pytest.fixture(scope="session")
def patches(lookup: Lookup) -> Patches:
    return Patches(lookup.run)


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    """A run whose classes, labels and files are named in markup."""
    folder: Path = tmp_path_factory.mktemp("odd") / "run"
    return Lookup(Run(write_synthetic_run(folder, classes=(MARKUP, "b"))))
