"""A run as one .zip file, to hand to somebody else.

What comes in is anybody's: nothing is written but the files that a run has, into a folder of its own, which becomes a
run by its name when `check_run` finds nothing, and is gone when anything is wrong.
"""

import errno
import filecmp
import json
import os
import re
import shutil
import socket
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from neurocarto.errors import RunError, one_line, printable
from neurocarto.records import MEASURES
from neurocarto.runs import entries
from neurocarto.runs.manifest import FILE_NAME, Manifest
from neurocarto.runs.memory import longest_side, table_bytes
from neurocarto.runs.store import PREVIEW_FILE, PREVIEW_ROWS, Run, check_run, remove_abandoned

BESIDE = re.compile(r"scores/[^/]+\.(json|parquet)|studies/[^/]+\.csv|names\.json|selections\.json")
"""What may lie beside the manifest's files, not in its checksums, and travels with a run."""
MAX_BYTES = 4 * 10**9
"""Bytes of a run, on disk and again of its tables in memory: 100,000 neurons and 1,000 classes stay below 1 GB."""
MAX_ENTRIES = 10_000
"""Files of a run: some fifteen, two for each judge, one for each study."""
MAX_RATIO = 100
"""Bytes unpacked for each packed one. A run's files are compressed already: it comes to 1, and to 10 for JSON alone."""
MAX_JSON = 16 * 10**6
"""Bytes of a manifest, or of notes: 100,000 skipped images take as much."""
MAX_SIDE = 1024
"""Pixels of a preview's longer side. A run's are 224."""
SPARE = 200 * 10**6
"""Bytes that unpacking leaves free on the disk, for everything else that writes to it."""
NAME = 60
"""Characters of a run's name: four bytes each at most, they leave room for a number below a file system's 255."""
DATE = (1980, 1, 1, 0, 0, 0)
"""The date of every file: the same run gives the same archive."""


def export_run(folder: Path, out: Path) -> Path:
    """Write a run to one .zip file and return it.

    It holds the manifest's files and what lies beside, in a folder of the run's name. RunError when the folder is no
    run or damaged, or `out` is there or cannot be written.
    """
    problems = check_run(folder)
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise RunError(f"{folder} is damaged: {problems[0]}{more}; make the run again")
    run = Run(folder)
    if os.path.lexists(out):
        raise RunError(f"{out} is already there; name another file or remove it first")
    written = out.parent / f".{uuid4().hex}.partial"
    try:
        with zipfile.ZipFile(written, "x") as archive:
            for place in (FILE_NAME, *sorted(run.manifest.files), *_beside(folder)):
                _add(archive, folder / place, f"{plain_name(run.name)}/{place}")
        written.rename(out)
    except OSError as error:
        raise RunError(f"the run cannot be written to {out}: {error.strerror or error}; name another place") from error
    finally:
        with suppress(OSError):
            written.unlink()
    return out


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    # Everything but texts is compressed, or hardly gets smaller (arrays of floats: by a seventh).
    entry.compress_type = zipfile.ZIP_DEFLATED if path.suffix in {".json", ".csv"} else zipfile.ZIP_STORED
    entry.external_attr = 0o100644 << 16
    entry.file_size = path.stat().st_size
    with path.open("rb") as source, archive.open(entry, "w") as target:
        shutil.copyfileobj(source, target, entries.CHUNK)


