"""The strongest images of every neuron, kept in a stream."""

import torch
from torch import Tensor

from neurocarto.extraction.lasting import lasting
from neurocarto.records import IntArray

EMPTY = torch.iinfo(torch.int64).min
_LOW_WORD = 0xFFFFFFFF
_ROWS = 1024
"""Rows that are sorted at once: what that needs in passing is small beside what is kept."""


def encode(values: Tensor, positions: Tensor) -> Tensor:
    """Pack values (float32) and positions (0 … 2³²-1) into int64 keys of the same total order.

    A greater value is a greater key; of equal values the earlier position is the greater key. So a top-k
    of keys has no ties, and does not depend on the order in which images come.
    """
    bits = values.to(torch.float32).add(0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)
    return (ordered << 32) | (_LOW_WORD - positions.to(torch.int64))


def decode(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack keys into values (float32) and positions (int64); where a key is EMPTY, -inf and -1."""
    bits = (keys >> 32).to(torch.int32)
    values = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    positions = _LOW_WORD - (keys & _LOW_WORD)
    empty = keys == EMPTY
    return values.masked_fill(empty, -torch.inf), positions.masked_fill(empty, -1)


class TopK:
    """The k greatest keys of every row, each with the cell of the map where its peak lies.

    keys (rows, m) int64, descending, EMPTY where a row has fewer; cells (rows, m) int32; m grows to k with what comes.
    Memory: 12 bytes × rows × m.
    """

    def __init__(self, rows: int, k: int, device: torch.device | str = "cpu") -> None:
        self.k = k
        self.keys = torch.empty((rows, 0), dtype=torch.int64, device=device)
        self.cells = torch.empty((rows, 0), dtype=torch.int32, device=device)

    def update(self, *entries: tuple[Tensor, Tensor]) -> None:
        """Take in new entries: pairs of keys and cells (rows, m). A position may come only once per row."""
        keys, cells = zip((self.keys, self.cells), *entries, strict=True)
        rows, k = len(self.keys), min(self.k, sum(part.shape[1] for part in keys))
        best, places = (lasting((rows, k), kept.dtype, kept.device) for kept in (self.keys, self.cells))
        for block in (slice(begin, begin + _ROWS) for begin in range(0, rows, _ROWS)):
            best[block], chosen = torch.cat([part[block] for part in keys], dim=1).topk(k, dim=1)
            places[block] = torch.cat([part[block] for part in cells], dim=1).gather(1, chosen)
        self.keys, self.cells = best, places

    def merge(self, other: "TopK") -> None:
        """Take in everything that another stream has kept."""
        self.update((other.keys, other.cells))

    def copy(self) -> "TopK":
        """Return a copy that later updates do not change."""
        return TopK.of(self.keys, self.cells, self.k)  # update() replaces both, never writes into them

    @classmethod
    def of(cls, keys: Tensor | IntArray, cells: Tensor | IntArray, k: int) -> "TopK":
        """Make a stream of what another had kept."""
        stream = cls(0, k)
        stream.keys, stream.cells = torch.as_tensor(keys), torch.as_tensor(cells)
        return stream
