"""The commands that write a run to one file, and unpack it."""

import re
import zipfile
from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.__main__ import main
from neurocarto.runs.store import Run, check_run


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("planted") / "birds", layers=2, channels=12, images=12)


def say(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    return shown


def problem(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    shown, errors = capsys.readouterr()
    assert shown == ""
    assert re.fullmatch(r"neurocarto: .+\n", errors), errors
    return errors


def test_a_run_goes_out_and_comes_back(
    capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = say(capsys, "export", planted, "out.zip")
    assert re.fullmatch(r"out.zip holds the run, \d+ kB: `python -m neurocarto import out.zip` unpacks it\n", said)
    assert say(capsys, "import", "out.zip").startswith("runs/birds is ready: `streamlit run app.py` shows it")
    assert check_run(Path("runs/birds")) == []
    assert Run("runs/birds").manifest == Run(planted).manifest


def test_a_run_goes_to_the_place_and_name_that_were_asked_for(
    capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path
) -> None:
    say(capsys, "export", planted, tmp_path / "out.zip")
    said = say(capsys, "import", tmp_path / "out.zip", "--into", tmp_path / "mine", "--name", "my birds")
    assert said.startswith(f"{tmp_path / 'mine' / 'my-birds'} is ready")
    assert check_run(tmp_path / "mine" / "my-birds") == []


def test_what_cannot_be_exported_or_imported_is_one_line(
    capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil", "")
    (tmp_path / "text.zip").write_text("no archive")
    before = sorted(tmp_path.iterdir())
    runs = tmp_path / "runs"
    assert "is not a run folder" in problem(capsys, "export", tmp_path, tmp_path / "out.zip")
    assert "already there" in problem(capsys, "export", planted, tmp_path / "text.zip")
    assert "not a whole .zip file" in problem(capsys, "import", tmp_path / "text.zip", "--into", runs)
    assert "not a plain path" in problem(capsys, "import", tmp_path / "evil.zip", "--into", runs)
    assert "No such file" in problem(capsys, "import", tmp_path / "none.zip", "--into", runs)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "options"), [("export", ["RUN", "OUT.zip"]), ("import", ["FILE.zip", "--into", "--name"])]
)
def test_help_names_every_option(capsys: pytest.CaptureFixture[str], name: str, options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert set(options) <= set(re.findall(r"[\w.-]+", capsys.readouterr().out))
