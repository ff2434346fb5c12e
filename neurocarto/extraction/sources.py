"""Where image files lie: in a folder, a .zip, .tar shards, on this machine or wherever fsspec reaches.

Nothing is unpacked: an image in an archive is read by where it begins and how long it is.
"""

import glob
import json
import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from neurocarto.errors import ImagesError, one_line
from neurocarto.extraction.decoding import shown
from neurocarto.extraction.stores import SURROGATES, Disk, Place, Store, escaped, find_store
from neurocarto.records import Skipped
from neurocarto.request import SUFFIXES

COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
MAX_BYTES = 512 * 2**20
"""A larger file is no image that fits the limit of pixels; in an archive it may be made to fill the memory."""
MAX_LABEL_BYTES = 2**20
MAX_SHARDS = 100_000
SHARD_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
LINK = "a link or special file, which is not followed in an archive"
ENCRYPTED, UTF8_NAME = 0x1, 0x800
"""Flags of a zip member."""
LOCAL_HEADER = 30
"""Bytes of a zip member's local header before its name, which ends with the lengths of name and extra field."""
LOCAL_SLACK = 1024
"""Bytes read beyond a local header of the expected length, so that one read is enough for nearly every member."""


@dataclass(frozen=True)
class Files:
    """The image files of a source.

    places, labels: by path relative to the source; skipped: what was left out, with the reason;
    other_suffixes: one entry for every file that is no image file.
    """

    source: str
    store: Store
    places: Mapping[str, Place]
    labels: Mapping[str, str | None]
    skipped: tuple[Skipped, ...] = ()
    other_suffixes: Sequence[str] = field(default=(), repr=False)

    def read(self, path: str) -> bytes:
        """Read one file whole; ValueError when its archive does not hold what it announces."""
        place = self.places[path]
        if place.member is not None:
            return _unpacked(self.store, place, place.member)
        content = self.store.read(place.file, place.start, place.length)
        if place.length is not None and len(content) < place.length:
            raise ValueError("its archive ends before it does")
        return content

    def take(self, paths: Sequence[str]) -> "Files":
        """Return these files alone."""
        places = {path: self.places[path] for path in paths}
        return Files(self.source, self.store, places, {path: self.labels[path] for path in paths})


def find_files(source: str) -> Files:
    """Find the image files of a folder, .zip, .tar, a pattern of .tar shards, or a URL of one of these.

    ImagesError when there is no such thing or it cannot be listed.
    """
    try:
        store, path = find_store(source)
        return _found(source, store, path)
    except ImagesError:
        raise
    except Exception as error:  # remote file systems have exceptions of their own
        reason = one_line((isinstance(error, OSError) and error.strerror) or error)
        raise ImagesError(
            f"{shown(source)} cannot be listed: {reason}; name a place that you can reach and may read"
        ) from error


def listed_files(root: str, labels: Mapping[str, str | None]) -> Files:
    """Take the files of these paths below a folder, with these labels."""
    found = _Found({path: Place(os.path.join(root, path), 0) for path in labels}, [])
    used, others = _usable(found)
    return Files(root, Disk(), used, {path: labels[path] for path in used}, tuple(found.skipped), others)


def first_folder(path: str) -> str | None:
    """Return the first folder of a relative path, None for a file that lies in no folder."""
    return path.split("/")[0] if "/" in path else None


def _found(source: str, store: Store, path: str) -> Files:
    kind = store.kind(path)
    if kind == "folder":
        files, skipped = store.walk(path)
        found = _Found(files, skipped)
        used, others = _usable(found)
        tars = sorted(place.file for name, place in files.items() if name.lower().endswith(".tar"))
        if used or not tars:
            return Files(source, store, used, {p: first_folder(p) for p in used}, tuple(found.skipped), others)
        return _of_archives(source, store, tars)
    if kind == "file":
        return _of_archives(source, store, [path])
    return _of_archives(source, store, _shards(source, store, path))


def _shards(source: str, store: Store, pattern: str) -> list[str]:
    """Return the files that a pattern means: {000..012} counts, then * and ? match."""
    found: list[str] = []
    for one in _expand(source, pattern):
        found += store.glob(one) if glob.has_magic(one) and store.kind(one) is None else [one]
    if not found:
        raise ImagesError(f"{shown(source)} matches no file; give a folder, a .zip, a .tar or a pattern of .tar files")
    missing = next((file for file in found if store.kind(file) != "file"), None)
    if missing == pattern:
        raise ImagesError(f"{shown(source)} is not a folder, a .zip or a .tar: there is nothing of that name")
    if missing is not None:
        raise ImagesError(f"{shown(source)}: there is no file {shown(missing)}; correct the pattern")
    return sorted(set(found))


