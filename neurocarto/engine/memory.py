"""How much memory an extraction will take, said before it starts."""

import os
from collections.abc import Sequence

import torch

from neurocarto.engine.local import BATCHES_AHEAD
from neurocarto.extraction.models import Model
from neurocarto.records import Layer
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings

_ENTRY = 12
"""Bytes of an entry of a stream: a key and a cell."""
_READ = 20
"""Bytes of an entry that has been read out of its stream: activation, peak, image, row, column."""
_SLACK = 1.25
"""What the allocator holds for each byte in use (measured)."""
_ELSE = 40_000_000
"""Bytes of everything that does not grow with neurons or images: decoders, buffers, tables (measured)."""


def expected_peak(model: Model, layers: Sequence[Layer], images: int, labels: int, settings: RunSettings) -> int:
    """Estimate the peak of this process's memory (resident set) during extraction, in bytes.

    What the process holds now, and what two forward passes add where they are the processor's, is measured; what the
    stream will hold follows from neurons, top_k, classes and sampled images, and hardly from the number of images.
    labels: how many there are.
    """
    with torch.inference_mode():
        for _ in range(2 if settings.device == "cpu" else 0):
            model.logits(model.blank(settings.batch_size))
    return resident_bytes() + _growth(model, layers, images, labels, settings)


def _growth(model: Model, layers: Sequence[Layer], images: int, labels: int, settings: RunSettings) -> int:
    neurons = sum(layer.channels for layer in layers)
    snapshots = len(SNAPSHOT_FRACTIONS)
    stream = neurons * settings.top_k * _ENTRY
    sums = neurons * 8 * (labels + min(images, len(model.categories)))
    profile = neurons * 2 * min(images, settings.profile_images)
    waiting = settings.batch_size * BATCHES_AHEAD * model.blank().numel()
    # While it runs: the stream, what waits of a shard and is merged (4 streams), the snapshots; sums and profile twice,
    # as a copy of them is saved.
    running = stream * (2 + 4 + snapshots) + 2 * (sums + profile) + waiting
    # At the end: the stream and its snapshots, then all of it read out, which frees the sums.
    reading = stream * 2 + neurons * settings.top_k * _READ * (3 + snapshots) + 2 * profile
    return round(max(running, reading) * _SLACK) + _ELSE


def kept_per_neuron(settings: RunSettings) -> int:
    """Return the bytes that a pass over many images keeps of one neuron, without classes (8 bytes each)."""
    return settings.top_k * _ENTRY * (2 + len(SNAPSHOT_FRACTIONS)) + 2 * settings.profile_images


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the most it has held so far
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
