import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neurocarto.errors import RunError
from neurocarto.processes import process_start
from neurocarto.runs.jobs import Asked, Job, Jobs, run_name

ASKED = Asked("birds", "/photos", "resnet18", settings={"seed": 3}, limits=("--most-images=50",))
CHILD = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).resolve().parents[2])!r})
from pathlib import Path
from neurocarto.progress import StatusFile
from neurocarto.errors import ModelError
import signal
status = next(a.partition("=")[2] for a in sys.argv if a.startswith("--status="))
out = next(a.partition("=")[2] for a in sys.argv if a.startswith("--out="))
def stop(*_): raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
print("arguments", sys.argv[1:], flush=True)
with StatusFile(Path(status)) as progress:
    with progress.stage("extraction", 40, "image") as advance:
        advance(10)
        progress.say("half a gigabyte")
        {{body}}
"""
BODIES = {
    "sleep": "time.sleep(60)",
    "finish": "Path(out).mkdir(); Path(out, 'manifest.json').write_text('{}')",
    "fail": "raise ModelError('there is no such network')",
    "break": "raise ZeroDivisionError('a slip of ours')",
    "die": "import os; os.kill(os.getpid(), 9)",
    "deaf": "signal.signal(signal.SIGTERM, signal.SIG_IGN); progress.say('deaf'); time.sleep(60)",
}

Start = Callable[..., tuple[Jobs, Job]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a job whose process does something else than a run."""
    made: list[tuple[Jobs, Job]] = []

    def begin(body: str, asked: Asked = ASKED, at_once: int = 9) -> tuple[Jobs, Job]:
        script = tmp_path / f"{body}.py"
        script.write_text(CHILD.replace("{body}", BODIES[body]))
        jobs = Jobs(tmp_path / "runs", (sys.executable, str(script)))
        made.append((jobs, jobs.start(asked, at_once=at_once)))
        return made[-1]

    yield begin
    for _, job in made:
        job.stop()
        job.stop()


