"""Starts the app as a user does, and names the browser that opens it: for tests and benchmarks alike."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Server:
    """A running app: its address, its process, and when it first said that it is well (seconds since 1970)."""

    address: str
    process: int
    healthy: float

    def memory(self, field: str) -> float:
        """Return VmRSS (now) or VmHWM (at most so far) in MB."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) * 1024 / 1e6

    def busy(self) -> float:
        """Return the seconds that its process has kept a processor busy."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serve(
    runs: Path,
    entrypoint: str = "app.py",
    *,
    python: str = sys.executable,
    folder: Path = ROOT,
    log: Path | None = None,
) -> Iterator[Server]:
    """Start the app on a free port, with the runs of a folder beside the demo; its exceptions are raised at the end.

    entrypoint: as one names it from `folder`, which the server is started in, with the Python that it runs on. log:
    where what it says is kept.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # -P, and no PYTHONPATH: the `streamlit` command does not look for modules in the current folder either.
    command = [python, "-P", "-m", "streamlit", "run", entrypoint, "--server.address", "127.0.0.1"]
    own = {"NEUROCARTO_RUNS": str(runs), "STREAMLIT_LOGGER_ENABLE_RICH": "false"}
    with log.open("w+") if log else tempfile.TemporaryFile("w+", encoding="utf-8") as said_in:
        process = subprocess.Popen(
            [*command, "--server.port", port],
            cwd=folder,
            env={**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **own},
            stdout=subprocess.DEVNULL,
            stderr=said_in,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            while not _is_well(address):
                if process.poll() is not None:
                    raise RuntimeError("the app did not start; try: streamlit run app.py")
                time.sleep(0.02)
            yield Server(address, process.pid, time.time())
        finally:
            process.terminate()
            process.wait(20)
        said_in.seek(0)
        said = said_in.read()
    if "Uncaught app execution" in said:
        raise RuntimeError(f"the app raised an exception:\n{said[-20_000:]}")


def _is_well(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
    except OSError:
        return False
    return True
