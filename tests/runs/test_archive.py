"""Runs as .zip files: what goes out comes back, and nothing that anybody may have made does harm."""

import errno
import hashlib
import io
import json
import re
import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic import write_synthetic_run

from neurocarto.errors import RunError
from neurocarto.quality.study import STUDIES
from neurocarto.runs import archive, entries
from neurocarto.runs.archive import MAX_SIDE, NAME, SPARE, export_run, import_run, plain_name
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.memory import longest_side
from neurocarto.runs.store import SCORES, Run, check_run

Files = dict[str, bytes]
SMALL = 50 * 10**6
"""Bytes that the planted run stays far below."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that may lie beside one, and a file that does not belong there."""
    folder = tmp_path_factory.mktemp("planted") / "run"
    write_synthetic_run(folder, layers=2, channels=12, images=12, judges=("one", "two"))
    (folder / STUDIES).mkdir()
    (folder / STUDIES / "1-20.csv").write_text("run,question\n")
    (folder / "names.json").write_text('{"0": {"name": "ears <b>"}}')
    (folder / "selections.json").write_text("[]")
    (folder / "mine.txt").write_text("not for others")
    return folder


@pytest.fixture(scope="module")
def packed(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(planted, tmp_path_factory.mktemp("packed") / "run.zip")


@pytest.fixture(scope="module")
def contents(packed: Path) -> Files:
    with zipfile.ZipFile(packed) as content:
        return {name: content.read(name) for name in content.namelist()}


@pytest.fixture
def into(tmp_path: Path) -> Iterator[Path]:
    """A folder to import into, and beside it a file that no archive may touch."""
    (tmp_path / "x").write_text("untouched")
    yield tmp_path / "runs"
    assert (tmp_path / "x").read_text() == "untouched"


def tree(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as content:
        for name, data in files.items():
            content.writestr(name, data)
    return made


def with_manifest(contents: Files, change: Callable[[dict[str, Any]], object], **more: bytes) -> Files:
    """The run's files with a changed manifest."""
    manifest = json.loads(contents["run/manifest.json"])
    change(manifest)
    return {**contents, **more, "run/manifest.json": json.dumps(manifest).encode()}


def sealed(contents: Files, name: str, data: bytes) -> Files:
    """The run's files with a changed one, which the manifest agrees with."""

    def seal(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    return with_manifest(contents, seal, **{f"run/{name}": data})


def table(frame: pd.DataFrame | pa.Table) -> bytes:
    data = io.BytesIO()
    pq.write_table(frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False), data)
    return data.getvalue()


def refused(made: io.BytesIO | Path, into: Path, said: str, **limits: Any) -> None:
    """An archive is refused in one line, and the folder stays as it was: it is not even made."""
    before = tree(into.parent)
    with pytest.raises(RunError) as caught:
        import_run(made, into, **limits)
    line = str(caught.value)
    assert re.search(said, line), line
    assert line.isprintable()
    assert len(line) < 400
    assert tree(into.parent) == before


class TestThereAndBack:
    def test_every_file_of_the_run_comes_back_with_its_bytes(self, planted: Path, packed: Path, into: Path) -> None:
        folder = import_run(packed, into)
        assert folder == into / "run"
        expected = tree(planted)
        del expected["mine.txt"]
        assert tree(folder) == expected
        assert check_run(folder) == []
        assert [path.name for path in into.iterdir()] == ["run"]

    def test_a_run_as_the_app_uploads_it_comes_back_too(self, planted: Path, packed: Path, into: Path) -> None:
        with packed.open("rb") as file:
            folder = import_run(io.BytesIO(file.read()), into, "Anna's run")
        assert folder == into / "Anna-s-run"
        assert Run(folder).manifest == Run(planted).manifest

    def test_the_same_run_gives_the_same_archive(self, planted: Path, packed: Path, tmp_path: Path) -> None:
        assert export_run(planted, tmp_path / "again.zip").read_bytes() == packed.read_bytes()

    def test_all_lies_in_one_folder_of_the_runs_name(self, packed: Path) -> None:
        with zipfile.ZipFile(packed) as content:
            assert content.namelist()[0] == "run/manifest.json"
            assert {name.partition("/")[0] for name in content.namelist()} == {"run"}
            assert {content.getinfo(f"run/{name}").compress_type for name in ("names.json", "manifest.json")} == {8}
            assert content.getinfo("run/neurons.parquet").compress_type == zipfile.ZIP_STORED

    def test_an_exported_import_is_the_same_archive(self, packed: Path, into: Path) -> None:
        assert export_run(import_run(packed, into), into / "again.zip").read_bytes() == packed.read_bytes()

    def test_the_very_run_is_found_and_not_unpacked_twice(self, packed: Path, into: Path) -> None:
        first = import_run(packed, into)
        before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
        assert import_run(packed, into) == first
        assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
        assert [path.name for path in into.iterdir()] == ["run"]

    def test_another_run_of_that_name_gets_a_number(self, planted: Path, packed: Path, into: Path) -> None:
        write_synthetic_run(into / "run", layers=2, channels=12, images=12, seed=1)
        (into / "run-2").mkdir()
        (into / "run-3").symlink_to(planted.parent / "nowhere")
        assert import_run(packed, into) == into / "run-4"
        assert import_run(packed, into) == into / "run-4"
        assert Run(into / "run").manifest.run_id == "synthetic1"
        assert list((into / "run-2").iterdir()) == []

    def test_a_run_with_other_notes_beside_it_is_not_taken_for_the_same(self, contents: Files, into: Path) -> None:
        assert import_run(zipped(contents), into).name == "run"
        notes = b'{"1": {"name": "noses"}}'
        assert import_run(zipped({**contents, "run/names.json": notes}), into).name == "run-2"
        assert (into / "run-2" / "names.json").read_bytes() == notes
        assert (into / "run" / "names.json").read_bytes() == contents["run/names.json"]

    def test_a_run_that_was_damaged_since_is_not_taken_for_the_same(self, packed: Path, into: Path) -> None:
        (import_run(packed, into) / "neurons.parquet").write_bytes(b"")
        assert import_run(packed, into) == into / "run-2"

    @pytest.mark.parametrize("prefix", ["", "runs/other/", "./run/"[2:]])
    def test_a_folder_packed_by_hand_is_found_at_any_depth(self, contents: Files, into: Path, prefix: str) -> None:
        made = {name.replace("run/", prefix, 1): data for name, data in contents.items()}
        assert import_run(zipped(made), into).name == {"": "run", "runs/other/": "other", "run/": "run"}[prefix]

    def test_what_systems_add_is_left_out(self, contents: Files, into: Path) -> None:
        junk = [
            "__MACOSX/run/._manifest.json",
            "run/.DS_Store",
            "run/evil.py",
            "run/scores/x.sh",
            "README",
            "run/a.zip",
        ]
        folder = import_run(zipped({**contents, **dict.fromkeys(junk, b"x")}), into)
        assert tree(folder).keys() == {name.removeprefix("run/") for name in contents} | {"previews", SCORES, STUDIES}
        assert [path.name for path in into.iterdir()] == ["run"]

    @pytest.mark.parametrize(
        ("place", "data"),
        [
            ("scores/one.json", b"{"),
            ("scores/one.json", b"1"),
            ("scores/one.json", b'"\\ud800"'),
            ("scores/one.json", b"[" * 100_000),
            ("scores/one.parquet", b"rubbish"),
            ("scores/one.parquet", table(pd.DataFrame({"layer": [1]}))),
            ("names.json", b"\xff"),
        ],
    )
    def test_what_lies_beside_and_cannot_be_read_is_left_out(
        self, contents: Files, into: Path, place: str, data: bytes
    ) -> None:
        folder = import_run(zipped({**contents, f"run/{place}": data}), into)
        assert tree(folder).keys() ^ {place} >= {name.removeprefix("run/") for name in contents}
        assert not (folder / place).exists()

    def test_what_a_killed_import_left_is_cleared_away(self, packed: Path, into: Path) -> None:
        left = into / f".import-0.{archive.socket.gethostname()}.999999999.partial"
        left.mkdir(parents=True)
        import_run(packed, into)
        assert not left.exists()

    @given(
        images=st.integers(4, 14),
        channels=st.integers(4, 12),
        seed=st.integers(0, 99),
        beside=st.dictionaries(
            st.sampled_from(["names.json", "selections.json", "scores/a.json", "studies/0-5.csv"]),
            st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3),
        ),
        name=st.text(max_size=80).filter(lambda name: "/" not in name and "\0" not in name),
    )
    @settings(max_examples=15)
    def test_export_then_import_is_the_identity(
        self, images: int, channels: int, seed: int, beside: dict[str, dict[str, str]], name: str
    ) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = write_synthetic_run(
                Path(place) / "made", layers=2, channels=channels, images=images, seed=seed, examples=2
            )
            for file, notes in beside.items():
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_text(json.dumps(notes))
            back = import_run(export_run(folder, Path(place) / "x.zip"), Path(place) / "in", name)
            assert back.parent == Path(place) / "in"
            assert tree(back) == tree(folder)
            assert check_run(back) == []


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("run", "run"),
        ("Käse 2.0", "Käse-2.0"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden", "hidden"),
        ("..", "run"),
        ("", "run"),
        (" \t\n", "run"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("a\0b\x1b[31m\u202eexe", "a-b-31m-exe"),
        ("．．／x＼y", "x-y"),
        ("C:\\runs\\x", "C-runs-x"),
        ("n" * 300, "n" * NAME),
        ("语" * 300, "语" * NAME),
        ("\ud800", "run"),
    ],
)  # fmt: skip
def test_a_name_of_any_making_is_a_folders_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@given(st.text(max_size=300))
def test_a_name_stays_one_part_of_a_path_and_once_made_plain_stays_so(text: str) -> None:
    name = plain_name(text)
    assert Path(name).name == name
    assert not name.startswith(".")
    assert 0 < len(f"{name}-9999".encode()) < 255
    assert plain_name(name) == name


class TestHostileArchives:
    """Each is one line, and leaves the folder as it was."""

    @pytest.mark.parametrize("data", [b"", b"no zip", b"PK\5\6", b"PK\3\4" * 100, b"\0" * 5000])
    def test_no_zip(self, into: Path, data: bytes) -> None:
        refused(io.BytesIO(data), into, "not a whole .zip file")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_a_truncated_zip(self, packed: Path, into: Path, share: float) -> None:
        data = packed.read_bytes()
        refused(io.BytesIO(data[: int(len(data) * share)]), into, "not a whole .zip file")

    def test_a_file_that_is_not_there(self, into: Path) -> None:
        refused(into.parent / "none.zip", into, "none.zip cannot be read: No such file or directory")

    def test_a_folder(self, into: Path) -> None:
        refused(into.parent, into, "cannot be read: Is a directory")

    def test_an_encrypted_zip(self, contents: Files, into: Path) -> None:
        data = zipped(contents).getvalue()
        central = data.index(b"PK\1\2")
        locked = data[:6] + b"\1" + data[7 : central + 8] + b"\1" + data[central + 9 :]
        refused(io.BytesIO(locked), into, "manifest.json is encrypted")

    @pytest.mark.parametrize(
        "name",
        [
            "../x", "run/../../x", "run/..", "/x", "//host/x", "\\x", "..\\x", "run\\..\\..\\x", "C:/x", "c:x",
            "run//x", "./x", "run/./x", "run/neurons.parquet/../../../x",
        ],
    )  # fmt: skip
    def test_a_name_that_leads_elsewhere(self, contents: Files, into: Path, name: str) -> None:
        refused(zipped({**contents, name: b"evil"}), into, "is not a plain path inside the archive")

    @pytest.mark.parametrize("name", ["run/x\ny", "run/\x1b[31mred", "run/\u202etxt.exe", "run/\u200bx"])
    def test_a_name_with_characters_that_deceive(self, contents: Files, into: Path, name: str) -> None:
        refused(zipped({**contents, name: b"evil"}), into, "has characters that no file of a run has")

    def test_a_name_that_ends_at_a_zero_byte(self, contents: Files, into: Path) -> None:
        data = zipped({**contents, "run/names.json?": b"{}"}).getvalue().replace(b"names.json?", b"names.json\0")
        refused(io.BytesIO(data), into, "has characters that no file of a run has")

    @pytest.mark.parametrize(
        "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFDIR]
    )
    @pytest.mark.parametrize("name", ["run/neurons.parquet", "run/previews"])
    def test_a_link_or_special_file(self, contents: Files, into: Path, kind: int, name: str) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as content:
            for file in contents:
                if file != name:
                    content.writestr(file, contents[file])
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (kind | 0o777) << 16
            content.writestr(entry, "/etc")
        refused(made, into, "is a link or another special file")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize(
        "name", ["run/neurons.parquet", "run/NEURONS.parquet", "Run/neurons.Parquet", "run/manifest.json/"]
    )
    def test_a_name_that_is_there_twice(self, contents: Files, into: Path, name: str) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as content:
            for file, data in [*contents.items(), (name, b"")]:
                content.writestr(file, data)
        refused(made, into, "is in it more than once")

    def test_names_that_are_the_same_letters_composed_otherwise(self, contents: Files, into: Path) -> None:
        made = zipped({**contents, "é": b"", "e\u0301": b""})
        refused(made, into, "is in it more than once")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_a_way_of_packing_that_takes_much_memory(self, contents: Files, into: Path, method: int) -> None:
        refused(zipped(contents, method), into, "is compressed in a way that runs are not")

    def test_a_million_entries(self, contents: Files, into: Path) -> None:
        refused(zipped(contents), into, f"holds {len(contents)} entries, and a run at most 3", max_entries=3)
        one = b"PK\1\2" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"x"
        end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 1, 1, len(one) * 10**6, 0, 0)  # it says one, and has a million
        refused(io.BytesIO(one * 10**6 + end), into, "table of contents takes 47,000,000 bytes")

    def test_more_bytes_than_allowed(self, packed: Path, into: Path) -> None:
        refused(packed, into, "unpacked; at most 1,000 are allowed here", max_bytes=1000)

    def test_a_bomb_that_says_so(self, contents: Files, into: Path) -> None:
        made = zipped(sealed(contents, "extra.npy", bytes(SMALL)))
        refused(made, into, r"unpacks to \d\d\d times its size", max_bytes=10 * SMALL)
        refused(made, into, "unpacked; at most 50,000,000 are allowed here", max_bytes=SMALL)

    def test_a_bomb_that_lies_about_its_size(self, contents: Files, into: Path) -> None:
        data = bytearray(zipped(sealed(contents, "extra.npy", bytes(SMALL))).getvalue())
        size = struct.pack("<I", SMALL)
        while size in data:  # in the entry and in the table of contents
            data[data.index(size) : data.index(size) + 4] = struct.pack("<I", 1000)
        refused(io.BytesIO(data), into, "not a whole .zip file|content is not what the manifest says")

    def test_bytes_are_counted_whatever_was_said(self, contents: Files, tmp_path: Path) -> None:
        with zipfile.ZipFile(zipped(contents)) as content:
            files = entries.files(content)
            with pytest.raises(RunError, match="names.json unpacks to more than the archive says"):
                entries.unpack(content, {"names.json": files["run/names.json"]}, tmp_path, 5)

    def test_a_bomb_in_an_unknown_file_is_never_unpacked(self, contents: Files, into: Path) -> None:
        folder = import_run(zipped({**contents, "run/bomb.zip": bytes(SMALL)}), into, max_bytes=SMALL)
        assert not (folder / "bomb.zip").exists()

    @pytest.mark.parametrize("place", ["manifest.json", "names.json", "scores/one.json"])
    def test_notes_of_endless_length(
        self, contents: Files, into: Path, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive, "MAX_JSON", 10_000)
        noise = np.random.default_rng(0).bytes(6000).hex().encode()
        refused(zipped({**contents, f"run/{place}": noise}), into, f"{place} takes 12,000 bytes, and in a run at most")

    def test_no_manifest(self, contents: Files, into: Path) -> None:
        without = {name: data for name, data in contents.items() if name != "run/manifest.json"}
        refused(zipped(without), into, "holds no manifest.json, so no run")
        refused(zipped({}), into, "holds no manifest.json, so no run")

    def test_two_runs(self, contents: Files, into: Path) -> None:
        refused(zipped({**contents, "b/manifest.json": contents["run/manifest.json"]}), into, "holds 2 runs")

    def test_a_full_disk_before(self, packed: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, SPARE + 7))
        refused(packed, into, "has 7 to spare; make room first")

    def test_any_flipped_byte_is_a_run_or_a_line(self, packed: Path, tmp_path: Path) -> None:
        whole, rng = packed.read_bytes(), np.random.default_rng(0)
        places = [*rng.integers(0, len(whole), 60), *rng.integers(len(whole) - 2000, len(whole), 120)]
        lines = []
        for number, place in enumerate(places):
            data = bytearray(whole)
            data[place] ^= 1 << rng.integers(8)
            into = tmp_path / str(number)
            try:
                assert check_run(import_run(io.BytesIO(data), into)) == []
            except RunError as error:
                lines.append(str(error))
        assert all(map(str.isprintable, lines))
        assert 60 < len(lines) < len(places)
        assert len(list(tmp_path.iterdir())) + len(lines) == len(places)


