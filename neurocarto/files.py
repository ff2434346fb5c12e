"""Writing files whole, and how large they are in words."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file whole, in place of what was there, or leave everything as it is and raise OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def written_size(count: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
