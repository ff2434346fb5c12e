"""Fitting images to a network, and mapping places on its input back to the image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: shorter side to `resize`, centre crop to `size`, normalise.

    resize, size in pixels; mean, std per channel, on values in 0 … 1.
    """

    resize: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the part of the image that the network sees, (size, size, 3)."""
        (width, left), (height, top) = (self._axis(side, min(image.size)) for side in image.size)
        resized = image.resize((int(width), int(height)), Image.Resampling.BICUBIC)
        return np.array(resized.crop((int(left), int(top), int(left) + self.size, int(top) + self.size)))

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> "Tensor":
        """Turn pixels (B, size, size, 3) into the network's input (B, 3, size, size), channels last."""
        import torch  # not at the top: a run that is cached is served without it

        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        scaled = torch.from_numpy(pixels).to(torch.float32).div_(255)
        return scaled.sub_(mean).div_(std).permute(0, 3, 1, 2)  # (B, 3, H, W), channels-last in memory

    def to_original(
        self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], width: npt.ArrayLike, height: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Map points of the input (pixels) to the upright original image.

        Returns x and y in pixels of the original, and the original's pixels per input pixel.
        """
        width, height = np.asarray(width), np.asarray(height)
        shorter = np.minimum(width, height)
        (new_width, left), (new_height, top) = self._axis(width, shorter), self._axis(height, shorter)
        return (
            ((x + left) * width / new_width).astype(np.float32),
            ((y + top) * height / new_height).astype(np.float32),
            (shorter / self.resize).astype(np.float32),
        )

    def _axis(self, side: npt.ArrayLike, shorter: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Resized length of a side, and where the crop begins on it."""
        length = np.maximum(self.size, np.rint(np.asarray(side) * self.resize / np.asarray(shorter))).astype(np.int64)
        return length, (length - self.size) // 2
