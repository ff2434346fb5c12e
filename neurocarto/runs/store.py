"""Writing, reading and checking a run folder.

A run is written under a temporary name beside its place and renamed when it is whole, so a folder with
a manifest is always a finished run.
"""

import glob
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from neurocarto.errors import RunError, one_line, printable
from neurocarto.records import LATER_SCHEMAS, PREVIEWS, SCHEMAS, layer_slices, reach
from neurocarto.runs.manifest import FILE_NAME, Manifest

SCORES = "scores"
"""Folder beside the run's own files: what judges say of it, which may come later and from several."""
PREVIEW_FILE = "previews/previews.parquet"
ARRAYS = ("embedding", "snapshots")
PREVIEW_ROWS = 32
"""Previews per row group: what one look-up decodes."""
ROWS = 100_000
"""Rows per row group of a table."""
BY_CLASS = ("importance", "influence")
"""Tables that are read class by class."""
CLASS_ROWS = 20_000
"""Rows per row group of these: what reading a class decodes beyond it."""
LINE = 500
"""Characters of a problem that are said: names and texts come from whoever made the run."""


def write_run(
    out: Path,
    manifest: Manifest,
    tables: Mapping[str, pd.DataFrame],
    arrays: Mapping[str, npt.NDArray[np.float32]],
    previews: Iterable[tuple[int, bytes]],
) -> Path:
    """Write a whole run to `out` and return it.

    tables: one frame per name of SCHEMAS, and of LATER_SCHEMAS where there is one, extra columns allowed; rows of
    BY_CLASS are ordered by class; arrays: `embedding` (N, dims),
    `snapshots` (S, N, 2) and any others, float32; previews: (image, webp bytes) in rising order of
    image. RunError when `out` is occupied or cannot be written.
    """
    refuse_occupied(out, manifest.run_id)
    with _renamed_when_whole(out, manifest.run_id) as folder:
        for name in [*SCHEMAS, *(name for name in LATER_SCHEMAS if name in tables)]:
            _write_table(folder, name, tables[name])
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)
        (folder / PREVIEW_FILE).parent.mkdir()
        with pq.ParquetWriter(folder / PREVIEW_FILE, PREVIEWS, compression="none") as writer:
            for rows in _batches(previews, PREVIEW_ROWS):
                images, pictures = zip(*rows, strict=True)
                writer.write_table(pa.table([images, pictures], schema=PREVIEWS))
        files = {str(path.relative_to(folder).as_posix()): _digest(path) for path in sorted(folder.rglob("*.*"))}
        (folder / FILE_NAME).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
    return out


