import io
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from neurocarto.errors import ImagesError
from neurocarto.extraction.images import PREVIEW_SIDE, ImageSet, list_images, open_image, preview
from neurocarto.extraction.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(resize=256, size=224, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
ORIENTATION = 274
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red and green above, blue and white below."""
    image = Image.new("RGB", (2, 2))
    image.putdata([RED, GREEN, BLUE, WHITE])
    return image.resize(size, Image.Resampling.NEAREST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures: two classes, one deeper folder, one file in no folder, one name that is no picture's."""
    for index, name in enumerate(["b/1.png", "b/2.PNG", "b/deep/3.jpg", "a/4.webp", "a/5.gif", "6.bmp"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4 + index, 3), (index * 20, 0, 0)).save(path)
    (tmp_path / "c").mkdir()
    for index in range(4):
        Image.new("RGB", (2, 2), (0, index, 0)).save(tmp_path / "c" / f"{index}.ppm")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    return tmp_path


class TestOpenImage:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_exif_orientation_is_turned_upright(self, tmp_path: Path, orientation: int) -> None:
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }
        stored = quarters().transpose(undo[orientation]) if orientation in undo else quarters()
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored.save(tmp_path / "a.png", exif=exif)
        np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(quarters()))

    def test_transparency_lies_over_white(self, tmp_path: Path) -> None:
        image = Image.new("RGBA", (3, 1))
        image.putdata([(10, 20, 30, 0), (0, 0, 0, 128), (10, 20, 30, 255)])
        image.save(tmp_path / "a.png")
        assert np.asarray(open_image(tmp_path / "a.png"))[0].tolist() == [[255] * 3, [127] * 3, [10, 20, 30]]

    def test_a_transparent_palette_colour_is_white(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putdata([0, 1])
        image.save(tmp_path / "a.png", transparency=0)
        assert np.asarray(open_image(tmp_path / "a.png"))[0].tolist() == [list(WHITE), list(BLUE)]
        image.save(tmp_path / "b.png")
        assert np.asarray(open_image(tmp_path / "b.png"))[0].tolist() == [list(RED), list(BLUE)]

    @pytest.mark.parametrize(
        ("mode", "colour", "suffix", "expected"),
        [
            ("L", 90, "png", [90, 90, 90]),
            ("LA", (90, 0), "png", [255, 255, 255]),
            ("1", 1, "png", [255, 255, 255]),
            ("CMYK", (255, 0, 0, 0), "tif", [0, 255, 255]),
            ("RGB", (1, 2, 3), "tif", [1, 2, 3]),
        ],
    )
    def test_every_mode_becomes_rgb(
        self, tmp_path: Path, mode: str, colour: int | tuple[int, ...], suffix: str, expected: list[int]
    ) -> None:
        path = tmp_path / f"a.{suffix}"
        Image.new(mode, (5, 4), colour).save(path)
        image = open_image(path)
        assert (image.mode, image.size, list(image.getpixel((2, 2)))) == ("RGB", (5, 4), expected)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_sixteen_bits_keep_their_greys(self, tmp_path: Path, suffix: str) -> None:
        levels = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
        Image.fromarray(levels).save(tmp_path / f"a.{suffix}")
        image = np.asarray(open_image(tmp_path / f"a.{suffix}"))
        assert image[0].tolist() == [[v] * 3 for v in (0, 0, 1, 128, 255)]

    @pytest.mark.parametrize("kind", [np.int32, np.float32])
    def test_greys_of_unknown_range_are_refused_not_burnt_out(self, tmp_path: Path, kind: type) -> None:
        Image.fromarray(np.full((2, 2), 5, kind)).save(tmp_path / "a.tif")
        with pytest.raises(ImagesError, match=r"a\.tif: grey levels of unknown range"):
            open_image(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "not an image that Pillow can read"),
            (b"just some text\n" * 100, "not an image that Pillow can read"),
            (b"\x89PNG\r\n\x1a\n", "not an image that Pillow can read"),
        ],
    )
    def test_a_file_that_is_no_image_is_named_with_the_reason(
        self, tmp_path: Path, content: bytes, reason: str
    ) -> None:
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ImagesError) as caught:
            open_image(tmp_path / "a.png")
        assert str(caught.value) == f"a.png: {reason}"

    def test_a_missing_file_or_folder_is_named_with_the_reason(self, tmp_path: Path) -> None:
        with pytest.raises(ImagesError, match=r"^a\.png: .*No such file"):
            open_image(tmp_path / "a.png")
        with pytest.raises(ImagesError, match=f"^{tmp_path.name}: .*directory"):
            open_image(tmp_path)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tif"])
    def test_a_truncated_image_is_refused_not_filled_up(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ImagesError, match=rf"^a\.{suffix}: \S"):
            open_image(path)

    def test_more_pixels_than_the_limit_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        quarters((100, 100)).save(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_999)  # Pillow warns up to twice this, then raises
        with pytest.raises(ImagesError, match=r"a\.png: more than 100,000,000 pixels"):
            open_image(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)
        with pytest.raises(ImagesError, match=r"a\.png: more than 100,000,000 pixels"):
            open_image(tmp_path / "a.png")

    def test_an_image_too_elongated_to_fit_a_network_is_refused(self, tmp_path: Path) -> None:
        Image.new("1", (1, 51)).save(tmp_path / "a.png")
        with pytest.raises(ImagesError, match=r"a\.png: 1 x 51 pixels is more elongated than 50 to 1"):
            open_image(tmp_path / "a.png")
        Image.new("1", (50, 1)).save(tmp_path / "b.png")
        assert open_image(tmp_path / "b.png").size == (50, 1)

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @given(
        kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"]),
        edits=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
        cut=st.none() | st.integers(0, 2000),
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_damage_gives_an_image_or_an_images_error(
        self, tmp_path: Path, kind: str, edits: list[tuple[int, int]], cut: int | None
    ) -> None:
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        quarters().save(buffer, kind, **({"exif": exif} if kind in {"PNG", "JPEG", "WEBP", "TIFF"} else {}))
        content = bytearray(buffer.getvalue())
        for place, value in edits:
            content[place % len(content)] = value
        path = tmp_path / "damaged"
        path.write_bytes(content[:cut])
        with suppress(ImagesError):
            assert open_image(path).mode == "RGB"


class TestListImages:
    def test_paths_are_sorted_and_labelled_by_their_first_folder(self, folder: Path) -> None:
        images = list_images(folder)
        assert list(zip(images.paths, images.labels, strict=True)) == [
            ("6.bmp", None),
            ("a/4.webp", "a"),
            ("a/5.gif", "a"),
            ("b/1.png", "b"),
            ("b/2.PNG", "b"),
            ("b/deep/3.jpg", "b"),
            *((f"c/{i}.ppm", "c") for i in range(4)),
        ]
        assert len(images) == 10
        assert images.open(0).size == (9, 3)

    def test_fewer_than_ten_are_refused_with_their_number(self, folder: Path) -> None:
        (folder / "6.bmp").unlink()
        with pytest.raises(ImagesError, match=r"holds 9 image files .*at least 10 are needed"):
            list_images(folder)

    @pytest.mark.parametrize("name", ["missing", "6.bmp"])
    def test_what_is_no_folder_is_refused(self, folder: Path, name: str) -> None:
        with pytest.raises(ImagesError, match=f"{name} is not a folder"):
            list_images(folder / name)

    def test_the_fingerprint_stays_with_names_and_contents_wherever_they_lie(self, folder: Path) -> None:
        first = list_images(folder).fingerprint
        (folder / "a" / "notes.txt").write_text("something else")
        assert list_images(folder).fingerprint == first
        assert list_images(folder.rename(folder.with_name("moved"))).fingerprint == first

    @pytest.mark.parametrize("name", ["6.bmp", "b/deep/3.jpg", "c/3.ppm"])
    def test_the_fingerprint_changes_with_any_content_and_any_name(self, folder: Path, name: str) -> None:
        path, seen = folder / name, {list_images(folder).fingerprint}
        original = path.read_bytes()
        path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        seen.add(list_images(folder).fingerprint)
        path.write_bytes(original)
        path.rename(path.with_stem("renamed"))
        seen.add(list_images(folder).fingerprint)
        assert len(seen) == 3

    def test_the_fingerprint_changes_when_two_files_swap_contents(self, folder: Path) -> None:
        first = list_images(folder).fingerprint
        a, b = folder / "c" / "0.ppm", folder / "c" / "1.ppm"
        content = a.read_bytes(), b.read_bytes()
        a.write_bytes(content[1])
        b.write_bytes(content[0])
        assert list_images(folder).fingerprint != first


BAD = {
    "bad/empty.jpg": "empty.jpg: not an image that Pillow can read",
    "bad/text.jpg": "text.jpg: not an image that Pillow can read",
    "bad/truncated.jpg": "truncated.jpg: image file is truncated (N bytes not processed)",
    "bad/long.png": "long.png: 20000 x 20 pixels is more elongated than 50 to 1",
    "bad/float.tif": "float.tif: grey levels of unknown range; save it as an 8-bit or 16-bit PNG",
    "bad/photo.heic": "photo.heic: HEIC, which Pillow cannot read without a plugin; save it as JPEG",
    "bad/line\nbreak.png": r"'line\nbreak.png': not an image that Pillow can read",
}
"""Reasons of the files that are listed but cannot be opened."""
LEFT_OUT = {
    "bad/latin\\xe9.png": "its name is not text in UTF-8; rename the file",
    "bad/loop": "leads back to the folder itself",
}
USED = {
    "kinds/alpha.png": [255, 255, 255],
    "kinds/animated.gif": [255, 0, 0],
    "kinds/cmyk.jpg": [0, 255, 255],
    "kinds/deep.png": [128, 128, 128],
    "kinds/grey.png": [90, 90, 90],
    "kinds/palette.png": [0, 0, 255],
    "kinds/point.png": [1, 2, 3],
    "kinds/sideways.jpg": [0, 0, 254],
    "ünï/<b>&amp;'\" 猫.png": [5, 5, 5],
    "ünï/[1] {2..3}*.png": [6, 6, 6],
    "ünï/UPPER.PNG": [7, 7, 7],
}
"""The colour of the upper left pixel, as a person sees it."""


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A folder with every kind of file that people bring; BAD, LEFT_OUT and USED say what becomes of each."""
    folder = tmp_path / "everything"
    for path in [*BAD, *USED]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    bad, kinds, names = folder / "bad", folder / "kinds", folder / "ünï"
    for name in ("empty.jpg", "truncated.jpg", "notes.txt", "photo.heic"):
        (bad / name).write_bytes(b"")
    for name in ("text.jpg", "line\nbreak.png"):
        (bad / name).write_text("no picture")
    quarters((300, 300)).save(bad / "truncated.jpg", quality=95)
    whole = (bad / "truncated.jpg").read_bytes()
    (bad / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (20_000, 20)).save(bad / "long.png")
    Image.new("F", (4, 4)).save(bad / "float.tif")
    Image.new("RGB", (4, 4)).save(bad / "latin.png")
    os.rename(bad / "latin.png", os.fsencode(bad) + b"/latin\xe9.png")
    (bad / "loop").symlink_to(folder)

    Image.new("RGBA", (4, 4), (1, 2, 3, 0)).save(kinds / "alpha.png")
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    frames[0].save(kinds / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(kinds / "cmyk.jpg", quality=95)
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(kinds / "deep.png")
    Image.new("L", (4, 4), 90).save(kinds / "grey.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([*RED, *BLUE])
    palette.save(kinds / "palette.png")
    Image.new("RGB", (1, 1), (1, 2, 3)).save(kinds / "point.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    quarters((160, 80)).save(kinds / "sideways.jpg", exif=exif, quality=95)
    for level, name in enumerate(("<b>&amp;'\" 猫.png", "[1] {2..3}*.png", "UPPER.PNG"), 5):
        Image.new("RGB", (4, 4), (level,) * 3).save(names / name)
    return folder


class TestEveryKindOfFile:
    @staticmethod
    def reasons(images: ImageSet) -> dict[str, str]:
        found = {}
        for i, path in enumerate(images.paths):
            try:
                images.open(i)
            except ImagesError as error:
                found[path] = re.sub(r"\d+ bytes", "N bytes", str(error))
        return found

    def test_what_is_used_and_why_the_rest_is_not(self, everything: Path) -> None:
        images = list_images(everything)
        assert images.paths == tuple(sorted([*BAD, *USED]))
        assert {skipped.path: skipped.reason for skipped in images.skipped} == LEFT_OUT
        assert self.reasons(images) == BAD
        colours = {path: list(images.open(int(images.indices([path])[0])).getpixel((0, 0))) for path in USED}
        assert colours == USED

    @pytest.mark.parametrize("kind", ["zip", "tar"])
    def test_packed_it_is_the_same(self, everything: Path, tmp_path: Path, kind: str) -> None:
        (everything / "bad" / "loop").unlink()
        latin = os.fsdecode(os.fsencode(everything / "bad") + b"/latin\xe9.png")
        if kind == "zip":
            os.unlink(latin)  # a zip cannot say it
        images = list_images(everything)
        packed = list_images(shutil.make_archive(str(tmp_path / "packed"), kind, everything))
        assert (packed.paths, packed.labels, packed.fingerprint) == (images.paths, images.labels, images.fingerprint)
        assert packed.skipped == images.skipped
        assert self.reasons(packed) == BAD

    def test_junk_of_other_systems_is_not_even_mentioned(self, everything: Path) -> None:
        before = list_images(everything)
        (everything / "__MACOSX").mkdir()
        for name in ("__MACOSX/a.png", "kinds/._grey.png", "kinds/.DS_Store"):
            (everything / name).write_bytes(b"")
        assert list_images(everything) == before


class Pictures:
    """A map-style data set: twelve items of one kind, labelled 0, 1, 2, 0, …"""

    def __init__(self, picture: Callable[[int], Any], label: Callable[[int], Any] = lambda i: i % 3) -> None:
        self.picture, self.label = picture, label

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return self.picture(index), self.label(index)


def levels(index: int) -> np.ndarray:
    """(3, 4, 3) uint8, all different; the last pixel is 255."""
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) + np.uint8(index)
    pixels[-1, -1] = 255
    return pixels


class Tensor:
    """What a tensor looks like from outside."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def numpy(self) -> np.ndarray:
        return self.pixels


class TestDatasets:
    @pytest.mark.parametrize(
        "picture",
        [
            levels,
            lambda i: Image.fromarray(levels(i)),
            lambda i: Image.fromarray(levels(i)).convert("RGBA"),
            lambda i: levels(i).astype(np.float32) / 255,
            lambda i: Tensor(levels(i).transpose(2, 0, 1)),
            lambda i: Tensor(levels(i).transpose(2, 0, 1).astype(np.float32) / 255),
        ],
    )
    def test_every_kind_of_item_is_the_same_image(self, picture: Callable[[int], Any]) -> None:
        images, plain = list_images(Pictures(picture)), list_images(Pictures(levels))
        assert images.paths == tuple(f"{i:08}" for i in range(12))
        assert images.labels == ("0", "1", "2") * 4
        assert images.fingerprint == plain.fingerprint
        assert images.skipped == ()
        for i in range(12):
            np.testing.assert_array_equal(np.asarray(images.open(i)), levels(i))

    @pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (1, 3, 4)])
    def test_grey_arrays_and_tensors(self, shape: tuple[int, ...]) -> None:
        grey = np.arange(12, dtype=np.uint8).reshape(shape)
        images = list_images(Pictures(lambda i: Tensor(grey) if shape[0] == 1 else grey))
        np.testing.assert_array_equal(np.asarray(images.open(5))[..., 1], grey.reshape(3, 4))

    @pytest.mark.parametrize(
        ("picture", "reason"),
        [
            (lambda i: levels(i) / 100.0, "it looks normalised; give the dataset without its transform"),
            (lambda i: np.full((2, 2, 3), np.nan), "it looks normalised"),
            (lambda i: levels(i).astype(np.int32), "pixels are int32; they must be uint8"),
            (lambda i: levels(i)[..., :2], r"an array of shape \(3, 4, 2\) is no image"),
            (lambda i: levels(i)[:0], r"an array of shape \(0, 4, 3\) is no image"),
            (lambda i: "a.png", "an item is a str; it must be an image"),
            (lambda i: 1 / 0, "division by zero"),
            (lambda i: np.zeros((1, 51), np.uint8), "51 x 1 pixels is more elongated than 50 to 1"),
        ],
    )
    def test_what_cannot_be_an_image_says_why(self, picture: Callable[[int], Any], reason: str) -> None:
        images = list_images(Pictures(lambda i: picture(i) if i == 7 else levels(i)))
        assert len(images) == 12
        with pytest.raises(ImagesError, match=f"^00000007: .*{reason}"):
            images.open(7)
        assert images.open(8).size == (4, 3)

    @pytest.mark.parametrize(
        ("label", "classes", "expected"),
        [
            (lambda i: i % 2, ["cat", "dog"], ("cat", "dog")),
            (lambda i: np.int64(i % 2), ["cat", "dog"], ("cat", "dog")),
            (lambda i: np.array(i % 2), ["cat", "dog"], ("cat", "dog")),
            (lambda i: i % 2, [("cat", "tom"), ("dog",)], ("cat", "dog")),
            (lambda i: i % 2 - 1, ["cat", "dog"], ("-1", "cat")),
            (lambda i: "bird", ["cat", "dog"], ("bird", "bird")),
            (lambda i: i % 2, None, ("0", "1")),
            (lambda i: None, ["cat"], (None, None)),
            (lambda i: np.zeros(40), ["cat"], (None, None)),
        ],
    )
    def test_labels(self, label: Callable[[int], Any], classes: list[Any] | None, expected: tuple[str, str]) -> None:
        dataset = Pictures(levels, label)
        if classes is not None:
            dataset.classes = classes
        assert list_images(dataset).labels == expected * 6

    def test_items_may_be_images_alone(self) -> None:
        assert list_images([Image.fromarray(levels(i)) for i in range(12)]).labels == (None,) * 12

    def test_the_fingerprint_holds_pixels_sizes_and_labels(self) -> None:
        kinds = [
            Pictures(levels),
            Pictures(lambda i: levels(i) if i != 5 else levels(6)),
            Pictures(lambda i: levels(i).reshape(4, 3, 3)),
            Pictures(levels, lambda i: i % 2),
        ]
        assert len({list_images(kind).fingerprint for kind in kinds}) == 4

    def test_a_name_in_place_of_the_fingerprint_spares_the_pass(self) -> None:
        def never(index: int) -> None:
            raise AssertionError("nothing should be read")

        dataset = Pictures(never)
        dataset.targets = [0, 1] * 6
        dataset.classes = ["cat", "dog"]
        images = list_images(dataset, fingerprint="pets, second edition")
        assert (images.fingerprint, images.labels) == ("pets, second edition", ("cat", "dog") * 6)
        assert list_images(Pictures(levels), fingerprint="x").labels == ("0", "1", "2") * 4

    def test_one_item_is_taken_at_a_time(self) -> None:
        busy = threading.Lock()

        def picture(index: int) -> np.ndarray:
            assert busy.acquire(blocking=False), "two threads at once"
            time.sleep(0.001)
            busy.release()
            return levels(index)

        images = list_images(Pictures(picture))
        with ThreadPoolExecutor(4) as pool:
            assert {image.size for image in pool.map(images.open, [*range(12)] * 4)} == {(4, 3)}

    def test_an_image_set_stays_itself(self) -> None:
        images = list_images(Pictures(levels))
        assert list_images(images) is images

    def test_too_few_and_what_is_none_is_refused(self) -> None:
        with pytest.raises(ImagesError, match=r"^builtins\.list holds 3 images; at least 10 are needed$"):
            list_images([levels(0)] * 3)
        with pytest.raises(ImagesError, match="^images cannot be a int; give a folder"):
            list_images(5)
        with pytest.raises(ImagesError, match="^images cannot be a generator"):
            list_images(levels(i) for i in range(12))

    def test_those_of_torch(self, tmp_path: Path) -> None:
        from torch.utils.data import IterableDataset, Subset
        from torchvision.datasets import FakeData, ImageFolder
        from torchvision.transforms import Compose, Normalize, ToTensor

        for i in range(12):
            path = tmp_path / ("cat", "dog")[i % 2] / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(levels(i)).save(path)
        folder, dataset = list_images(tmp_path), ImageFolder(tmp_path, transform=ToTensor())
        assert list_images(dataset) == folder

        class Part(Subset[Any]):
            def __getattr__(self, name: str) -> Any:
                return getattr(self.dataset, name)

        assert list_images(Part(dataset, range(10))).paths[-1] == "00000009", "samples of the whole are not its own"
        subset = list_images(Subset(dataset, range(10)))  # the classes one after the other
        assert subset.labels == ("cat",) * 6 + ("dog",) * 4
        np.testing.assert_array_equal(np.asarray(subset.open(9)), levels(5))  # dog: 1, 11, 3, 5

        fake = list_images(FakeData(10, (3, 8, 8), transform=ToTensor()))
        assert fake.fingerprint == list_images(FakeData(10, (3, 8, 8))).fingerprint
        assert fake.source == "torchvision.datasets.fakedata.FakeData"
        normalised = FakeData(10, (3, 8, 8), transform=Compose([ToTensor(), Normalize([0.5] * 3, [0.5] * 3)]))
        with pytest.raises(ImagesError, match="looks normalised"):
            list_images(normalised).open(0)

        class Stream(IterableDataset[int]):
            def __len__(self) -> int:
                return 12

            def __iter__(self) -> Iterator[int]:
                return iter(range(12))

        with pytest.raises(ImagesError, match="^Stream is a data set that can only be read in order"):
            list_images(Stream())


