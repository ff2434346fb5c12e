"""The app as a child process, for whoever has a run at hand and wants to look at it."""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from html import escape
from pathlib import Path
from typing import IO
from urllib.parse import quote

from neurocarto.errors import RunError, one_line
from neurocarto.runs.store import named_runs

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0
"""Seconds that the app may take to start, on a busy machine."""


class App:
    """The app, showing one run, until it is stopped or this process ends. url: where it is."""

    def __init__(self, run: Path) -> None:
        runs = [Path(part) for part in os.environ.get("NEUROCARTO_RUNS", "").split(os.pathsep) if part]
        folder = run.resolve()
        folders = [ROOT / "data", ROOT / "runs", *runs, folder]
        name = next(name for name, found in named_runs(folders).items() if found == folder)
        port = _free_port()
        self.url = f"http://localhost:{port}/?run={quote(name, safe='')}"
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.address", "localhost"]
            + ["--server.port", str(port), "--server.headless", "true"],
            cwd=ROOT,
            env={**os.environ, "NEUROCARTO_RUNS": os.pathsep.join(map(str, [*map(Path.absolute, runs), folder]))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )
        atexit.register(self.stop)
        self._wait(f"http://localhost:{port}/_stcore/health")

    @property
    def running(self) -> bool:
        """Whether it still serves."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        atexit.unregister(self.stop)

    def _wait(self, health: str) -> None:
        try:
            begin = time.monotonic()
            while not _answers(health):
                if not self.running or time.monotonic() - begin > PATIENCE:
                    self._log.seek(0)
                    said = self._log.read().strip().splitlines()
                    raise RunError(f"the app did not start: {one_line(said[-1]) if said else 'it said nothing'}")
                time.sleep(0.05)
        except BaseException:  # also when the waiting is interrupted
            self.stop()
            raise

    def __repr__(self) -> str:
        return self.url if self.running else "the app was stopped"

    def _repr_html_(self) -> str:
        link = escape(self.url)
        return f'<a href="{link}" target="_blank">{link}</a>' if self.running else "The app was stopped."


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except OSError:
        return False
    return True
