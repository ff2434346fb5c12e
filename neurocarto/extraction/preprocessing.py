"""Fitting images to a network, and mapping places on its input back to the image."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from neurocarto.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, device

LARGEST_SIDE = 4096
"""Pixels; what is larger is a slip of the keyboard, and would not fit into memory."""

INTERPOLATIONS = {method.name.lower(): method for method in (
    Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
)}  # fmt: skip


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: resize, cut `size` × `size` out of the middle, normalise.

    resize: the shorter side, or exactly (height, width), in pixels; size in pixels; mean, std per channel,
    on values in 0 … 1: three channels, or one for networks that see grey. ModelError when out of range.
    """

    resize: int | tuple[int, int]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        sides = self.resize if isinstance(self.resize, tuple) else (self.resize,)
        for name, side in [("size", self.size), *(("resize", side) for side in sides)]:
            if type(side) is not int or not 1 <= side <= LARGEST_SIDE:
                raise ModelError(f"preprocessing: {name} must be a whole number of 1 … {LARGEST_SIDE}, not {side!r}")
        if min(sides) < self.size:
            raise ModelError(f"preprocessing: resize {self.resize!r} leaves less than size {self.size} to cut out")
        if len(self.mean) not in {1, 3} or len(self.mean) != len(self.std):
            raise ModelError(f"preprocessing: mean {self.mean!r} and std {self.std!r} must be of one or three channels")
        if not all(map(math.isfinite, self.mean)):
            raise ModelError(f"preprocessing: mean must be finite, not {self.mean!r}")
        if not all(math.isfinite(value) and value > 0 for value in self.std):
            raise ModelError(f"preprocessing: std must be above 0, not {self.std!r}")
        if not isinstance(self.interpolation, str) or self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise ModelError(f"preprocessing: interpolation must be one of {known}, not {self.interpolation!r}")

    @property
    def channels(self) -> int:
        """Channels of the network's input: 3, or 1 for grey."""
        return len(self.mean)

    def pixels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Return the part of the image that the network sees, (size, size, channels)."""
        if self.channels == 1:
            image = image.convert("L")
        width, height = (int(side) for side in self._resized(*image.size))
        resized = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        left, top = (width - self.size) // 2, (height - self.size) // 2
        seen = np.array(resized.crop((left, top, left + self.size, top + self.size)))
        return seen.reshape(self.size, self.size, self.channels)

    def normalise(self, pixels: npt.NDArray[np.uint8], device: "device | str" = "cpu") -> "Tensor":
        """Turn pixels (B, size, size, channels) into the network's input (B, channels, size, size), channels last.

        device: where it is computed, and stays.
        """
        import torch  # not at the top: a run that is cached is served without it

        # One row of pixels at a time: loops over three channels cost ten times as much.
        mean, std = (torch.tensor(value).repeat(pixels.shape[2]).to(device) for value in (self.mean, self.std))
        scaled = torch.from_numpy(pixels).to(device).flatten(2).to(torch.float32).div_(255).sub_(mean).div_(std)
        return scaled.view(pixels.shape).permute(0, 3, 1, 2)  # (B, C, H, W), channels-last in memory

    def to_original(
        self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], width: npt.ArrayLike, height: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Map points of the input (pixels) to the upright original image.

        Returns x and y in pixels of the original, and the original's pixels per input pixel: where resizing changed
        the proportions, the side of the square that covers as much of the original as one input pixel.
        """
        width, height = np.asarray(width), np.asarray(height)
        new_width, new_height = self._resized(width, height)
        left, top = (new_width - self.size) // 2, (new_height - self.size) // 2
        if isinstance(self.resize, tuple):
            scale = np.sqrt(width * height / (self.resize[0] * self.resize[1]))
        else:
            scale = np.minimum(width, height) / self.resize
        return (
            ((x + left) * width / new_width).astype(np.float32),
            ((y + top) * height / new_height).astype(np.float32),
            scale.astype(np.float32),
        )

    def _resized(
        self, width: npt.ArrayLike, height: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Width and height after resizing."""
        if isinstance(self.resize, tuple):
            return np.full(np.shape(width), self.resize[1]), np.full(np.shape(height), self.resize[0])
        shorter = np.minimum(width, height)
        lengths = [np.rint(np.asarray(side) * self.resize / shorter).astype(np.int64) for side in (width, height)]
        return lengths[0], lengths[1]


def default_preprocessing(channels: int) -> Preprocessing:
    """Return what a network gets that comes without its preprocessing; ModelError unless it sees colour or grey."""
    if channels == 3:
        return Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
    if channels == 1:
        return Preprocessing(256, 224, (0.5,), (0.5,), "bilinear")
    raise ModelError(f"the network takes {channels} channels; images have three, or one as grey")


def overridden(text: str, base: Preprocessing | None, channels: int) -> Preprocessing:
    """Return the preprocessing that --preprocess asks for: what it leaves out is kept from base.

    text: key=value pairs, or a .json file with the same keys. A size without resize keeps the base's share of the
    image. base None: text has to be complete. channels: of the network, for a mean or std of one number.
    """
    given = _from_json(Path(text)) if text.endswith(".json") else _from_pairs(text)
    known = list(Preprocessing.__dataclass_fields__)
    if unknown := [key for key in given if key not in known]:
        raise ModelError(f"preprocessing has no key {unknown[0]!r}; its keys are {', '.join(known)}")
    if base is None:
        if missing := [key for key in ("resize", "size", "mean", "std") if key not in given]:
            raise ModelError(
                f"--preprocess must say {', '.join(missing)} too: the factory's transform is not understood"
            )
        base = default_preprocessing(channels)
    if "size" in given and "resize" not in given:
        given["resize"] = _scaled(base, given["size"])
    values: dict[str, Any] = {key: _value(key, value, base.channels) for key, value in given.items()}
    return replace(base, **values)


def _scaled(base: Preprocessing, size: object) -> object:
    """The base's resize for an input of another size; what is no size is left to the validation."""
    if not isinstance(size, int):
        return size
    if isinstance(base.resize, tuple):
        return tuple(round(side * size / base.size) for side in base.resize)
    return round(base.resize * size / base.size)


def _value(key: str, value: object, channels: int) -> object:
    if key in {"mean", "std"}:
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
            raise ModelError(f"preprocessing: {key} must be one number or three, not {value!r}")
        if len(numbers) not in {1, channels}:
            raise ModelError(
                f"preprocessing: {key} has {len(numbers)} values, but the network takes {channels} channels"
            )
        return tuple(map(float, numbers)) * (channels if len(numbers) == 1 else 1)
    return tuple(value) if key == "resize" and isinstance(value, list) and len(value) == 2 else value


def _from_json(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the preprocessing file {str(path)!r} as JSON: {_line(error)}") from error
    if not isinstance(given, dict):
        raise ModelError(f'the preprocessing file {str(path)!r} must hold an object such as {{"size": 224}}')
    return given


def _from_pairs(text: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key in given:
            raise ModelError(
                f"--preprocess: {pair!r} is not one key=value each; such as resize=256,size=224,mean=0.5,std=0.5"
            )
        given[key] = _pair_value(key, value)
    return given


def _pair_value(key: str, value: str) -> object:
    try:
        if key == "size":
            return int(value)
        if key == "resize":
            sides = [int(side) for side in value.lower().split("x")]
            return sides[0] if len(sides) == 1 else sides
        return [float(number) for number in value.split("/")] if key in {"mean", "std"} else value
    except ValueError as error:
        raise ModelError(f"--preprocess: {key}={value!r} is not a number") from error


UNDERSTOOD = (
    "Compose, Resize, CenterCrop, Grayscale, RGB, ToTensor, ToImage, PILToTensor, ToDtype, ConvertImageDtype, "
    "ToPureTensor, Normalize and torchvision's ImageClassification presets"
)


def from_transform(transform: object, channels: int = 3) -> Preprocessing:
    """Read a transform as preprocessing; ModelError that names the step when that is not possible.

    transform: a Preprocessing, one of torchvision's ImageClassification presets, or a composition of its transforms
    (v1, v2), known by their names, so that torchvision need not be imported here. channels: of the network, which
    images that are grey to begin with need not be told.
    """
    if isinstance(transform, Preprocessing):
        return transform
    reading = _Reading(channels=channels)
    for step in _steps(transform):
        reading = _READERS[type(step).__name__](reading, step)
    return reading.finish()


def _steps(transform: Any) -> Iterator[Any]:
    name = type(transform).__name__
    if name in {"Compose", "Sequential"}:
        for step in transform.transforms if name == "Compose" else transform:
            yield from _steps(step)
    elif name in _READERS and type(transform).__module__.split(".")[0] in {"torchvision", "torch"}:
        yield transform
    else:
        raise _refused(transform, "is not understood")


def _refused(step: object, why: str) -> ModelError:
    text = " ".join(repr(step).split())
    short = text if len(text) <= 80 else f"{text[:79]}…"
    return ModelError(f"the transform {short} {why}; understood are {UNDERSTOOD}; --preprocess can say it instead")


@dataclass(frozen=True)
class _Reading:
    """What the steps of a transform have said so far; levels: what white is before normalisation, 1 or 255."""

    resize: int | tuple[int, int] | None = None
    size: int | None = None
    interpolation: str = "bilinear"
    levels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int = 3

    def finish(self) -> Preprocessing:
        if self.resize is None or self.levels is None:
            what = "Resize, so the input's size is unknown" if self.resize is None else "ToTensor or ToDtype to floats"
            raise ModelError(f"the transform has no {what}; --preprocess can say it instead")
        size = self.size or self.resize
        if isinstance(size, tuple):
            if size[0] != size[1]:
                raise ModelError(f"the transform's Resize{size} is not followed by a CenterCrop: inputs must be square")
            size = size[0]
        elif not self.size:
            raise ModelError(f"the transform's Resize({size}) is not followed by a CenterCrop: inputs must be square")
        mean, std = self._scaled(self.mean or (0.0,)), self._scaled(self.std or (1.0,))
        return Preprocessing(self.resize, size, mean, std, self.interpolation)

    def _scaled(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Values per channel, on a scale where white is 1."""
        return tuple(value / (self.levels or 1) for value in values) * (self.channels if len(values) == 1 else 1)


def _read_resize(reading: _Reading, step: Any) -> _Reading:
    if reading.resize or reading.size:
        raise _refused(step, "comes after another Resize or CenterCrop")
    if getattr(step, "max_size", None):
        raise _refused(step, "has a max_size, which is not understood")
    sides = _sides(step)
    mode = getattr(step.interpolation, "value", step.interpolation)
    interpolation = "nearest" if mode == "nearest-exact" else str(mode)
    return replace(reading, resize=sides[0] if len(sides) == 1 else (sides[0], sides[1]), interpolation=interpolation)


def _read_crop(reading: _Reading, step: Any) -> _Reading:
    if reading.resize is None or reading.size:
        raise _refused(step, "does not come once after Resize")
    sides = set(_sides(step))
    if len(sides) != 1:
        raise _refused(step, "is not a square")
    return replace(reading, size=sides.pop())


def _sides(step: Any) -> Sequence[int]:
    """One side or (height, width) of a Resize or CenterCrop."""
    if isinstance(step.size, int):
        return (step.size,)
    if not isinstance(step.size, Sequence) or len(step.size) not in {1, 2}:
        raise _refused(step, "has no size")
    return tuple(step.size)


def _read_grey(reading: _Reading, step: Any) -> _Reading:
    if step.num_output_channels != 1:
        raise _refused(step, "repeats grey in several channels, which is not understood")
    return replace(reading, channels=1)


def _read_dtype(reading: _Reading, step: Any) -> _Reading:
    """ToTensor, ConvertImageDtype and ToDtype(scale=True) make floats of 0 … 1, ToDtype alone of 0 … 255."""
    dtype = getattr(step, "dtype", None)
    if isinstance(dtype, Mapping):
        raise _refused(step, "converts by kind of input, which is not understood")
    floats = type(step).__name__ == "ToTensor" or dtype is None or bool(getattr(dtype, "is_floating_point", False))
    if not floats or reading.levels:
        return reading
    return replace(reading, levels=1 if getattr(step, "scale", True) else 255)


def _read_normalize(reading: _Reading, step: Any) -> _Reading:
    if reading.mean or not reading.levels:
        raise _refused(step, "does not come once after ToTensor or ToDtype to floats")
    mean, std = (tuple(map(float, np.atleast_1d(values))) for values in (step.mean, step.std))
    return replace(reading, mean=mean, std=std)


def _read_preset(reading: _Reading, step: Any) -> _Reading:
    if reading.resize or reading.levels:
        raise _refused(step, "must stand alone")
    sides, mean, std = tuple(step.resize_size), tuple(step.mean), tuple(step.std)
    resize = sides[0] if len(sides) == 1 else (sides[0], sides[1])
    return replace(
        reading,
        resize=resize,
        size=step.crop_size[0],
        interpolation=step.interpolation.value,
        levels=1,
        mean=mean,
        std=std,
    )


def _read_nothing(reading: _Reading, _step: Any) -> _Reading:
    return reading


_READERS = {
    "Resize": _read_resize,
    "CenterCrop": _read_crop,
    "Grayscale": _read_grey,
    "ToTensor": _read_dtype,
    "ToDtype": _read_dtype,
    "ConvertImageDtype": _read_dtype,
    "Normalize": _read_normalize,
    "ImageClassification": _read_preset,
    "ToImage": _read_nothing,
    "PILToTensor": _read_nothing,
    "ToPureTensor": _read_nothing,
    "RGB": _read_nothing,
    "Identity": _read_nothing,
}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