def _beside(folder: Path) -> list[str]:
    """The files beside a run, by their places; never what a link points at."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(filter(_is_beside, (path.relative_to(folder).as_posix() for path in found)))


def _is_beside(place: str) -> bool:
    return bool(BESIDE.fullmatch(place) and entries.PLACE.fullmatch(place))


def import_run(
    archive: Path | BinaryIO,
    into: Path,
    name: str = "",
    *,
    max_bytes: int = MAX_BYTES,
    max_entries: int = MAX_ENTRIES,
    max_ratio: float = MAX_RATIO,
) -> Path:
    """Unpack an exported run into a new folder in `into`, verify it, and return it.

    name: of the new folder, by default that in the archive; NAME-2 and so on where it is taken, but the folder that
    holds this very run where there is one. max_bytes: of the run unpacked, and of its tables in memory; max_entries:
    files in the archive; max_ratio: bytes unpacked for each packed one. RunError, and nothing left behind, when the
    archive does not hold one whole run or cannot be unpacked.
    """
    with _writing(into), entries.opened(archive, max_entries) as content:
        files = entries.files(content)
        inside = _only_manifest(files)
        wanted = _wanted(content, files, inside)
        _refuse_large(wanted, content.start_dir, max_bytes, max_ratio, into)
        stem = archive.stem if isinstance(archive, Path) else ""
        with _temporary(into) as folder:
            entries.unpack(content, wanted, folder, sum(entry.file_size for entry in wanted.values()))
            _remove_unreadable(folder)
            _verify(folder, max_bytes)
            return _place(folder, into, plain_name(name or inside.name or stem))


def plain_name(text: str) -> str:
    """Return a name as a run's folder may bear it: letters, digits, `.`, `_` and `-`; not hidden, never empty."""
    plain = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFKC", text))
    return plain.strip("-.")[:NAME].rstrip("-.") or "run"


@contextmanager
def _writing(into: Path) -> Iterator[None]:
    """Say in a line why nothing can be read or written."""
    try:
        yield
    except OSError as error:
        hint = "make room" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "look at the file and the folder"
        reason = one_line(error.strerror or error)
        raise RunError(f"the run cannot be unpacked into {into}: {reason}; {hint}") from error


def _only_manifest(files: dict[str, zipfile.ZipInfo]) -> PurePosixPath:
    """The folder in the archive that holds the run."""
    found = [PurePosixPath(file).parent for file in files if PurePosixPath(file).name == FILE_NAME]
    if len(found) != 1:
        many = f"{len(found)} runs" if found else f"no {FILE_NAME}, so no run"
        raise RunError(f"the archive holds {many}; export one run, and import that")
    return found[0]


def _wanted(
    content: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], inside: PurePosixPath
) -> dict[str, zipfile.ZipInfo]:
    """The archive's files that belong to the run, by their places in its folder; all others are left where they are."""
    manifest = Manifest.from_json(entries.text(content, files[str(inside / FILE_NAME)], MAX_JSON))
    wrong = next((place for place in manifest.files if not entries.PLACE.fullmatch(place)), None)
    if wrong is not None:
        raise RunError(f"the archive's {FILE_NAME} names '{printable(wrong)}', which is no file of a run")
    missing = next((place for place in manifest.files if str(inside / place) not in files), None)
    if missing is not None:
        raise RunError(f"the archive lacks {printable(missing)}; export the run again")
    below = (name for name in files if PurePosixPath(name).is_relative_to(inside))
    places = {str(PurePosixPath(name).relative_to(inside)): files[name] for name in below}
    chosen = {FILE_NAME, *manifest.files}
    return {place: entry for place, entry in places.items() if place in chosen or _is_beside(place)}


