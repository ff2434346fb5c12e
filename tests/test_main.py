import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import BROKEN, SMALL
from PIL import Image
from synthetic import write_synthetic_run

from neurocarto.__main__ import main
from neurocarto.runs.cache import Cache
from neurocarto.runs.store import Run
from neurocarto.settings import RunSettings

ROOT = Path(__file__).resolve().parents[1]
MODEL = ["--weights", "--layers", "--preprocess", "--class-names"]
KNOBS = [f"--{knob.name.replace('_', '-')}" for knob in fields(RunSettings)]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("planted") / "run", layers=2, channels=12, images=12)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(12):
        noise = np.random.default_rng(index).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    return folder


def command(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    start: Sequence[str] = ("-c", code) if code else ("-m", "neurocarto")
    environment = {**os.environ, "PYTHONHASHSEED": "random", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, env=environment
    )


def test_the_same_run_in_another_process_has_the_same_bytes(real_run: Path, photos: Path, tmp_path: Path) -> None:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.as_dict().items()]
    out = tmp_path / "again"
    done = command("run", "--images", photos, "--out", out, "--quiet", *settings)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert said[:2] == ["24 images were used and 1 skipped:", f"  {BROKEN}: not an image that Pillow can read"]
    assert said[2].startswith(f"{out} is ready")
    again, first = Run(out).manifest, Run(real_run).manifest
    assert (again.run_id, again.settings, again.layers) == (first.run_id, first.settings, first.layers)
    assert dict(again.files) == dict(first.files)
    for name in first.files:
        assert (out / name).read_bytes() == (real_run / name).read_bytes(), name


def test_check_says_that_a_run_is_whole(real_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(real_run)]) == 0
    assert capsys.readouterr() == (f"{real_run}: the run is whole\n", "")


def test_info_says_what_a_run_was_made_from(real_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(real_run)]) == 0
    shown, errors = capsys.readouterr()
    manifest = Run(real_run).manifest
    assert errors == ""
    assert manifest.run_id in shown
    assert "efficientnet_lite0" in shown
    assert "24 from" in shown
    assert "skipped stripes/broken.png: not an image that Pillow can read" in shown
    assert f"neurons   {sum(layer.channels for layer in manifest.layers)}," in shown
    assert "discs" in shown


@pytest.mark.parametrize("name", ["check", "info"])
def test_looking_at_a_run_imports_nothing_that_only_making_one_needs(planted: Path, name: str) -> None:
    code = (
        f"import sys; from neurocarto.__main__ import main; code = main([{name!r}, {str(planted)!r}]);"
        "print(code, sorted({'torch', 'torchvision', 'umap', 'numba', 'datasketch', 'sklearn'} & set(sys.modules)))"
    )
    assert command(code=code).stdout.splitlines()[-1] == "0 []"


