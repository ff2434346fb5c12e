import os
import time
from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.errors import RunError
from neurocarto.runs.library import KEPT_FOR, REMOVED, delete_old, remove_run, rename_run, restore_run
from neurocarto.runs.store import check_run, find_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_synthetic_run(tmp_path / "runs" / "planted")


def test_a_renamed_run_is_the_same_run(run: Path) -> None:
    new = rename_run(run, " My birds 2 ")
    assert new == run.with_name("My birds 2")
    assert check_run(new) == []
    assert not run.exists()


def test_its_own_name_changes_nothing(run: Path) -> None:
    assert rename_run(run, "planted") == run


@pytest.mark.parametrize(
    "name", ["", " ", "..", ".hidden", "a/b", "../x", "a\\b", "a\nb", "x" * 81, "-a", "a:b", "<b>", "end.", "a\0b"]
)
def test_what_is_no_name_is_refused(run: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot be a run's name"):
        rename_run(run, name)
    assert [path.name for path in run.parent.iterdir()] == ["planted"]


def test_a_name_that_is_taken_is_refused(run: Path) -> None:
    run.with_name("other").mkdir()
    with pytest.raises(RunError, match="something called 'other'"):
        rename_run(run, "other")


def test_a_removed_run_is_not_found_and_comes_back(run: Path) -> None:
    away = remove_run(run)
    assert find_runs([run.parent]) == []
    assert restore_run(away) == run
    assert check_run(run) == []


def test_it_does_not_come_back_over_another(run: Path) -> None:
    away = remove_run(run)
    write_synthetic_run(run)
    with pytest.raises(RunError, match="another run called 'planted'"):
        restore_run(away)
    assert away.is_dir()


def test_what_is_no_run_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run any more"):
        remove_run(tmp_path)
    assert tmp_path.is_dir()


def test_after_a_day_it_is_deleted_for_good(run: Path) -> None:
    away = remove_run(run)
    delete_old(run.parent)
    assert away.is_dir()
    old = away.with_name(f"{int(time.time()) - KEPT_FOR - 1}-0-planted")
    away.rename(old)
    kept = run.parent / REMOVED / "notes"
    kept.mkdir()
    delete_old(run.parent)
    assert not old.exists()
    assert kept.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_it_cannot_be_moved_one_line_says_so(run: Path) -> None:
    run.parent.chmod(0o500)
    try:
        with pytest.raises(RunError, match="'planted' cannot be moved"):
            rename_run(run, "other")
    finally:
        run.parent.chmod(0o700)