def _refuse_large(wanted: dict[str, zipfile.ZipInfo], size: int, max_bytes: int, max_ratio: float, into: Path) -> None:
    """Raise RunError when the files would take too much. size: bytes of the archive."""
    for place, entry in wanted.items():
        if place.endswith(".json") and entry.file_size > MAX_JSON:
            raise RunError(f"{place} takes {entry.file_size:,} bytes, and in a run at most {MAX_JSON:,}")
    unpacked = sum(entry.file_size for entry in wanted.values())
    packed = min(sum(entry.compress_size for entry in wanted.values()), size)
    if unpacked > max_bytes:
        raise RunError(f"the run takes {unpacked:,} bytes unpacked; at most {max_bytes:,} are allowed here")
    if unpacked > max_ratio * packed:
        raise RunError(f"the archive unpacks to {unpacked / max(packed, 1):,.0f} times its size; no run does")
    there = next(folder for folder in (into, *into.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if unpacked + SPARE > free:
        raise RunError(
            f"the run takes {unpacked:,} bytes, and {there} has {max(free - SPARE, 0):,} to spare; make room first"
        )


@contextmanager
def _temporary(into: Path) -> Iterator[Path]:
    """A new folder in `into`, which is gone afterwards unless it was renamed; so is `into` where it was not there."""
    made = [place for place in (into, *into.parents) if not place.exists()]
    host = socket.gethostname()
    try:
        into.mkdir(parents=True, exist_ok=True)
        remove_abandoned(into, f".import-*.{host}.*.partial")
        folder = into / f".import-{uuid4().hex}.{host}.{os.getpid()}.partial"
        try:
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):  # a run lies in it
            for place in made:
                place.rmdir()


def _verify(folder: Path, max_bytes: int) -> None:
    """Raise RunError when an unpacked folder is no whole run, or would take too much memory to look at."""
    total = 0
    for path in sorted(folder.rglob("*.parquet")):
        with _judged(f"{path.relative_to(folder)} cannot be read: "):
            total += table_bytes(path, max_bytes)
        if total > max_bytes:
            raise RunError(f"the run's tables take more than the {max_bytes:,} bytes of memory that are allowed here")
    with _judged(""):
        problems = check_run(folder)
        problems = problems or list(_picture_problems(folder))
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        first = problems[0].replace(f"{folder}{os.sep}", "").removesuffix("; make the run again")
        raise RunError(f"the archive holds no whole run: {first}{more}; export the run again")


def _picture_problems(folder: Path) -> Iterator[str]:
    with pq.ParquetFile(folder / PREVIEW_FILE) as file:
        for batch in file.iter_batches(PREVIEW_ROWS):
            for image, picture in zip(batch["image"].to_pylist(), batch["webp"].to_pylist(), strict=True):
                if not 0 < longest_side(picture) <= MAX_SIDE:
                    yield f"{PREVIEW_FILE}: image {image} is no WebP of at most {MAX_SIDE:,} pixels"


@contextmanager
def _judged(place: str) -> Iterator[None]:
    try:
        yield
    except RunError:
        raise
    except Exception as error:  # what was made to do harm raises what no list of exceptions names
        raise RunError(
            f"the archive holds no whole run: {place}{printable(one_line(error), 200)}; export the run again"
        ) from error


def _remove_unreadable(folder: Path) -> None:
    """Leave out what lies beside an unpacked run and no page could show: the run is whole without it."""
    for place in _beside(folder):
        path = folder / place
        try:
            if path.suffix == ".json":
                content = json.loads(path.read_text(encoding="utf-8"))
                json.dumps(content, ensure_ascii=False).encode()
                readable = isinstance(content, dict | list)
            else:
                readable = path.suffix == ".csv" or _is_scorecard(pq.read_schema(path))
        except (ValueError, RecursionError, pa.ArrowException):
            readable = False
        if not readable:
            path.unlink()


def _is_scorecard(schema: pa.Schema) -> bool:
    numbers, texts = (pa.types.is_integer, pa.types.is_floating), (pa.types.is_string, pa.types.is_large_string)
    kinds = {field.name: texts if pa.types.is_string(field.type) else numbers for field in MEASURES}
    return all(
        schema.names.count(name) == 1 and any(is_kind(schema.field(name).type) for is_kind in kind)
        for name, kind in kinds.items()
    )


def _place(folder: Path, into: Path, name: str) -> Path:
    """Rename an unpacked run to the first free name, or return the folder of that name that holds it already."""
    for number in range(1, MAX_ENTRIES):
        target = into / (name if number == 1 else f"{name}-{number}")
        if _holds(target, folder):
            return target
        if os.path.lexists(target):
            continue
        try:
            return folder.rename(target)
        except OSError:
            if not os.path.lexists(target):  # else another process has just taken the name
                raise
    raise RunError(f"{into} holds too many runs called {name}; give another name")


def _holds(target: Path, folder: Path) -> bool:
    """Whether a folder is the same run with the same files, and has what lies beside the other one."""
    try:
        there, here = Manifest.read(target), Manifest.read(folder)
        if (there.run_id, there.files) != (here.run_id, here.files):
            return False
        places = (*here.files, *_beside(folder))
        return all(filecmp.cmp(target / place, folder / place, shallow=False) for place in places)
    except (RunError, OSError):
        return False