def test_a_report_is_written_without_what_only_making_a_run_needs(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "birds.html"
    arguments = ["report", str(planted), str(out), "--class", "birds", "--no-images"]
    code = (
        f"import sys; from neurocarto.__main__ import main; code = main({arguments!r});"
        "print(code, sorted({'torch', 'torchvision', 'umap', 'numba', 'datasketch', 'streamlit'} & set(sys.modules)))"
    )
    said = command(code=code).stdout.splitlines()
    assert said[0].startswith(f"{out}: ")
    assert said[-1] == "0 []"
    text = out.read_text()
    assert "birds" in text
    assert "data:image" not in text


class TestProblems:
    """Every one ends with 2 and one line that names what is wrong."""

    @staticmethod
    def problem(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        shown, errors = capsys.readouterr()
        assert (code, shown) == (2, "")
        assert re.fullmatch(r"neurocarto: .+\n", errors), errors
        return errors

    def test_no_image_folder(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        said = self.problem(capsys, "run", "--images", tmp_path / "none", "--out", tmp_path / "run")
        assert f"{tmp_path / 'none'} is not a folder" in said

    def test_too_few_images(self, capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path) -> None:
        for index in range(3):
            (pictures / f"{index}.png").unlink()
        assert "holds 9 image files" in self.problem(capsys, "run", "--images", pictures, "--out", tmp_path / "run")

    def test_no_readable_images(self, capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path) -> None:
        for path in pictures.iterdir():
            path.write_bytes(b"")
        said = self.problem(capsys, "run", "--quiet", "--images", pictures, "--out", tmp_path / "run")
        assert "only 0 of 12 images" in said
        assert [path.name for path in tmp_path.iterdir()] == ["pictures"]

    def test_an_unknown_model(self, capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path) -> None:
        said = self.problem(capsys, "run", "--quiet", "--images", pictures, "--out", tmp_path / "run", "--model=resnet")
        assert "there is no model 'resnet'; nearest: " in said

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--weights=missing.pth"], "missing.pth"),
            (["--layers", "_blocks.3._bn9"], r"no layer '_blocks.3._bn9'; nearest: '_blocks.3._bn"),
            (["--preprocess=size=0"], "size"),
            (["--class-names=missing.txt"], "missing.txt"),
            (["--model=nowhere:make"], "nowhere"),
            (["--no-cache", "--cache=somewhere"], "not allowed with argument"),
            (["--clustering=other"], "invalid choice: 'other'"),
        ],
    )
    def test_an_impossible_model_or_option(
        self, capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path, options: list[str], said: str
    ) -> None:
        assert said in self.problem(capsys, "run", "--quiet", "--images", pictures, "--out", tmp_path / "run", *options)

    def test_an_occupied_place(self, capsys: pytest.CaptureFixture[str], pictures: Path, planted: Path) -> None:
        before = sorted(path.stat().st_mtime_ns for path in planted.rglob("*"))
        assert "already there" in self.problem(capsys, "run", "--images", pictures, "--out", planted)
        assert sorted(path.stat().st_mtime_ns for path in planted.rglob("*")) == before

    def test_a_place_that_cannot_be(self, capsys: pytest.CaptureFixture[str], pictures: Path) -> None:
        out = pictures / "0.png" / "run"
        assert "cannot be written" in self.problem(capsys, "run", "--images", pictures, "--out", out)

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            ("--batch-size=0", "batch_size is 0; it must be between 1 and 4096"),
            ("--min-distance=nan", "min_distance is nan"),
            ("--seed=-1", "seed is -1"),
            ("--band-rows=3", "permutations is 1024; it must be a multiple of band_rows (3)"),
            ("--seed=many", "argument --seed: invalid int value: 'many'"),
            ("--colour=red", "unrecognized arguments: --colour=red"),
        ],
    )
    def test_an_absurd_setting(
        self, capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path, option: str, said: str
    ) -> None:
        assert said in self.problem(capsys, "run", "--images", pictures, "--out", tmp_path / "run", option)

    @pytest.mark.parametrize(
        "arguments", [[], ["fly"], ["run"], ["run", "--images", "a"], ["check"], ["info", "a", "b"]]
    )
    def test_an_incomplete_command(self, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
        assert "--help" in self.problem(capsys, *arguments)

    @pytest.mark.parametrize("name", ["check", "info"])
    def test_a_folder_that_is_no_run(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
        for folder in (tmp_path, tmp_path / "none"):
            assert f"{folder} is not a run folder" in self.problem(capsys, name, folder)

    def test_a_report_of_what_is_not_there(
        self, capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.html"
        assert "no class 'bird'; did you mean 'birds'?" in self.problem(capsys, "report", planted, out, "--class=bird")
        assert "is not a run folder" in self.problem(capsys, "report", tmp_path, out)
        assert "ends in .html" in self.problem(capsys, "report", planted, tmp_path / "out.pdf")
        assert not [*tmp_path.iterdir()]

    @pytest.mark.parametrize(
        ("name", "file"), [("check", "neurons.parquet"), ("check", "embedding.npy"), ("info", "neurons.parquet")]
    )
    def test_a_damaged_run(
        self, capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path, name: str, file: str
    ) -> None:
        run = Path(shutil.copytree(planted, tmp_path / "run"))
        (run / file).write_bytes((run / file).read_bytes()[:-50])
        assert file in self.problem(capsys, name, run)

    @pytest.mark.parametrize("name", ["check", "info"])
    def test_a_damaged_manifest(
        self, capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path, name: str
    ) -> None:
        run = Path(shutil.copytree(planted, tmp_path / "run"))
        text = (run / "manifest.json").read_text()
        for damaged in (text[:-20], text.replace('"format": 1', '"format": 7'), text.replace('"images": {', '"i": {')):
            (run / "manifest.json").write_text(damaged)
            self.problem(capsys, name, run)

    def test_no_traceback_reaches_the_shell(self, tmp_path: Path) -> None:
        done = command("check", tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "Traceback" not in done.stderr

    def test_every_problem_of_a_run_has_a_line(
        self, capsys: pytest.CaptureFixture[str], planted: Path, tmp_path: Path
    ) -> None:
        run = Path(shutil.copytree(planted, tmp_path / "run"))
        for file in ("neurons.parquet", "embedding.npy"):
            (run / file).unlink()
        assert main(["check", str(run)]) == 2
        assert sorted(capsys.readouterr().err.splitlines()) == [
            "neurocarto: embedding.npy: missing",
            "neurocarto: neurons.parquet: missing",
        ]


def test_the_same_run_again_is_served_without_what_computes(
    real_run: Path, real_cache: Path, photos: Path, tmp_path: Path
) -> None:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.as_dict().items()]
    for out in (tmp_path / "again", tmp_path / "again"):  # made from what is kept, then found in its place
        arguments = ["run", "--quiet", f"--images={photos}", f"--out={out}", f"--cache={real_cache}", *settings]
        code = (
            f"import sys; from neurocarto.__main__ import main; code = main({arguments!r});"
            "print(code, sorted({'torch', 'torchvision', 'umap', 'numba', 'datasketch', 'sklearn'} & set(sys.modules)))"
        )
        assert command(code=code).stdout.splitlines()[-1] == "0 []"
        for name in Run(real_run).manifest.files:
            assert (out / name).read_bytes() == (real_run / name).read_bytes(), name


class TestLayers:
    def test_it_lists_layers_with_what_they_cost(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["layers", "alexnet", "--weights=none"]) == 0
        head, first, second, *_, last = capsys.readouterr().out.splitlines()
        assert " ".join(head.split()) == "layer module channels map layout field memory"
        assert " ".join(first.split()) == "features.0 Conv2d 64 55 x 55 BCHW 11 794 kB signed"
        assert " ".join(second.split()) == "* features.1 ReLU 64 55 x 55 BCHW 11 794 kB"
        assert last == "* studied by default: 5 layers, 1,152 neurons, 14 MB of memory"

    def test_it_shows_what_globs_choose(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["layers", "alexnet", "--weights=none", "--layers", "features.[14]", "classifier.2"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[1] for line in lines[:-1] if line.startswith("*")] == [
            "features.1", "features.4", "classifier.2",
        ]  # fmt: skip
        assert lines[-1].startswith("* studied with these --layers: 3 layers, 4,352 neurons")


class TestCache:
    @pytest.fixture
    def kept(self, tmp_path: Path) -> Path:
        with Cache(tmp_path / "cache") as cache:
            cache.put("a", {"numbers": np.zeros(1000)})
            cache.note_run("first", "one on here", ["a"])
            cache.note_run("second", "two on here", ["a", "b"])
        return tmp_path / "cache"

    @staticmethod
    def say(capsys: pytest.CaptureFixture[str], kept: Path, *options: str) -> list[str]:
        assert main(["cache", f"--cache={kept}", *options]) == 0
        return capsys.readouterr().out.splitlines()

    def test_it_lists_runs_with_sizes(self, capsys: pytest.CaptureFixture[str], kept: Path) -> None:
        second, first, total = self.say(capsys, kept)
        assert " ".join(first.split()) == "first 8 kB 0 days ago whole one on here"
        assert " ".join(second.split()) == "second 8 kB 0 days ago 1 of 2 stages two on here"
        assert total == f"{kept}: 8 kB, 2 runs"

    def test_it_clears_by_run_and_by_age(self, capsys: pytest.CaptureFixture[str], kept: Path) -> None:
        assert self.say(capsys, kept, "--older-than=1")[-1] == "nothing to clear"
        assert self.say(capsys, kept, "--clear", "first") == ["0 B freed, 1 run forgotten"]
        assert self.say(capsys, kept, "--older-than=0") == ["8 kB freed, 1 run forgotten"]
        assert self.say(capsys, kept) == [f"{kept}: 0 B, 0 runs"]

    def test_it_clears_everything(self, capsys: pytest.CaptureFixture[str], kept: Path) -> None:
        assert self.say(capsys, kept, "--all") == ["8 kB freed, 2 runs forgotten"]

    def test_an_unknown_run_is_one_line(self, capsys: pytest.CaptureFixture[str], kept: Path) -> None:
        assert "nothing is kept of run 'third'" in TestProblems.problem(
            capsys, "cache", f"--cache={kept}", "--clear", "third"
        )


def test_stopping_a_run_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("neurocarto.runs.store.check_run", stop)
    assert main(["check", "anything"]) == 130
    assert capsys.readouterr().err == "neurocarto: stopped\n"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("", ["run", "layers", "check", "info", "export", "import", "report", "cache", "--version"]),
        ("run", ["--images", "--out", "--model", *MODEL, "--cache", "--no-cache", "--quiet", *KNOBS]),
        ("layers", ["model", *MODEL]),
        ("check", ["RUN"]),
        ("info", ["RUN"]),
        ("report", ["RUN", "--class", "--no-images"]),
        ("cache", ["--cache", "--clear", "--older-than", "--all"]),
    ],
)
def test_help_names_every_option(capsys: pytest.CaptureFixture[str], name: str, options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"] if name else ["--help"])
    words = set(re.findall(r"[\w-]+", capsys.readouterr().out))
    assert stop.value.code == 0
    assert set(options) <= words