def until(job: Job, state: str, stage: str = "") -> None:
    """Wait until a job's state is that, and for what its process says in a stage."""
    for _ in range(600):
        status = job.status()
        if status.state == state and (not stage or (status.stage == stage and status.said)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{job.status()}\n{job.log()}")


class TestWhatAJobSays:
    def test_how_far_it_is(self, start: Start) -> None:
        _, job = start("sleep")
        until(job, "running", "extraction")
        status = job.status()
        assert (status.done, status.total, status.unit, status.said) == (10, 40, "image", ("half a gigabyte",))
        assert status.elapsed > 0
        assert not status.is_over

    def test_that_it_is_finished(self, start: Start) -> None:
        _, job = start("finish")
        until(job, "finished")
        assert job.status().is_over
        assert "extraction" in job.status().seconds
        assert job.out.is_dir()

    @pytest.mark.parametrize(
        ("body", "error"), [("fail", "there is no such network"), ("break", "ZeroDivisionError: a slip of ours")]
    )
    def test_why_it_failed_in_one_line(self, start: Start, body: str, error: str) -> None:
        _, job = start(body)
        until(job, "failed")
        assert job.status().error == error
        while "Traceback" not in job.log():  # it is printed when the state has been written
            time.sleep(0.05)

    def test_that_its_process_is_gone(self, start: Start) -> None:
        _, job = start("die")
        until(job, "lost")
        assert "gone without a word" in job.status().error

    def test_nothing_of_a_process_that_has_its_number_now(self, start: Start) -> None:
        _, job = start("finish")
        until(job, "finished")
        path = job.folder / "status.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "state": "running", "pid": os.getpid()}))
        assert job.status().state == "lost"

    def test_the_arguments_of_the_command_line(self, start: Start) -> None:
        asked = replace(ASKED, layers=("a", "b.*"), weights="-w.pth")
        _, job = start("finish", asked)
        until(job, "finished")
        for argument in ("--images=/photos", "--weights=-w.pth", "--seed=3", "--layers=a,b.*", "--most-images=50"):
            assert repr(argument) in job.log()


class TestStopping:
    def test_it_ends_and_says_so(self, start: Start) -> None:
        _, job = start("sleep")
        until(job, "running", "extraction")
        job.stop()
        assert job.is_asked_to_stop
        until(job, "stopped")

    def test_one_that_does_not_listen_is_ended_when_asked_again(self, start: Start) -> None:
        _, job = start("deaf")
        until(job, "running", "extraction")
        while "deaf" not in job.status().said:
            time.sleep(0.05)
        job.stop()
        time.sleep(0.3)
        assert job.status().state == "running"
        job.stop()
        until(job, "lost")

    def test_a_stopped_one_goes_on_in_the_same_place(self, start: Start) -> None:
        jobs, job = start("sleep")
        until(job, "running", "extraction")
        job.stop()
        until(job, "stopped")
        jobs.resume(job)
        until(job, "running", "extraction")
        assert not job.is_asked_to_stop
        assert jobs.get(job.id) == job

    def test_a_forgotten_one_leaves_its_run_and_nothing_else(self, start: Start) -> None:
        jobs, job = start("finish")
        until(job, "finished")
        jobs.forget(job)
        assert jobs.all() == []
        assert job.out.is_dir()
        assert not job.folder.exists()


class TestMoreThanOne:
    def test_only_so_many_are_under_way_at_once(self, start: Start) -> None:
        jobs, job = start("sleep")
        until(job, "running", "extraction")
        with pytest.raises(RunError, match="'birds' is being made; wait until it is finished, or stop it first"):
            start("sleep", at_once=1)
        assert [each.id for each in jobs.all()] == [job.id], "nothing is left of the one that was refused"

    def test_each_has_a_folder_of_its_own(self, start: Start) -> None:
        outs = [start("finish")[1].out.name for _ in range(2)]
        assert outs == ["birds", "birds-2"]

    def test_another_process_finds_them(self, start: Start, tmp_path: Path) -> None:
        _, job = start("sleep")
        until(job, "running", "extraction")
        look = (
            "from pathlib import Path; from neurocarto.runs.jobs import Jobs; "
            f"print([job.status().state for job in Jobs(Path({str(tmp_path / 'runs')!r})).all()])"
        )
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "['running']"

    def test_it_outlives_whoever_started_it(self, tmp_path: Path) -> None:
        script = tmp_path / "sleep.py"
        script.write_text(CHILD.replace("{body}", BODIES["sleep"]))
        begin = (
            "import sys; from pathlib import Path; from neurocarto.runs.jobs import Asked, Jobs; "
            f"Jobs(Path({str(tmp_path / 'runs')!r}), (sys.executable, {str(script)!r})).start(Asked('a', 'b', 'c'))"
        )
        subprocess.run([sys.executable, "-c", begin], check=True)
        (job,) = Jobs(tmp_path / "runs").all()
        until(job, "running", "extraction")
        job.stop()
        until(job, "stopped")


class TestWhatCannotBe:
    @pytest.mark.parametrize("id_", ["", "..", "../../etc", "0123456789ab", "x" * 12 + "/..", "ABCDEFGHIJKL"])
    def test_there_is_no_job_of_that_id(self, tmp_path: Path, id_: str) -> None:
        assert Jobs(tmp_path).get(id_) is None

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"asked": {"name": 1}, "out": "x", "created": 0}'])
    def test_a_damaged_description_is_none(self, tmp_path: Path, content: str) -> None:
        folder = tmp_path / ".jobs" / "0123456789ab"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(content)
        assert Jobs(tmp_path).all() == []

    def test_where_nothing_can_be_written_one_line_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("a file")
        with pytest.raises(RunError, match=r"the run cannot be begun in .*runs: "):
            Jobs(tmp_path / "runs").start(ASKED)

    def test_an_upload_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        def full(folder: Path) -> Asked:
            (folder / "images.zip").write_bytes(b"half")
            raise OSError(28, "No space left on device")

        with pytest.raises(RunError, match="No space left on device"):
            Jobs(tmp_path / "runs").start(ASKED, full)
        assert [*(tmp_path / "runs" / ".jobs").glob("*/")] == []


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("my photos", "my-photos"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden", "hidden"),
        ("<b>ü</b>", "b-ü-b"),
        ("   ", ""),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_name_becomes_a_folder_s_name(typed: str, name: str) -> None:
    assert run_name(typed) == name


def test_a_process_is_known_by_when_it_began() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    began = process_start(child.pid)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert began >= process_start(os.getpid()) > 0
    assert process_start(child.pid) != began
