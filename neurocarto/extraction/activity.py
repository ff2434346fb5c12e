"""Everything that one pass over the images keeps of every neuron: a stream that can be merged."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.lasting import LastingRows
from neurocarto.extraction.models import Model
from neurocarto.extraction.peaks import spatial_peaks
from neurocarto.extraction.topk import EMPTY, TopK, encode
from neurocarto.records import Layer, layer_slices

PENDING_COLUMNS = 128
"""Images per half that wait before they are sorted in: one sort of many is cheaper than many of one."""
LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network said of one image, and the size of that image in pixels."""

    output: int
    confidence: float
    width: int
    height: int


@dataclass(frozen=True)
class Batch:
    """What the network did on a batch of images.

    positions (B,) int64: places in the seeded order; peaks (B, N) float32: spatial maxima before the
    clamp, so that saturated neurons still have an order and a place; cells (B, N) int32: where the peak
    lies on the map; logits (B, outputs).
    """

    positions: Tensor
    peaks: Tensor
    cells: Tensor
    logits: Tensor

    def to(self, device: str) -> "Batch":
        """Return the same on a device."""
        return Batch(*(tensor.to(device) for tensor in (self.positions, self.peaks, self.cells, self.logits)))


def run_batch(
    model: Model, layers: Sequence[Layer], inputs: Tensor, positions: Tensor, precision: str = "full"
) -> Batch:
    """Run the network on inputs (B, channels, H, W) and read every layer's spatial maxima and their places.

    All on the device of the network; precision: as of RunSettings. ModelError when a layer's output is not a number, or
    the device's memory does not suffice.
    """
    slices = layer_slices(layers)
    count = sum(layer.channels for layer in layers)
    peaks = torch.empty((len(inputs), count), device=inputs.device)
    cells = torch.empty((len(inputs), count), dtype=torch.int32, device=inputs.device)

    def read(name: str, output: Tensor) -> None:
        peaks[:, slices[name]], cells[:, slices[name]] = spatial_peaks(output)

    try:
        with layer_outputs(model.module, layers, read), autocast(inputs.device.type, precision):
            logits = model.logits(inputs).float()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{inputs.device} has too little memory for batches of {len(inputs)} images; choose a smaller batch_size"
        ) from error
    if not torch.isfinite(peaks).all():
        hint = ", or choose precision=full" if precision == "mixed" else ""
        raise ModelError(f"{model.name} gives activations that are not finite numbers; check its weights{hint}")
    return Batch(positions.to(inputs.device), peaks, cells, logits)


def autocast(kind: str, precision: str) -> AbstractContextManager[object]:
    """Let a kind of device compute in a precision, as of RunSettings."""
    half = torch.bfloat16 if kind == "cpu" else torch.float16  # the one that is fast there
    return torch.autocast(kind, half) if precision == "mixed" else nullcontext()


