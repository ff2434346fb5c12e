import io
import itertools
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from neurocarto.errors import ImagesError
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.sources import MAX_BYTES, find_files

Contents = Mapping[str, bytes]


def picture(number: int) -> bytes:
    """A picture of its own size and colour, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (3 + number, 5), (number, 100, 0)).save(buffer, "png")
    return buffer.getvalue()


PICTURES = {f"{'cat' if i % 3 else 'dög'}/{i:02}.png": picture(i) for i in range(11)} | {"alone.png": picture(20)}


def write_folder(folder: Path, contents: Contents) -> Path:
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def write_zip(file: Path, contents: Contents, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
    return file


def write_tar(file: Path, contents: Contents, kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(file, "w", format=kind) as archive:
        for path, content in contents.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


def write_shards(folder: Path, contents: Contents, count: int = 3) -> Path:
    folder.mkdir()
    for shard in range(count):
        write_tar(folder / f"train-{shard:03}.tar", dict(itertools.islice(contents.items(), shard, None, count)))
    return folder


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def same(images: ImageSet, other: ImageSet) -> bool:
    return (
        (images.paths, images.labels, images.fingerprint) == (other.paths, other.labels, other.fingerprint)
    ) and all(np.array_equal(images.open(i), other.open(i)) for i in range(len(images)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", PICTURES)


WAYS: dict[str, Callable[[Path], str | Path]] = {
    "stored zip": lambda to: write_zip(to / "a.zip", PICTURES, zipfile.ZIP_STORED),
    "deflated zip": lambda to: write_zip(to / "a.ZIP", PICTURES),
    "tar": lambda to: write_tar(to / "a.tar", PICTURES),
    "gnu tar": lambda to: write_tar(to / "a.tar", PICTURES, tarfile.GNU_FORMAT),
    "tar made of .": lambda to: write_tar(to / "a.tar", {f"./{path}": content for path, content in PICTURES.items()}),
    "folder of shards": lambda to: write_shards(to / "shards", PICTURES),
    "braces": lambda to: f"{write_shards(to / 'shards', PICTURES)}/train-{{000..002}}.tar",
    "glob": lambda to: f"{write_shards(to / 'shards', PICTURES)}/*.tar",
    "file URL of a folder": lambda to: write_folder(to / "b", PICTURES).as_uri(),
    "file URL of a zip": lambda to: write_zip(to / "a.zip", PICTURES).as_uri(),
    "file URL of shards": lambda to: f"{write_shards(to / 'shards', PICTURES).as_uri()}/train-{{000..002}}.tar",
}


class TestTheSameImagesAreTheSameSet:
    @pytest.mark.parametrize("way", WAYS)
    def test_however_they_are_packed(self, folder: Path, tmp_path: Path, way: str) -> None:
        source = WAYS[way](tmp_path)
        images = list_images(source)
        assert same(images, list_images(folder))
        assert images.source == str(source)
        assert images.skipped == ()

    @pytest.mark.parametrize(
        "url", ["memory://b/photos", "memory://b/a.zip", "memory://b/train-{000..002}.tar", "memory://b/*.tar"]
    )
    def test_behind_a_url(self, folder: Path, tmp_path: Path, memory: fsspec.AbstractFileSystem, url: str) -> None:
        memory.put(str(folder), "/b/photos", recursive=True)
        memory.put(str(write_zip(tmp_path / "a.zip", PICTURES)), "/b/a.zip")
        memory.put(f"{write_shards(tmp_path / 'shards', PICTURES)}/*", "/b/")
        images = list_images(url)
        assert same(images, list_images(folder))
        assert images.source == url

    @pytest.mark.parametrize("write", [write_zip, write_tar])
    def test_when_a_folder_is_packed_with_its_name(
        self, folder: Path, tmp_path: Path, write: Callable[[Path, Contents], Path]
    ) -> None:
        junk = {"__MACOSX/photos/cat/._01.png": b"x", "photos/.DS_Store": b"x", "photos/cat/._01.png": b"x"}
        inside = {f"photos/{path}": content for path, content in PICTURES.items()}
        file = tmp_path / f"a.{write.__name__[6:]}"
        images = list_images(write(file, {**junk, **inside}))
        assert same(images, list_images(folder))
        assert images.skipped == ()

    def test_a_top_folder_without_folders_is_a_label(self, tmp_path: Path) -> None:
        contents = {f"cat/{i}.png": picture(i) for i in range(10)}
        images = list_images(write_zip(tmp_path / "a.zip", contents))
        assert images.paths[0] == "cat/0.png"
        assert set(images.labels) == {"cat"}

    def test_names_in_utf8_that_macos_does_not_announce(self, folder: Path, tmp_path: Path) -> None:
        file = write_zip(tmp_path / "a.zip", PICTURES)
        content = bytearray(file.read_bytes())
        for magic, flag in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
            place = content.find(magic)
            while place >= 0:
                content[place + flag] &= ~0x08  # the high byte of the flags
                place = content.find(magic, place + 1)
        file.write_bytes(content)
        assert same(list_images(file), list_images(folder))

    def test_a_tar_names_a_second_copy_by_the_first(self, folder: Path, tmp_path: Path) -> None:
        os.link(folder / "cat/01.png", folder / "cat/99.png")
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(folder, ".")
            assert any(member.islnk() for member in archive.getmembers())
        assert same(list_images(tmp_path / "a.tar"), list_images(folder))

    def test_opened_from_many_threads(self, folder: Path, tmp_path: Path) -> None:
        images, packed = list_images(folder), list_images(write_zip(tmp_path / "a.zip", PICTURES))
        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(packed.open, list(range(len(images))) * 20))
        assert all(np.array_equal(image, images.open(i % len(images))) for i, image in enumerate(opened))


class TestWebDatasetLabels:
    def test_cls_goes_before_json_before_folders(self, tmp_path: Path) -> None:
        contents = {f"sea/{i}.png": picture(i) for i in range(11)} | {
            "sea/0.cls": b"7\n",
            "sea/1.cls": b"seal",
            "sea/1.json": b'{"label": "no"}',
            "sea/2.json": b'{"label": 3}',
            "sea/3.json": b'{"cls": "crab"}',
            "sea/4.json": b"{damaged",
            "sea/5.json": b'{"width": 3}',
            "sea/6.txt": b"a caption",
            "sea/7.cls": b"",
            "sea/8.cls": b"\xff\xfe",
            "sea/9.json": b'{"label": "\\ud800"}',
            "sea/10.cls": b"",
            "sea/10.json": b'{"label": "eel"}',
        }
        images = list_images(write_tar(tmp_path / "a.tar", contents))
        labels = dict(zip(images.paths, images.labels, strict=True))
        expected = {0: "7", 1: "seal", 2: "3", 3: "crab", 10: "eel"}
        assert labels == {f"sea/{i}.png": expected.get(i, "sea") for i in range(11)}

    def test_they_are_part_of_the_fingerprint(self, tmp_path: Path) -> None:
        pictures = {f"{i}.png": picture(i) for i in range(10)}
        seen = {
            list_images(write_tar(tmp_path / "a.tar", {**pictures, "3.cls": label})).fingerprint
            for label in (b"", b"1", b"2", b"2 ")
        }
        assert len(seen) == 3

    def test_paths_that_repeat_lie_under_the_names_of_their_shards(self, tmp_path: Path) -> None:
        for shard in range(2):
            contents = {f"{i}.png": picture(i) for i in range(5)} | {f"{i}.cls": b"%d" % shard for i in range(5)}
            write_tar(tmp_path / f"{shard}.tar", contents)
        images = list_images(tmp_path)
        assert images.paths == tuple(f"{shard}/{i}.png" for shard in range(2) for i in range(5))
        assert images.labels == ("0",) * 5 + ("1",) * 5


class TestWhatAnArchiveHoldsThatCannotBeUsed:
    def reasons(self, file: Path) -> dict[str, str]:
        return {skipped.path: skipped.reason for skipped in list_images(file).skipped}

    def test_zip_members(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bad = {f"bad/{name}.png": picture(1) for name in ("encrypted", "packed", "link")}
        bad |= {"../out.png": picture(1), "/absolute.png": picture(1), "bad/huge.png": b""}
        file = write_zip(tmp_path / "a.zip", {**PICTURES, **bad})
        changed: dict[str, dict[str, int]] = {
            "bad/encrypted.png": {"flag_bits": 0x801},
            "bad/packed.png": {"compress_type": zipfile.ZIP_LZMA},
            "bad/link.png": {"external_attr": 0o120777 << 16},
            "bad/huge.png": {"file_size": MAX_BYTES + 1},
        }
        read = zipfile.ZipFile.infolist

        def infolist(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
            members = read(archive)
            for member in members:
                for name, value in changed.get(member.filename, {}).items():
                    setattr(member, name, value)
            return members

        monkeypatch.setattr(zipfile.ZipFile, "infolist", infolist)
        assert self.reasons(file) == {
            "../out.png": "its path leads out of the archive",
            "/absolute.png": "its path leads out of the archive",
            "bad/encrypted.png": "encrypted; unpack the archive with its password",
            "bad/huge.png": "536,870,913 bytes; at most 536,870,912 are read",
            "bad/link.png": "a link or special file, which is not followed in an archive",
            "bad/packed.png": "packed by another method than store and deflate; pack the archive again as a plain .zip",
        }
        assert list_images(file).paths == list_images(write_folder(tmp_path / "b", PICTURES)).paths

    def test_tar_members(self, tmp_path: Path) -> None:
        file = write_tar(tmp_path / "a.tar", {**PICTURES, "../out.png": picture(1), "/absolute.png": picture(1)})
        with tarfile.open(file, "a", format=tarfile.GNU_FORMAT) as archive:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "alone.png"
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo("caf\udce9.png"))
        assert self.reasons(file) == {
            "../out.png": "its path leads out of the archive",
            "/absolute.png": "its path leads out of the archive",
            "link": "a link or special file, which is not followed in an archive",
            "caf\\xe9.png": "its name is not text in UTF-8; rename the file",
        }

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_a_damaged_member_is_told_by_its_checksum(self, tmp_path: Path, method: int) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "bmp")  # has no checksum of its own
        file = write_zip(tmp_path / "a.zip", {"first.bmp": buffer.getvalue(), **PICTURES}, method)
        content = bytearray(file.read_bytes())
        content[1000] ^= 1
        file.write_bytes(content)
        images = list_images(file)
        with pytest.raises(ImagesError, match=r"^first\.bmp: (damaged in its archive|Error -3)"):
            images.open(images.paths.index("first.bmp"))
        assert images.open(0).size == (23, 5)

    def test_no_more_is_unpacked_than_announced(self, tmp_path: Path) -> None:
        file = write_zip(tmp_path / "a.zip", {**PICTURES, "bomb.png": bytes(50_000_000)})
        content = bytearray(file.read_bytes())
        place = content.rfind(b"PK\1\2")
        content[place + 24 : place + 28] = (1000).to_bytes(4, "little")
        file.write_bytes(content)
        images = list_images(file)
        with pytest.raises(ImagesError, match=r"bomb\.png: damaged in its archive"):
            images.open(images.paths.index("bomb.png"))

    def test_a_tar_that_ends_early_keeps_what_is_whole(self, tmp_path: Path) -> None:
        file = write_tar(tmp_path / "a.tar", PICTURES)
        place = file.read_bytes().index(b"cat/10.png")
        file.write_bytes(file.read_bytes()[: place + 512 + 20])
        images = list_images(file)
        assert [skipped.path for skipped in images.skipped] == ["a.tar"]
        assert "damaged behind" in images.skipped[0].reason
        assert len(images) >= 10

    def test_a_damaged_header_is_told(self, tmp_path: Path) -> None:
        file = write_tar(tmp_path / "a.tar", PICTURES)
        content = bytearray(file.read_bytes())
        content[content.index(b"alone.png") + 150] ^= 1  # its checksum
        file.write_bytes(content)
        assert self.reasons(file) == {"a.tar": "damaged behind 11 members (a damaged header): the rest is not seen"}


class TestAFolder:
    def test_links_are_followed_but_never_back(self, folder: Path, tmp_path: Path) -> None:
        elsewhere = write_folder(tmp_path / "elsewhere", {"deep/a.png": picture(30)})
        (folder / "bird").symlink_to(elsewhere)
        (folder / "cat" / "loop").symlink_to(folder)
        (elsewhere / "deep" / "loop").symlink_to(elsewhere)
        (folder / "itself.png").symlink_to("itself.png")
        (folder / "itself").symlink_to("itself")
        (folder / "nothing.png").symlink_to("missing")
        os.mkfifo(folder / "pipe.png")
        images = list_images(folder)
        assert set(images.paths) == {*PICTURES, "bird/deep/a.png"}
        assert images.labels[images.paths.index("bird/deep/a.png")] == "bird"
        assert {skipped.path: skipped.reason for skipped in images.skipped} == {
            "bird/deep/loop": "leads back to bird",
            "cat/loop": "leads back to the folder itself",
            "itself": "a link that leads back to itself",
            "itself.png": "a link that leads back to itself",
            "nothing.png": "cannot be read: No such file or directory",
            "pipe.png": "neither a file nor a folder",
        }

    def test_a_folder_that_cannot_be_listed_is_noted(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        listdir = os.listdir

        def denied(path: str) -> list[str]:
            if path.endswith("dög/"):
                raise PermissionError(13, "Permission denied")
            return listdir(path)

        monkeypatch.setattr(os, "listdir", denied)
        assert [(s.path, s.reason) for s in find_files(str(folder)).skipped] == [
            ("dög/", "cannot be listed: Permission denied")
        ]

    def test_a_name_that_is_not_text_is_skipped(self, folder: Path) -> None:
        os.rename(folder / "alone.png", os.fsencode(folder) + b"/\xff\n.png")
        images = list_images(folder)
        assert [(s.path, s.reason) for s in images.skipped] == [
            ("\\xff\n.png", "its name is not text in UTF-8; rename the file")
        ]
        assert len(images) == 11


class TestRefused:
    def refusal(self, source: str | Path) -> str:
        with pytest.raises(ImagesError) as caught:
            list_images(source)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar.xz"])
    def test_a_tar_compressed_as_a_whole(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"")
        said = self.refusal(tmp_path / name)
        assert said.startswith(f"{tmp_path / name} is compressed as a whole")
        assert said.endswith("unpack it, or pack the images as .zip or .tar")

    @pytest.mark.parametrize(("name", "kind"), [("a.zip", "no whole .zip file"), ("a.tar", "no whole .tar file")])
    @pytest.mark.parametrize("content", [b"", b"text" * 1000])
    def test_what_is_no_archive(self, tmp_path: Path, name: str, kind: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        assert kind in self.refusal(tmp_path / name)

    @pytest.mark.parametrize(
        ("pattern", "said"),
        [
            ("train-{000..003}.tar", "there is no file"),
            ("train-{3..1}.tar", "{3..1} counts 0 files"),
            ("train-{0..999999999}.tar", "counts 1000000000 files"),
            ("*.zip", "matches no file"),
            ("test-{0..1}*.tar", "matches no file"),
            ("odd\nname*", "matches no file"),
            ("nothing.tar", "is not a folder, a .zip or a .tar: there is nothing of that name"),
            ("*", "notes.txt is none of them"),
        ],
    )
    def test_patterns(self, tmp_path: Path, pattern: str, said: str) -> None:
        shards = write_shards(tmp_path / "shards", PICTURES)
        (shards / "notes.txt").write_bytes(b"")
        assert said in self.refusal(f"{shards}/{pattern}")

    def test_a_folder_without_images_says_what_it_holds(self, tmp_path: Path) -> None:
        write_folder(tmp_path, {"a.npy": b"", "b.npy": b"", "c.txt": b"", "README": b""})
        assert self.refusal(tmp_path).endswith("at least 10 are needed; found 2 × .npy, 1 × no suffix, 1 × .txt")

    def test_skipped_files_are_named_where_too_few_are_left(self, tmp_path: Path) -> None:
        file = write_zip(tmp_path / "a.zip", {"../a\n.png": picture(1), "b.png": picture(2)})
        said = self.refusal(file)
        assert said.startswith(f"{file} holds 1 image files (")
        assert said.endswith(r"1 were skipped, the first '../a\n.png': its path leads out of the archive")

    @pytest.mark.parametrize("url", ["memory://nothing", "memory://nothing/here.zip", "memory://nothing/*.tar"])
    def test_urls_of_nothing(self, url: str, memory: fsspec.AbstractFileSystem) -> None:
        assert self.refusal(url).startswith(url)

    def test_an_unknown_protocol(self) -> None:
        assert self.refusal("nowhere://a/b").startswith("nowhere://a/b cannot be opened: Protocol not known: nowhere")

    def test_a_protocol_whose_package_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        said = self.refusal("s3://bucket/photos")
        assert said.startswith("s3://bucket/photos needs another package: Install s3fs")

    def test_a_place_that_cannot_be_reached(
        self, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise RuntimeError("no route\nto host")

        monkeypatch.setattr(type(memory), "info", unreachable)
        assert self.refusal("memory://photos").startswith("memory://photos cannot be listed: no route to host; name a")