def refuse_occupied(out: Path, made: str = "") -> None:
    """Raise RunError when `out` holds something that a run would overwrite, or lies where none can be written.

    made: the id of the run that is to lie there: another process may have made it meanwhile.
    """
    try:
        occupied = out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir())))
    except OSError as error:
        raise RunError(f"the run cannot be written to {out}: {error.strerror}; name another folder") from error
    if occupied and holds_run(out, made):
        return
    if occupied:
        raise RunError(f"{out} is already there and not empty; name another folder or remove it first")
    if out.exists() and out.samefile(Path.cwd()):
        raise RunError(f"{out} is the folder you are in, which cannot be replaced; name a new folder")
    nearest = next(parent for parent in out.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RunError(f"the run cannot be written to {out}: {nearest} is no folder that you may write to")


def is_run(folder: Path) -> bool:
    """Return whether a folder has a run's manifest."""
    return (folder / FILE_NAME).is_file()


def holds_run(folder: Path, run_id: str) -> bool:
    """Return whether a folder holds the whole run of that id already; contents are not verified, `check` does."""
    try:
        manifest = Manifest.read(folder)
        return manifest.run_id == run_id and all(
            (folder / name).stat().st_size == entry["bytes"] for name, entry in manifest.files.items()
        )
    except (RunError, OSError, ValueError):  # ValueError: a name that no file can have
        return False


@contextmanager
def _renamed_when_whole(out: Path, run_id: str) -> Iterator[Path]:
    mine = f".{out.name}.{socket.gethostname()}."
    folder = out.parent / f"{mine}{os.getpid()}.partial"
    try:
        remove_abandoned(out.parent, f"{glob.escape(mine)}*.partial")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        if not holds_run(out, run_id):  # another process may have made the same run meanwhile
            if out.exists():
                out.rmdir()
            folder.rename(out)
    except OSError as error:
        if not holds_run(out, run_id):
            raise RunError(f"the run cannot be written to {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(folder: Path, names: str) -> None:
    """Remove unfinished folders, `….PROCESS.partial`, of processes of this machine that no longer run."""
    for abandoned in folder.glob(names):
        if not _is_alive(abandoned.suffixes[-2].removeprefix(".")):
            shutil.rmtree(abandoned, ignore_errors=True)


def _is_alive(process: str) -> bool:
    """Whether a process of this machine is running; one that was killed cannot have tidied up."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _with_schema(name: str, frame: pd.DataFrame) -> pa.Table:
    schema = {**SCHEMAS, **LATER_SCHEMAS}[name]
    missing = [column for column in schema.names if column not in frame]
    if missing:
        raise ValueError(f"table {name} lacks {missing}")
    known = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    extra = frame.drop(columns=schema.names)
    if len(extra.columns):
        for field, column in zip(*_fields(pa.Table.from_pandas(extra, preserve_index=False)), strict=True):
            known = known.append_column(field, column)
    return known.replace_schema_metadata(None)


def _fields(table: pa.Table) -> tuple[list[pa.Field], list[pa.ChunkedArray]]:
    return list(table.schema), table.columns


def _write_table(folder: Path, name: str, frame: pd.DataFrame) -> None:
    table, rows = _with_schema(name, frame), ROWS
    if name in BY_CLASS:  # readers of one class then pass over the row groups of all others
        table, rows = table.sort_by("class"), CLASS_ROWS
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, compression="zstd", compression_level=9, row_group_size=rows)


def _batches(items: Iterable[tuple[int, bytes]], size: int) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _digest(path: Path) -> dict[str, str | int]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


class Run:
    """A finished run, read lazily: nothing is loaded before it is asked for, and then kept.

    Frames are shared between everyone who holds the run: read them, never write to them.
    RunError when the folder is not a run, or one of its files cannot be read.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self._datasets: dict[str, ds.Dataset] = {}

    @property
    def name(self) -> str:
        """The folder's name, by which people know the run."""
        return self.folder.resolve().name

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """One row per neuron, in row order 0 … N-1."""
        return self.table("neurons")

    @cached_property
    def rest(self) -> npt.NDArray[np.float32]:
        """The activation of every neuron that counts as none (N,): 0 or, of signed neurons, the mean."""
        layers = self.manifest.layers
        signed = np.repeat([layer.signed for layer in layers], [layer.channels for layer in layers])
        return np.where(signed, self.neurons["mean_activation"], 0).astype(np.float32)

    @property
    def reach(self) -> npt.NDArray[np.float32]:
        """How far each neuron's strongest activation lies above its rest (N,); 0 for constant neurons."""
        return reach(self.neurons["max_activation"].to_numpy(np.float32), self.rest)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """Example patches, ordered by neuron, then half, then rank."""
        return self.table("examples")

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image that was used."""
        return self.table("images")

    @cached_property
    def classes(self) -> pd.DataFrame:
        """One row per class."""
        return self.table("classes")

    @cached_property
    def clusters(self) -> pd.DataFrame:
        """One row per cluster."""
        return self.table("clusters")

    @cached_property
    def importance(self) -> pd.DataFrame:
        """Importance of clusters for classes."""
        return self.table("importance")

    @cached_property
    def influence(self) -> pd.DataFrame:
        """Edges between clusters, per class."""
        return self.table("influence")

    @cached_property
    def confusions(self) -> pd.DataFrame | None:
        """Clusters behind confusions; None in a run that was made before they were looked for."""
        return self.table("confusions") if self._has("confusions") else None

    @cached_property
    def quality(self) -> pd.DataFrame | None:
        """Measures of the run by itself (records.MEASURES); None in a run that was made before they were taken."""
        return self.table("quality") if self._has("quality") else None

    def scores(self) -> dict[str, tuple[dict[str, Any], pd.DataFrame]]:
        """Return the judges' scorecards beside the run, by short name: what was done, and the measures."""
        found = {}
        for path in sorted((self.folder / SCORES).glob("*.json")):
            name = f"{SCORES}/{path.stem}"
            with self._readable(f"{name}.json") as place:
                found[path.stem] = json.loads(place.read_text(encoding="utf-8")), self.table(name)
        return found

    @cached_property
    def embedding(self) -> npt.NDArray[np.float32]:
        """Embedding (N, dims)."""
        return self.array("embedding")

    @cached_property
    def snapshots(self) -> npt.NDArray[np.float32]:
        """Maps (S, N, 2) after rising shares of the images, aligned."""
        return self.array("snapshots")

    def _has(self, table: str) -> bool:
        return f"{table}.parquet" in self.manifest.files

    def table(self, name: str) -> pd.DataFrame:
        """Read a table of the run."""
        with self._readable(f"{name}.parquet") as path:
            return _frame(pq.read_table(path))

    def rows(self, name: str, where: pc.Expression, columns: list[str]) -> pd.DataFrame:
        """Read the rows of a table that fulfil a condition, in the table's order; texts come as categories.

        Groups of rows that cannot hold such a row are passed over. The others are read one after the other, so that
        of twelve million rows only those that are asked for are ever in memory together.
        """
        with self._readable(f"{name}.parquet") as path:
            # Texts become categories afterwards: read as such, no group of rows would be passed over. What the file
            # says of its groups is kept: reading that again takes longer than reading the rows of one class.
            if name not in self._datasets:
                self._datasets[name] = ds.dataset(path, format=ds.ParquetFileFormat(pre_buffer=False))
            scan = self._datasets[name].scanner(
                columns=columns, filter=where, batch_readahead=1, fragment_readahead=1, use_threads=False
            )
            frame = _frame(scan.to_table())
            texts = [field.name for field in scan.projected_schema if pa.types.is_string(field.type)]
            return frame.astype(dict.fromkeys(texts, "category"))

    def schema(self, name: str) -> pa.Schema:
        """Read the columns and types of a table of the run."""
        with self._readable(f"{name}.parquet") as path:
            return pq.read_schema(path)

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """Return an array of the run, to be read only: it stays on disk, and what is not looked at is not read."""
        with self._readable(f"{name}.npy") as path:
            array: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
            return array

    def column(self, name: str, index: int) -> npt.NDArray[np.float32]:
        """Read one column (R,) of an array (R, N): of each row only the value that is asked for.

        Through a map of the file it would cost the pages around each value, which is most of the file.
        """
        with self._readable(f"{name}.npy") as path, path.open("rb", buffering=0) as file:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)  # untouched: it knows where the values lie
            values = bytearray()
            for row in range(len(rows)):
                file.seek(rows.offset + row * rows.strides[0] + index * rows.strides[1])
                values += file.read(rows.itemsize)
            return np.frombuffer(bytes(values), rows.dtype)

    def preview(self, image: int) -> bytes | None:
        """Return the small whole image (webp), or None when no example comes from it."""
        place = self._preview_index.get(image)
        if place is None:
            return None
        group, row = place
        with self._readable(PREVIEW_FILE) as path, pq.ParquetFile(path, metadata=self._preview_metadata) as file:
            picture: bytes = file.read_row_group(group, columns=["webp"])["webp"][row].as_py()
            return picture

    @cached_property
    def _preview_metadata(self) -> pq.FileMetaData:
        with self._readable(PREVIEW_FILE) as path:
            return pq.read_metadata(path)

    @cached_property
    def _preview_index(self) -> dict[int, tuple[int, int]]:
        with self._readable(PREVIEW_FILE) as path, pq.ParquetFile(path) as file:
            groups = [
                file.read_row_group(group, columns=["image"])["image"].to_pylist()
                for group in range(file.num_row_groups)
            ]
        return {image: (g, row) for g, images in enumerate(groups) for row, image in enumerate(images)}

    @contextmanager
    def _readable(self, name: str) -> Iterator[Path]:
        try:
            yield self.folder / name
        except (OSError, EOFError, ValueError, pa.ArrowException) as error:
            raise RunError(f"{self.folder / name} cannot be read: {error}; make the run again") from error


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table as a frame, column by column, so that it never lies in memory twice."""
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def check_run(folder: Path | str) -> list[str]:
    """Verify a run folder: checksums, schemas, and that ids point at rows that exist.

    Returns the problems, one line each; an empty list means that the run is whole. RunError when there
    is no run.
    """
    run = Run(folder)
    try:
        problems = list(_damaged_files(run)) or list(_schema_problems(run)) or list(_content_problems(run))
    except RunError as error:
        problems = [str(error)]
    return [printable(problem, LINE) for problem in problems]


def _damaged_files(run: Run) -> Iterator[str]:
    required = [*(f"{name}.parquet" for name in SCHEMAS), *(f"{name}.npy" for name in ARRAYS), PREVIEW_FILE]
    for name in required:
        if name not in run.manifest.files:
            yield f"{name}: not listed in the manifest"
    for name, expected in run.manifest.files.items():
        problem = _file_problem(run.folder, name, expected)
        if problem:
            yield f"{name}: {problem}"


def _file_problem(folder: Path, name: str, expected: Mapping[str, Any]) -> str:
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return "lies outside the run folder"
        if not path.is_file():
            return "missing"
        if _digest(path) != {key: expected[key] for key in ("sha256", "bytes")}:
            return "its content is not what the manifest says (changed or damaged)"
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        return f"cannot be read: {one_line(getattr(error, 'strerror', None) or error)}"
    return ""


def _schema_problems(run: Run) -> Iterator[str]:
    later = {name: schema for name, schema in LATER_SCHEMAS.items() if run._has(name)}
    for name, schema in {**SCHEMAS, **later, "previews/previews": PREVIEWS}.items():
        actual = run.schema(name)
        for field in schema:
            if actual.names.count(field.name) != 1:
                how = "there more than once" if field.name in actual.names else "missing"
                yield f"{name}.parquet: column {field.name} is {how}"
            elif not _same_type(actual.field(field.name).type, field.type):
                yield f"{name}.parquet: column {field.name} is {actual.field(field.name).type}, not {field.type}"


def _same_type(actual: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(expected):
        return bool(pa.types.is_list(actual) and actual.value_type.equals(expected.value_type))
    return bool(actual.equals(expected))


def _content_problems(run: Run) -> Iterator[str]:
    neurons, clusters, images = run.neurons, run.clusters, run.images
    count = sum(layer.channels for layer in run.manifest.layers)
    layers = run.manifest.layers
    if len(neurons) != count:
        yield f"neurons.parquet: {len(neurons)} rows, but the manifest's layers have {count} channels"
    elif not np.array_equal(neurons["neuron"], np.arange(count)) or any(
        (neurons["layer"].iloc[rows] != layer).any() for layer, rows in layer_slices(layers).items()
    ):
        yield "neurons.parquet: rows are not in the order of the manifest's layers and channels"
    elif not all(
        np.array_equal(neurons["channel"].iloc[rows], np.arange(rows.stop - rows.start))
        for rows in layer_slices(layers).values()
    ):
        yield "neurons.parquet: channels do not count from 0 in each layer"
    earlier: set[str] = set()
    for layer in layers:
        if not earlier.issuperset(layer.parents or ()):
            yield f"manifest.json: layer {layer.name} builds on {', '.join(layer.parents or ())}, not all before it"
        if layer.name in earlier:
            yield f"manifest.json: layer {layer.name} is there more than once"
        earlier.add(layer.name)
    if len(images) != run.manifest.images["count"]:
        yield f"images.parquet: {len(images)} rows, but the manifest counts {run.manifest.images['count']}"
    if run.embedding.ndim != 2 or len(run.embedding) != count:
        yield f"embedding.npy: shape {run.embedding.shape}, expected ({count}, dims)"
    if run.snapshots.shape != (len(run.manifest.snapshots), count, 2):
        yield f"snapshots.npy: shape {run.snapshots.shape}, expected ({len(run.manifest.snapshots)}, {count}, 2)"
    for name in ARRAYS:
        if run.array(name).dtype != np.float32:
            yield f"{name}.npy: type {run.array(name).dtype}, not float32"
    shown = pq.read_table(run.folder / PREVIEW_FILE, columns=["image"])["image"].to_pandas()
    pointers: list[tuple[str, str, pd.Series, set[object]]] = [
        ("neurons", "cluster", clusters["cluster"], {-1}),
        ("examples", "neuron", neurons["neuron"], set()),
        ("examples", "image", images["image"], set()),
        ("examples", "image", shown, set()),
        ("clusters", "layer", pd.Series([layer.name for layer in layers]), set()),
        ("importance", "class", run.classes["class"], set()),
        ("importance", "cluster", clusters["cluster"], set()),
        ("influence", "class", run.classes["class"], {""}),
        ("influence", "source", clusters["cluster"], set()),
        ("influence", "target", clusters["cluster"], {-1}),
    ]
    if run._has("confusions"):
        pointers += [
            ("confusions", "label", run.classes["class"], set()),
            ("confusions", "prediction", images["prediction"], set()),
            ("confusions", "cluster", clusters["cluster"], set()),
        ]
    if run._has("quality"):
        pointers += [
            ("quality", "layer", pd.Series([layer.name for layer in layers]), {""}),
            ("quality", "cluster", clusters["cluster"], {-1}),
        ]
    for table, column, targets, allowed in pointers:
        unknown = set(getattr(run, table)[column].unique().tolist()) - set(targets) - allowed
        if unknown:
            yield f"{table}.parquet: {column} {min(unknown, key=str)!r} does not exist ({len(unknown)} such values)"
    if run.examples.duplicated(["neuron", "image"]).any():
        yield "examples.parquet: a neuron has two examples from one image"
    sizes = neurons.loc[neurons["cluster"] >= 0, "cluster"].value_counts()
    if not clusters.set_index("cluster")["size"].sort_index().equals(sizes.sort_index().astype(np.int32)):
        yield "clusters.parquet: sizes do not match the neurons' clusters"


def named_runs(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the runs in some folders by the names that the app gives them.

    A run whose name is taken is called `parent/name`, and where that is taken too, by its whole path.
    """
    found: dict[str, Path] = {}
    for folder in find_runs(folders):
        path = folder.resolve()
        if path not in found.values():
            names = (path.name, f"{path.parent.name}/{path.name}", str(path))
            found[next(name for name in names if name not in found)] = path
    return found


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Return the run folders in `folders`: each folder itself when it is a run, else its children that are."""
    found = []
    for folder in folders:
        candidates = [folder] if is_run(folder) else sorted(folder.glob("*/"))
        found += [c for c in candidates if is_run(c) and not c.name.startswith(".")]
    return found