class Activity:
    """Statistics of every neuron over a stream of images: update, merge.

    Images have positions in one seeded order; even positions are half 0, odd ones half 1. Merging is
    exact for everything but the float64 sums, whose grouping is fixed by merging in shard order. Memory:
    neurons × (2 k × 12 bytes + classes × 8 + sampled images × 2), however many images come, mapped apart from the heap;
    classes are labels and predictions that occur.

    halves: the strongest images of each half, of unsigned neurons only those that are active; total, active (N,):
    sums over images, of activations and of those above zero; class_sums: per (kind, class); profile: activations (N,)
    float16 per sampled position; predictions, skipped: per position. device: where it is kept, as batches have to be.
    """

    def __init__(self, layers: Sequence[Layer], k: int, device: torch.device | str = "cpu") -> None:
        self.layers = tuple(layers)
        self.count = sum(layer.channels for layer in layers)
        self.halves = (TopK(self.count, k, device), TopK(self.count, k, device))
        self.total = torch.zeros(self.count, dtype=torch.float64, device=device)
        self.active = torch.zeros(self.count, dtype=torch.int64, device=device)
        # No way back to self: a cycle would live on.
        sums = LastingRows(self.count, torch.float64, device)
        self.class_sums: defaultdict[tuple[str, str], Tensor] = defaultdict(sums)
        self.profile: defaultdict[int, Tensor] = defaultdict(LastingRows(self.count, torch.float16))
        self.predictions: dict[int, Prediction] = {}
        self.skipped: dict[int, str] = {}
        self._pending: tuple[list[tuple[Tensor, Tensor]], ...] = ([], [])
        low, high = clamp_bounds(layers)
        # Signed neurons' rest is known only at the end: until then their strongest are kept, whatever they are.
        floor = low.clamp(min=0).masked_fill(signed_neurons(layers), -torch.inf)
        self._low, self._high, self._floor = low.to(device), high.to(device), floor.to(device)

    def update(
        self,
        batch: Batch,
        sizes: Sequence[tuple[int, int]],
        labels: Sequence[str | None],
        categories: Sequence[str],
        sampled: frozenset[int],
    ) -> None:
        """Take in a batch of images.

        sizes (width, height) and labels per image; categories names the outputs; sampled: the positions
        whose activations are kept whole.
        """
        activations = batch.peaks.clamp(self._low, self._high)  # (B, N)
        keys = encode(batch.peaks, batch.positions[:, None]).masked_fill_(activations <= self._floor, EMPTY)
        for half, pending in enumerate(self._pending):
            mine = batch.positions % 2 == half
            pending.append((keys[mine].T, batch.cells[mine].T))
            if sum(entry.shape[1] for entry, _ in pending) >= PENDING_COLUMNS:
                self._flush(half)
        self.total += activations.sum(0, dtype=torch.float64)
        self.active += (activations > 0).sum(0)
        confidences, outputs = (found.tolist() for found in batch.logits.softmax(1).max(1))
        for row, position in enumerate(batch.positions.tolist()):
            output = outputs[row]
            self.predictions[position] = Prediction(output, confidences[row], *sizes[row])
            self.class_sums["prediction", categories[output]] += activations[row]
            label = labels[row]
            if label is not None:
                self.class_sums["label", label] += activations[row]
            if position in sampled:
                self.profile[position].copy_(activations[row].clamp(-LARGEST, LARGEST))

    def merge(self, other: "Activity") -> None:
        """Take in another stream of the same network over other images."""
        for half in range(2):
            self._flush(half)
            other._flush(half)
            self.halves[half].merge(other.halves[half])
        self.total += other.total
        self.active += other.active
        for key, sums in other.class_sums.items():
            self.class_sums[key] += sums
        self.profile.update(other.profile)
        self.predictions.update(other.predictions)
        self.skipped.update(other.skipped)

    def strongest(self, k: int) -> TopK:
        """Return the k strongest over both halves, at most as many as are kept of either."""
        strongest = TopK(self.count, min(k, self.halves[0].k))
        for half in range(2):
            self._flush(half)
            strongest.merge(self.halves[half])
        return strongest

    def _flush(self, half: int) -> None:
        pending = self._pending[half]
        if pending:
            self.halves[half].update(*pending)
            pending.clear()

    def parts(self) -> dict[str, Any]:
        """Return everything as arrays and JSON; from_parts makes an equal stream of them, kept by the processor."""
        for half in range(2):
            self._flush(half)
        profile, predictions = sorted(self.profile), sorted(self.predictions)
        return {
            **{f"keys{half}": top.keys.cpu().numpy() for half, top in enumerate(self.halves)},
            **{f"cells{half}": top.cells.cpu().numpy() for half, top in enumerate(self.halves)},
            "k": self.halves[0].k,
            "total": self.total.cpu().numpy(),
            "active": self.active.cpu().numpy(),
            "classes": [list(key) for key in self.class_sums],
            "class_sums": _stack([*self.class_sums.values()], self.total).cpu().numpy(),
            "profile_positions": profile,
            "profile": _stack([self.profile[position] for position in profile], self.total.cpu().half()).numpy(),
            "predictions": [[position, *astuple(self.predictions[position])] for position in predictions],
            "skipped": [[position, reason] for position, reason in sorted(self.skipped.items())],
        }

    @classmethod
    def from_parts(cls, layers: Sequence[Layer], parts: Mapping[str, Any]) -> "Activity":
        """Make the stream that parts() described."""
        stream = cls(layers, parts["k"])
        first, second = (TopK.of(parts[f"keys{half}"], parts[f"cells{half}"], parts["k"]) for half in range(2))
        stream.halves = first, second
        stream.total, stream.active = torch.from_numpy(parts["total"]), torch.from_numpy(parts["active"])
        for (kind, name), row in zip(parts["classes"], torch.from_numpy(parts["class_sums"]), strict=True):
            stream.class_sums[kind, name].copy_(row)
        for position, row in zip(parts["profile_positions"], torch.from_numpy(parts["profile"]), strict=True):
            stream.profile[position].copy_(row)
        stream.predictions = {position: Prediction(*values) for position, *values in parts["predictions"]}
        stream.skipped = {position: reason for position, reason in parts["skipped"]}
        return stream


def _stack(rows: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(rows)) if rows else like.new_zeros((0, *like.shape))


def clamp_bounds(layers: Sequence[Layer]) -> tuple[Tensor, Tensor]:
    """Return the lower and upper clamp of every neuron, (N,) each, infinite where there is none."""
    bounds = [layer.clamp or (None, None) for layer in layers]
    clamps = [(-torch.inf if low is None else low, torch.inf if high is None else high) for low, high in bounds]
    channels = torch.tensor([layer.channels for layer in layers])
    low, high = torch.tensor(clamps).T.repeat_interleave(channels, dim=1)
    return low, high


def signed_neurons(layers: Sequence[Layer]) -> Tensor:
    """Return which neurons are signed (N,): at rest they are not zero but their own mean."""
    return torch.tensor([layer.signed for layer in layers for _ in range(layer.channels)], dtype=torch.bool)
