"""Telling processes apart."""

from pathlib import Path


def process_start(pid: int) -> int:
    """Return when a process began, in ticks since this machine did; 0 where that cannot be known, or it is gone.

    With its number it names a process: numbers alone are given again.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state == "Z" else int(fields[18])
    except OSError:
        return 0