sides = st.integers(1, 600)


class TestPreprocessing:
    @given(width=sides, height=sides)
    @example(width=1, height=50)
    @example(width=500, height=10)
    @settings(max_examples=40, deadline=None)
    def test_pixels_always_fill_the_input(self, width: int, height: int) -> None:
        assume(max(width, height) <= 50 * min(width, height))
        pixels = PREPROCESSING.pixels(Image.new("RGB", (width, height), (7, 8, 9)))
        assert (pixels.shape, pixels.dtype) == ((224, 224, 3), np.uint8)
        assert (pixels == (7, 8, 9)).all()

    @given(
        width=st.integers(30, 600),
        height=st.integers(30, 600),
        x=st.floats(0, 1),
        y=st.floats(0, 1),
        resize=st.sampled_from([224, 256, 300]),
    )
    @example(width=600, height=30, x=0.0, y=0.0, resize=256)
    @example(width=30, height=600, x=1.0, y=1.0, resize=256)
    @settings(max_examples=60, deadline=None)
    def test_a_block_is_seen_where_to_original_says(
        self, width: int, height: int, x: float, y: float, resize: int
    ) -> None:
        preprocessing = Preprocessing(resize, 224, (0.5,) * 3, (0.5,) * 3)
        block = max(2, min(width, height) // 10)
        (left, right, per_pixel), (top, bottom, _) = self.crop(preprocessing, width, height)
        margin = 3 * max(1, per_pixel)  # what bicubic resizing reaches over
        begin_x = int(left + margin + 1 + x * (right - left - block - 2 * margin - 2))
        begin_y = int(top + margin + 1 + y * (bottom - top - block - 2 * margin - 2))
        image = np.full((height, width, 3), 64, np.uint8)
        image[begin_y : begin_y + block, begin_x : begin_x + block] = 192
        weight = preprocessing.pixels(Image.fromarray(image))[..., 0].astype(float) - 64
        centres = np.arange(224) + 0.5
        middle = (np.float32([weight.sum(axis) @ centres / weight.sum()]) for axis in (0, 1))
        seen_x, seen_y, _ = preprocessing.to_original(*middle, width, height)
        assert seen_x == pytest.approx(begin_x + block / 2, abs=0.1 * per_pixel)
        assert seen_y == pytest.approx(begin_y + block / 2, abs=0.1 * per_pixel)

    @staticmethod
    def crop(preprocessing: Preprocessing, width: int, height: int) -> list[tuple[float, float, float]]:
        """Where the crop begins and ends on each axis of the original, in floating point."""
        scale = min(width, height) / preprocessing.resize
        reach = preprocessing.size * scale / 2
        return [(side / 2 - reach, side / 2 + reach, scale) for side in (width, height)]

    @given(width=st.integers(1, 3000), height=st.integers(1, 3000))
    def test_the_crop_lies_in_the_middle_and_inside_the_image(self, width: int, height: int) -> None:
        assume(max(width, height) <= 50 * min(width, height))
        points = np.float32([0, 112, 224])
        x, y, scale = PREPROCESSING.to_original(points, points, width, height)
        assert scale == pytest.approx(min(width, height) / 256)
        for found, side in ((x, width), (y, height)):
            assert found[0] >= -1e-3
            assert found[2] <= side * (1 + 1e-6)
            assert abs(found[1] - side / 2) <= scale * 1.01, "less than an input pixel off the middle"

    def test_to_original_by_hand(self) -> None:
        # 512 x 1024 -> 256 x 512: two original pixels per input pixel; crop from (16, 144) on
        x, y, scale = PREPROCESSING.to_original(np.float32([0, 10]), np.float32([0, 20]), 512, 1024)
        assert (x.tolist(), y.tolist(), scale.tolist()) == ([32, 52], [288, 328], 2)

    def test_to_original_takes_one_size_per_point(self) -> None:
        x, _, scale = PREPROCESSING.to_original(
            np.float32([0, 0]), np.float32([0, 0]), np.array([256, 512]), np.array([256, 512])
        )
        assert (x.tolist(), scale.tolist()) == ([16, 32], [1, 2])

    def test_normalise_by_hand(self) -> None:
        pixels = np.zeros((2, 2, 3, 3), np.uint8)
        pixels[1, 0, 2] = (255, 51, 102)
        inputs = PREPROCESSING.normalise(pixels)
        assert inputs.shape == (2, 3, 2, 3)
        assert inputs[0, :, 0, 0].tolist() == [-1, -1, 0]
        assert inputs[1, :, 0, 2].tolist() == pytest.approx([1, -0.2, 0.4])
        assert pixels[1, 0, 2].tolist() == [255, 51, 102]


@pytest.mark.parametrize(("size", "small"), [((1000, 500), (224, 112)), ((30, 900), (7, 224)), ((50, 40), (50, 40))])
def test_a_preview_is_a_small_webp_of_the_same_shape(size: tuple[int, int], small: tuple[int, int]) -> None:
    image = quarters(size)
    shown = Image.open(io.BytesIO(preview(image)))
    assert (shown.format, shown.size) == ("WEBP", small)
    assert max(shown.size) <= PREVIEW_SIDE
    assert image.size == size
    assert shown.getpixel((0, 0))[0] > 200


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_damaged_exif_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Its tags cannot be written again; the pixels are whole."""
    path = tmp_path / "damaged.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8298] = "somebody"
    Image.new("RGB", (30, 20), "red").save(path, exif=exif)
    data = path.read_bytes()
    entry = data.index(bytes.fromhex("8298") if b"MM" in data[:40] else bytes.fromhex("9882"))
    path.write_bytes(data[: entry + 2] + b"\x00\x0c" + data[entry + 4 :])  # a copyright that claims to be a double
    assert open_image(path).size == (20, 30)


def test_a_path_that_is_too_long_is_refused_in_words() -> None:
    with pytest.raises(ImagesError, match="cannot be listed"):
        list_images(Path("x" * 300))
