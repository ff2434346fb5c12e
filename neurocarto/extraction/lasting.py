"""Memory for what lasts, mapped apart from the heap.

A pass over many images asks for the same hundreds of megabytes with every batch. What it keeps would lie scattered
among these in the C library's heap, which could neither be used again whole nor be handed back. Only what the processor
keeps is mapped; a graphics card has an allocator of its own.
"""

import math
import mmap

import torch
from torch import Tensor

_AT_ONCE = 2**22
"""Bytes of rows that are mapped at once: few mappings, and little in them that is not used yet."""


def lasting(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return zeros of this shape; their memory goes back to the system as soon as nobody holds them."""
    count = math.prod(shape)
    if torch.device(device).type != "cpu" or not count:
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype).view(shape)


class LastingRows:
    """Gives one row of zeros (width,) after another."""

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self._shape = max(1, _AT_ONCE // max(1, width * dtype.itemsize)), width
        self._dtype, self._device = dtype, device
        self._left: list[Tensor] = []

    def __call__(self) -> Tensor:
        """Return the next row."""
        if not self._left:
            self._left = [*lasting(self._shape, self._dtype, self._device)]
        return self._left.pop()
