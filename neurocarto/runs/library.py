"""Looking after run folders: renaming, and removing so that it can be undone."""

import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from neurocarto.errors import RunError
from neurocarto.runs.store import is_run

REMOVED = ".removed"
"""Folder beside the runs, for those that were removed a while ago."""
KEPT_FOR = 24 * 3600
"""Seconds after which a removed run may be deleted for good."""
_NAME = re.compile(r"\w[\w. -]{0,79}")


def rename_run(folder: Path, name: str) -> Path:
    """Give a run another name, which is that of its folder; returns where it lies. RunError when that cannot be."""
    name = name.strip()
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise RunError(
            f"{name[:80]!r} cannot be a run's name: it takes letters, digits, spaces, points and dashes, at most 80, "
            "and begins with a letter or digit"
        )
    new = folder.with_name(name)
    if new == folder:
        return folder
    if new.exists():
        raise RunError(f"there is something called {name!r} beside it already; choose another name")
    return _moved(folder, new)


def remove_run(folder: Path) -> Path:
    """Put a run away and return where it lies now, for `restore_run`; after a day it may be deleted for good."""
    if not is_run(folder):
        raise RunError(f"{folder} is no run any more")
    away = folder.parent / REMOVED
    with suppress(OSError):
        away.mkdir(exist_ok=True)
    delete_old(folder.parent)
    return _moved(folder, away / f"{int(time.time())}-{secrets.token_hex(4)}-{folder.name}")


def restore_run(away: Path) -> Path:
    """Bring a run back that was removed; returns where it lies. RunError when its name is taken or it is gone."""
    folder = away.parent.parent / away.name.split("-", 2)[2]
    if folder.exists():
        raise RunError(f"there is another run called {folder.name!r} now; rename that one first")
    return _moved(away, folder)


def delete_old(runs: Path) -> None:
    """Delete for good what was removed from a folder of runs more than a day ago."""
    for away in (runs / REMOVED).glob("*-*-*"):
        removed = away.name.split("-")[0]
        if removed.isdigit() and time.time() - int(removed) > KEPT_FOR:
            shutil.rmtree(away, ignore_errors=True)


def _moved(old: Path, new: Path) -> Path:
    try:
        return old.rename(new)
    except OSError as error:
        raise RunError(f"{old.name!r} cannot be moved: {error.strerror}; is its folder writable?") from error
