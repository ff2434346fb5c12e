"""Where files can be read: on this machine, or wherever fsspec reaches."""

import errno
import glob
import os
import re
import stat
import zipfile
from dataclasses import dataclass, field
from typing import IO, Any, Literal, Protocol

from neurocarto.errors import ImagesError, one_line
from neurocarto.extraction.decoding import shown
from neurocarto.records import Skipped

Kind = Literal["folder", "file"]
SURROGATES = re.compile("[\ud800-\udfff]")
"""In a name: bytes that are not UTF-8, as Python keeps them."""


def escaped(path: str) -> str:
    """Show the bytes of a path that are not UTF-8 by backslash escapes."""
    return SURROGATES.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file's content lies.

    file: the file on disk or behind the URL; start, length: the part of it, length None for all of it;
    size: bytes of the content. member: how it is packed in a .zip. fault: why it cannot be used.
    """

    file: str
    size: int
    start: int = 0
    length: int | None = None
    member: zipfile.ZipInfo | None = None
    fault: str | None = None


class Store(Protocol):
    """Where files can be found and read, from several threads. Any exception may come out of a remote one."""

    def kind(self, path: str) -> Kind | None:
        """Say what a path names."""

    def walk(self, folder: str) -> tuple[dict[str, Place], list[Skipped]]:
        """Return the files below a folder by their relative path, and what cannot be followed."""

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern."""

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading here and there."""

    def read(self, path: str, start: int, length: int | None) -> bytes:
        """Read a part of a file, or from its start to its end."""


def find_store(source: str) -> tuple[Store, str]:
    """Return the store that a path or URL belongs to, and the path in it."""
    if "://" not in source:
        return Disk(), source
    import fsspec  # what reads local files need not wait for it
    from fsspec.implementations.local import LocalFileSystem

    try:
        system, path = fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise ImagesError(f"{shown(source)} needs another package: {one_line(error)}") from error
    except Exception as error:  # file systems have exceptions of their own
        raise ImagesError(
            f"{shown(source)} cannot be opened: {one_line(error)}; give a path, or a URL that fsspec opens"
        ) from error
    return (Disk(), path) if isinstance(system, LocalFileSystem) else (Remote(system), path)


@dataclass(frozen=True)
class Disk:
    """Files of this machine.

    here: the folder that relative paths count from when they are read, which may be in another process.
    """

    here: str = field(default_factory=os.getcwd)

    def kind(self, path: str) -> Kind | None:
        """Say what a path names; OSError when that cannot be told."""
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return "folder" if stat.S_ISDIR(mode) else "file"

    def walk(self, folder: str) -> tuple[dict[str, Place], list[Skipped]]:
        """Return the files below a folder, following links to folders but never back to where they came from."""
        files: dict[str, Place] = {}
        skipped: list[Skipped] = []
        waiting = [("", {_identity(os.stat(folder)): "the folder itself"})]
        while waiting:
            below, above = waiting.pop()
            try:
                names = os.listdir(os.path.join(folder, below))
            except OSError as error:
                if not below:
                    raise
                skipped.append(Skipped(escaped(below), f"cannot be listed: {error.strerror}"))
                continue
            for path in (below + name for name in names):
                found = _look(os.path.join(folder, path))
                if isinstance(found, Place):
                    files[path] = found
                elif isinstance(found, str):
                    skipped.append(Skipped(escaped(path), found))
                elif found in above:
                    skipped.append(Skipped(escaped(path), f"leads back to {escaped(above[found])}"))
                else:
                    waiting.append((path + "/", {**above, found: path}))
        return files, skipped

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern."""
        return glob.glob(pattern)

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading here and there."""
        return open(path, "rb")

    def read(self, path: str, start: int, length: int | None) -> bytes:
        """Read a part of a file."""
        with open(os.path.join(self.here, path), "rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _look(path: str) -> Place | tuple[int, int] | str:
    """Return a file's place, a folder's identity, or why a path leads to neither."""
    try:
        found = os.stat(path)
    except OSError as error:
        return "a link that leads back to itself" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(found.st_mode):
        return _identity(found)
    return Place(path, found.st_size, fault=None if stat.S_ISREG(found.st_mode) else "neither a file nor a folder")


@dataclass(frozen=True)
class Remote:
    """Files that fsspec reaches. Parts are asked for one by one, so that nothing is held open."""

    system: Any

    def kind(self, path: str) -> Kind | None:
        """Say what a path names."""
        try:
            return "folder" if self.system.info(path)["type"] == "directory" else "file"
        except FileNotFoundError:
            return None

    def walk(self, folder: str) -> tuple[dict[str, Place], list[Skipped]]:
        """Return the files below a folder."""
        root = folder.rstrip("/") + "/"
        found = self.system.find(folder, detail=True)
        return {path.removeprefix(root): Place(path, about.get("size") or 0) for path, about in found.items()}, []

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern."""
        return list(self.system.glob(pattern))

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading here and there."""
        opened: IO[bytes] = self.system.open(path, "rb")
        return opened

    def read(self, path: str, start: int, length: int | None) -> bytes:
        """Read a part of a file."""
        return bytes(self.system.cat_file(path, start=start, end=None if length is None else start + length))
