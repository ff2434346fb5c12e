import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import write_synthetic_run

from neurocarto.errors import RunError
from neurocarto.records import LATER_SCHEMAS, SCHEMAS
from neurocarto.runs import store
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.store import (
    ARRAYS,
    BY_CLASS,
    PREVIEW_FILE,
    PREVIEW_ROWS,
    Run,
    check_run,
    find_runs,
    refuse_occupied,
    write_run,
)

LATER = [f"{name}.parquet" for name in LATER_SCHEMAS]
FILES = [*(f"{name}.parquet" for name in SCHEMAS), *(f"{name}.npy" for name in ARRAYS), PREVIEW_FILE]
PREVIEWS = [(image, f"picture {image}".encode()) for image in range(0, 3 * PREVIEW_ROWS, 2)]

MANIFEST = Manifest(
    run_id="id",
    created="",
    version="",
    settings={},
    model={"name": "", "source": ""},
    images={"source": "", "fingerprint": "", "count": 0, "skipped": []},
    layers=(),
    packages={},
    seconds={},
    snapshots=(),
    influence={"method": ""},
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_run(tmp_path_factory.mktemp("planted") / "run", layers=2, channels=12, images=12)


@pytest.fixture
def run(planted: Path, tmp_path: Path) -> Path:
    """A run of one's own, to damage."""
    return Path(shutil.copytree(planted, tmp_path / "run"))


def content(run: Run) -> tuple[dict[str, pd.DataFrame], dict[str, np.ndarray]]:
    return {name: run.table(name) for name in (*SCHEMAS, *LATER_SCHEMAS)}, {name: run.array(name) for name in ARRAYS}


def pictures(run: Run) -> list[tuple[int, bytes]]:
    return [(image, run.preview(image) or b"") for image in sorted(run.examples["image"].unique().tolist())]


def seal(folder: Path, name: str) -> None:
    """Write a changed file's checksum into the manifest: what is wrong then is the content alone."""
    manifest, data = Manifest.read(folder), (folder / name).read_bytes()
    files = {**manifest.files, name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
    (folder / "manifest.json").write_text(replace(manifest, files=files).to_json(), encoding="utf-8")


def rewrite(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a table, keep the types of the columns it is known for, and seal it."""
    frame = change(Run(folder).table(name).copy())
    schema = pa.schema([field for field in {**SCHEMAS, **LATER_SCHEMAS}[name] if field.name in frame])
    pq.write_table(
        pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False), folder / f"{name}.parquet"
    )
    seal(folder, f"{name}.parquet")


def test_what_is_written_is_read_back(planted: Path, tmp_path: Path) -> None:
    first = Run(planted)
    tables, arrays = content(first)
    again = Run(write_run(tmp_path / "again", first.manifest, tables, arrays, PREVIEWS))
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(getattr(again, name), frame)
        schema = {**SCHEMAS, **LATER_SCHEMAS}[name]
        assert pq.read_schema(again.folder / f"{name}.parquet").field(0).equals(schema.field(0))
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert [(image, again.preview(image)) for image, _ in PREVIEWS] == PREVIEWS
    assert again.preview(1) is None
    assert replace(again.manifest, files={}) == replace(first.manifest, files={})


def test_the_same_content_gives_the_same_bytes(planted: Path, tmp_path: Path) -> None:
    again = write_synthetic_run(tmp_path / "again", layers=2, channels=12, images=12)
    for file in (*FILES, "manifest.json"):
        assert (planted / file).read_bytes() == (again / file).read_bytes(), file


@given(
    values=st.lists(st.floats(width=32, allow_nan=True), min_size=1, max_size=20),
    texts=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=20, max_size=20),
)
@settings(max_examples=15, deadline=None)
def test_any_numbers_and_texts_survive(
    values: list[float], texts: list[str | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    frames = {
        name: pa.table({f.name: pa.array([], f.type) for f in schema}).to_pandas() for name, schema in SCHEMAS.items()
    }
    frames["images"] = pd.DataFrame(
        {
            "image": np.arange(len(values)),
            "path": [f"{text}" for text in texts[: len(values)]],
            "label": texts[: len(values)],
            "prediction": None,
            "confidence": np.float32(values),
            "width": 1,
            "height": 2**31 - 1,
        }
    )
    out = tmp_path_factory.mktemp("any") / "run"
    arrays = {"embedding": np.float32(values)[:, None], "snapshots": np.zeros((0, 0, 2))}
    write_run(out, MANIFEST, frames, arrays, [])
    images = Run(out).images
    np.testing.assert_array_equal(images["confidence"], np.float32(values))
    np.testing.assert_array_equal(Run(out).embedding[:, 0], np.float32(values))
    assert [None if pd.isna(label) else label for label in images["label"]] == texts[: len(values)]
    assert (images["height"] == 2**31 - 1).all()


def test_readers_accept_columns_arrays_and_files_they_do_not_know(planted: Path, tmp_path: Path) -> None:
    tables, arrays = content(Run(planted))
    tables["clusters"] = tables["clusters"].assign(later="new", many=[[1.0, 2.0]] * len(tables["clusters"]))
    previews = pictures(Run(planted))
    out = write_run(tmp_path / "more", Run(planted).manifest, tables, {**arrays, "later": np.ones(3)}, previews)
    (out / "names.json").write_text("{}")
    assert check_run(out) == []
    assert Run(out).clusters["later"].eq("new").all()
    assert Run(out).clusters["many"].iloc[0].tolist() == [1.0, 2.0]
    assert Run(out).array("later").tolist() == [1.0, 1.0, 1.0]
    assert "later.npy" in Run(out).manifest.files


@pytest.fixture
def grouped(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose tables of classes were given in any order and lie in groups of two rows."""
    tables, arrays = content(Run(planted))
    shuffled = {name: tables[name].sample(frac=1, random_state=0) for name in BY_CLASS}
    monkeypatch.setattr(store, "CLASS_ROWS", 2)
    return Run(write_run(tmp_path / "grouped", Run(planted).manifest, {**tables, **shuffled}, arrays, []))


@pytest.mark.parametrize("name", BY_CLASS)
class TestTablesOfClasses:
    def test_they_are_ordered_by_class_and_otherwise_as_they_came(self, grouped: Run, planted: Path, name: str) -> None:
        given, stored = Run(planted).table(name).sample(frac=1, random_state=0), grouped.table(name)
        assert stored["class"].is_monotonic_increasing
        assert set(stored["class"]) == set(given["class"])
        for class_, rows in stored.groupby("class"):
            expected = given[given["class"] == class_].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows.reset_index(drop=True), expected)

    def test_a_class_is_read_without_the_rows_of_others(self, grouped: Run, name: str) -> None:
        class_ = "birds"
        expected = grouped.table(name).query("`class` == @class_")["weight" if name == "influence" else "score"]
        file = grouped.folder / f"{name}.parquet"
        metadata, data = pq.read_metadata(file), bytearray(file.read_bytes())
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            names = group.column(0).statistics
            if not names.min <= class_ <= names.max:
                begin = group.column(0).dictionary_page_offset
                size = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
                data[begin : begin + size] = bytes(size)
        file.write_bytes(data)
        with pytest.raises(RunError):
            grouped.table(name)
        found = grouped.rows(name, pc.field("class") == class_, [expected.name])
        assert found[expected.name].tolist() == expected.tolist()


def test_arrays_stay_on_disk_and_cannot_be_written(planted: Path, tmp_path: Path) -> None:
    tables, arrays = content(Run(planted))
    means = np.arange(6, dtype=np.float32).reshape(2, 3)
    run = Run(write_run(tmp_path / "run", Run(planted).manifest, tables, {**arrays, "class_means": means}, []))
    assert isinstance(run.array("class_means"), np.memmap)
    assert run.array("class_means").tolist() == means.tolist()
    with pytest.raises(ValueError, match="read-only"):
        run.array("class_means")[0, 0] = 1


def test_a_run_without_clusters_examples_or_classes_is_whole(tmp_path: Path) -> None:
    bare = Run(write_synthetic_run(tmp_path / "bare", layers=1, channels=3, images=10))
    tables, arrays = content(bare)
    names = ("examples", "classes", "importance", "influence", "confusions")
    empty = {name: tables[name].iloc[:0] for name in names}
    assert len(tables["clusters"]) == 0
    assert check_run(write_run(tmp_path / "empty", bare.manifest, {**tables, **empty}, arrays, [])) == []


class TestWriting:
    def test_an_occupied_place_is_refused_and_left_alone(self, planted: Path, tmp_path: Path) -> None:
        tables, arrays = content(Run(planted))
        (tmp_path / "file").write_text("mine")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "note").write_text("mine")
        for name in ("file", "full"):
            with pytest.raises(RunError, match="already there and not empty"):
                write_run(tmp_path / name, Run(planted).manifest, tables, arrays, [])
        assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["file", "full", "full/note"]

    def test_a_place_below_a_file_is_refused_before_anything_is_read(self, planted: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(RunError, match="file is no folder that you may write to"):
            write_run(tmp_path / "file" / "run", Run(planted).manifest, {}, {}, [])

    def test_an_empty_folder_and_missing_parents_are_used(self, planted: Path, tmp_path: Path) -> None:
        tables, arrays = content(Run(planted))
        (tmp_path / "empty").mkdir()
        for out in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
            assert check_run(write_run(out, Run(planted).manifest, tables, arrays, pictures(Run(planted)))) == []

    def test_a_link_and_the_folder_one_is_in_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for out, why in ((tmp_path / "link", "already there"), (Path(), "the folder you are in")):
            with pytest.raises(RunError, match=why):
                refuse_occupied(out)

    def test_a_name_that_is_too_long_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="name another folder"):
            refuse_occupied(tmp_path / ("x" * 300))

    @pytest.mark.parametrize("error", [ZeroDivisionError("midway"), KeyboardInterrupt()])
    def test_nothing_is_left_or_visible_when_writing_fails_midway(
        self, planted: Path, tmp_path: Path, error: BaseException
    ) -> None:
        tables, arrays = content(Run(planted))

        def previews() -> Iterator[tuple[int, bytes]]:
            yield from PREVIEWS[: PREVIEW_ROWS + 1]
            assert list(tmp_path.iterdir()), "it is being written by now"
            assert find_runs([tmp_path]) == []
            raise error

        with pytest.raises(type(error)):
            write_run(tmp_path / "run", Run(planted).manifest, tables, arrays, previews())
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_a_run_error_with_its_reason(self, planted: Path, tmp_path: Path) -> None:
        def previews() -> Iterator[tuple[int, bytes]]:
            raise OSError(28, "No space left on device")
            yield

        with pytest.raises(RunError, match="cannot be written to .*: No space left on device"):
            write_run(tmp_path / "run", Run(planted).manifest, *content(Run(planted)), previews())
        assert list(tmp_path.iterdir()) == []

    def test_a_table_that_lacks_a_column_is_not_written(self, planted: Path, tmp_path: Path) -> None:
        tables, arrays = content(Run(planted))
        with pytest.raises(ValueError, match=r"table neurons lacks \['channel'\]"):
            write_run(
                tmp_path / "run",
                Run(planted).manifest,
                {**tables, "neurons": tables["neurons"].drop(columns="channel")},
                arrays,
                [],
            )
        assert list(tmp_path.iterdir()) == []


class TestReading:
    def test_a_column_is_that_of_the_array(self, planted: Path) -> None:
        run = Run(planted)
        for index in (0, 3, run.embedding.shape[1] - 1):
            np.testing.assert_array_equal(run.column("embedding", index), run.embedding[:, index])

    def test_texts_of_chosen_rows_come_as_categories_in_the_tables_order(self, planted: Path) -> None:
        run = Run(planted)
        found = run.rows("importance", pc.field("rank") < 2, ["class", "cluster", "rank"])
        expected = run.importance.loc[run.importance["rank"] < 2, ["class", "cluster", "rank"]].reset_index(drop=True)
        assert found["class"].dtype == "category"
        pd.testing.assert_frame_equal(found.astype({"class": expected["class"].dtype}), expected)

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("damage", ["missing", "empty", "rubbish"])
    def test_an_unreadable_file_is_a_run_error_that_names_it(self, run: Path, name: str, damage: str) -> None:
        (run / name).unlink()
        if damage != "missing":
            (run / name).write_bytes(b"" if damage == "empty" else b"rubbish" * 50)
        opened, stem = Run(run), Path(name).stem
        with pytest.raises(RunError, match=f"{name} cannot be read"):
            opened.preview(0) if name == PREVIEW_FILE else getattr(opened, stem)

    def test_arrays_with_pickles_are_not_loaded(self, run: Path) -> None:
        np.save(run / "embedding.npy", np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(RunError, match="embedding.npy cannot be read"):
            _ = Run(run).embedding

    def test_opening_a_run_imports_nothing_that_only_making_one_needs(self, planted: Path) -> None:
        code = (
            "import sys; from neurocarto.runs.store import Run, check_run, find_runs;"
            f"check_run({str(planted)!r}); Run({str(planted)!r}).preview(0);"
            "print(sorted({'torch', 'torchvision', 'umap', 'numba', 'datasketch', 'sklearn'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_runs_are_found_at_a_folder_and_one_level_below(self, planted: Path, tmp_path: Path) -> None:
        for name in ("b", "a", ".c.12.partial", "a/inner"):
            shutil.copytree(planted, tmp_path / name)
        (tmp_path / "no run").mkdir()
        (tmp_path / "file").write_text("")
        assert find_runs([tmp_path]) == [tmp_path / "a", tmp_path / "b"]
        assert find_runs([tmp_path / "b", tmp_path / "missing", tmp_path / "file"]) == [tmp_path / "b"]
        assert find_runs([]) == []

    def test_a_run_is_named_after_its_folder(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(run)
        assert Run(".").name == "run"


class TestCheck:
    def test_a_run_as_written_is_whole(self, planted: Path) -> None:
        assert check_run(planted) == []

    def test_a_folder_that_is_no_run_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="is not a run folder"):
            check_run(tmp_path)

    @pytest.mark.parametrize("name", FILES + LATER)
    def test_a_changed_byte_is_found(self, run: Path, name: str) -> None:
        data = bytearray((run / name).read_bytes())
        data[len(data) // 2] ^= 1
        (run / name).write_bytes(data)
        assert check_run(run) == [f"{name}: its content is not what the manifest says (changed or damaged)"]

    @pytest.mark.parametrize("name", FILES)
    def test_a_missing_or_unlisted_file_is_found(self, run: Path, name: str) -> None:
        (run / name).unlink()
        assert check_run(run) == [f"{name}: missing"]
        manifest = Manifest.read(run)
        files = {file: entry for file, entry in manifest.files.items() if file != name}
        (run / "manifest.json").write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
        assert check_run(run) == [f"{name}: not listed in the manifest"]

    @pytest.mark.parametrize("name", ["a\0b", "n" * 300, "a\nb", "\x1b[31m", "", "."])
    def test_a_listed_name_that_no_file_of_a_run_has_is_a_problem_in_one_line(self, run: Path, name: str) -> None:
        manifest = Manifest.read(run)
        files = {**manifest.files, name: {"sha256": "0", "bytes": 0}}
        (run / "manifest.json").write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
        (problem,) = check_run(run)
        assert problem.isprintable()
        assert re.search(": (missing|cannot be read: )", problem)
        refuse_occupied(run.parent / "free")
        with pytest.raises(RunError, match="already there"):
            refuse_occupied(run, manifest.run_id)

    @pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt"])
    def test_a_listed_path_outside_the_folder_is_not_opened(self, run: Path, name: str) -> None:
        (run.parent / "outside.txt").write_text("secret")
        manifest = Manifest.read(run)
        files = {**manifest.files, name: {"sha256": "0", "bytes": 0}}
        (run / "manifest.json").write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
        assert check_run(run) == [f"{name}: lies outside the run folder"]

    @pytest.mark.parametrize(
        ("table", "column", "value", "problem"),
        [
            ("neurons", "cluster", 999, "neurons.parquet: cluster 999 does not exist (1 such values)"),
            ("examples", "neuron", 999, "examples.parquet: neuron 999 does not exist (1 such values)"),
            ("examples", "image", 999, "examples.parquet: image 999 does not exist (1 such values)"),
            ("importance", "class", "cats", "importance.parquet: class 'cats' does not exist (1 such values)"),
            ("importance", "cluster", -1, "importance.parquet: cluster -1 does not exist (1 such values)"),
            ("influence", "class", "cats", "influence.parquet: class 'cats' does not exist (1 such values)"),
            ("influence", "source", -1, "influence.parquet: source -1 does not exist (1 such values)"),
            ("influence", "target", 999, "influence.parquet: target 999 does not exist (1 such values)"),
            ("confusions", "label", "cats", "confusions.parquet: label 'cats' does not exist (1 such values)"),
            ("confusions", "prediction", "?", "confusions.parquet: prediction '?' does not exist (1 such values)"),
            ("confusions", "cluster", 999, "confusions.parquet: cluster 999 does not exist (1 such values)"),
        ],
    )
    def test_an_id_of_nothing_is_found(self, run: Path, table: str, column: str, value: object, problem: str) -> None:
        def dangle(frame: pd.DataFrame) -> pd.DataFrame:
            frame.loc[0, column] = value
            return frame

        rewrite(run, table, dangle)
        assert problem in check_run(run)

    @pytest.mark.parametrize(
        ("table", "change", "problem"),
        [
            ("neurons", lambda f: f.iloc[::-1], "rows are not in the order of the manifest's layers and channels"),
            ("neurons", lambda f: f.iloc[:-1], "23 rows, but the manifest's layers have 24 channels"),
            ("neurons", lambda f: f.assign(layer="block0"), "rows are not in the order"),
            ("neurons", lambda f: f.assign(channel=f["neuron"]), "channels do not count from 0 in each layer"),
            ("images", lambda f: f.iloc[:-1], "11 rows, but the manifest counts 12"),
            ("examples", lambda f: f.assign(image=f["image"].iloc[0]), "a neuron has two examples from one image"),
            ("clusters", lambda f: f.assign(size=f["size"] + 1), "sizes do not match the neurons' clusters"),
            ("clusters", lambda f: f.assign(cluster=0), "sizes do not match the neurons' clusters"),
        ],
    )
    def test_wrong_rows_are_found(
        self, run: Path, table: str, change: Callable[[pd.DataFrame], pd.DataFrame], problem: str
    ) -> None:
        rewrite(run, table, change)
        assert any(line.startswith(f"{table}.parquet: ") and problem in line for line in check_run(run))

    def test_a_layer_that_is_there_twice_is_found(self, run: Path) -> None:
        manifest = Manifest.read(run)
        layers = (manifest.layers[0], replace(manifest.layers[1], name="block0", parents=()))
        (run / "manifest.json").write_text(replace(manifest, layers=layers).to_json(), encoding="utf-8")
        assert "manifest.json: layer block0 is there more than once" in check_run(run)

    def test_a_manifest_of_endless_layers_is_a_problem_at_once(self, run: Path) -> None:
        manifest = Manifest.read(run)
        layers = (manifest.layers[0], replace(manifest.layers[1], channels=10**13))
        (run / "manifest.json").write_text(replace(manifest, layers=layers).to_json(), encoding="utf-8")
        assert check_run(run)[0].startswith("neurons.parquet: 24 rows, but the manifest's layers have 10000000000012")

    def test_a_column_that_is_there_twice_is_found(self, run: Path) -> None:
        table = pq.read_table(run / "neurons.parquet")
        pq.write_table(table.append_column("cluster", table["cluster"]), run / "neurons.parquet")
        seal(run, "neurons.parquet")
        assert check_run(run) == ["neurons.parquet: column cluster is there more than once"]

    @pytest.mark.parametrize("name", [*SCHEMAS, *LATER_SCHEMAS])
    def test_a_missing_column_is_found_by_name(self, run: Path, name: str) -> None:
        column = {**SCHEMAS, **LATER_SCHEMAS}[name].names[0]
        rewrite(run, name, lambda frame: frame.drop(columns=column))
        assert check_run(run) == [f"{name}.parquet: column {column} is missing"]

    def test_a_column_of_another_type_is_found(self, run: Path) -> None:
        table = pq.read_table(run / "neurons.parquet")
        wide = table.set_column(3, "cluster", table["cluster"].cast(pa.int64()))
        pq.write_table(wide, run / "neurons.parquet")
        seal(run, "neurons.parquet")
        assert check_run(run) == ["neurons.parquet: column cluster is int64, not int32"]

    @pytest.mark.parametrize(
        ("name", "array", "problem"),
        [
            ("embedding", np.zeros((23, 8), np.float32), "embedding.npy: shape (23, 8), expected (24, dims)"),
            ("embedding", np.float32(0), "embedding.npy: shape (), expected (24, dims)"),
            ("embedding", np.zeros((24, 8)), "embedding.npy: type float64, not float32"),
            ("snapshots", np.zeros((5, 24, 3), np.float32), "snapshots.npy: shape (5, 24, 3), expected (5, 24, 2)"),
        ],
    )
    def test_an_array_of_another_shape_or_type_is_found(
        self, run: Path, name: str, array: np.ndarray, problem: str
    ) -> None:
        np.save(run / f"{name}.npy", array)
        seal(run, f"{name}.npy")
        assert check_run(run) == [problem]

    def test_a_layer_that_builds_on_none_before_it_is_found(self, run: Path) -> None:
        manifest = Manifest.read(run)
        layers = (manifest.layers[0], replace(manifest.layers[1], parents=("block0", "block1")))
        (run / "manifest.json").write_text(replace(manifest, layers=layers).to_json(), encoding="utf-8")
        assert check_run(run) == ["manifest.json: layer block1 builds on block0, block1, not all before it"]

    @pytest.mark.parametrize("name", FILES + LATER)
    def test_rubbish_with_a_right_checksum_is_one_problem(self, run: Path, name: str) -> None:
        (run / name).write_bytes(b"rubbish" * 50)
        seal(run, name)
        (problem,) = check_run(run)
        assert f"{name} cannot be read" in problem

    @given(data=st.data())
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_changed_manifest_is_whole_or_a_problem_never_another_exception(
        self, run: Path, data: st.DataObject
    ) -> None:
        content = json.loads((run / "manifest.json").read_text())
        section = data.draw(st.sampled_from(["layers", "images", "files", "snapshots", "model", "format"]))
        value = data.draw(
            st.none() | st.integers(-3, 3) | st.text(max_size=3) | st.lists(st.integers(-3, 30), max_size=3)
        )
        part = content[section]
        if isinstance(part, str | int) or data.draw(st.booleans()):
            content[section] = value
        elif isinstance(part, list):
            part[-1] = {**part[-1], "channels": value} if isinstance(part[-1], dict) else value
        else:
            part[data.draw(st.sampled_from(sorted(part)))] = value
        original = (run / "manifest.json").read_text()
        (run / "manifest.json").write_text(json.dumps(content))
        try:
            assert all("\n" not in problem for problem in check_run(run))
        except RunError:
            pass
        finally:
            (run / "manifest.json").write_text(original)


def test_a_place_that_already_holds_the_very_run_is_not_refused(planted: Path) -> None:
    refuse_occupied(planted, Run(planted).manifest.run_id)
    with pytest.raises(RunError, match="already there and not empty"):
        refuse_occupied(planted, "another")
    with pytest.raises(RunError, match="already there and not empty"):
        refuse_occupied(planted)


def test_a_run_that_another_process_has_made_meanwhile_stays_as_it_is(planted: Path) -> None:
    run = Run(planted)
    before = (planted / "manifest.json").read_bytes()
    assert write_run(planted, run.manifest, *content(run), []) == planted
    assert (planted / "manifest.json").read_bytes() == before
