"""Files and picture objects become what a person sees: upright, 8-bit sRGB, transparency over white."""

import functools
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from neurocarto.errors import ImagesError, one_line

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA")
"""The decoders that may be tried, whatever a file is called: among Pillow's others is one that starts Ghostscript."""
HEIF = "HEIF"
HEIF_SUFFIXES = (".heic", ".heif")
MAX_PIXELS = 100_000_000
MOST_BYTES, MOST_PIXELS = 100_000_000, 50_000_000
"""Of an image that is looked at alone, which a stranger may have sent."""
MAX_ELONGATION = 50
"""Long side over short side. Beyond it the crop shows next to nothing, and fitting the short side to the
network would need gigabytes for a file of a few hundred bytes."""
ORIENTATION = 0x0112
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""Tags of TIFF, and the photometric interpretation in which 0 is white."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image of each EXIF orientation upright."""
PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The modes that colour profiles of these spaces describe."""
DESCRIBED_AS = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}
"""The mode that the profile of an image of these modes describes; of all others, RGB."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
ImageFile.LOAD_TRUNCATED_IMAGES = False
# For the process, not around each call: images are opened in threads, which share the list of filters.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def decode(content: bytes, name: str, most: int = MAX_PIXELS) -> Image.Image:
    """Decode a file's content as a person sees it; ImagesError with its name and the reason when that fails.

    most: pixels that it may have, MAX_PIXELS at most.
    """
    try:
        with Image.open(io.BytesIO(content), formats=(*FORMATS, *({HEIF} & Image.OPEN.keys()))) as file:
            if file.width * file.height > most:
                raise ValueError(f"more than {most:,} pixels")
            return as_seen(file)
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise unreadable(name, error) from error


def decode_alone(content: bytes, name: str) -> Image.Image:
    """Decode an image that is looked at alone, as decode, within MOST_BYTES and MOST_PIXELS."""
    if len(content) > MOST_BYTES:
        raise ImagesError(f"{shown(Path(name).name)}: more than {MOST_BYTES // 1_000_000} MB")
    return decode(content, name, MOST_PIXELS)


def unreadable(name: str | Path, error: Exception) -> ImagesError:
    """Say in one line that an image cannot be read, and why."""
    return ImagesError(f"{shown(Path(name).name)}: {_reason(error, str(name))}")


def shown(name: str | Path) -> str:
    """Return a name as it may stand in a line: itself, or quoted with escapes where a character would break it."""
    return str(name) if str(name).isprintable() else repr(str(name))


def _reason(error: Exception, name: str) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MAX_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        if name.lower().endswith(HEIF_SUFFIXES):
            return "HEIC, which Pillow cannot read without a plugin; save it as JPEG"
        return "not an image that Pillow can read"
    text = error.strerror if isinstance(error, OSError) else None
    return one_line(text or error)


def as_seen(image: Image.Image) -> Image.Image:
    """Return an image upright, in sRGB, transparency over white.

    ValueError when it is too elongated for a network or its grey levels have no known range; whatever
    Pillow raises when the pixels cannot be decoded.
    """
    if max(image.size) > MAX_ELONGATION * min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels is more elongated than {MAX_ELONGATION} to 1")
    image.load()  # before the orientation is asked for: TIFF images turn while they load
    turn = _turn(image)
    profile = image.info.get("icc_profile")
    image = _eight_bits(image)
    image = image if turn is None else image.transpose(turn)
    if not image.has_transparency_data:
        return _srgb(image, image.mode, profile)
    layered = image.convert("RGBA")
    colours = _srgb(layered, image.mode, profile)
    colours.putalpha(layered.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are whole: an image with damaged EXIF is seen as it is stored
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey levels of 9 to 16 bits, which Pillow would cut off at 255; wider ones have no known white."""
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        levels = np.asarray(image) >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)
        grey = _grey(255 - levels if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else levels)
        if isinstance(image.info.get("transparency"), int):
            grey.putalpha(_grey(np.where(np.asarray(image) == image.info["transparency"], 0, 255)))
        return grey
    if image.mode == "I" and image.format == "PPM":  # Pillow scales what has more than 8 bits to 0 … 65535
        return _grey(np.asarray(image) >> 8)
    if image.mode in {"I", "F"}:
        raise ValueError("grey levels of unknown range; save it as an 8-bit or 16-bit PNG")
    return image


def _grey(levels: npt.NDArray[np.integer[Any]]) -> Image.Image:
    return Image.fromarray(levels.astype(np.uint8))


def _srgb(image: Image.Image, stored: str, profile: bytes | None) -> Image.Image:
    """Convert to RGB, through the colour profile where there is one for the mode that the file was stored in."""
    transform = _transform(profile) if profile else None
    mode = DESCRIBED_AS.get(stored, "RGB")
    if transform is None or transform.input_mode != mode:
        return image.convert("RGB")
    converted = image.convert(mode)  # a copy, so it may be changed in place, which takes a quarter less time
    return transform.apply_in_place(converted) if mode == "RGB" else transform.apply(converted)


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile's colours to sRGB; None where it is sRGB itself, damaged or of another space."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PROFILE_MODES.get(source.profile.xcolor_space)
        if mode is None or "sRGB" in ImageCms.getProfileDescription(source):
            return None
        return ImageCms.ImageCmsTransform(source, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), mode, "RGB")
    except Exception:  # a file with a damaged profile is shown without it
        return None
