import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import write_synthetic_run

from neurocarto.__main__ import main
from neurocarto.errors import NeurocartoError, RunError, SettingsError
from neurocarto.runs import publish as module
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.publish import describe, publish, server_bytes
from neurocarto.runs.store import Run, check_run
from neurocarto.views.lookup import Lookup


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_synthetic_run(tmp_path_factory.mktemp("publish") / "planted", judges=("A judge",), halves=True)
    (folder / "studies").mkdir()
    (folder / "studies" / "1-10.csv").write_text("participant\n")
    (folder / "names.json").write_text("{}")
    return folder


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_copy_is_a_whole_run_that_shows_the_same(planted: Path, tmp_path: Path) -> None:
    found = publish(planted, tmp_path / "data" / "runs")
    assert found.folder == tmp_path / "data" / "runs" / "planted"
    assert check_run(found.folder) == []
    before, after = Lookup(Run(planted)), Lookup(Run(found.folder))
    assert after.run.manifest.run_id == before.run.manifest.run_id
    for name in ("neurons", "examples", "images", "classes", "clusters", "influence", "quality", "confusions"):
        pd.testing.assert_frame_equal(after.run.table(name), before.run.table(name))
    for name in ("embedding", "snapshots", "class_means"):
        np.testing.assert_array_equal(after.run.array(name), before.run.array(name))
    for class_ in before.classes:
        pd.testing.assert_frame_equal(after.important(class_), before.important(class_))
        for cluster in before.cluster_layer:
            assert after.effect(class_, cluster) == before.effect(class_, cluster)
    for image in before.images.index:
        assert after.run.preview(image) == before.run.preview(image)
    assert after.run.scores()["a-judge"][0] == before.run.scores()["a-judge"][0]


def test_what_viewing_does_not_need_is_left_out_and_said(planted: Path, tmp_path: Path) -> None:
    found = publish(planted, tmp_path)
    assert contents(planted) - contents(found.folder) == {"studies/1-10.csv"}
    assert len(Run(found.folder).importance) < len(Run(planted).importance)
    text = "\n".join(found.left_out)
    assert "studies" in text
    assert f"({len(Run(planted).importance) - len(Run(found.folder).importance)} rows)" in text
    assert json.loads((found.folder / "manifest.json").read_text())["published"]["left_out"] == [*found.left_out]
    assert found.bytes == sum(path.stat().st_size for path in found.folder.rglob("*") if path.is_file())


def test_fewer_examples_keep_the_strongest_of_each_half_and_their_pictures_only(planted: Path, tmp_path: Path) -> None:
    found = publish(planted, tmp_path, "small", examples=2)
    assert check_run(found.folder) == []
    before, after = Run(planted), Run(found.folder)
    expected = before.examples[before.examples["rank"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(after.examples, expected)
    shown = set(expected["image"])
    assert all((after.preview(image) is not None) == (image in shown) for image in before.images["image"])
    assert any("beyond the 2 strongest" in line for line in found.left_out)


def test_examples_are_fewer_by_themselves_where_a_file_would_be_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_synthetic_run(tmp_path / "run", examples=15)
    largest = {count: max(publish(run, tmp_path, f"{count}", count).files.values()) for count in (15, 10, 5)}
    assert largest[15] > largest[10] > largest[5]
    monkeypatch.setattr(module, "MOST_BYTES", largest[10] - 1)
    found = publish(run, tmp_path, "fits")
    assert (found.examples, max(found.files.values())) == (5, largest[5])


def test_what_stays_too_large_is_refused_and_leaves_nothing(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with pytest.raises(RunError, match=r"would have .* MB with 2 examples .*--examples"):
        publish(planted, tmp_path, examples=2)
    with pytest.raises(RunError, match="serve it from a disk"):
        publish(planted, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_large_class_means_stay_behind_and_the_app_does_without(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WARNED_BYTES", 1000)
    found = publish(planted, tmp_path)
    assert "class_means.npy" not in found.files
    assert check_run(found.folder) == []
    assert Lookup(Run(found.folder)).driving_classes(0) == []
    assert sum("GitHub warns" in line for line in describe(found)) == len(found.large) > 0


def test_a_folder_of_this_machine_is_named_by_its_last_part(planted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(planted, tmp_path / "run"))
    manifest = Manifest.read(run)
    images = {**manifest.images, "source": "/home/someone/secret/photographs"}
    (run / "manifest.json").write_text(replace(manifest, images=images).to_json())
    found = publish(run, tmp_path / "out")
    assert Manifest.read(found.folder).images == {**images, "source": "photographs"}
    assert b"someone" not in b"".join(path.read_bytes() for path in found.folder.rglob("*.json"))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "..", "/tmp/elsewhere"])
def test_a_name_that_leads_elsewhere_is_refused(planted: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="--name"):
        publish(planted, tmp_path / "into", name)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("examples", [0, -3])
def test_no_examples_are_refused(planted: Path, tmp_path: Path, examples: int) -> None:
    with pytest.raises(SettingsError, match=f"--examples is {examples}"):
        publish(planted, tmp_path, examples=examples)


def test_an_occupied_place_is_left_alone(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="already there"):
        publish(planted, tmp_path)
    assert contents(tmp_path) == {"planted/mine.txt"}


def test_a_damaged_run_is_refused_before_anything_is_written(planted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(planted, tmp_path / "run"))
    (run / "neurons.parquet").write_bytes(b"")
    with pytest.raises(RunError, match=r"damaged and cannot be published: neurons\.parquet"):
        publish(run, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_place_that_cannot_be_written_is_one_clear_line(planted: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NeurocartoError) as caught:
        publish(planted, tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_memory_grows_with_the_run_and_its_visitors(planted: Path, tmp_path: Path) -> None:
    small = Run(publish(planted, tmp_path, examples=1).folder)
    assert server_bytes(small, 1) < server_bytes(Run(planted), 1) < server_bytes(Run(planted), 10)


def test_the_command_says_size_memory_and_what_to_commit(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["publish", str(planted), "--into", str(tmp_path), "--name", "shown"]) == 0
    said = capsys.readouterr().out
    assert f"git add {tmp_path / 'shown'}" in said
    assert "10 visitors" in said
    assert "choose a larger host" not in said
    monkeypatch.setattr(module, "HOST_BYTES", 1e6)
    assert main(["publish", str(planted), "--into", str(tmp_path), "--name", "again"]) == 0
    assert "choose a larger host" in capsys.readouterr().out
    assert main(["publish", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
