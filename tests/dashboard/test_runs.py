"""The Runs page: the library, a run being made, and the form. The whole way is driven in tests/browser."""

import json
import os
import re
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.conftest import ROOT, Visit
from neurocarto.dashboard import loaders, policy
from neurocarto.dashboard.library import editable
from neurocarto.dashboard.new_run import Images, _counted, _minutes, _seconds, _zip
from neurocarto.errors import ImagesError, SettingsError
from neurocarto.processes import process_start
from neurocarto.runs.library import REMOVED


@pytest.fixture
def visit_runs(run_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Visit:
    """Open the Runs page on a copy of the planted run that may be changed."""
    shutil.copytree(run_folder, tmp_path / "runs" / "planted")
    monkeypatch.setattr(loaders, "ROOT", tmp_path / "project")
    monkeypatch.setenv("NEUROCARTO_RUNS", str(tmp_path / "runs"))

    def open_app(**params: object) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        for name, value in params.items():
            app.query_params[name] = value
        app.switch_page("pages/runs.py")
        return app.run()

    return open_app


def said(app: AppTest) -> str:
    assert not app.exception
    return str([element.proto for element in app.get("html")]) + str([each.value for each in app.caption])


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def write_job(runs: Path, **status: object) -> str:
    folder = runs / ".jobs" / "0123456789ab"
    folder.mkdir(parents=True)
    asked = {
        "name": "birds",
        "images": "x",
        "model": "m",
        "weights": "DEFAULT",
        "layers": [],
        "settings": {},
        "limits": [],
    }
    (folder / "job.json").write_text(json.dumps({"asked": asked, "out": "birds", "created": time.time()}))
    mine = {"pid": os.getpid(), "started": process_start(os.getpid()), "begun": time.time() - 100, "now": time.time()}
    (folder / "status.json").write_text(json.dumps({**mine, "seconds": {"model": 4.0}, "said": [], **status}))
    (folder / "log.txt").write_text("the log")
    return folder.name


class TestTheLibrary:
    def test_it_lists_runs_with_what_they_are(self, visit_runs: Visit) -> None:
        app = visit_runs()
        assert "<strong>planted</strong>" in said(app)
        assert re.search(r"\d+ neurons in \d+ layers, \d+ clusters", said(app))

    def test_a_run_is_opened_on_explore(self, visit_runs: Visit) -> None:
        app = press(visit_runs(), "Open")
        assert app.selectbox(key="nc_run_0").value == "planted"

    def test_it_is_renamed(self, visit_runs: Visit, tmp_path: Path) -> None:
        app = visit_runs()
        app.text_input[0].set_value("My birds").run()
        app = press(app, "Rename")
        assert "is called My birds now" in said(app)
        assert [path.name for path in (tmp_path / "runs").iterdir() if path.name[0] != "."] == ["My birds"]

    def test_a_name_that_cannot_be_is_said_in_place(self, visit_runs: Visit, tmp_path: Path) -> None:
        app = visit_runs()
        app.text_input[0].set_value("../out").run()
        assert "cannot be a run" in said(press(app, "Rename"))
        assert (tmp_path / "runs" / "planted").is_dir()

    def test_removing_asks_first_and_can_be_undone(self, visit_runs: Visit, tmp_path: Path) -> None:
        app = visit_runs()
        assert next(button for button in app.button if button.label == "Remove").disabled
        app.checkbox[0].check().run()
        app = press(app, "Remove")
        assert "planted was removed" in said(app)
        assert not (tmp_path / "runs" / "planted").exists()
        app = press(app, "Undo: bring the removed run back")
        assert "planted is back" in said(app)
        assert (tmp_path / "runs" / "planted").is_dir()
        assert [*(tmp_path / "runs" / REMOVED).iterdir()] == []

    def test_a_damaged_run_does_not_hide_the_others(self, visit_runs: Visit, tmp_path: Path) -> None:
        shutil.copytree(tmp_path / "runs" / "planted", tmp_path / "runs" / "broken")
        (tmp_path / "runs" / "broken" / "neurons.parquet").write_bytes(b"x")
        app = visit_runs()
        assert "<strong>planted</strong>" in said(app)
        assert "cannot be read" in said(app)

    def test_where_only_viewing_is_allowed_nothing_can_be_changed(
        self, visit_runs: Visit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NEUROCARTO_VIEW_ONLY", "1")
        app = visit_runs()
        assert {button.label for button in app.button} == {"Open"}
        assert "This server only shows runs" in said(app)

    def test_what_comes_with_the_project_is_not_changed(self, tmp_path: Path) -> None:
        assert not editable(loaders.ROOT / "data" / "demo")
        assert editable(tmp_path / "run")


class TestARunBeingMade:
    def test_its_link_shows_how_far_it_is(self, visit_runs: Visit, tmp_path: Path) -> None:
        begun = {"state": "running", "stage": "extraction", "done": 30, "total": 90, "unit": "image"}
        job = write_job(tmp_path / "runs", **begun, stage_begun=time.time() - 10)
        app = visit_runs(job=job)
        assert "<strong>birds</strong> is being made" in said(app)
        assert "Pass the images through the network" in said(app)
        assert [button.label for button in app.button][0] == "Stop"

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ({"state": "failed", "error": "there is no such network"}, "could not be made: there is no such network"),
            ({"state": "stopped"}, "was stopped. What it had finished is kept"),
            ({"state": "running", "started": 1}, "has ended too early: its process is gone"),
        ],
    )
    def test_how_it_ended_is_said_and_it_can_go_on(
        self, visit_runs: Visit, tmp_path: Path, status: dict[str, object], words: str
    ) -> None:
        app = visit_runs(job=write_job(tmp_path / "runs", **status))
        assert words in said(app)
        assert {"Go on", "Dismiss"} <= {button.label for button in app.button}
        press(app, "Dismiss")
        assert [*(tmp_path / "runs" / ".jobs").glob("*/")] == []

    def test_a_finished_one_leads_to_the_run(self, visit_runs: Visit, tmp_path: Path) -> None:
        job = write_job(tmp_path / "runs", state="finished")
        folder = tmp_path / "runs" / ".jobs" / job
        (folder / "images.zip").write_bytes(b"people's photographs")
        shutil.copytree(tmp_path / "runs" / "planted", tmp_path / "runs" / "birds")
        app = visit_runs(job=job)
        assert "<strong>birds</strong> is finished" in said(app)
        assert not (folder / "images.zip").exists(), "what was uploaded is not kept"
        assert press(app, "Open").selectbox(key="nc_run_0").value == "birds"

    def test_visitors_who_may_only_look_do_not_stop_it(
        self, visit_runs: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NEUROCARTO_VIEW_ONLY", "1")
        app = visit_runs(job=write_job(tmp_path / "runs", state="running", stage="extraction"))
        assert {button.label for button in app.button} == {"Open"}

    @pytest.mark.parametrize("id_", ["0123456789ab", "../..", "<script>"])
    def test_a_link_to_none_says_so(self, visit_runs: Visit, id_: str) -> None:
        assert "no run being made under this link" in said(visit_runs(job=id_))


class TestWhatIsUploaded:
    @staticmethod
    def zipped(tmp_path: Path, names: list[str]) -> Path:
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        return tmp_path / "photos.zip"

    def test_images_and_folders_are_counted(self, tmp_path: Path) -> None:
        names = [f"{i % 3}/{i}.JPG" for i in range(12)] + ["notes.txt", "__MACOSX/1/._1.jpg"]
        with self.zipped(tmp_path, names).open("rb") as file:
            images = _zip(file)
            assert (images.count, images.labels) == (12, 3)
            (tmp_path / "job").mkdir()
            brought = images.bring(tmp_path / "job")
        assert Path(brought).read_bytes() == (tmp_path / "photos.zip").read_bytes()

    @pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 40])
    def test_what_is_no_zip_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "photos.zip").write_bytes(content)
        with (
            (tmp_path / "photos.zip").open("rb") as file,
            pytest.raises(ImagesError, match=r"photos\.zip' cannot be read"),
        ):
            _zip(file)

    def test_too_few_and_too_many_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ImagesError, match="'few' holds 9 images; at least 10 are needed"):
            _counted("few", [f"{i}.png" for i in range(9)], str)
        monkeypatch.setenv("NEUROCARTO_MAX_IMAGES", "15")
        with pytest.raises(ImagesError, match="'many' holds 16 images; at most 15 may be used"):
            _counted("many", [f"{i}.png" for i in range(16)], str)


