"""Nothing computed is lost: what is kept is used again, whatever happened in between, and gives the same bytes."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SMALL, files

from neurocarto.engine import local
from neurocarto.errors import ImagesError, RunError
from neurocarto.extraction.models import Model
from neurocarto.pipeline import run
from neurocarto.progress import Progress
from neurocarto.runs.cache import Cache
from neurocarto.runs.store import Run, check_run
from neurocarto.settings import RunSettings
from neurocarto.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
FACTORY = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)
    )
"""
SETTINGS = replace(SMALL, shard_size=4)


class Recorder(Progress):
    """Notes which stages were computed; fails where it is told to."""

    def __init__(self, fail: Callable[[str, int], bool] = lambda *_: False) -> None:
        super().__init__(quiet=True)
        self.computed: dict[str, int] = {}
        self._fail = fail

    @contextmanager
    def stage(self, name: str, total: int = 1, unit: str = "step") -> Iterator[Callable[[int], object]]:
        self.computed[name] = 0

        def count(units: int) -> None:
            advance(units)
            self.computed[name] += units
            if self._fail(name, self.computed[name]):
                raise KeyboardInterrupt

        with super().stage(name, total, unit) as advance:
            yield count


@pytest.fixture(scope="module")
def whole(network: Model, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as it is without a cache and without interruption."""
    return run(network, photos, tmp_path_factory.mktemp("whole") / "run", SETTINGS)


@pytest.fixture(scope="module")
def kept(network: Model, photos: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds a run."""
    folder = tmp_path_factory.mktemp("kept")
    out = run(network, photos, folder / "run", SETTINGS, cache=folder / "cache")
    assert files(out) == files(whole)
    return folder / "cache"


class TestCache:
    def again(self, network: Model, photos: Path, kept: Path, out: Path, settings: RunSettings = SETTINGS) -> set[str]:
        recorder = Recorder()
        run(network, photos, out, settings, recorder, kept)
        assert check_run(out) == []
        return set(recorder.computed) - {"previews"}  # written from what is kept

    def test_the_same_run_is_not_computed_again(self, network, photos, kept, whole, tmp_path) -> None:
        assert self.again(network, photos, kept, tmp_path / "run") == set()
        assert files(tmp_path / "run") == files(whole)
        first, again = Run(whole).manifest, Run(tmp_path / "run").manifest
        assert (again.run_id, list(again.seconds), again.files) == (first.run_id, list(first.seconds), first.files)

    @pytest.mark.parametrize(
        ("settings", "computed"),
        [
            ({"min_distance": 0.5}, {"projection", "quality"}),
            ({"dimensions": 6}, {"embedding", "projection", "quality"}),
            ({"influence_images": 3}, {"influence"}),
            ({"min_similarity": 0.3}, {"clusters", "importance", "confusions", "labels", "influence", "quality"}),
        ],
    )
    def test_a_changed_setting_computes_what_depends_on_it(
        self, network, photos, kept, tmp_path, settings, computed
    ) -> None:
        assert self.again(network, photos, kept, tmp_path / "run", replace(SETTINGS, **settings)) == computed

    def test_other_images_are_computed(self, network, photos, kept, tmp_path) -> None:
        some = tmp_path / "some"
        some.mkdir()
        for path in sorted(photos.rglob("*.png"))[:12]:
            (some / path.name).symlink_to(path)
        assert self.again(network, some, kept, tmp_path / "run") == set(STAGES) - {"previews"}

    def test_a_run_that_is_there_already_is_left_alone(self, network, photos, kept, tmp_path) -> None:
        out = run(network, photos, tmp_path / "run", SETTINGS, cache=kept)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        assert run(network, photos, out, SETTINGS, cache=kept) == out
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
        with pytest.raises(RunError, match="already there and not empty"):
            run(network, photos, out, replace(SETTINGS, min_distance=0.3), cache=kept)

    def test_the_cache_lists_the_run_with_all_its_stages(self, whole, kept) -> None:
        with Cache(kept) as cache:
            about = {entry.run: entry for entry in cache.runs()}
        found = about[Run(whole).manifest.run_id]
        assert (found.stages, found.of) == (len(STAGES), len(STAGES))
        assert found.about.startswith("tiny on ")


class TestInterruption:
    @pytest.mark.parametrize("images", [1, 5, 13, 24])
    def test_a_pass_goes_on_at_its_last_finished_shard(
        self, network, photos, whole, tmp_path, images, monkeypatch
    ) -> None:
        monkeypatch.setattr(local, "WRITING_SHARE", 1e9)  # these shards are so quick that most would not be saved
        stopped = Recorder(lambda stage, done: stage == "extraction" and done >= images)
        with pytest.raises(KeyboardInterrupt):
            run(network, photos, tmp_path / "run", SETTINGS, stopped, tmp_path / "cache")
        assert [path.name for path in tmp_path.iterdir()] == ["cache"]
        opened = []
        resumed = Recorder(lambda stage, done: opened.append(done) if stage == "extraction" else False)
        run(network, photos, tmp_path / "run", SETTINGS, resumed, tmp_path / "cache")
        assert opened[0] == max(bound for bound in (0, 1, 2, 4, 6, 8, 12, 16, 20, 24) if bound < max(images, 1))
        assert files(tmp_path / "run") == files(whole)

    @pytest.mark.parametrize("stage", ["offsets", "influence", "previews"])
    def test_finished_stages_are_not_done_again(self, network, photos, whole, tmp_path, stage) -> None:
        stopped, resumed = Recorder(lambda name, _: name == stage), Recorder()
        with pytest.raises(KeyboardInterrupt):
            run(network, photos, tmp_path / "run", SETTINGS, stopped, tmp_path / "cache")
        run(network, photos, tmp_path / "run", SETTINGS, resumed, tmp_path / "cache")
        finished = set(stopped.computed) - {stage}
        assert finished & set(resumed.computed) <= {"previews"}
        assert "extraction" in finished
        assert files(tmp_path / "run") == files(whole)

    def test_images_that_cannot_be_read_are_remembered(self, network, photos, whole, tmp_path) -> None:
        stopped = Recorder(lambda stage, done: stage == "extraction" and done >= 24)
        with pytest.raises(KeyboardInterrupt):
            run(network, photos, tmp_path / "run", SETTINGS, stopped, tmp_path / "cache")
        out = run(network, photos, tmp_path / "run", SETTINGS, cache=tmp_path / "cache")
        assert Run(out).manifest.images["skipped"] == Run(whole).manifest.images["skipped"] != []

    def test_an_image_that_is_gone_when_its_preview_is_due_is_one_line(self, network, photos, tmp_path) -> None:
        images = tmp_path / "images"
        images.mkdir()
        for path in sorted(photos.rglob("*.png"))[:12]:
            (images / path.name).write_bytes(path.read_bytes())

        def remove(stage: str, _: int) -> bool:
            if stage == "influence":
                for path in images.iterdir():
                    path.unlink(missing_ok=True)
            return False

        with pytest.raises(ImagesError):
            run(network, images, tmp_path / "run", SETTINGS, Recorder(remove), tmp_path / "cache")
        assert not (tmp_path / "run").exists()


def start(bench: Path, photos: Path, out: str, *more: str, before: str = "") -> subprocess.Popen[str]:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.as_dict().items()]
    command = ["run", "--quiet", "--model=tiny:make", "--preprocess=resize=48,size=48,mean=0.5,std=0.5"]
    arguments = [*command, f"--images={photos}", f"--out={bench / out}", *settings, *more]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{before}\n"
    code += f"from neurocarto.__main__ import main; sys.exit(main({arguments!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=bench, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was said on standard error."""
    errors = process.communicate()[1]
    return process.returncode, errors