class TestLyingManifests:
    @pytest.mark.parametrize(
        "name",
        ["../x", "/etc/hostname", "a/../../x", "..\\x", "C:x", "x\0y", "x\ny", "", ".", "..", ".bashrc", "a/.ssh/b",
         "n" * 300, "a//b", "a/", "/", "～/x", "<b>x</b>", "a/b/c/d/e"],
    )  # fmt: skip
    def test_a_listed_place_outside_the_run(self, contents: Files, into: Path, name: str) -> None:
        def lie(manifest: dict[str, Any]) -> None:
            manifest["files"][name] = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}

        refused(zipped(with_manifest(contents, lie)), into, "manifest.json names .*, which is no file of a run")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda m: m["files"].pop("neurons.parquet"), "neurons.parquet: not listed in the manifest"),
            (lambda m: m["files"].update({"more.npy": {"sha256": "", "bytes": 0}}), "lacks more.npy"),
            (lambda m: m["files"]["neurons.parquet"].update(sha256="0" * 64), "neurons.parquet: its content is not"),
            (lambda m: m["files"]["neurons.parquet"].update(bytes=1), "neurons.parquet: its content is not"),
            (lambda m: m["files"]["neurons.parquet"].update(bytes=float("nan")), "not a count"),
            (lambda m: m["files"].update({"neurons.parquet": {}}), "is not a run's manifest"),
            (lambda m: m.update(files=[]), "not a dict"),
            (lambda m: m.update(files={}), r"not listed in the manifest \(and 9 more\)"),
            (lambda m: m.update(format=2), "has format 2"),
            (lambda m: m.pop("run_id"), "is not a run's manifest"),
            (lambda m: m.update(run_id=7), "not a str"),
            (lambda m: m.update(run_id="\ud800"), "is not a run's manifest"),
            (lambda m: m["layers"][0].update(channels=10**12), "but the manifest's layers have 1000000000012 channels"),
            (lambda m: m["layers"][0].update(channels=10**30), "but the manifest's layers have"),
            (lambda m: m["layers"][0].update(channels=float("inf")), "not a count"),
            (lambda m: m["layers"][0].update(name="n" * 10**6), "rows are not in the order"),
            (lambda m: m["layers"][0].update(parents=[{}]), "not a str"),
            (lambda m: m["layers"][0].update(parents=7), "not a list"),
            (lambda m: m["layers"][0].update(example_box="wide"), "not a float"),
            (
                lambda m: m["layers"][1].update(name="block0"),
                "block0 is there more than once|rows are not in the order",
            ),
            (lambda m: m["images"].update(count=10**18), "but the manifest counts 1000000000000000000"),
            (lambda m: m["images"].update(skipped=[7]), "not a dict"),
            (lambda m: m.update(snapshots=[float("nan")]), "not a float"),
            (lambda m: m.update(snapshots=[0.5] * 1000), "snapshots.npy: shape"),
            (lambda m: m["settings"].update(false_discovery_rate="all"), "not a float"),
            (lambda m: m["seconds"].update(x="long"), "not a float"),
        ],
    )
    def test_a_manifest_that_lies(
        self, contents: Files, into: Path, change: Callable[[dict[str, Any]], object], said: str
    ) -> None:
        refused(zipped(with_manifest(contents, change)), into, said)

    @pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"format": 1}', b"9" * 5000])
    def test_a_manifest_that_is_none(self, contents: Files, into: Path, data: bytes) -> None:
        refused(zipped({**contents, "run/manifest.json": data}), into, "manifest|not a whole .zip file")

    def test_the_manifest_cannot_list_itself(self, contents: Files, into: Path) -> None:
        made = with_manifest(contents, lambda m: m["files"].update({"manifest.json": {"sha256": "0", "bytes": 3}}))
        refused(zipped(made), into, "manifest.json: its content is not what the manifest says")