class TestFoldersOfTheServer:
    def test_none_may_be_used_unless_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NEUROCARTO_IMAGES", raising=False)
        with pytest.raises(SettingsError, match="no folder of this server may be used"):
            policy.allowed_folder("/etc")

    @pytest.mark.parametrize("text", ["/etc", "..", "photos/../../other", "photos\0", "~root", "link", "/", "none"])
    def test_those_outside_are_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "other").mkdir()
        (tmp_path / "photos" / "link").symlink_to(tmp_path / "other")
        monkeypatch.setenv("NEUROCARTO_IMAGES", str(tmp_path / "photos"))
        named = text if text[0] in "/~" else str(tmp_path / "photos" / text)
        with pytest.raises(SettingsError, match="cannot be used: it has to exist and lie within"):
            policy.allowed_folder(named)

    def test_those_within_are_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "birds").mkdir()
        monkeypatch.setenv("NEUROCARTO_IMAGES", str(tmp_path))
        assert policy.allowed_folder(f" {tmp_path / 'birds'} ") == tmp_path / "birds"


@pytest.mark.parametrize("value", ["abc", "", "-5", "1e999", "nan"])
def test_a_limit_that_is_no_number_is_not_one_less(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NEUROCARTO_MAX_JOBS", value)
    assert policy.most_jobs() == 1


def test_more_images_layers_and_classes_take_longer() -> None:
    of = {"fixed": 20.0, "per_image": 0.01, "per_layer": 0.3, "per_neuron": 0.006, "per_class": [1.0, 4.0]}
    few, many = (Images("", count, labels, str) for count, labels in ((100, 2), (10_000, 40)))
    low, high = _seconds(of, few, 10, 5000, {})
    assert low < high < _seconds(of, many, 10, 5000, {})[1]
    assert _seconds(of, few, 10, 5000, {"influence": "gradient"})[1] < high
    assert _seconds(of, few, 10, 5000, {"influence_images": 32})[1] > high
    assert (_minutes(130), _minutes(9000)) == ("2 min", "2.5 h")
