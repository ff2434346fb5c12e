"""Where a neuron looks, relative to the cell of the map where it peaks.

A kernel need not be centred: in a map of 7 × 7 cells a 5 × 5 kernel can make a neuron fire two cells, 64
pixels, beside what excites it. So every neuron's field has an offset, found layer by layer: the middle
of what speaks for a peak (positive gradient × activation) on the layers that its own builds on directly
(see find_lineage), where every channel is moved by its own offset. Tokens and single cells have none: attention
looks anywhere, and a token's place is its own.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neurocarto.extraction.hooks import LastLayerReached
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.lineage import Lineage, follow
from neurocarto.extraction.models import Model
from neurocarto.records import Extraction, FloatArray, Layer, layer_slices
from neurocarto.settings import RunSettings

_Channels = npt.NDArray[np.int64]
_Rows = dict[str, list[_Channels]]

SAMPLE = 64
WORK = 8e11
"""Multiplications of all layers together: half a minute. Where more would be needed all layers are sampled alike."""


@dataclass(frozen=True)
class _Looks:
    """Where neurons of a layer look while their sources' channels stay where they are.

    channels (R,); shift (R, 2): from the peak's cell to the middle of what speaks for the peak, in input pixels;
    shares (R, C'): how much of it lies on each of the sources' channels; all 0 where nothing speaks for the neuron.
    """

    channels: _Channels
    shift: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float32]


_PARTS = ("channels", "shift", "shares")


def measure_offsets(
    model: Model,
    extraction: Extraction,
    lineage: Lineage,
    images: ImageSet,
    settings: RunSettings,
    advance: Callable[[int], object],
) -> npt.NDArray[np.float32]:
    """Return the offset (N, 2) of every neuron's field from the centre of its peak's cell: y, x in input pixels.

    Whole pixels: finer is not known, and boxes on a grid keep the table of examples small. Each neuron is
    looked at on that of 64 seeded images that excites it most. Where that would exceed WORK only a seeded sample
    of each layer's neurons is, at least one per image, and the others have the sample's median. advance is called
    with the number of layers done. Time: a forward pass per image, and per neuron a backward pass through one layer.
    Memory: see follow, and 4 bytes per neuron and channel that it builds on.
    """
    torch.set_num_threads(settings.threads)
    offsets = np.zeros((len(extraction.maximum), 2), np.float32)
    placed = _measured(extraction.layers, lineage)
    if placed:
        looks = _look(model, extraction, lineage, placed, images, settings, advance)
        slices = layer_slices(extraction.layers)
        for name in (name for name in lineage.parents if name in placed):
            before = [offsets[slices[parent]] for parent in lineage.parents[name]]
            offsets[slices[name]] = _moved(looks[name], before, len(offsets[slices[name]]))
    else:
        advance(len(extraction.layers))
    return np.rint(offsets)


def is_placed(layer: Layer) -> bool:
    """Return whether neurons can look beside their cell: not where attention looks anywhere, nor on single cells."""
    local = layer.layout == "BCHW" or (layer.layout == "BHWC" and layer.receptive_field is not None)
    return local and layer.map_height * layer.map_width > 1


def _measured(layers: Sequence[Layer], lineage: Lineage) -> list[str]:
    """The layers whose neurons can look beside their cell, but for those with attention between them and a parent."""
    tokens = {layer.name for layer in layers if "T" in layer.layout or "(" in layer.layout}
    return [
        layer.name for layer in layers if is_placed(layer) and not tokens & set(lineage.parents.get(layer.name, ()))
    ]


def _look(
    model: Model,
    extraction: Extraction,
    lineage: Lineage,
    placed: Collection[str],
    images: ImageSet,
    settings: RunSettings,
    advance: Callable[[int], object],
) -> dict[str, list[_Looks]]:
    """Look at the neurons of the placed layers, each on the image that excites it most."""
    shown, looked_at = _chosen(extraction, placed, lineage.work, settings.seed)
    files = images.indices(extraction.images["path"])[shown]
    looks: dict[str, list[_Looks]] = {name: [] for name in placed}
    last = [name for name in lineage.parents if name in placed][-1]
    count = len(extraction.layers)
    for begin in range(0, len(files), settings.batch_size):
        end = min(begin + settings.batch_size, len(files))
        batch = model.inputs([images.open(file) for file in files[begin:end].tolist()]).requires_grad_()
        rows = {name: channels[begin:end] for name, channels in looked_at.items()}

        def visit(
            name: str, output: Tensor, sources: Mapping[str, Tensor], batch: Tensor = batch, rows: _Rows = rows
        ) -> None:
            if name in placed:
                looks[name] += _looks(output, [*sources.values()] or [batch], rows[name], batch.shape[-2:])
            if name == last:
                raise LastLayerReached

        with suppress(LastLayerReached):
            follow(model, extraction.layers, lineage, batch, visit)
        advance(count * end // len(files) - count * begin // len(files))
    return looks


def _chosen(
    extraction: Extraction, placed: Collection[str], work: Mapping[str, int], seed: int
) -> tuple[npt.NDArray[np.int32], _Rows]:
    """Choose the images, and for each layer and image the channels to look at there: as many as WORK allows."""
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(len(extraction.profile))[:SAMPLE])
    shown = extraction.profile[sample].astype(np.float32)
    best = (shown + rng.random(shown.shape, np.float32) * 1e-3).argmax(0)  # saturated neurons have many equals
    slices = layer_slices(extraction.layers)
    own = {name: [np.flatnonzero(best[slices[name]] == image) for image in range(len(sample))] for name in placed}
    turns = {name: max(map(len, channels)) for name, channels in own.items()}
    share = min(1.0, WORK / max(1, sum(turns[name] * len(sample) * work[name] for name in placed)))
    most = {name: max(1, int(share * turns[name])) for name in placed}
    looked_at = {name: [rng.permutation(mine)[: most[name]] for mine in channels] for name, channels in own.items()}
    return extraction.profile_images[sample], looked_at


def _looks(
    output: Tensor, sources: Sequence[Tensor], looked_at: Sequence[_Channels], size: Sequence[int]
) -> Iterator[_Looks]:
    """Look at the chosen channels of each image of a batch: the i-th of all images share one backward pass.

    output (B, C, H, W); sources (B, C', H', W') each; size (height, width) of the input.
    """
    peaks = output.detach().flatten(2).argmax(2).cpu()  # (B, C)
    for turn in range(max(map(len, looked_at))):
        rows = torch.tensor([row for row, channels in enumerate(looked_at) if turn < len(channels)])
        channels = torch.tensor([looked_at[row][turn] for row in rows])
        place = peaks[rows, channels]
        values = output.flatten(2)[rows, channels, place]
        gradients = torch.autograd.grad(values.sum(), sources, retain_graph=True)
        # What speaks for the neurons, (R, C', H', W') for each source.
        masses = [(g * s.detach()).clamp(min=0)[rows] for g, s in zip(gradients, sources, strict=True)]
        shares = torch.cat([mass.sum((2, 3)) for mass in masses], dim=1).cpu()
        total = shares.sum(1, keepdim=True)
        middle = torch.stack([_moment(mass, size) for mass in masses]).sum(0).cpu()
        cells = torch.stack([place // output.shape[3], place % output.shape[3]], dim=1)
        peak = (cells + 0.5) * (torch.tensor(size) / torch.tensor(output.shape[2:]))
        least = total.clamp(min=1e-30)
        shift = torch.where(total > 0, middle / least - peak, 0.0)
        yield _Looks(channels.numpy(), shift.numpy(), (shares / least).numpy())


def _moment(mass: Tensor, size: Sequence[int]) -> Tensor:
    """Sum of mass (R, C', H', W') × place (y, x) in input pixels, (R, 2)."""
    cells = (torch.arange(n, device=mass.device) for n in mass.shape[2:])
    places = [(cell + 0.5) * (side / len(cell)) for cell, side in zip(cells, size, strict=True)]
    return torch.stack([mass.sum((1, 3)) @ places[0], mass.sum((1, 2)) @ places[1]], dim=1)


def _moved(looks: Sequence[_Looks], before: Sequence[FloatArray], count: int) -> npt.NDArray[np.float32]:
    """Offsets (count, 2) of a layer's neurons, whose sources' channels have the offsets before (C'', 2) each."""
    channels, shift, shares = (np.concatenate([getattr(look, name) for look in looks]) for name in _PARTS)
    found = shift + shares @ np.concatenate(before) if before else shift
    speaks = shares.any(1)
    offsets = np.zeros((count, 2), np.float32)
    offsets[:] = np.median(found[speaks], axis=0) if speaks.any() else 0
    offsets[channels] = found
    return offsets
