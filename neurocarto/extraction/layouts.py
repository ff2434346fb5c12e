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

from torch import Tensor

_TOKENS = re.compile(r"(?P<batch>B?)(?:\((?P<extra>\d+)\+T\)|T)B?C")


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


def _batch_first(output: Tensor, layout: str) -> tuple[Tensor, int]:
    """Tokens (B, n + T, C), and how many of them have no place."""
    match = _TOKENS.fullmatch(layout)
    if match is None:
        raise ValueError(f"unknown layout {layout!r}")
    return output if match["batch"] else output.transpose(0, 1), int(match["extra"] or 0)
