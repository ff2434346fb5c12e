"""Parts as files in a folder that several machines see: mounted, or wherever fsspec writes."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from neurocarto.errors import RunError, one_line
from neurocarto.runs.parts import DAMAGED, Chunks, Parts, read_parts


@dataclass(frozen=True)
class SharedFolder:
    """A folder of parts, under names; RunError, in one line, when it cannot be used.

    system: an fsspec file system. A file appears under its name when it is whole, so that any number of processes may
    read and write; the same name always means the same bytes.
    """

    system: Any
    path: str

    @classmethod
    def at(cls, url: str) -> "SharedFolder":
        """Return the folder at a path or an address that fsspec knows."""
        import fsspec  # who shares nothing need not wait for it

        with _usable(url):
            return cls(*fsspec.core.url_to_fs(url))

    def below(self, name: str) -> "SharedFolder":
        """Return a folder in this one."""
        return SharedFolder(self.system, self._file(name))

    def get(self, name: str) -> Parts | None:
        """Return what was put under a name, None when there is nothing or it is damaged."""
        with (
            _usable(self.path),
            suppress(FileNotFoundError, *DAMAGED),
            self.system.open(self._file(name), "rb") as file,
        ):
            return read_parts(file)
        return None

    def put(self, name: str, parts: Parts) -> None:
        """Write parts under another name first, so that nobody reads half of them."""
        written = self._file(f".{name}-{uuid4().hex}")
        with _usable(self.path):
            self.system.makedirs(self.path, exist_ok=True)
            with self.system.open(written, "wb") as file:
                for chunk in Chunks(parts):
                    file.write(chunk)
            self.system.mv(written, self._file(name))

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        with _usable(self.path), suppress(FileNotFoundError):
            self.system.rm(self.path, recursive=True)

    def _file(self, name: str) -> str:
        return posixpath.join(self.path, name)


@contextmanager
def _usable(folder: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # remote file systems have exceptions of their own
        reason = one_line(getattr(error, "strerror", None) or error)
        raise RunError(
            f"the shared folder {folder} cannot be used: {reason}; make room, or name another one"
        ) from error
