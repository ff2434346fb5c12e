"""names.json beside a run's own files: what people call its clusters, and what they note about them.

    {"format": 1, "runs": {RUN_ID: {CLUSTER: {"name": …, "note": …, "changed": …}}}}

Names belong to one run: where another one lies in the same folder, they stay in the file and are not shown. A file may
come from anywhere: what is not as it should be is passed over, and what it says is text.
"""

import json
import os
import secrets
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from neurocarto.errors import NamesError, one_line

FILE_NAME = "names.json"
FORMAT = 1
LONGEST_NAME, LONGEST_NOTE = 80, 2_000
"""Characters that are kept of a name and of a note."""
LARGEST = 4 * 1024 * 1024
"""Bytes of a file that is read: some 20,000 names with a line of notes each."""
PATIENCE, ABANDONED = 5.0, 30.0
"""Seconds to wait for whoever is writing, and after which nobody is: writing takes milliseconds."""
AHEAD = timedelta(days=1)
"""How far another machine's clock may be ahead; a change after that cannot have been made."""
_LOCK = ".names.lock"
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of all that follows, beyond the name's end."""


@dataclass(frozen=True, order=True)
class Name:
    """What people call a cluster and note about it. changed: when, in UTC (ISO 8601), "" where unknown.

    Where both name and note are empty, they were removed. The later of two is the larger one.
    """

    changed: str = ""
    name: str = ""
    note: str = ""

    @classmethod
    def now(cls, name: str, note: str) -> "Name":
        """Return what somebody has just written, cleaned and cut to its limits."""
        return cls(_written(datetime.now(UTC)), clean_name(name), clean_note(note))


@dataclass(frozen=True)
class Names:
    """What people call the clusters of one run. entries: by cluster, with those that were removed."""

    entries: Mapping[int, Name] = field(default_factory=dict)

    @cached_property
    def given(self) -> dict[int, str]:
        """The names by cluster."""
        return {cluster: entry.name for cluster, entry in self.entries.items() if entry.name}

    @cached_property
    def noted(self) -> dict[int, str]:
        """The notes by cluster."""
        return {cluster: entry.note for cluster, entry in self.entries.items() if entry.note}

    @cached_property
    def version(self) -> str:
        """A short name for exactly what is shown of these names; "" where there is none."""
        shown = repr((sorted(self.given.items()), sorted(self.noted.items())))
        return sha256(shown.encode()).hexdigest()[:12] if self else ""

    def __len__(self) -> int:
        """Count the clusters that have a name or a note."""
        return len(self.given.keys() | self.noted.keys())

    def with_name(self, cluster: int, name: str, note: str) -> "Names":
        """Return these with a cluster's name and note as somebody has just written them; both empty remove them."""
        return Names({**self.entries, cluster: Name.now(name, note)})

    def to_json(self, run_id: str) -> str:
        """Return these as a file that `parse` reads."""
        entries = {str(cluster): _entry(name) for cluster, name in sorted(self.entries.items())}
        return _text({"format": FORMAT, "runs": {run_id: entries}})


Change = Callable[[Names], Names]


def merge(mine: Names, theirs: Names) -> Names:
    """Return both; of a cluster that both name, what was changed last."""
    both = {**theirs.entries, **mine.entries}
    return Names({cluster: max(name, theirs.entries.get(cluster, name)) for cluster, name in both.items()})


def clean_name(text: str) -> str:
    """Return a name on one line, without control characters, cut to its limit."""
    return " ".join(_plain(text).split())[:LONGEST_NAME].strip()


def clean_note(text: str) -> str:
    """Return a note with its lines, without control characters, cut to its limit."""
    return _plain(text).strip()[:LONGEST_NOTE].strip()


def _plain(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return "".join(c for c in lines if c == "\n" or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _TURNING))


def read(folder: Path, run_id: str) -> Names:
    """Return the names of a run that lie in its folder, none where there is no file; NamesError where it is damaged."""
    path = folder / FILE_NAME
    document = _read(path)
    return Names(_entries(document["runs"].get(run_id)))