@pytest.fixture(scope="module")
def bench(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.py").write_text(FACTORY)
    assert finished(start(folder, photos, "whole", "--no-cache")) == (0, "")
    assert check_run(folder / "whole") == []
    return folder


@pytest.mark.slow
class TestProcesses:
    """The same as whole processes, which can be killed, meet each other and run out of room."""

    def test_killed_at_random_moments_it_ends_with_the_same_bytes(self, bench: Path, photos: Path) -> None:
        cache, rng = f"--cache={bench / 'killed-cache'}", random.Random(0)
        begin = time.monotonic()
        assert finished(start(bench, photos, "timed", f"--cache={bench / 'timed-cache'}")) == (0, "")
        seconds = time.monotonic() - begin
        for _ in range(3):
            process = start(bench, photos, "killed", cache)
            time.sleep(rng.uniform(0.3, 1) * seconds)
            process.kill()
            process.communicate()
        assert finished(start(bench, photos, "killed", cache)) == (0, "")
        assert files(bench / "killed") == files(bench / "whole")
        assert not list(bench.glob(".killed*"))

    def test_two_at_once_do_not_harm_each_other(self, bench: Path, photos: Path) -> None:
        cache = f"--cache={bench / 'shared-cache'}"
        processes = [start(bench, photos, "shared", cache) for _ in range(2)]
        assert [finished(process) for process in processes] == [(0, ""), (0, "")]
        assert files(bench / "shared") == files(bench / "whole")
        assert not list(bench.glob(".shared*"))

    def test_without_room_it_says_so_in_a_line_and_goes_on_when_there_is(self, bench: Path, photos: Path) -> None:
        cache = f"--cache={bench / 'full-cache'}"
        limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"
        code, errors = finished(start(bench, photos, "full", cache, before=limit))
        assert code == 2
        assert errors.startswith(f"neurocarto: the cache in {bench / 'full-cache'} cannot be used: ")
        assert errors.count("\n") == 1
        assert finished(start(bench, photos, "full", cache)) == (0, "")
        assert files(bench / "full") == files(bench / "whole")
