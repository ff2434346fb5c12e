import io
import os
from contextlib import suppress
from pathlib import Path

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

    def test_an_image_set_opens_by_its_own_index(self, folder: Path) -> None:
        images = ImageSet(folder, ("c/3.ppm", "c/1.ppm"), ("c", "c"), "")
        assert [images.open(i).getpixel((0, 0))[1] for i in range(2)] == [3, 1]


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


def test_names_that_are_not_text_are_refused_before_anything_runs(tmp_path: Path) -> None:
    for i in range(10):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{i}.png")
    os.rename(tmp_path / "0.png", os.fsencode(tmp_path) + b"/\xff.png")
    with pytest.raises(ImagesError, match="not text in UTF-8; rename the file"):
        list_images(tmp_path)


def test_a_path_that_is_too_long_is_refused_in_words() -> None:
    with pytest.raises(ImagesError, match="cannot be listed"):
        list_images(Path("x" * 300))
