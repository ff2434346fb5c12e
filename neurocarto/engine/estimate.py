"""What a run will take, said before it starts: measured on this machine where that is quick, else by proportion."""

import time
from typing import Any

import torch

from neurocarto.engine.memory import expected_peak
from neurocarto.extraction.layers import list_layers
from neurocarto.extraction.models import Model
from neurocarto.settings import RunSettings

PER_IMAGE = 1.2
"""Of what a forward pass takes, as everything below: extraction, decoding included (docs/performance.md)."""
PER_LAYER = 27.0
"""Boxes: 16 peaks forward and backward."""
PER_CLASS = (130.0, 450.0)
"""Influence of a class that the network has no output for, and of one that it has."""
OFFSETS = 1_600.0
PER_NEURON = 0.0066
"""Seconds: clusters, embedding, map and quality of 10,240 neurons on two cores."""
PER_PREVIEW = 0.005
"""Seconds: the small copy of an image."""
PASSES, ENOUGH = 5, 1.0
"""Forward passes that are timed, as long as they take no more seconds together: the quickest counts, as what else the
machine does comes and goes.
"""


def describe(model: Model, images: int, labels: int, settings: RunSettings) -> dict[str, Any]:
    """Return a network's layers and what a run on so many images of so many labels would take, as JSON.

    layers: name, kind, channels, map, field, default (whether studied unless told otherwise), problem (why it cannot
    be); seconds: per_image, per_layer, per_neuron, fixed, and per_class: at least and at most; memory (bytes): fixed
    and per_neuron.
    """
    rows = list_layers(model, 0)
    studied = [row.layer for row in rows if row.default and row.layer]
    with torch.inference_mode():
        model.logits(model.blank(settings.batch_size))
        once = _quickest_pass(model, settings.batch_size) / settings.batch_size
    fixed = expected_peak(model, (), images, labels, settings)
    neurons = sum(layer.channels for layer in studied)
    return {
        "layers": [
            {
                "name": row.name,
                "kind": row.kind,
                "channels": row.layer.channels if row.layer else 0,
                "map": f"{row.layer.map_height} x {row.layer.map_width}" if row.layer else "",
                "field": row.layer.receptive_field if row.layer else None,
                "default": row.default,
                "problem": row.problem,
            }
            for row in rows
        ],
        "seconds": {
            "per_image": PER_IMAGE * once + PER_PREVIEW,
            "per_layer": PER_LAYER * once,
            "per_neuron": PER_NEURON,
            "per_class": [passes * once for passes in PER_CLASS],
            "fixed": OFFSETS * once,
        },
        "memory": {
            "fixed": fixed,
            "per_neuron": (expected_peak(model, studied, images, labels, settings) - fixed) / max(1, neurons),
        },
    }


def _quickest_pass(model: Model, batch_size: int) -> float:
    taken: list[float] = []
    while len(taken) < PASSES and sum(taken) < ENOUGH:
        begin = time.perf_counter()
        model.logits(model.blank(batch_size))
        taken.append(time.perf_counter() - begin)
    return min(taken)