class TestWrongTables:
    """Checksums agree with the files: what is wrong is their content."""

    @pytest.mark.parametrize(
        "name",
        ["neurons.parquet", "influence.parquet", "quality.parquet", "previews/previews.parquet", "embedding.npy"],
    )
    def test_rubbish(self, contents: Files, into: Path, name: str) -> None:
        refused(zipped(sealed(contents, name, b"rubbish" * 50)), into, f"{name} cannot be read")

    def test_a_missing_column(self, contents: Files, into: Path) -> None:
        data = table(pq.read_table(io.BytesIO(contents["run/neurons.parquet"])).drop(["x"]))
        refused(zipped(sealed(contents, "neurons.parquet", data)), into, "neurons.parquet: column x is missing")

    def test_a_column_that_is_there_twice(self, contents: Files, into: Path) -> None:
        neurons = pq.read_table(io.BytesIO(contents["run/neurons.parquet"]))
        data = table(neurons.append_column("cluster", neurons["cluster"]))
        refused(zipped(sealed(contents, "neurons.parquet", data)), into, "column cluster is there more than once")

    def test_an_array_that_would_run_code(self, contents: Files, into: Path) -> None:
        data = io.BytesIO()
        np.save(data, np.array([{"run": "me"}], object), allow_pickle=True)
        refused(zipped(sealed(contents, "embedding.npy", data.getvalue())), into, "embedding.npy cannot be read")

    def test_an_array_that_claims_more_than_it_holds(self, contents: Files, into: Path) -> None:
        data = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": (24, 10**9)}
        np.lib.format.write_array_header_1_0(data, header)
        refused(zipped(sealed(contents, "embedding.npy", data.getvalue())), into, "embedding.npy cannot be read")

    def test_a_few_bytes_that_are_a_billion_numbers(self, contents: Files, into: Path) -> None:
        images = pq.read_table(io.BytesIO(contents["run/images.parquet"]))
        many = pa.table({"image": pa.array(np.zeros(2 * 10**7, np.int32))})
        assert len(table(many)) < 10**6
        assert images.num_rows == 12
        refused(
            zipped(sealed(contents, "images.parquet", table(many)), zipfile.ZIP_STORED),
            into,
            "tables take more than the 50,000,000 bytes of memory that are allowed here",
            max_bytes=SMALL,
        )

    @pytest.mark.parametrize("name", ["images.parquet", "scores/one.parquet"])
    def test_one_long_text_said_a_thousand_times(self, contents: Files, into: Path, name: str) -> None:
        frame = pq.read_table(io.BytesIO(contents[f"run/{name}"]))
        texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(frame.num_rows, np.int32)), ["x" * 5 * 10**6])
        data = table(frame.append_column("more", texts))
        made = sealed(contents, name, data) if "/" not in name else {**contents, f"run/{name}": data}
        refused(zipped(made, zipfile.ZIP_STORED), into, "bytes of memory that are allowed here", max_bytes=SMALL)

    @pytest.mark.parametrize("data", [b"", None, b"<svg onload='x'>", b"\x89PNG\r\n\x1a\n" * 9])
    def test_a_picture_that_is_none(self, contents: Files, into: Path, data: bytes | None) -> None:
        self.with_picture(contents, into, data)

    @pytest.mark.parametrize("lossless", [True, False])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    @pytest.mark.parametrize("size", [(MAX_SIDE + 1, 8), (8, 16_000)])
    def test_a_picture_of_many_pixels(
        self, contents: Files, into: Path, lossless: bool, mode: str, size: tuple[int, int]
    ) -> None:
        picture = io.BytesIO()
        colour = (200, 100, 0, 7)[: len(mode)]
        Image.new(mode, size, colour).save(picture, "webp", lossless=lossless)
        assert longest_side(picture.getvalue()) == max(size)
        self.with_picture(contents, into, picture.getvalue())

    def with_picture(self, contents: Files, into: Path, data: bytes | None) -> None:
        name = "previews/previews.parquet"
        previews = pq.read_table(io.BytesIO(contents[f"run/{name}"]))
        pictures = [*previews["webp"].to_pylist()[:-1], data]
        changed = previews.set_column(1, "webp", pa.array(pictures, pa.binary()))
        refused(zipped(sealed(contents, name, table(changed))), into, "image 11 is no WebP of at most 1,024 pixels")

    def test_what_the_check_stumbles_over_is_a_line(
        self, packed: Path, into: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stumble(_: object) -> NoReturn:
            raise MemoryError

        monkeypatch.setattr(archive, "check_run", stumble)
        refused(packed, into, "holds no whole run: MemoryError")


class TestMishaps:
    def test_a_disk_that_fills_up(self, packed: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            entries, "unpack", half_done(entries.unpack, OSError(errno.ENOSPC, "No space left on device"))
        )
        refused(packed, into, "cannot be unpacked into .*: No space left on device; make room")

    def test_a_folder_that_may_not_be_written_to(
        self, packed: Path, into: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forbid(*_: object, **__: object) -> NoReturn:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", forbid)
        refused(packed, into, "cannot be unpacked into .*: Permission denied")

    def test_a_file_where_the_folder_should_be(self, packed: Path, into: Path) -> None:
        refused(packed, into.parent / "x" / "runs", "cannot be unpacked into .*/x/runs: Not a directory")

    def test_stopped_in_the_middle(self, packed: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(entries, "unpack", half_done(entries.unpack, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            import_run(packed, into / "deep")
        assert not into.exists()


def half_done(unpack: Callable[..., None], ends: BaseException) -> Callable[..., None]:
    """Unpack some files, then end otherwise."""

    def interrupted(content: object, wanted: Mapping[str, object], folder: Path, most: int) -> NoReturn:
        unpack(content, dict([*wanted.items()][:5]), folder, most)
        assert len([path for path in folder.rglob("*") if path.is_file()]) == 5
        raise ends

    return interrupted


class TestExport:
    def fails(self, folder: Path, out: Path, said: str) -> None:
        before = tree(out.parent)
        with pytest.raises(RunError, match=said) as caught:
            export_run(folder, out)
        assert str(caught.value).isprintable()
        assert tree(out.parent) == before

    def test_a_folder_that_is_no_run(self, tmp_path: Path) -> None:
        self.fails(tmp_path, tmp_path / "out.zip", "is not a run folder")

    def test_a_damaged_run(self, planted: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(planted, tmp_path / "run"))
        (run / "neurons.parquet").unlink()
        (run / "embedding.npy").write_bytes(b"")
        self.fails(run, tmp_path / "out.zip", r"is damaged: .* \(and 1 more\); make the run again")

    def test_a_place_that_is_taken(self, planted: Path, tmp_path: Path) -> None:
        (tmp_path / "out.zip").write_text("mine")
        self.fails(planted, tmp_path / "out.zip", "already there")
        self.fails(planted, tmp_path, "already there")

    def test_a_place_that_cannot_be(self, planted: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for out in (tmp_path / "none" / "out.zip", tmp_path / "file" / "out.zip", tmp_path / f"{'n' * 300}.zip"):
            with pytest.raises(RunError, match="cannot be written to"):
                export_run(planted, out)
        assert tree(tmp_path) == {"file": b""}

    @pytest.mark.parametrize("ends", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
    def test_nothing_half_written_is_left(
        self, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: BaseException
    ) -> None:
        def end(source: Any, target: Any, _: int) -> NoReturn:
            target.write(source.read(100))
            raise ends

        monkeypatch.setattr(shutil, "copyfileobj", end)
        with pytest.raises((RunError, KeyboardInterrupt)):
            export_run(planted, tmp_path / "out.zip")
        assert tree(tmp_path) == {}

    def test_links_beside_a_run_are_not_followed(self, planted: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(planted, tmp_path / "run"))
        (tmp_path / "secret.json").write_text("{}")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "1-1.csv").write_text("secret")
        (run / "names.json").unlink()
        (run / "names.json").symlink_to(tmp_path / "secret.json")
        shutil.rmtree(run / STUDIES)
        (run / STUDIES).symlink_to(tmp_path / "folder")
        with zipfile.ZipFile(export_run(run, tmp_path / "out.zip")) as content:
            assert not {"run/names.json", "run/studies/1-1.csv"} & set(content.namelist())

    def test_a_run_of_an_odd_name_comes_back(self, planted: Path, tmp_path: Path) -> None:
        run = Path(shutil.copytree(planted, tmp_path / "-<b> ünder\nlines"))
        back = import_run(export_run(run, tmp_path / "out.zip"), tmp_path / "in")
        assert back.name == "b-ünder-lines"
        assert Manifest.read(back) == Manifest.read(run)