def _expand(source: str, pattern: str) -> list[str]:
    match = SHARD_RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= MAX_SHARDS:
        raise ImagesError(f"{shown(source)}: {match[0]} counts {len(numbers)} files; give 1 to {MAX_SHARDS:,}")
    heads = (pattern[: match.start()] + str(n).zfill(len(first)) for n in numbers)
    return [one for head in heads for one in _expand(source, head + pattern[match.end() :])]


@dataclass
class _Found:
    """Files by path, before it is decided which are used. skipped grows."""

    files: dict[str, Place]
    skipped: list[Skipped]
    labels: dict[str, str] = field(default_factory=dict)


def _usable(found: _Found) -> tuple[dict[str, Place], list[str]]:
    """Return the image files that can be used, and the suffixes of the other files; notes what is skipped."""
    used: dict[str, Place] = {}
    others: list[str] = []
    for path, place in found.files.items():
        *folders, name = path.split("/")
        suffix = PurePosixPath(name).suffix.lower()
        if "__MACOSX" in folders or name.startswith("._") or name == ".DS_Store":
            continue
        if suffix not in SUFFIXES:
            others.append(suffix)
        elif fault := _fault(path, place):
            found.skipped.append(Skipped(escaped(path), fault))
        else:
            used[path] = place
    found.skipped.sort(key=lambda skipped: skipped.path)
    return used, others


def _fault(path: str, place: Place) -> str | None:
    if SURROGATES.search(path):
        return "its name is not text in UTF-8; rename the file"
    if path.startswith("/") or ".." in path.split("/"):
        return "its path leads out of the archive"
    if (size := max(place.size, place.length or 0)) > MAX_BYTES:
        return f"{size:,} bytes; at most {MAX_BYTES:,} are read"
    return place.fault


def _of_archives(source: str, store: Store, files: Sequence[str]) -> Files:
    """Take the members of a .zip or of .tar shards."""
    if len(files) == 1 and files[0].lower().endswith(".zip"):
        archives = {files[0]: _zip_members(source, store, files[0])}
    else:
        for file in files:
            _check_tar(source, file)
        archives = {file: _tar_members(source, store, file) for file in files}
    others: list[str] = []
    used: dict[str, dict[str, Place]] = {}
    for file, found in archives.items():
        used[file], suffixes = _usable(found)
        others += suffixes
    return _joined(source, store, archives, used, others)


def _check_tar(source: str, file: str) -> None:
    if file.lower().endswith(COMPRESSED_TARS):
        raise ImagesError(
            f"{shown(source)} is compressed as a whole, so single images cannot be read from it; unpack it, or pack "
            "the images as .zip or .tar"
        )
    if not file.lower().endswith(".tar"):
        what = "" if file in source else f": {shown(file)} is none of them"
        raise ImagesError(f"{shown(source)} is not a folder, a .zip or a .tar{what}; give one of these")


def _joined(
    source: str,
    store: Store,
    archives: Mapping[str, _Found],
    used: Mapping[str, Mapping[str, Place]],
    others: Sequence[str],
) -> Files:
    """Put archives side by side: without a top folder around everything, and under their names if paths repeat."""
    top = _top_folder([path for places in used.values() for path in places])
    repeated = max(Counter(path for places in used.values() for path in places).values(), default=0) > 1
    parent = posixpath.commonpath([posixpath.dirname(file) for file in archives])
    places: dict[str, Place] = {}
    labels: dict[str, str | None] = {}
    skipped: list[Skipped] = []
    for file, found in archives.items():
        under = posixpath.relpath(file, parent or ".").removesuffix(".tar") + "/" if repeated else ""
        for path, place in used[file].items():
            places[under + path[len(top) :]] = place
            labels[under + path[len(top) :]] = found.labels.get(path, first_folder(path[len(top) :]))
        skipped += [Skipped(under + s.path.removeprefix(top), s.reason) for s in found.skipped]
    return Files(source, store, places, labels, tuple(skipped), others)


def _top_folder(paths: Sequence[str]) -> str:
    """Return the folder that everything lies in, with its slash, if it holds folders: it is what was zipped."""
    tops = {first_folder(path) for path in paths}
    if len(tops) == 1 and None not in tops and any(path.count("/") > 1 for path in paths):
        return f"{tops.pop()}/"
    return ""


