"""Runs that are being made for somebody who watches from elsewhere: child processes, and a folder for each.

A job is the command line's `run` in a process of its own (neurocarto/__main__.py), which writes its progress to a file
(progress.StatusFile). Nothing else is shared with whoever started it: any process can watch or stop it, and when a
server is started again it finds its jobs as they are.

    JOBS/ID/
    ├── job.json      what was asked for, as it was asked for
    ├── status.json   how far it is, by the process itself
    ├── log.txt       all that it printed
    └── …             files that were uploaded for it
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neurocarto.errors import RunError
from neurocarto.files import replace_text
from neurocarto.processes import process_start
from neurocarto.runs.store import is_run

FOLDER = ".jobs"
"""Beside the runs that they make."""
COMMAND = (sys.executable, "-m", "neurocarto", "run")
NICENESS = 15
"""Of the process, so that pages stay quick while a run is made. NEUROCARTO_NICENESS sets another."""
TO_START = 60
"""Seconds that a process may take to say that it has begun."""
LAST_LINES = 20_000
"""Bytes of a log that are shown."""
_ID = re.compile(r"[a-z0-9]{12}")
_OVER = {"finished", "failed", "stopped"}


@dataclass(frozen=True)
class Asked:
    """What a job was asked to do.

    name: of the run; images, model, weights, layers: as of the command line; settings: those that differ from their
    defaults; limits: further arguments that the one who asked cannot change.
    """

    name: str
    images: str
    model: str
    weights: str = "DEFAULT"
    layers: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()

    def arguments(self, out: Path) -> list[str]:
        """Return the arguments of the command that makes the run."""
        flags = {"images": self.images, "out": str(out), "model": self.model, "weights": self.weights, **self.settings}
        # With = between, as a value that begins with a dash is a value.
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        return arguments + [f"--layers={','.join(self.layers)}"] * bool(self.layers) + list(self.limits)


@dataclass(frozen=True)
class Status:
    """How a job stands.

    state: starting, running, finished, failed, stopped, or lost (its process is gone and did not say why); stage, done,
    total, unit: where it is; seconds: of finished stages; elapsed, elapsed_in_stage: seconds since it and the stage
    began; left: until the stage ends, None where that cannot be said yet; rate: units a second; error: one line.
    """

    state: str
    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    elapsed: float = 0.0
    left: float | None = None
    rate: float | None = None
    elapsed_in_stage: float = 0.0
    error: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in _OVER | {"lost"}


@dataclass(frozen=True)
class Job:
    """A job: its folder, what was asked for, where the run goes, and when it was started (seconds since 1970)."""

    folder: Path
    asked: Asked
    out: Path
    created: float

    @property
    def id(self) -> str:
        """The name by which it is found again."""
        return self.folder.name

    def status(self) -> Status:
        """Read how the job stands now."""
        found = _json(self.folder / "status.json")
        if not found:
            waited = time.time() - _changed(self.folder / "job.json")
            return Status("starting" if waited < TO_START else "lost", error="" if waited < TO_START else LOST)
        state, done, total = str(found.get("state")), int(found.get("done", 0)), int(found.get("total", 0))
        if state == "running" and not _runs(found):
            state = "lost"
        taken = float(found.get("now", 0)) - float(found.get("stage_begun", found.get("now", 0)))
        rate = done / taken if taken > 1 and done else None
        return Status(
            state=state,
            stage=str(found.get("stage", "")),
            done=done,
            total=total,
            unit=str(found.get("unit", "")),
            seconds=dict(found.get("seconds", {})),
            said=tuple(map(str, found.get("said", ()))),
            elapsed=(time.time() if state == "running" else float(found.get("now", 0))) - float(found.get("begun", 0)),
            left=(total - done) / rate if rate else None,
            rate=rate,
            elapsed_in_stage=time.time() - float(found.get("stage_begun", time.time())),
            error=str(found.get("error", "")) or (LOST if state == "lost" else ""),
        )

    def log(self) -> str:
        """Return the end of what the process has printed."""
        with suppress(OSError), (self.folder / "log.txt").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_LINES))
            return file.read().decode("utf-8", "replace")
        return ""

    def tidy(self) -> None:
        """Remove what was uploaded for a job that is finished."""
        for path in self.folder.iterdir():
            if path.name not in {"job.json", "status.json", "log.txt"}:
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask the process to end, and return; what is finished is kept. Asked again, it is ended at once."""
        found, asked = _json(self.folder / "status.json"), self.folder / "stop"
        if found.get("state") == "running" and _runs(found):
            with suppress(ProcessLookupError):
                os.kill(int(found["pid"]), signal.SIGKILL if asked.exists() else signal.SIGTERM)
            asked.touch()

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether `stop` was called since it was started."""
        return (self.folder / "stop").exists()


LOST = (
    "its process is gone without a word: ended from outside, for memory perhaps, or with the machine; what it had "
    "finished is kept, and the same run goes on from there"
)


class Jobs:
    """The jobs in a folder of runs."""

    def __init__(self, runs: Path, command: Sequence[str] = COMMAND) -> None:
        self._runs, self._command = runs, tuple(command)
        self.folder = runs / FOLDER

    def all(self) -> list[Job]:
        """Return all jobs, the newest first."""
        found = (self.get(path.name) for path in self.folder.glob("*/"))
        return sorted((job for job in found if job), key=lambda job: -job.created)

    def get(self, id_: str) -> Job | None:
        """Return a job, None where there is none of that id."""
        folder = self.folder / id_
        content = _json(folder / "job.json") if _ID.fullmatch(id_) else None
        if not content:
            return None
        try:
            asked = content["asked"]
            asked = Asked(**{**asked, "layers": tuple(asked["layers"]), "limits": tuple(asked["limits"])})
            return Job(folder, asked, self._runs / content["out"], float(content["created"]))
        except (KeyError, TypeError, ValueError):
            return None

    def start(self, asked: Asked, uploads: "Callable[[Path], Asked] | None" = None, at_once: int = 1) -> Job:
        """Start a job and return it. RunError when as many as may be are under way, or it cannot be written.

        uploads: is given the job's folder, puts files there and returns what is asked for with them in it.
        """
        self._require_room(at_once)
        folder = self.folder / secrets.token_hex(6)
        try:
            folder.mkdir(parents=True)
            asked = uploads(folder) if uploads else asked
            with self._alone():
                self._require_room(at_once)
                job = Job(folder, asked, self._free(asked.name), time.time())
                self._launch(job)
            return job
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RunError(f"the run cannot be begun in {self._runs}: {error.strerror or error}") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def resume(self, job: Job, at_once: int = 1) -> Job:
        """Start a job again that is over: what it had finished is not done again."""
        with self._alone():
            self._require_room(at_once)
            for name in ("status.json", "stop"):
                (job.folder / name).unlink(missing_ok=True)
            self._launch(job)
        return job

    def forget(self, job: Job) -> None:
        """Stop a job and remove its folder; the run that it made stays."""
        job.stop()
        shutil.rmtree(job.folder, ignore_errors=True)

    def _launch(self, job: Job) -> None:
        content = {"asked": asdict(job.asked), "out": job.out.name, "created": job.created}
        replace_text(job.folder / "job.json", json.dumps(content, indent=1))
        status = f"--status={job.folder / 'status.json'}"
        nice = ("nice", "-n", os.environ.get("NEUROCARTO_NICENESS") or str(NICENESS)) if shutil.which("nice") else ()
        with (job.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [*nice, *self._command, *job.asked.arguments(job.out), status],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(__file__).resolve().parents[2],
                start_new_session=True,  # it outlives the server that started it
            )
        _CHILDREN.append(process)

    def _require_room(self, at_once: int) -> None:
        for process in [*_CHILDREN]:  # ended ones stay in the list of processes until somebody asks
            if process.poll() is not None:
                _CHILDREN.remove(process)
        busy = [job for job in self.all() if not job.status().is_over]
        if len(busy) >= at_once:
            names = ", ".join(repr(job.asked.name) for job in busy)
            raise RunError(f"{names} is being made; wait until it is finished, or stop it first")

    def _free(self, name: str) -> Path:
        """A folder of that name, or with the next number, that no run and no job has."""
        taken = {job.out.name for job in self.all() if not is_run(job.out)}
        names = (name if number == 1 else f"{name}-{number}" for number in range(1, 10_000))
        return next(path for path in map(self._runs.joinpath, names) if path.name not in taken and not path.exists())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time look for room and take it."""
        import fcntl

        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


_CHILDREN: list[subprocess.Popen[bytes]] = []


def run_name(text: str) -> str:
    """Return a folder's name made of what somebody typed: letters, digits, points, dashes; empty where none is left."""
    return re.sub(r"[^\w.-]+", "-", text.strip()).strip(".-_")[:60]


def _runs(status: dict[str, Any]) -> bool:
    pid, started = int(status.get("pid", 0)), int(status.get("started", 0))
    if started:
        return process_start(pid) == started
    try:  # no /proc: the number alone has to do
        os.kill(pid, 0)
    except (OSError, ValueError):
        return False
    return True


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