def parse(content: bytes, run_id: str) -> Names:
    """Return the names of a run in a file that somebody brings; NamesError where it holds none of this run."""
    document = _document(content, "the file")
    names = Names(_entries(document["runs"].get(run_id)))
    if not names.entries:
        others = [one_line(other)[:40] for other in document["runs"] if other != run_id]
        held = f"it holds those of {', '.join(others[:3])}" if others else "it holds none at all"
        raise NamesError(f"the file has no names of this run, {run_id}: {held}; choose a file that was saved from it")
    return names


def keep(folder: Path, run_id: str, change: Change) -> None:
    """Change the names of a run that lie in its folder; other runs' in the file stay as they are.

    Any number of threads and processes may do so at the same time. NamesError, with nothing changed, where the folder
    cannot be written to or the file is damaged.
    """
    path = folder / FILE_NAME
    try:
        with _locked(folder):
            document = _read(path)
            held = document["runs"].get(run_id)
            before = _entries(held)
            after = change(Names(before)).entries
            changed = {str(cluster): _entry(name) for cluster, name in after.items() if before.get(cluster) != name}
            if changed:
                document["runs"][run_id] = {**(held if isinstance(held, dict) else {}), **changed}
                _write(path, _text(document))
    except OSError as error:
        raise NamesError(f"{path} cannot be written: {error.strerror or one_line(error)}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until nobody else writes: the lock is a file that only one can make."""
    lock, until = folder / _LOCK, time.monotonic() + PATIENCE
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            _remove_abandoned(lock)
        if time.monotonic() > until:
            raise NamesError(f"somebody else has been writing for {PATIENCE:.0f} s ({lock} is there); try again")
        time.sleep(0.01)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _remove_abandoned(lock: Path) -> None:
    """Remove the lock of a process that was killed while it wrote."""
    try:
        if time.time() - lock.stat().st_mtime > ABANDONED:
            lock.unlink()
    except FileNotFoundError:
        pass


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise NamesError(f"{path} is no file; remove it")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {"format": FORMAT, "runs": {}}
    except OSError as error:
        raise NamesError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    return _document(content, str(path))


def _document(content: bytes, what: str) -> dict[str, Any]:
    """What a file holds: an object whose `runs` is one too, whatever lies in that."""
    if len(content) > LARGEST:
        raise NamesError(f"{what} is too large for names: more than {LARGEST // 2**20} MB; choose another one")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NamesError(f"{what} is not {FILE_NAME}: it holds no JSON that can be read; mend or remove it") from error
    if not isinstance(document, dict) or not isinstance(document.get("runs"), dict):
        raise NamesError(f'{what} is not {FILE_NAME}: it has no object "runs"; mend or remove it')
    if document.get("format") != FORMAT:
        found = one_line(repr(document.get("format")))[:20]
        raise NamesError(f"{what} is of format {found}, and this version reads {FORMAT}; update NeuroCartography")
    return document


def _entries(held: object) -> dict[int, Name]:
    """The names of one run that are as they should be."""
    latest = datetime.now(UTC) + AHEAD
    known = held.items() if isinstance(held, dict) else ()
    return {
        int(key): Name(_moment(entry.get("changed"), latest), clean_name(name), clean_note(note))
        for key, entry in known
        if key.isascii() and key.isdigit() and len(key) < 10 and str(int(key)) == key and isinstance(entry, dict)
        if isinstance(name := entry.get("name", ""), str) and isinstance(note := entry.get("note", ""), str)
    }


def _moment(value: object, latest: datetime) -> str:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return ""
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return _written(moment) if moment <= latest else ""


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _entry(name: Name) -> dict[str, str]:
    return {"name": name.name, "note": name.note, "changed": name.changed}


def _text(document: dict[str, Any]) -> str:
    try:
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    except RecursionError as error:
        raise NamesError(f"{FILE_NAME} is nested too deeply to be written; mend or remove it") from error


def _write(path: Path, text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > LARGEST:
        raise NamesError(f"{path} would exceed {LARGEST // 2**20} MB; remove some notes first")
    written = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with written.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
