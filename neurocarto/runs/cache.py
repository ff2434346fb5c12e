"""What finished stages have computed, kept on disk under a key of all that decided it.

A key is the SHA-256 of a dictionary: the stage's inputs, its settings and the version of its algorithm. Values are
named arrays, tables and JSON; nothing is pickled and nothing is ever thrown away but by `clear`. Several
processes may share a cache: entries are written whole or not at all, and the same key always means the same bytes.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import diskcache
from diskcache.core import MODE_PICKLE

from neurocarto.errors import RunError
from neurocarto.runs.parts import DAMAGED, Chunks, Parts, read_parts

FOLDER_VARIABLE = "NEUROCARTO_CACHE"
_RUN = "run:"
ABANDONED_AFTER = 3600
"""Seconds after which a file that no entry names was left by a process that was killed while it wrote."""


def default_folder() -> Path:
    """Return where the cache lies: NEUROCARTO_CACHE, or neurocarto in the user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "neurocarto"


@dataclass(frozen=True)
class Kept:
    """What is kept of a run: of which, how many of its stages, their bytes, when it was last asked for.

    used: seconds since 1970. Runs that share a stage both count its bytes.
    """

    run: str
    about: str
    stages: int
    of: int
    bytes: int
    used: float


class Cache:
    """Results of stages on disk: `get`, `put`, and what is needed to look after them.

    RunError, in one line, when the folder cannot be used or has no room left; what it holds stays as it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with self._mended():
            self._store = diskcache.Cache(
                str(folder), disk=_PlainDisk, eviction_policy="none", cull_limit=0, size_limit=2**62, timeout=60
            )

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def get(self, key: str) -> Parts | None:
        """Return what is stored under a key, None when there is nothing; what is damaged is removed."""
        with self._mended():
            file = self._store.get(key, read=True)
            if file is None:
                return None
            try:
                with file:
                    return read_parts(file)
            except DAMAGED:
                self._store.delete(key)
                return None

    def put(self, key: str, parts: Parts, replace: bool = False) -> None:
        """Store a result: whole, or RunError and nothing.

        What another process has stored under the key meanwhile is the same, and stays, unless replace says
        that it is not.
        """
        store = self._store.set if replace else self._store.add
        with self._mended():
            store(key, Chunks(parts))

    def remove(self, key: str) -> None:
        """Forget what is stored under a key and under all that begin with it and a stroke."""
        with self._mended():
            for name in [name for name in self._store if name == key or name.startswith(f"{key}/")]:
                self._store.delete(name)

    def note_run(self, run: str, about: str, keys: Iterable[str]) -> None:
        """Note that a run with stages of these keys is made or asked for now."""
        note = {"about": about, "keys": list(keys), "used": time.time()}
        with self._mended():
            self._store.set(f"{_RUN}{run}", json.dumps(note))

    def runs(self) -> list[Kept]:
        """List the runs of which something is kept, the last used first."""
        sizes = self._sizes()
        found = []
        for run, note in self._notes().items():
            own = [name for name in sizes if name.partition("/")[0] in note["keys"]]
            whole = len({name.partition("/")[0] for name in own if "/unfinished" not in name})
            size = sum(sizes[name] for name in own)
            found.append(Kept(run, note["about"], whole, len(note["keys"]), size, note["used"]))
        return sorted(found, key=lambda kept: -kept.used)

    def forget(self, runs: Iterable[str]) -> int:
        """Remove what is kept of these runs alone, and what killed processes left; returns the bytes freed."""
        before = self.bytes
        notes = self._notes()
        gone = {run: notes.pop(run) for run in runs}
        kept = {key for note in notes.values() for key in note["keys"]}
        for run, note in gone.items():
            for key in note["keys"]:
                if key not in kept:
                    self.remove(key)
            with self._mended():
                self._store.delete(f"{_RUN}{run}")
        self._sweep()
        return before - self.bytes

    @property
    def bytes(self) -> int:
        """Size of everything that is kept, and of what killed processes left."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.val"))

    def _notes(self) -> dict[str, dict[str, Any]]:
        with self._mended():
            names = [name for name in self._store if name.startswith(_RUN)]
            return {name.removeprefix(_RUN): json.loads(self._store[name]) for name in names}

    def _sizes(self) -> dict[str, int]:
        return {name: os.fstat(file.fileno()).st_size for name, file in self._files()}

    def _files(self) -> Iterator[tuple[str, BinaryIO]]:
        with self._mended():
            for name in self._store:
                file = None if name.startswith(_RUN) else self._store.get(name, read=True)
                if file is not None:
                    with file:
                        yield name, file

    def _sweep(self) -> None:
        """Remove files that killed processes left half-written."""
        known = {os.path.abspath(file.name) for _, file in self._files()}
        for path in self.folder.rglob("*.val"):
            if str(path.absolute()) not in known and time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink(missing_ok=True)

    @contextmanager
    def _mended(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            reason = getattr(error, "strerror", None) or str(error) or "another process has held it for a minute"
            raise RunError(
                f"the cache in {self.folder} cannot be used: {reason}; make room or name another folder with --cache, "
                "and run the same command again: it goes on from what is stored"
            ) from error


class _PlainDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores chunks and strings, and pickles nothing, neither writing nor reading."""

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, str | None, object]:
        if isinstance(value, str):
            return super().store(value, read, key)  # type: ignore[no-any-return]
        if not isinstance(value, Chunks):
            raise TypeError(f"the cache stores parts and strings, not {type(value).__name__}")
        filename, path = self.filename(key, value)
        try:
            size = self._write(path, value, "xb")
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise
        return size, diskcache.core.MODE_BINARY, filename, None

    def fetch(self, mode: int, filename: str, value: object, read: bool) -> object:
        if mode == MODE_PICKLE:
            raise OSError("a pickle, which is never opened")  # diskcache takes it for an entry that is gone
        return super().fetch(mode, filename, value, read)
