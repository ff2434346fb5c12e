"""How strongly each channel of a layer fires, and where: the maximum of its map and its cell, in one pass over it."""

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def spatial_peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maximum of every map (B, C) float32, and the first cell that has it (B, C) int32, row by row.

    maps (B, C, H, W). NaN counts as greater than every number. Time: one pass over the maps, and a copy where their
    channels do not lie next to each other.
    """
    if maps.device.type != "cpu":
        flat = maps.flatten(2).float()
        values = flat.amax(2)
        places = torch.arange(flat.shape[2], dtype=torch.int32, device=maps.device)
        # Of equal maxima the first: what argmax names on a graphics card may be another one every time.
        return values, torch.where(flat == values[..., None], places, flat.shape[2] - 1).amin(2)
    cellwise = maps.float().permute(0, 2, 3, 1).flatten(1, 2).contiguous()
    values = torch.empty((len(maps), maps.shape[1]))
    cells = torch.empty(values.shape, dtype=torch.int32)
    _peaks(cellwise.numpy(), values.numpy(), cells.numpy())
    return values, cells


@numba.njit(cache=True, nogil=True)
def _peaks(maps: npt.NDArray[np.float32], values: npt.NDArray[np.float32], cells: npt.NDArray[np.int32]) -> None:
    """Peaks of maps (B, cells, C): over all channels at once, cell by cell, as they lie in memory."""
    for image in range(len(maps)):
        best, where = values[image], cells[image]
        best[:], where[:] = maps[image, 0], 0
        for cell in range(1, maps.shape[1]):
            for channel in range(maps.shape[2]):
                value = maps[image, cell, channel]
                above = (value > best[channel]) | (value != value)  # NaN, once there, stays
                best[channel] = value if above else best[channel]
                where[channel] = cell if above else where[channel]
