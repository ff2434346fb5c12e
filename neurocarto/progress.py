"""Progress of a run: which stage is at work, how fast, how long still."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from neurocarto.errors import NeurocartoError, one_line
from neurocarto.files import replace_text
from neurocarto.processes import process_start

Advance = Callable[[int], object]
"""Called with the number of units just done."""


class Progress:
    """Times the stages of a run and, unless quiet, shows a bar for each with rate and time left.

    seconds: what each finished stage took.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Show a line, unless quiet."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def stage(self, name: str, total: int = 1, unit: str = "step") -> Iterator[Advance]:
        """Time a stage of `total` units; yields a function to call with the number of units just done."""
        start = time.perf_counter()
        bar = tqdm(total=total, desc=f"{name:<11}", unit=unit, disable=self._quiet, dynamic_ncols=True, mininterval=0.5)
        with bar:
            bar.leave = False  # where the stage fails, the line that says why stands alone
            yield bar.update
            bar.update(total - bar.n)
            bar.leave = True
        self.seconds[name] = round(time.perf_counter() - start, 3)


class StatusFile(Progress):
    """Progress that other processes read: a JSON file, replaced whole, at most twice a second and at every event.

    It holds: pid, started (process_start), begun and now (seconds since 1970), state (running, finished, failed,
    stopped), error (one line), stage, done, total, unit, stage_begun, seconds of finished stages, said (lines).
    Used as a context, it ends with the state in which the block is left.
    """

    INTERVAL = 0.5

    def __init__(self, path: Path) -> None:
        super().__init__(quiet=True)
        self._path, self._written = path, 0.0
        self._status: dict[str, Any] = {
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
            "begun": time.time(),
            "state": "running",
            "error": "",
            "stage": "",
            "seconds": self.seconds,
            "said": [],
        }

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._write(state="finished")
        elif isinstance(error, KeyboardInterrupt):
            self._write(state="stopped")
        else:
            known = isinstance(error, NeurocartoError)
            self._write(state="failed", error=str(error) if known else f"{type(error).__name__}: {one_line(error)}")

    def say(self, text: str) -> None:
        """Add a line to what was said."""
        self._status["said"].append(text)
        self._write()

    @contextmanager
    def stage(self, name: str, total: int = 1, unit: str = "step") -> Iterator[Advance]:
        """Time a stage and write how far it is."""
        self._write(stage=name, done=0, total=total, unit=unit, stage_begun=time.time())

        def advance(count: int) -> None:
            self._status["done"] += count
            if time.monotonic() - self._written > self.INTERVAL:
                self._write()

        with super().stage(name, total, unit):
            yield advance
        self._write(stage="")

    def _write(self, **changes: Any) -> None:
        self._status |= {"now": time.time(), **changes}
        replace_text(self._path, json.dumps(self._status))
        self._written = time.monotonic()
