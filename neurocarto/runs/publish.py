"""A copy of a run that is small enough to lie in a git repository and to be shown by a small host."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from neurocarto.errors import RunError, SettingsError
from neurocarto.records import LATER_SCHEMAS, SCHEMAS, important
from neurocarto.runs.manifest import FILE_NAME
from neurocarto.runs.store import ARRAYS, PREVIEW_FILE, PREVIEW_ROWS, SCORES, Run, check_run, refuse_occupied, write_run

MEBIBYTE = 1024**2
MOST_BYTES = 100 * MEBIBYTE
"""What GitHub takes of a single file; from WARNED_BYTES on it warns."""
WARNED_BYTES = 50 * MEBIBYTE
HOST_BYTES = 690e6
"""Memory that Streamlit Community Cloud promises."""
FEWER_EXAMPLES = (10, 5, 3, 1)
"""Example patches per neuron and half that are tried in turn where all that the run has are too many."""
VISITORS = 10
"""Sessions that the memory of a server is reckoned for."""
SERVER_BYTES, SESSION_BYTES, NEURON_BYTES, EXAMPLE_BYTES = 275e6, 3.5e6, 320, 200
"""Memory of a server by itself, of each visitor, of each neuron and of each example patch of the run."""
BESIDE = (SCORES, "names.json", "selections.json")
"""What the app reads beside a run's own files."""
EXTRA_ARRAY = "class_means"
"""An array that the app can do without: it then does not say on which classes' images a neuron fires most."""


@dataclass(frozen=True)
class Published:
    """What was published.

    files: each file's bytes, by its name in the folder; before: bytes of the run that it was made from; left_out: in
    words; examples: patches kept of each neuron and half.
    """

    folder: Path
    files: dict[str, int]
    before: int
    left_out: tuple[str, ...]
    examples: int

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(self.files.values())

    @property
    def large(self) -> list[str]:
        """Files that GitHub warns of."""
        return [name for name, size in self.files.items() if size > WARNED_BYTES]


def publish(folder: Path | str, into: Path, name: str = "", examples: int | None = None) -> Published:
    """Write a copy of a run to into/name, without what viewing does not need, and return what it holds.

    name: the run's own where it is empty. examples: patches kept of each neuron and half, the strongest; None keeps all
    where the files stay below MOST_BYTES, else as many as do. The copy is a whole run with the same id; its
    manifest says what was left out. RunError where the run is damaged, the place occupied, or a file would still be
    too large; then nothing is written.
    """
    if examples is not None and examples < 1:
        raise SettingsError(f"--examples is {examples}; it must be at least 1")
    run = Run(folder)
    name = name or run.name
    if Path(name).name != name or name.startswith("."):
        raise SettingsError(f"--name is {name!r}; it must be the name of a folder, without '/' and no '.' in front")
    if problems := check_run(folder):
        raise RunError(f"{folder} is damaged and cannot be published: {problems[0]}")
    out = into / name
    refuse_occupied(out)
    kept = int(run.examples["rank"].max()) + 1 if len(run.examples) else 1
    counts = [kept, *(count for count in FEWER_EXAMPLES if count < kept)] if examples is None else [min(examples, kept)]
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=into) as temporary:
            found = _smallest(run, Path(temporary), counts)
            out.parent.mkdir(parents=True, exist_ok=True)
            found.folder.replace(out)
    except OSError as error:
        raise RunError(f"the run cannot be published to {out}: {error.strerror or error}") from error
    return replace(found, folder=out)


def describe(published: Published) -> list[str]:
    """Return in lines what was published, what was left out, whether hosts take it, and what to do next."""
    folder = published.folder
    file, size = max(published.files.items(), key=lambda item: item[1])
    memory = server_bytes(Run(folder), VISITORS)
    lines = [
        f"{folder}: {_size(published.bytes)} of {_size(published.before)}; its largest file is {file}, {_size(size)}",
        *(f"left out: {what}" for what in published.left_out),
        *(f"GitHub warns of files as large as {name}, and takes it; --examples makes less" for name in published.large),
        f"a server that shows it to {VISITORS} visitors at once takes about {_size(memory)} of memory",
    ]
    if memory > HOST_BYTES:
        lines.append(f"that is more than the {_size(HOST_BYTES)} of Streamlit Community Cloud: choose a larger host")
    return [*lines, f"commit it: git add {folder} && git commit -m 'Add the run {folder.name}'; docs/deploy.md goes on"]