def _zip_members(source: str, store: Store, file: str) -> _Found:
    try:
        with store.open(file) as opened, zipfile.ZipFile(opened) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ImagesError(f"{shown(source)} is no whole .zip file: {one_line(error)}; pack it again") from error
    found = _Found({}, [])
    for member in members:
        path = _member_path(_zip_name(member))
        if stat.S_ISLNK(member.external_attr >> 16):
            found.skipped.append(Skipped(escaped(path), LINK))
        elif not member.is_dir():
            part = (member.file_size, member.header_offset, member.compress_size)
            found.files[path] = Place(file, *part, member, _zip_fault(member))
    return found


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name. macOS writes UTF-8 without saying so, Windows sometimes backslashes."""
    name = member.filename
    if not member.flag_bits & UTF8_NAME:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/") if member.create_system == 0 else name


def _member_path(name: str) -> str:
    """Return a member's path without the dots and empty parts that mean nothing; an absolute one stays absolute."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return "/" * name.startswith("/") + "/".join(parts)


def _zip_fault(member: zipfile.ZipInfo) -> str | None:
    if member.flag_bits & ENCRYPTED:
        return "encrypted; unpack the archive with its password"
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "packed by another method than store and deflate; pack the archive again as a plain .zip"
    return None


def _unpacked(store: Store, place: Place, member: zipfile.ZipInfo) -> bytes:
    """Read a member of a .zip: never more of it than it announces, and only if it has the announced checksum."""
    guess = LOCAL_HEADER + LOCAL_SLACK + (place.length or 0)
    raw = store.read(place.file, place.start, guess)
    name, extra = int.from_bytes(raw[26:28], "little"), int.from_bytes(raw[28:30], "little")
    begin, end = LOCAL_HEADER + name + extra, LOCAL_HEADER + name + extra + (place.length or 0)
    if end > guess:
        raw = store.read(place.file, place.start, end)
    if raw[:4] != b"PK\3\4" or len(raw) < end:
        raise ValueError("its archive does not hold it where it should")
    content = raw[begin:end]
    if member.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, max(place.size, 1))
    if len(content) != place.size or zlib.crc32(content) != member.CRC:
        raise ValueError("damaged in its archive: the checksum differs")
    return content


def _tar_members(source: str, store: Store, file: str) -> _Found:
    found = _Found({}, [])
    try:
        with store.open(file) as opened, tarfile.open(fileobj=opened, mode="r:") as archive:
            try:
                _take_members(file, archive, found)
                opened.seek(archive.offset)
                if opened.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                    raise tarfile.ReadError("a damaged header")
            except tarfile.TarError as error:
                rest = f"damaged behind {len(found.files)} members ({one_line(error)}): the rest is not seen"
                found.skipped.append(Skipped(posixpath.basename(file), rest))
    except tarfile.TarError as error:
        raise ImagesError(f"{shown(source)}: {shown(file)} is no whole .tar file: {one_line(error)}") from error
    found.labels.update(_tar_labels(store, found.files))
    return found


def _take_members(file: str, archive: tarfile.TarFile, found: _Found) -> None:
    for member in archive:
        path = _member_path(member.name)
        original = found.files.get(_member_path(member.linkname)) if member.islnk() else None
        if original is not None:  # a file with two names is packed once
            found.files[path] = original
        elif member.isreg() and not member.issparse():
            found.files[path] = Place(file, member.size, member.offset_data, member.size)
        elif not member.isdir():
            found.skipped.append(Skipped(escaped(path), LINK))


def _tar_labels(store: Store, files: Mapping[str, Place]) -> dict[str, str]:
    """Read the labels that WebDataset puts beside images: KEY.cls, or KEY.json with "label" or "cls"."""
    labels: dict[str, str] = {}
    for path in files:
        folder, name = posixpath.split(path)
        key = posixpath.join(folder, name.split(".")[0])
        if PurePosixPath(name).suffix.lower() not in SUFFIXES:
            continue
        for suffix, parse in ((".cls", bytes.decode), (".json", _json_label)):
            place = files.get(key + suffix)
            if place is not None and place.size <= MAX_LABEL_BYTES and path not in labels:
                with suppress(ValueError, RecursionError):
                    label = parse(store.read(place.file, place.start, place.length)).strip()
                    if label.encode():  # JSON can spell what is no text
                        labels[path] = label
    return labels


def _json_label(content: bytes) -> str:
    record = json.loads(content)
    label = record.get("label", record.get("cls")) if isinstance(record, dict) else None
    return str(label) if isinstance(label, str | int) and not isinstance(label, bool) else ""
