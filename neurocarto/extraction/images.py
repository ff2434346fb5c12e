"""Image folders: finding the files, opening them as a person sees them."""

import hashlib
import io
import struct
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from neurocarto.errors import ImagesError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
MIN_IMAGES = 10
MAX_PIXELS = 100_000_000
MAX_ELONGATION = 50
"""Long side over short side. Beyond it the crop shows next to nothing, and fitting the short side to the
network would need gigabytes for a file of a few hundred bytes."""
ORIENTATION = 0x0112
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
UNREADABLE = (
    OSError, ValueError, SyntaxError, TypeError, struct.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises on files that are damaged or lie about themselves."""
PREVIEW_SIDE = 224
PREVIEW_QUALITY = 70

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
ImageFile.LOAD_TRUNCATED_IMAGES = False
# For the process, not around each call: images are opened in threads, which share the list of filters.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class ImageSet:
    """The image files of a folder, in the order of their paths.

    paths are relative to source; labels are the names of the first folder level, None for files that
    lie in no folder; fingerprint is the SHA-256 over all paths and contents.
    """

    source: Path
    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.paths)

    def indices(self, paths: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return where these paths stand in the set."""
        index = {path: i for i, path in enumerate(self.paths)}
        return np.array([index[path] for path in paths], np.int64)

    def open(self, index: int) -> Image.Image:
        """Open one image, upright and RGB; ImagesError with the reason when it cannot be read."""
        return open_image(self.source / self.paths[index])


def list_images(folder: Path | str) -> ImageSet:
    """List the images below a folder and fingerprint their contents.

    ImagesError when there is no such folder or it holds fewer than ten image files.
    """
    source = Path(folder)
    try:
        if not source.is_dir():
            raise ImagesError(f"{source} is not a folder; give the folder that holds the images")
        paths = sorted(
            path.relative_to(source).as_posix()
            for path in source.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise ImagesError(f"{source} cannot be listed: {error.strerror}; name a folder that you may read") from error
    for path in paths:
        if _is_mangled(path):
            raise ImagesError(f"the file name {path!r} is not text in UTF-8; rename the file")
    if len(paths) < MIN_IMAGES:
        raise ImagesError(
            f"{source} holds {len(paths)} image files ({', '.join(sorted(SUFFIXES))}); at least {MIN_IMAGES} are needed"
        )
    labels = tuple(path.split("/")[0] if "/" in path else None for path in paths)
    return ImageSet(source, tuple(paths), labels, _fingerprint(source, paths))


def _is_mangled(name: str) -> bool:
    """Whether a name holds bytes that are not UTF-8, which Python keeps as surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in name)


def _fingerprint(source: Path, paths: Sequence[str]) -> str:
    total = hashlib.sha256()
    for path in paths:
        try:
            with (source / path).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            content = str(error).encode()
        total.update(path.encode() + b"\0" + content)
    return total.hexdigest()


def open_image(path: Path) -> Image.Image:
    """Open an image as a person sees it: upright, RGB, transparency over white.

    ImagesError with the reason when it cannot be read.
    """
    try:
        with Image.open(path) as file:
            if max(file.size) > MAX_ELONGATION * min(file.size):
                raise ValueError(f"{file.width} x {file.height} pixels is more elongated than {MAX_ELONGATION} to 1")
            turn = UPRIGHT.get(file.getexif().get(ORIENTATION, 1))
            image = _eight_bits(file if turn is None else file.transpose(turn))
            return _over_white(image) if image.has_transparency_data else image.convert("RGB")
    except UNREADABLE as error:
        raise ImagesError(f"{path.name}: {_reason(error)}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey levels, which Pillow would cut off at 255; wider ones have no known white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise ValueError("grey levels of unknown range; save it as an 8-bit or 16-bit PNG")
    return image


def _over_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MAX_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    return str(error) or type(error).__name__


def preview(image: Image.Image) -> bytes:
    """Return a small copy of the image as WebP: long side at most 224 pixels."""
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=PREVIEW_QUALITY, method=4)
    return buffer.getvalue()