def server_bytes(run: Run, sessions: int) -> float:
    """Return about how much memory a server takes that shows one run to some visitors at once.

    Fitted to the highest that benchmarks/deployment.py measured on runs of three sizes (docs/performance.md).
    """
    rows = len(run.examples)
    return SERVER_BYTES + SESSION_BYTES * sessions + NEURON_BYTES * len(run.neurons) + EXAMPLE_BYTES * rows


def _size(count: float) -> str:
    return f"{count / 1e6:,.{1 if count < 1e7 else 0}f} MB"


def _smallest(run: Run, temporary: Path, counts: Sequence[int]) -> Published:
    """Write copies with fewer and fewer examples, until no file is too large."""
    for count in counts:
        found = _write(run, temporary / str(count), count)
        too_large = {file: size for file, size in found.files.items() if size > MOST_BYTES}
        if not too_large:
            return found
        shutil.rmtree(found.folder)
    file, size = max(too_large.items(), key=lambda item: item[1])
    advice = (
        "give fewer with --examples"
        if counts[-1] > 1
        else "make the run on fewer layers, classes or images, or serve it from a disk (NEUROCARTO_RUNS)"
    )
    raise RunError(
        f"{file} would have {size / 1e6:,.0f} MB with {counts[-1]} examples a neuron and half, and GitHub takes "
        f"{MOST_BYTES / 1e6:,.0f} MB; {advice}"
    )


def _write(run: Run, out: Path, count: int) -> Published:
    """Write a copy with `count` examples of each neuron and half."""
    tables = {name: run.table(name) for name in SCHEMAS}
    tables |= {name: run.table(name) for name in LATER_SCHEMAS if f"{name}.parquet" in run.manifest.files}
    left_out = []
    importance = tables["importance"]
    tables["importance"] = _shown(importance, float(run.manifest.settings.get("false_discovery_rate", 0.05)))
    if fewer := len(importance) - len(tables["importance"]):
        left_out.append(f"importance of clusters for classes that they are not important for ({fewer:,} rows)")
    examples = tables["examples"]
    tables["examples"] = examples[examples["rank"] < count]
    if fewer := len(examples) - len(tables["examples"]):
        left_out.append(f"example patches beyond the {count} strongest of each neuron and half ({fewer:,} of them)")
    arrays: dict[str, npt.NDArray[np.float32]] = {name: run.array(name) for name in ARRAYS}
    if f"{EXTRA_ARRAY}.npy" in run.manifest.files:
        means = run.array(EXTRA_ARRAY)
        if means.nbytes > WARNED_BYTES:
            left_out.append(f"{EXTRA_ARRAY}.npy: the classes on whose images each neuron fires most")
        else:
            arrays[EXTRA_ARRAY] = means
    known = {Path(file).parts[0] for file in (FILE_NAME, *run.manifest.files)} | {*BESIDE}
    left_out += [f"{path.name}, which viewing does not need" for path in sorted(run.folder.iterdir())
                 if path.name not in known]  # fmt: skip
    extra = {**run.manifest.extra, "published": {"examples": count, "left_out": left_out}}
    manifest = replace(run.manifest, images=_without_folders(run.manifest.images), extra=extra)
    write_run(out, manifest, tables, arrays, _previews(run, {*tables["examples"]["image"].tolist()}))
    for name in BESIDE:
        if (run.folder / name).is_dir():
            shutil.copytree(run.folder / name, out / name)
        elif (run.folder / name).is_file():
            shutil.copy2(run.folder / name, out / name)
    return Published(out, _sizes(out), sum(_sizes(run.folder).values()), tuple(left_out), count)


def _shown(importance: pd.DataFrame, false_discovery_rate: float) -> pd.DataFrame:
    """The rows of importance that the app shows: what is important, and what an effect was measured of."""
    shown = importance.index.isin(important(importance, false_discovery_rate).index) | importance["effect"].notna()
    return importance[shown]


def _without_folders(images: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's words on images, where they came from a folder of this machine by its last name only."""
    source = str(images["source"])
    return {**images, "source": Path(source).name if Path(source).is_absolute() else source}


def _previews(run: Run, shown: set[int]) -> Iterator[tuple[int, bytes]]:
    with pq.ParquetFile(run.folder / PREVIEW_FILE) as file:
        for batch in file.iter_batches(PREVIEW_ROWS):
            pairs = zip(batch["image"].to_pylist(), batch["webp"].to_pylist(), strict=True)
            yield from ((image, webp) for image, webp in pairs if image in shown)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
