"""The files in a .zip that anybody may have made: looked at before anything is unpacked, and counted while it is."""

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from neurocarto.errors import RunError, one_line, printable

ENTRY = 300
"""Bytes of an archive's table of contents for each entry: more than a run's names take."""
CHUNK = 2**20
"""Bytes that are unpacked at a time."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of packing that need little memory to unpack, whatever the archive says."""
DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError, OverflowError, NotImplementedError,
    RuntimeError,
)  # fmt: skip
"""What reading an archive raises that is damaged, or none."""
PLACE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,3}")
"""A file's place in a run's folder: the same on every system, never hidden, never outside."""


@contextmanager
def opened(archive: Path | BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """Open an archive of at most so many entries; RunError, also while it is read, when it cannot be."""
    name = archive.name if isinstance(archive, Path) else "the archive"
    try:
        with _Careful(archive, most * ENTRY) as file, zipfile.ZipFile(file) as content:
            if len(content.infolist()) > most:
                raise RunError(f"{name} holds {len(content.infolist()):,} entries, and a run at most {most:,}")
            yield content
    except DAMAGED as error:
        raise RunError(
            f"{name} is not a whole .zip file ({printable(one_line(error), 200)}); export the run again"
        ) from error


class _Careful:
    """A file that does not let a whole table of contents into memory that is too large for a run's."""

    def __init__(self, archive: Path | BinaryIO, most: int) -> None:
        self._own, self._most = isinstance(archive, Path), max(most, CHUNK)
        try:
            self._file: IO[bytes] = archive.open("rb") if isinstance(archive, Path) else archive
        except OSError as error:
            raise RunError(f"{archive} cannot be read: {error.strerror}; name an exported run's .zip file") from error

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise RunError(f"the archive's table of contents takes {size:,} bytes, and in a run at most {self._most:,}")
        return self._file.read(size if size >= 0 else self._most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Careful":
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._file.close()


def files(content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by name; RunError when one of its entries could do harm."""
    seen = set()
    for entry in content.infolist():
        name = entry.orig_filename
        problem = _problem(entry)
        if problem:
            raise RunError(f"the archive cannot be used: {printable(name)} {problem}")
        key = unicodedata.normalize("NFC", name.rstrip("/")).casefold()
        if key in seen:
            raise RunError(f"the archive cannot be used: {printable(name)} is in it more than once")
        seen.add(key)
    return {entry.filename: entry for entry in content.infolist() if not entry.is_dir()}


def _problem(entry: zipfile.ZipInfo) -> str:
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if not name.isprintable():
        return "has characters that no file of a run has"
    if "\\" in name or re.match(r"/|[A-Za-z]:", name) or {"..", "."} & set(name.split("/")) or "//" in name:
        return "is not a plain path inside the archive"
    if kind and kind != (stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        return "is a link or another special file"
    if entry.flag_bits & 0x1:
        return "is encrypted; export the run without a password"
    if entry.compress_type not in METHODS:
        return "is compressed in a way that runs are not; export the run again"
    return ""


def text(content: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> str:
    """Return the content of a file of UTF-8; RunError when it has more than so many bytes."""
    if entry.file_size > most:
        raise RunError(f"{printable(entry.filename)} takes {entry.file_size:,} bytes, and in a run at most {most:,}")
    with content.open(entry) as file:
        return b"".join(iter(lambda: file.read(CHUNK), b"")).decode()


def unpack(content: zipfile.ZipFile, wanted: Mapping[str, zipfile.ZipInfo], folder: Path, most: int) -> None:
    """Write files to their places in a folder; RunError when they come to more than `most` bytes, whatever they say."""
    for place, entry in wanted.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with content.open(entry) as source, (folder / place).open("xb") as target:
            while chunk := source.read(CHUNK):
                most -= len(chunk)
                if most < 0:
                    raise RunError(f"{place} unpacks to more than the archive says; it is no run's")
                target.write(chunk)
