"""Activation maps, whatever the order of axes in which a module gives them.

| layout       | axes of the output                                     | for example                      |
|--------------|--------------------------------------------------------|----------------------------------|
| `BCHW`       | image, channel, row, column                            | convolutions                     |
| `BHWC`       | image, row, column, channel                            | blocks of ConvNeXt, Swin         |
| `BTC`        | image, token, channel; tokens row by row               | transformers                     |
| `B(1+T)C`    | the same behind one token (or n) that has no place     | ViT with its class token         |
| `TBC`        | the same two with the tokens first                     | `batch_first=False`              |
| `B(HW)(hw)C` | image, square window, place in the window, channel     | MaxViT's window attention        |
| `B(hw)(HW)C` | image, place in the window, square window, channel     | MaxViT's grid attention          |
| `BC`         | image, channel: a map of one cell                      | fully connected layers           |
"""

import re
from collections.abc import Sequence
from math import isqrt

from torch import Tensor

_TOKENS = re.compile(r"(?P<batch>B)?(?:\((?P<extra>\d+)\+T\)|T)(?(batch)|B)C")
_AXES = {
    "BCHW": "BCHW", "BHWC": "BHWC", "BTC": "BTC", "TBC": "TBC", "BTtC": "B(HW)(hw)C", "BtTC": "B(hw)(HW)C", "BC": "BC",
}  # fmt: skip
"""The layout behind axes written as letters (extraction/tracing.py)."""
MOST_EXTRA_TOKENS = 8
"""Class, distillation and register tokens: more is no transformer that we know."""


def fold(output: Tensor, layout: str, height: int, width: int) -> Tensor:
    """Return a module's output as activation maps (B, C, H, W): a view where that is possible."""
    if layout == "BCHW":
        return output
    if layout == "BHWC":
        return output.permute(0, 3, 1, 2)
    if layout == "BC":
        return output[:, :, None, None]
    if layout in {"B(HW)(hw)C", "B(hw)(HW)C"}:
        windows = output if layout == "B(HW)(hw)C" else output.transpose(1, 2)  # (B, windows, p * p, C)
        p = round(windows.shape[2] ** 0.5)
        parts = windows.reshape(len(windows), height // p, width // p, p, p, -1)
        return parts.permute(0, 5, 1, 3, 2, 4).reshape(len(windows), -1, height, width)
    tokens, extra = _batch_first(output, layout)
    return tokens[:, extra:].transpose(1, 2).reshape(len(tokens), -1, height, width)


def unfold(maps: Tensor, output: Tensor, layout: str) -> Tensor:
    """Return maps (B, C, H, W) as the output that they were folded from; tokens without a place stay as they were."""
    if layout == "BCHW":
        return maps
    if layout == "BHWC":
        return maps.permute(0, 2, 3, 1)
    if layout == "BC":
        return maps[:, :, 0, 0]
    if layout in {"B(HW)(hw)C", "B(hw)(HW)C"}:
        p = round(output.shape[2 if layout == "B(HW)(hw)C" else 1] ** 0.5)
        b, c, height, width = maps.shape
        parts = maps.reshape(b, c, height // p, p, width // p, p).permute(0, 2, 4, 3, 5, 1)
        windows = parts.reshape(b, -1, p * p, c)
        return windows if layout == "B(HW)(hw)C" else windows.transpose(1, 2)
    tokens, extra = _batch_first(output, layout)
    whole = tokens.clone()
    whole[:, extra:] = maps.flatten(2).transpose(1, 2)
    return whole if layout.startswith("B") else whole.transpose(0, 1)


def map_shape(shape: Sequence[int], layout: str) -> tuple[int, int, int]:
    """Return channels, height and width of the maps in an output of that shape; ValueError when it holds none."""
    match = _TOKENS.fullmatch(layout)
    if match and len(shape) == 3:
        tokens = shape[1 if match["batch"] else 0] - int(match["extra"] or 0)
        sides = [shape[2], isqrt(max(tokens, 0)), isqrt(max(tokens, 0))]
        places = tokens
    elif layout in {"B(HW)(hw)C", "B(hw)(HW)C"} and len(shape) == 4:
        windows = [isqrt(count) for count in shape[1:3]]
        sides = [shape[3], windows[0] * windows[1], windows[0] * windows[1]]
        places = shape[1] * shape[2]
    elif layout in {"BCHW", "BHWC", "BC"} and len(shape) == len(layout):
        named = dict(zip(layout, shape, strict=True))
        sides = [named["C"], named.get("H", 1), named.get("W", 1)]
        places = sides[1] * sides[2]
    else:
        raise ValueError(f"an output of shape {tuple(shape)} cannot have the layout {layout!r}")
    if places < 1 or sides[1] * sides[2] != places:
        raise ValueError(f"an output of shape {tuple(shape)} has no square map in the layout {layout!r}")
    return sides[0], sides[1], sides[2]


def find_layout(axes: str, shape: Sequence[int], batch: int) -> str | None:
    """Return the layout of an output, None when it has none that is known.

    axes: a letter for each axis (extraction/tracing.py), 1 fits any. Where a letter is not known the shape has to tell:
    the axis as long as the batch, and two equal sides. Tokens: as few without a place as leave a square number.
    """
    if "?" in axes:
        axes = _guess(shape, batch)
    layout = next((layout for letters, layout in _AXES.items() if _fits(axes, letters)), None)
    if layout is None or shape[1 if layout == "TBC" else 0] != batch:
        return None
    if layout in {"BTC", "TBC"}:
        tokens = shape[layout.index("T")]
        extra = next(
            (n for n in range(min(tokens, MOST_EXTRA_TOKENS + 1)) if isqrt(tokens - n) ** 2 == tokens - n), None
        )
        return None if extra is None else layout.replace("T", f"({extra}+T)" if extra else "T")
    return layout


def _fits(axes: str, letters: str) -> bool:
    return len(axes) == len(letters) and all(axis in {letter, "1"} for axis, letter in zip(axes, letters, strict=True))


def _guess(shape: Sequence[int], batch: int) -> str:
    """Axes by their lengths alone, empty where several readings fit."""
    first = [axis for axis, length in enumerate(shape[:2]) if length == batch]
    if len(shape) == 4 and first[:1] == [0] and (shape[1] == shape[2]) != (shape[2] == shape[3]):
        return "BHWC" if shape[1] == shape[2] else "BCHW"
    return {(2, 0): "BC", (3, 0): "BTC", (3, 1): "TBC"}.get((len(shape), first[0]), "") if len(first) == 1 else ""


def _batch_first(output: Tensor, layout: str) -> tuple[Tensor, int]:
    """Tokens (B, n + T, C), and how many of them have no place."""
    match = _TOKENS.fullmatch(layout)
    if match is None:
        raise ValueError(f"unknown layout {layout!r}")
    return output if match["batch"] else output.transpose(0, 1), int(match["extra"] or 0)
