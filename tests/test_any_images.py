"""The same images give the same run, however they come, and bad ones are skipped with a reason."""

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from conftest import BROKEN, SMALL, files
from PIL import Image
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from neurocarto.extraction.models import Model
from neurocarto.pipeline import run
from neurocarto.runs.store import SCHEMAS, Run, check_run


@pytest.fixture(scope="module")
def whole(network: Model, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the folder."""
    return run(network, photos, tmp_path_factory.mktemp("whole") / "run", SMALL)


def packed(photos: Path, tmp_path: Path) -> Path:
    return Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))


def packed_with_its_name(photos: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "named.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, Path("my photos") / path.relative_to(photos))
    return tmp_path / "named.zip"


def shards(photos: Path, tmp_path: Path) -> str:
    for number in range(3):
        with tarfile.open(tmp_path / f"train-{number:03}.tar", "w") as archive:
            for path in sorted(photos.rglob("*.png"))[number::3]:
                archive.add(path, path.relative_to(photos).as_posix())
    return str(tmp_path / "train-{000..002}.tar")


def in_memory(photos: Path, _: Path) -> str:
    fsspec.filesystem("memory").put(str(photos), "/photos", recursive=True)
    return "memory://photos"


def file_url(photos: Path, _: Path) -> str:
    return photos.as_uri()


def image_folder(photos: Path, _: Path) -> Dataset[Any]:
    return ImageFolder(str(photos))


@pytest.mark.parametrize("way", [packed, packed_with_its_name, shards, in_memory, file_url, image_folder])
def test_however_they_come(
    network: Model, photos: Path, whole: Path, tmp_path: Path, way: Callable[[Path, Path], object]
) -> None:
    out = run(network, way(photos, tmp_path), tmp_path / "run", SMALL)
    assert check_run(out) == []
    assert files(out) == files(whole)
    found, expected = Run(out).manifest, Run(whole).manifest
    assert (found.run_id, found.images["skipped"]) == (expected.run_id, expected.images["skipped"])
    assert found.images["source"]


class Pictures(Dataset[tuple[Image.Image, int]]):
    """A data set of torch's that is no folder."""

    classes = ("discs", "stripes")

    def __init__(self, photos: Path) -> None:
        self.paths = sorted(path for path in photos.rglob("*.png") if path.relative_to(photos) != Path(BROKEN))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        with Image.open(self.paths[index]) as image:
            return image.convert("RGB"), self.classes.index(self.paths[index].parent.name)


def test_a_data_set_gives_the_same_run_but_for_its_names(network: Model, photos: Path, tmp_path: Path) -> None:
    dataset = Pictures(photos)
    folder = tmp_path / "folder"
    for path in dataset.paths:  # the file that cannot be read is no item, and would shift the seeded order
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.parent.name)
    expected = Run(run(network, folder, tmp_path / "expected", SMALL))
    found = Run(run(network, dataset, tmp_path / "found", SMALL))
    assert check_run(found.folder) == []
    assert found.images["path"].tolist() == [f"{i:08}" for i in range(24)]
    for table in SCHEMAS:
        columns = ["path"] if table == "images" else []
        pd.testing.assert_frame_equal(
            found.table(table).drop(columns=columns), expected.table(table).drop(columns=columns)
        )
    assert np.array_equal(found.embedding, expected.embedding)


def test_bad_files_are_skipped_and_the_run_ends_well(network: Model, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "everything"
    shutil.copytree(photos, folder)
    bad = folder / "<b>bad & 'odd' 猫"
    bad.mkdir()
    whole = (folder / "discs" / "00.png").read_bytes()
    contents = {"empty.jpg": b"", "cut.png": whole[:300], "text.jpg": b"no picture", "line\nbreak.png": b"?"}
    for name, content in contents.items():
        (bad / name).write_bytes(content)
    Image.new("1", (20_000, 20)).save(bad / "long.png")
    (bad / "loop").symlink_to(folder)
    Image.new("RGB", (1, 1), (200, 3, 4)).save(bad / "point.png")
    Image.new("CMYK", (60, 60), (255, 0, 0, 0)).save(bad / "cmyk.jpg")
    Image.fromarray(np.full((40, 40), 32768, np.uint16)).save(bad / "deep.png")
    made = Run(run(network, folder, tmp_path / "run", replace(SMALL, min_class_images=3)))
    assert check_run(made.folder) == []
    unknown = "not an image that Pillow can read"
    assert {entry["path"]: entry["reason"] for entry in made.manifest.images["skipped"]} == {
        BROKEN: unknown,
        f"{bad.name}/empty.jpg": unknown,
        f"{bad.name}/cut.png": "image file is truncated",
        f"{bad.name}/text.jpg": unknown,
        f"{bad.name}/line\nbreak.png": unknown,
        f"{bad.name}/long.png": "20000 x 20 pixels is more elongated than 50 to 1",
        f"{bad.name}/loop": "leads back to the folder itself",
    }
    used = made.images.loc[made.images["label"] == bad.name, "path"].tolist()
    assert used == [f"{bad.name}/{name}" for name in ("cmyk.jpg", "deep.png", "point.png")]
