import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from neurocarto.errors import ImagesError
from neurocarto.extraction.decoding import ORIENTATION, decode, shown

Pixels = list[list[int]]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seen(content: bytes) -> Pixels:
    """The first row."""
    image = decode(content, "a")
    assert image.mode == "RGB"
    return np.asarray(image)[0].tolist()


def greys(*levels: int) -> Pixels:
    return [[level] * 3 for level in levels]


def png(bits: int, kind: int, row: bytes, width: int, transparent: bytes = b"") -> bytes:
    """A PNG of one row; kind is the format's colour type."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    alpha = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + header + alpha + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def tiff(bits: int, photometric: int, row: bytes, width: int) -> bytes:
    """A grey TIFF of one row."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 1}
    tags[279] = len(row)
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + row


def big(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def little(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


class TestWhatAPersonSees:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (png(16, 0, big(0, 0x80FF, 0xFFFF), 3), greys(0, 128, 255)),
            (png(16, 0, big(0x8000, 0x1000), 2, transparent=big(0x1000)), greys(128, 255)),
            (png(16, 2, big(0xFF00, 0x8000, 0), 1), [[255, 128, 0]]),
            (png(16, 4, big(0x8000, 0xFFFF, 0x8000, 0), 2), greys(128, 255)),
            (png(16, 6, big(0xFF00, 0x8000, 0, 0xFFFF, 0, 0, 0, 0), 2), [[255, 128, 0], [255, 255, 255]]),
            (png(8, 0, bytes([128, 16]), 2, transparent=big(16)), greys(128, 255)),
            (png(8, 2, bytes([1, 2, 3, 4, 5, 6]), 2, transparent=big(1, 2, 3)), [[255, 255, 255], [4, 5, 6]]),
            (png(1, 0, b"\x80", 2), greys(255, 0)),
            (png(4, 0, b"\x8f", 2), greys(136, 255)),
        ],
    )
    def test_png(self, content: bytes, expected: Pixels) -> None:
        assert seen(content) == expected

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (tiff(16, 1, little(0, 0x8000, 0xFFFF), 3), greys(0, 128, 255)),
            (tiff(16, 0, little(0, 0x8000, 0xFFFF), 3), greys(255, 127, 0)),
            (tiff(12, 1, b"\xff\xf8\x00", 2), greys(255, 128)),
            (tiff(8, 0, b"\x00\xff", 2), greys(255, 0)),
            (saved(Image.new("I;16B", (1, 1), 0x8000), "tiff"), greys(128)),
            (saved(Image.new("LAB", (1, 1), (128, 128, 128)), "tiff"), greys(119)),  # L* 50, no hue
            (saved(Image.new("YCbCr", (1, 1), (90, 128, 128)), "tiff"), greys(90)),
            (saved(Image.new("LA", (1, 1), (0, 128)), "tiff"), greys(127)),
            (saved(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "tiff"), [[0, 255, 255]]),
            (saved(Image.new("1", (1, 1), 1), "tiff"), greys(255)),
        ],
    )
    def test_tiff(self, content: bytes, expected: Pixels) -> None:
        assert seen(content) == expected

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"P5 2 1 65535\n" + big(0x8000, 0xFFFF), greys(128, 255)),
            (b"P5 2 1 1023\n" + big(512, 1023), greys(128, 255)),
            (b"P5 2 1 100\n" + bytes([50, 100]), greys(128, 255)),
            (b"P6 1 1 65535\n" + big(0x8000, 0xFFFF, 0), [[128, 255, 0]]),
            (b"P4 2 1\n\x80", greys(0, 255)),
        ],
    )
    def test_portable_maps(self, content: bytes, expected: Pixels) -> None:
        assert seen(content) == expected

    def test_adobe_writes_cmyk_inverted(self) -> None:
        content = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "jpeg", quality=95)
        assert b"Adobe" in content
        assert seen(content)[0] == [0, 255, 255]

    @pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff", "avif"])
    def test_the_first_of_several_frames(self, kind: str) -> None:
        frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
        content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(np.array(seen(content)[0]) - [255, 0, 0]).max() <= 2

    @pytest.mark.parametrize("kind", ["tiff", "webp", "avif", "jpeg", "png"])
    def test_orientation(self, kind: str) -> None:
        """Blue on the left as it is stored; a quarter turn clockwise puts it above."""
        image = Image.new("RGB", (40, 20), "red")
        image.paste("blue", (0, 0, 20, 20))
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        upright = decode(saved(image, kind, exif=exif, quality=95), "a")
        assert upright.size == (20, 40)
        assert [np.argmax(upright.getpixel((10, y))) for y in (5, 35)] == [2, 0]

    @pytest.mark.parametrize("kind", ["jpeg2000", "tga", "avif", "bmp", "gif", "ppm"])
    def test_other_formats(self, kind: str) -> None:
        image = Image.new("RGB", (16, 16), (200, 100, 50))
        assert np.abs(np.array(seen(saved(image, kind))[0]) - [200, 100, 50]).max() <= 3

    def test_damaged_exif_is_no_reason_to_skip(self) -> None:
        content = saved(Image.new("RGB", (16, 8), "red"), "jpeg", exif=b"Exif\0\0no exif at all")
        assert decode(content, "a").size == (16, 8)


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile, version 2."""
    described = b"desc" + bytes(4) + struct.pack(">I", 5) + b"mine\0" + bytes(78)
    tags = {b"desc": described, b"wtpt": xyz(0.9642, 1, 0.8249), b"cprt": b"text" + bytes(4) + b"no\0", **tags}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, kind, space, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))


def gamma(power: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(power * 256))


DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
"""XYZ of the primaries (columns), adapted to D50."""
WIDE = profile(
    b"RGB ",
    {name + b"XYZ": xyz(*column) for name, column in zip((b"r", b"g", b"b"), DISPLAY_P3.T, strict=True)}
    | {name + b"TRC": gamma(2.2) for name in (b"r", b"g", b"b")},
)
LINEAR_GREY = profile(b"GRAY", {b"kTRC": gamma(1)})


def four_inks() -> bytes:
    """Black gives black, any other ink the grey of L* 50; no ink is white."""
    curves = bytes(range(256))
    colours = b"".join(bytes([0 if i % 2 else 128 if i else 255, 128, 128]) for i in range(16))
    identity = struct.pack(">9i", *(np.eye(3, dtype=int).ravel() * 65536).tolist())
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + curves * 4 + colours + curves * 3
    return profile(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")


class TestColourProfiles:
    @pytest.mark.parametrize("colour", [(200, 100, 50), (40, 180, 90), (128, 128, 128)])
    def test_a_wide_gamut_is_brought_to_srgb(self, colour: tuple[int, int, int]) -> None:
        linear = np.linalg.inv(SRGB) @ DISPLAY_P3 @ (np.array(colour) / 255) ** 2.2
        expected = 255 * np.where(
            linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
        )
        found = seen(saved(Image.new("RGB", (2, 2), colour), "png", icc_profile=WIDE))[0]
        assert np.abs(np.array(found) - expected.clip(0, 255)).max() <= 1.5

    def test_transparency_stays(self) -> None:
        image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
        image.putpixel((1, 0), (200, 100, 50, 0))
        opaque = seen(saved(image.convert("RGB"), "png", icc_profile=WIDE))[0]
        assert opaque != [200, 100, 50]
        assert seen(saved(image, "png", icc_profile=WIDE)) == [opaque, [255, 255, 255]]
        assert seen(saved(image.convert("P"), "png", icc_profile=WIDE)) == [opaque, [255, 255, 255]]

    def test_linear_greys_by_hand(self) -> None:
        # 128 / 255 of the light is 188 in sRGB
        assert seen(saved(Image.new("L", (1, 1), 128), "png", icc_profile=LINEAR_GREY)) == greys(188)
        assert seen(saved(Image.new("LA", (1, 1), (128, 255)), "png", icc_profile=LINEAR_GREY)) == greys(188)

    @pytest.mark.parametrize(("kind", "options"), [("tiff", {}), ("jpeg", {"quality": 100})])
    def test_four_inks_through_their_profile(self, kind: str, options: dict[str, int]) -> None:
        for colour, expected in (((255, 0, 0, 0), 119), ((0, 0, 0, 255), 0), ((0, 0, 0, 0), 255)):
            image = Image.new("CMYK", (8, 8), colour)
            found = np.array(seen(saved(image, kind, icc_profile=four_inks(), **options))[0])
            assert np.abs(found - expected).max() <= 2

    @pytest.mark.parametrize(
        "icc",
        [
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            b"no profile",
            WIDE[:200],
            LINEAR_GREY,  # of another space than the pixels
            four_inks(),
        ],
    )
    def test_a_profile_of_no_use_changes_nothing(self, icc: bytes) -> None:
        assert seen(saved(Image.new("RGB", (1, 1), (200, 100, 50)), "png", icc_profile=icc)) == [[200, 100, 50]]


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


class TestReasons:
    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("a.jpg", b"", "a.jpg: not an image that Pillow can read"),
            ("b/a.HEIC", b"ftypheic", "a.HEIC: HEIC, which Pillow cannot read without a plugin; save it as JPEG"),
            ("a\nb.png", b"text", r"'a\nb.png': not an image that Pillow can read"),
            ("<b>é.png", b"text", "<b>é.png: not an image that Pillow can read"),
            ("a.png", saved(Image.new("1", (51, 1)), "png"), "a.png: 51 x 1 pixels is more elongated than 50 to 1"),
            ("a", b"Pf 1 1 -1\n" + bytes(4), "a: grey levels of unknown range; save it as an 8-bit or 16-bit PNG"),
            ("a.jpg", POSTSCRIPT, "a.jpg: not an image that Pillow can read"),
        ],
    )
    def test_by_hand(self, name: str, content: bytes, reason: str) -> None:
        with pytest.raises(ImagesError) as caught:
            decode(content, name)
        assert str(caught.value) == reason

    def test_whatever_a_decoder_raises_is_a_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object, **__: object) -> None:
            raise KeyError("two\nlines")

        monkeypatch.setattr(Image, "open", broken)
        with pytest.raises(ImagesError, match=r"^a\.png: 'two\\nlines'$"):
            decode(b"", "a.png")


@pytest.mark.parametrize(("name", "line"), [("ü <b>", "ü <b>"), ("a\nb", r"'a\nb'"), ("\x1b[1m", r"'\x1b[1m'")])
def test_names_stay_in_their_line(name: str, line: str) -> None:
    assert shown(name) == line
