"""What finished stages have computed, kept on disk under a key of all that decided it.

A key is the SHA-256 of a dictionary: the stage's inputs, its settings and the version of its algorithm. Values are
named arrays, tables and JSON; nothing is pickled and nothing is ever thrown away but by `clear`. Several
processes may share a cache: entries are written whole or not at all, and the same key always means the same bytes.
"""

import hashlib
import io
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import diskcache
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from diskcache.core import MODE_PICKLE

from neurocarto.errors import RunError

Parts = Mapping[str, Any]
"""Named NumPy arrays, pandas tables and JSON values."""

FOLDER_VARIABLE = "NEUROCARTO_CACHE"
ABANDONED_AFTER = 3600
"""Seconds after which a file that no entry names was left by a process that was killed while it wrote."""


def default_folder() -> Path:
    """Return where the cache lies: NEUROCARTO_CACHE, or neurocarto in the user's cache folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "neurocarto"


def key_of(content: Mapping[str, Any]) -> str:
    """Return the key of what these values decide."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One stored result. run, about: the run that stored it and what that is; used: seconds since 1970."""

    key: str
    stage: str
    run: str
    about: str
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
        """Return what is stored under a key, None when there is nothing."""
        with self._mended():
            file = self._store.get(key, read=True)
            if file is None:
                return None
            with file:
                return _read(file)

    def put(self, key: str, parts: Parts, about: Mapping[str, str], replace: bool = False) -> None:
        """Store a result: whole, or RunError and nothing.

        about: stage, run and about of its Entry. What another process has stored under the key meanwhile
        is the same, and stays, unless replace says that it is not.
        """
        chunks = _Chunks(parts)
        with self._mended():
            if replace:
                self._store.set(key, chunks)
            else:
                self._store.add(key, chunks)
            self._note(Entry(key=key, **about, bytes=chunks.size, used=time.time()))

    def touch(self, key: str) -> None:
        """Note that an entry is used today: `clear` by age counts from here."""
        with self._mended():
            note = self._store.get(_note_key(key))
            if note is not None:
                self._note(Entry(**{**json.loads(note), "used": time.time()}))

    def remove(self, keys: Iterable[str]) -> None:
        """Forget entries."""
        with self._mended():
            for key in keys:
                self._store.delete(key)
                self._store.delete(_note_key(key))

    def entries(self) -> list[Entry]:
        """List what is stored, in the order of its storing."""
        with self._mended():
            names = [name for name in self._store if name.startswith(_note_key(""))]
            notes = [self._store.get(name) for name in names]
        return [Entry(**json.loads(note)) for note in notes if note is not None]

    def sweep(self) -> int:
        """Remove files that killed processes left half-written; returns their bytes."""
        known = {os.path.abspath(path) for path in self._files()}
        freed = 0
        for path in self.folder.rglob("*.val"):
            try:
                status = path.stat()
                if str(path.absolute()) not in known and time.time() - status.st_mtime > ABANDONED_AFTER:
                    path.unlink()
                    freed += status.st_size
            except FileNotFoundError:  # another process was faster
                continue
        return freed

    def _files(self) -> Iterator[str]:
        for entry in self.entries():
            with self._mended():
                file = self._store.get(entry.key, read=True)
            if file is not None:
                with file:
                    yield file.name

    def _note(self, entry: Entry) -> None:
        self._store.set(_note_key(entry.key), json.dumps(vars(entry)))

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


def _note_key(key: str) -> str:
    return f"note:{key}"


class _Chunks:
    """Parts on their way to a file: a line of JSON that describes them, then the bytes of every array."""

    def __init__(self, parts: Parts) -> None:
        self._arrays = {name: _as_array(value) for name, value in parts.items() if not _is_json(value)}
        header = {
            "json": {name: value for name, value in parts.items() if _is_json(value)},
            "arrays": [
                [name, isinstance(parts[name], pd.DataFrame), array.dtype.str, array.shape]
                for name, array in self._arrays.items()
            ],
        }
        self._header = json.dumps(header).encode() + b"\n"
        self.size = len(self._header) + sum(array.nbytes for array in self._arrays.values())

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield self._header
        for array in self._arrays.values():
            yield array.reshape(-1).view(np.uint8).data


def _is_json(value: object) -> bool:
    return not isinstance(value, np.ndarray | pd.DataFrame)


def _as_array(value: npt.NDArray[Any] | pd.DataFrame) -> npt.NDArray[Any]:
    if isinstance(value, pd.DataFrame):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(value, preserve_index=False), buffer)
        return np.frombuffer(buffer.getvalue(), np.uint8)
    return np.ascontiguousarray(value)


def _read(file: BinaryIO) -> Parts:
    header = json.loads(file.readline())
    parts: dict[str, Any] = dict(header["json"])
    for name, is_table, dtype, shape in header["arrays"]:
        array = np.empty(shape, dtype)
        if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            raise OSError(f"the entry for {name} is cut short")
        parts[name] = pq.read_table(pa.BufferReader(array)).to_pandas() if is_table else array
    return parts


class _PlainDisk(diskcache.Disk):  # type: ignore[misc]
    """Stores chunks and strings, and pickles nothing, neither writing nor reading."""

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, str | None, object]:
        if isinstance(value, str):
            return super().store(value, read, key)  # type: ignore[no-any-return]
        if not isinstance(value, _Chunks):
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
            raise OSError("it holds a pickle, which is never opened")
        return super().fetch(mode, filename, value, read)
