"""Example boxes: the part of an image that made a neuron fire.

The theoretical receptive field soon exceeds the image, but most of it hardly matters: the input gradient
of a peak falls off quickly around it (Luo et al., "Understanding the effective receptive field in deep
convolutional neural networks", NeurIPS 2016). The box of a layer is the square around the peak that
holds a stated share of that gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from neurocarto.extraction.hooks import outputs_until
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Extraction, Layer, TopActivations, layer_slices
from neurocarto.settings import RunSettings

PEAKS_PER_LAYER = 16
LARGEST_AREA = 0.35
"""Share of the input that a box may cover at most: a box of everything explains nothing."""


def measure_boxes(
    model: Model,
    extraction: Extraction,
    images: ImageSet,
    settings: RunSettings,
    advance: Callable[[int], object],
) -> tuple[Layer, ...]:
    """Measure the side of each layer's example box, in input pixels, on seeded peaks of its own neurons.

    A map of one cell knows no places: its box is the whole input. Time: one forward and backward pass for each of
    16 peaks a layer.
    """
    rng = np.random.default_rng(settings.seed)
    torch.set_num_threads(settings.threads)
    measured = []
    for layer, rows in zip(extraction.layers, layer_slices(extraction.layers).values(), strict=True):
        advance(1)
        if layer.map_height * layer.map_width == 1:
            measured.append(replace(layer, example_box=float(model.preprocessing.size)))
            continue
        alive = rows.start + np.flatnonzero(extraction.whole.images[rows, 0] >= 0)
        neurons = rng.choice(alive, min(PEAKS_PER_LAYER, len(alive)), replace=False)
        masses = [np.zeros((0, model.preprocessing.size))]
        for begin in range(0, len(neurons), settings.batch_size):
            chosen = neurons[begin : begin + settings.batch_size]
            masses.append(_gradient_mass(model, layer, chosen - rows.start, chosen, extraction, images))
        measured.append(replace(layer, example_box=_side(np.concatenate(masses), settings.box_share)))
    return tuple(measured)


def _gradient_mass(
    model: Model,
    layer: Layer,
    channels: npt.NDArray[np.int64],
    neurons: npt.NDArray[np.int64],
    extraction: Extraction,
    images: ImageSet,
) -> npt.NDArray[np.float64]:
    """Share of the input gradient of each neuron's strongest peak within r pixels of it, (peaks, size)."""
    top = extraction.whole
    files = images.indices(extraction.images["path"])[top.images[neurons, 0]]
    inputs = model.inputs([images.open(file) for file in files]).requires_grad_()
    output = outputs_until(model.module, inputs, [layer])[layer.name]
    rows = torch.from_numpy((top.rows[neurons, 0] * layer.map_height).astype(np.int64))
    columns = torch.from_numpy((top.columns[neurons, 0] * layer.map_width).astype(np.int64))
    peaks = output[torch.arange(len(neurons)), torch.from_numpy(channels), rows, columns]
    (gradient,) = torch.autograd.grad(peaks.sum(), inputs)
    return _radial_mass(gradient.abs().sum(1).cpu(), top.rows[neurons, 0], top.columns[neurons, 0])


def _radial_mass(
    mass: Tensor, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Share of mass (peaks, S, S) in the squares of half-side 1 … S around places given as fractions.

    Peaks without any mass are left out.
    """
    size = mass.shape[-1]
    centres = np.arange(size) + 0.5
    result = np.empty((len(mass), size))
    for peak, (row, column) in enumerate(zip(rows * size, columns * size, strict=True)):
        distance = np.maximum(abs(centres - row)[:, None], abs(centres - column)[None, :])
        rings = np.minimum(distance, size - 0.5).astype(int)
        result[peak] = np.bincount(rings.ravel(), mass[peak].double().numpy().ravel(), minlength=size).cumsum()
    depends = result[:, -1] > 0  # a constant channel has a peak that depends on nothing
    return result[depends] / result[depends, -1:]


def _side(masses: npt.NDArray[np.float64], share: float) -> float:
    """Side of the smallest square that holds, in the mean over peaks, that share of the mass."""
    size = masses.shape[1]
    largest = float(size * LARGEST_AREA**0.5)
    if not len(masses):
        return largest
    half = 1 + int(np.searchsorted(masses.mean(axis=0), share))
    return float(min(2 * half, largest))


def example_table(
    extraction: Extraction,
    layers: Sequence[Layer],
    offsets: npt.NDArray[np.float32],
    preprocessing: Preprocessing,
    per_half: int,
) -> pd.DataFrame:
    """List each neuron's strongest images of either half, with their boxes in pixels of the upright original.

    A box is centred where the neuron looks, the peak's cell moved by its offset (N, 2), and may reach past
    the image's border when that lies close to it. Rows in order of neuron, half, rank.
    """
    channels = [layer.channels for layer in layers]
    boxes = np.repeat([layer.example_box or preprocessing.size for layer in layers], channels)
    parts = [_half_table(top, half, per_half) for half, top in enumerate(extraction.halves)]
    table = pd.concat(parts).sort_values(["neuron", "half", "rank"], ignore_index=True)
    sizes = extraction.images[["width", "height"]].to_numpy()[table["image"]]
    x, y, scale = preprocessing.to_original(
        _inside(table.pop("column") * preprocessing.size + offsets[table["neuron"], 1], preprocessing.size),
        _inside(table.pop("row") * preprocessing.size + offsets[table["neuron"], 0], preprocessing.size),
        sizes[:, 0],
        sizes[:, 1],
    )
    reach = boxes[table["neuron"]] / 2 * scale
    return table.assign(x0=x - reach, y0=y - reach, x1=x + reach, y1=y + reach)


def _inside(places: pd.Series, size: int) -> npt.NDArray[np.float32]:
    return places.to_numpy(np.float32).clip(0, size)


def _half_table(top: TopActivations, half: int, per_half: int) -> pd.DataFrame:
    neuron, rank = (top.images[:, :per_half] >= 0).nonzero()
    return pd.DataFrame(
        {
            "neuron": neuron,
            "rank": rank,
            "half": half,
            "image": top.images[neuron, rank],
            "activation": top.activations[neuron, rank],
            "row": top.rows[neuron, rank],
            "column": top.columns[neuron, rank],
        }
    )
