"""Where a neuron looks, relative to the cell of the map where it peaks.

A kernel need not be centred: in a map of 7 × 7 cells a 5 × 5 kernel can make a neuron fire two cells, 64
pixels, beside what excites it. So every neuron's field has an offset, found layer by layer: the middle
of what speaks for a peak (positive gradient × activation) on the layer before, where every channel is
moved by its own offset.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neurocarto.extraction.hooks import LastLayerReached, inside_clamp, layer_outputs
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.models import Model
from neurocarto.records import Extraction, Layer, layer_slices
from neurocarto.settings import RunSettings

VERSION = 1
"""Version of the algorithm; part of cache keys."""

SAMPLE = 64


def measure_offsets(
    model: Model, extraction: Extraction, images: ImageSet, settings: RunSettings, advance: Callable[[int], object]
) -> npt.NDArray[np.float32]:
    """Return the offset (N, 2) of every neuron's field from the centre of its peak's cell: y, x in input pixels.

    Whole pixels: finer is not known, and boxes on a grid keep the table of examples small. Each neuron is
    looked at on that of 64 seeded images that excites it most. advance is called once per layer. Time: half
    a forward pass per layer and image, and per neuron a backward pass through one layer.
    """
    torch.set_num_threads(settings.threads)
    rng = np.random.default_rng(settings.seed)
    chosen = np.sort(rng.permutation(len(extraction.profile))[:SAMPLE])
    shown = extraction.profile[chosen].astype(np.float32)
    best = (shown + rng.random(shown.shape, np.float32) * 1e-3).argmax(0)  # saturated neurons have many equals
    files = images.indices(extraction.images["path"])[extraction.profile_images[chosen]]
    inputs = model.inputs([images.open(file) for file in files])
    offsets = np.zeros((len(best), 2), np.float32)
    slices = layer_slices(extraction.layers)
    before: Layer | None = None
    for layer in extraction.layers:
        own = slices[layer.name]
        known = torch.from_numpy(offsets[slices[before.name]]) if before else torch.zeros(inputs.shape[1], 2)
        for begin in range(0, len(inputs), settings.batch_size):
            batch = inputs[begin : begin + settings.batch_size]
            output, source = _run_between(model, batch, before, layer)
            looked_at = [np.flatnonzero(best[own] == begin + row) for row in range(len(batch))]
            for channel, offset in _offsets(output, source, known, looked_at, model.preprocessing.size):
                offsets[own.start + channel] = offset
        before = layer
        advance(1)
    return np.rint(offsets)


def _run_between(model: Model, batch: Tensor, before: Layer | None, layer: Layer) -> tuple[Tensor, Tensor]:
    """Run the network up to a layer; returns its output and the source that it can be differentiated to.

    The source is the activation of the layer before, or the batch itself for the first layer.
    """
    source = inputs = batch.detach().requires_grad_(before is None)
    found: list[Tensor] = []

    def visit(name: str, output: Tensor) -> Tensor:
        nonlocal source
        if name == layer.name:
            found.append(output)
            raise LastLayerReached
        source = inside_clamp(output, before.clamp if before else None).detach().requires_grad_()
        return source

    with layer_outputs(model.module, [before, layer] if before else [layer], visit), suppress(LastLayerReached):
        model.module(inputs)
    return found[0], source


def _offsets(
    output: Tensor, source: Tensor, known: Tensor, looked_at: Sequence[npt.NDArray[np.int64]], size: int
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield channel and offset (2,) for the channels looked at on each image of a batch.

    output (B, C, H, W); source (B, C', H', W'); known (C', 2): offsets of the source's own channels. The
    i-th channels of all images share one backward pass.
    """
    peaks = output.detach().flatten(2).argmax(2)  # (B, C)
    cell, source_cell = (size / maps.shape[-1] for maps in (output, source))
    centres = (torch.arange(source.shape[-1]) + 0.5) * source_cell
    for turn in range(max(map(len, looked_at))):
        rows = [row for row, channels in enumerate(looked_at) if turn < len(channels)]
        channels = [int(looked_at[row][turn]) for row in rows]
        place = peaks[rows, channels]
        values = output.flatten(2)[rows, channels, place]
        (gradient,) = torch.autograd.grad(values.sum(), source, retain_graph=True)
        mass = (gradient * source.detach()).clamp(min=0)[rows]  # what speaks for the neuron, (R, C', H', W')
        moved = mass.sum((2, 3)) @ known  # (R, 2)
        middle = torch.stack([mass.sum((1, 3)) @ centres, mass.sum((1, 2)) @ centres], dim=1)
        cells = torch.stack([place // output.shape[3], place % output.shape[3]], dim=1)
        looks = (middle + moved) / mass.sum((1, 2, 3)).clamp(min=1e-30)[:, None]
        offset = torch.where(mass.sum((1, 2, 3))[:, None] > 0, looks - (cells + 0.5) * cell, 0.0)
        yield from zip(channels, offset.numpy(), strict=True)
