"""Example patches, cut from the run's small whole images."""

import base64
import io
from functools import lru_cache

from PIL import Image

from neurocarto.runs.store import Run

Box = tuple[float, float, float, float]


class Patches:
    """Cuts and encodes patches of one run. Bounded: 96 decoded images and 6,000 encoded patches (about 30 MB)."""

    def __init__(self, run: Run) -> None:
        self._run = run
        sizes = run.images.set_index("image")
        self._width, self._height = sizes["width"].to_dict(), sizes["height"].to_dict()
        self._decoded = lru_cache(maxsize=96)(self._decode)
        self.uri = lru_cache(maxsize=6000)(self._uri)
        self.whole = lru_cache(maxsize=500)(self._small)

    def _decode(self, image: int) -> Image.Image | None:
        data = self._run.preview(image)
        if data is None:
            return None
        try:
            return Image.open(io.BytesIO(data)).convert("RGB")
        except OSError:
            return None

    def _uri(self, image: int, box: Box, side: int) -> str | None:
        """Return the patch as a data URI of `side` × `side` pixels, or None where the image is not at hand.

        box: x0, y0, x1, y1 in pixels of the upright original image; it may reach past the border.
        """
        whole = self._decoded(image)
        if whole is None:
            return None
        return cut(whole, (self._width[image], self._height[image]), box, side)

    def _small(self, image: int, side: int) -> str | None:
        """Return the whole image, its longer side `side` pixels, as a data URI, or None where it is not at hand."""
        whole = self._decoded(image)
        if whole is None:
            return None
        small = whole.copy()
        small.thumbnail((side, side))
        return _encoded(small)


def cut(whole: Image.Image, size: tuple[int, int], box: Box, side: int) -> str:
    """Return a patch of a picture as a data URI of `side` × `side` pixels.

    size: width and height of the original, in whose pixels the box is.
    """
    x0, y0, x1, y1 = inside(box, *size)
    across, down = whole.width / size[0], whole.height / size[1]
    area = (x0 * across, y0 * down, x1 * across, y1 * down)
    return _encoded(whole.resize((side, side), Image.Resampling.BICUBIC, box=area))


def _encoded(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=72, method=1)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def inside(box: Box, width: float, height: float) -> Box:
    """Shift a square into the image, so that what is shown is always image; shrink it only if it is larger."""
    x0, y0, x1, y1 = box
    side = max(1.0, min(x1 - x0, y1 - y0, width, height))
    left = min(max((x0 + x1 - side) / 2, 0.0), width - side)
    top = min(max((y0 + y1 - side) / 2, 0.0), height - side)
    return left, top, left + side, top + side
