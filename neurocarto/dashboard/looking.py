"""One look at an image in a process of its own: the app itself never loads a network.

The image goes to the process through a pipe and what is found comes back through another: nothing is on disk.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neurocarto.dashboard import texts
from neurocarto.dashboard.loaders import ROOT

LONGEST = 300.0
"""Seconds that a look may take once it has begun."""
PATIENCE = 60.0
"""Seconds after which a look that nobody has asked for any more is given up: the visitor has left."""
_SAID = "neurocarto: "
_turns = threading.BoundedSemaphore(1)
"""One network in memory at a time, whoever asks: a process takes some 700 MB."""


class Looking:
    """A look that goes on in the background, at a low priority. found, problem: what came of it, None before."""

    def __init__(self, command: Sequence[str], content: bytes) -> None:
        """Begin. command: gets the content on its standard input and answers in JSON on its standard output."""
        self.found: dict[str, Any] | None = None
        self.problem: str | None = None
        self._begun = self._asked = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(command, content), daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._begun

    def is_over(self) -> bool:
        """Return whether something came of it; whoever asks still waits for it."""
        self._asked = time.monotonic()
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Give it up; the process is killed at once."""
        self._stopped.set()

    def _run(self, command: Sequence[str], content: bytes) -> None:
        while not _turns.acquire(timeout=0.1):
            if self._is_unwanted():
                self.problem = texts.OWN_STOPPED
                return
        try:
            self._answer(command, content)
        except OSError as error:
            self.problem = texts.own_failed(error.strerror or "")
        finally:
            _turns.release()

    def _answer(self, command: Sequence[str], content: bytes) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            over = threading.Event()
            watch = threading.Thread(target=self._watch, args=(process, over), daemon=True)
            watch.start()
            # Without a timeout: in Python 3.11 what is left of the content after one is never written.
            out, said = process.communicate(content)
            over.set()
            watch.join()
        if self.problem is None:
            self._read(process.returncode, out, said)

    def _watch(self, process: "subprocess.Popen[bytes]", over: threading.Event) -> None:
        last = time.monotonic() + LONGEST
        while not over.wait(0.1):
            late = time.monotonic() > last
            if late or self._is_unwanted():
                self.problem = texts.own_too_long(LONGEST) if late else texts.OWN_STOPPED
                process.kill()
                return

    def _read(self, code: int, out: bytes, said: bytes) -> None:
        try:
            self.found = json.loads(out) if code == 0 else None
        except ValueError:
            self.found = None
        if self.found is None:
            told = [line for line in said.decode(errors="replace").splitlines() if line.startswith(_SAID)]
            self.problem = texts.own_failed(told[-1].removeprefix(_SAID) if told else "")

    def _is_unwanted(self) -> bool:
        return self._stopped.is_set() or time.monotonic() - self._asked > PATIENCE


def look_at(run: Path, content: bytes) -> Looking:
    """Begin to look at an image, in the bytes of its file, with the network of a run."""
    command = [sys.executable, "-m", "neurocarto", "look", str(run), "-", "--json", "-", "--background"]
    return Looking(command, content)
