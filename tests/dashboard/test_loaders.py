from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.dashboard import loaders
from neurocarto.dashboard.components import scripts
from neurocarto.errors import RunError


def test_the_demo_comes_first_and_taken_names_get_their_folders_name(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("data/demo", "data/runs/b", "runs/a", "runs/demo", "more/a"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    monkeypatch.setattr(loaders, "ROOT", tmp_path)
    monkeypatch.setenv("NEUROCARTO_RUNS", str(tmp_path / "more"))
    found = loaders.run_folders()
    assert list(found) == ["demo", "b", "a", "runs/demo", "more/a"]
    assert found["demo"] == tmp_path / "data" / "demo"


def test_an_open_run_is_shared_until_it_is_made_again(tmp_path: Path) -> None:
    folder = write_synthetic_run(tmp_path / "run", layers=2, channels=10)
    first = loaders.open_run("run", folder)
    assert loaders.open_run("run", folder) is first
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text())
    assert loaders.open_run("run", folder) is not first


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        loaders.open_run("nothing", tmp_path)


def test_scripts_are_copied_once_and_whole(tmp_path: Path) -> None:
    scripts.copy_scripts.cache_clear()
    scripts.copy_scripts(tmp_path)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "static").iterdir()}
    assert set(sizes) == set(scripts.SCRIPTS)
    assert min(sizes.values()) > 100_000
    scripts.copy_scripts.cache_clear()
