"""Runs that another process watches, stops and limits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import files

from neurocarto.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("--layers=_blocks.2._bn1", "--threads=1", "--shard-size=10")


def problem(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code = main([str(argument) for argument in arguments])
    shown, errors = capsys.readouterr()
    assert (code, shown, errors.count("\n")) == (2, "", 1)
    return errors


def status(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(path.read_text())
    return content


class TestStatus:
    def test_it_ends_with_what_went_wrong(
        self, capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process has its own way to end
        path = tmp_path / "status.json"
        said = problem(capsys, "run", "--images", photos, "--out", tmp_path / "run", "--model=none", f"--status={path}")
        found = status(path)
        assert found["state"] == "failed"
        assert said == f"neurocarto: {found['error']}\n"
        assert files(tmp_path) == {"status.json": path.read_bytes()}

    def test_a_watched_run_is_stopped_as_by_ctrl_c(self, photos: Path, tmp_path: Path) -> None:
        path, out = tmp_path / "status.json", tmp_path / "run"
        command = [sys.executable, "-m", "neurocarto", "run", f"--images={photos}", f"--out={out}", f"--status={path}"]
        command += [*QUICK, f"--cache={tmp_path / 'cache'}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as child:
            while not path.exists() or status(path)["stage"] != "extraction":
                assert child.poll() is None
                time.sleep(0.02)
            child.terminate()
            assert child.communicate(timeout=60)[1].splitlines()[-1] == "neurocarto: stopped"
        assert child.returncode == 130
        found = status(path)
        assert found["state"] == "stopped"
        assert found["pid"] == child.pid
        assert not out.exists()
        assert "model" in found["seconds"], "what is finished is told"  # type: ignore[operator]


class TestLimits:
    def test_of_images(self, capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path) -> None:
        said = problem(capsys, "run", "--images", photos, "--out", tmp_path / "run", "--most-images=20")
        assert f"there are 25 images in {photos}; at most 20 are allowed here" in said
        assert files(tmp_path) == {}

    def test_what_the_images_are_called_is_what_is_said(
        self, capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
    ) -> None:
        limits = ("--most-images=20", "--called=my photos")
        said = problem(capsys, "run", "--images", photos, "--out", tmp_path / "run", *limits)
        assert "there are 25 images in my photos;" in said
        assert str(photos) not in said

    def test_of_time(self, capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path) -> None:
        limits = ("--most-minutes=0.0002", "--quiet", "--no-cache")
        said = problem(capsys, "run", "--images", photos, "--out", tmp_path / "run", *limits)
        assert (
            "the run took longer than 0.0002 minutes, the most that is allowed here; what is finished is kept" in said
        )
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert files(tmp_path) == {}


def test_layers_are_told_to_programs_with_what_a_run_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "efficientnet_lite0", "--json", "--images=500", "--labels=4"]) == 0
    found = json.loads(capsys.readouterr().out)
    studied = [layer for layer in found["layers"] if layer["default"]]
    assert len(studied) == 17
    assert sum(layer["channels"] for layer in studied) == 10_240
    assert {layer["map"] for layer in studied} >= {"112 x 112", "7 x 7"}
    assert all(seconds > 0 for seconds in (found["seconds"]["per_image"], found["seconds"]["per_class"][0]))
    assert found["memory"]["fixed"] > 1e8
    assert 1e4 < found["memory"]["per_neuron"] < 1e6
