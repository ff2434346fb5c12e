"""What extraction costs beside the bare network, both in this process, taking turns.

    python -m benchmarks.extraction [IMAGES] [--rounds 5] [--device cuda [--precision mixed]]

Prints what was measured as JSON and as a Markdown table, and puts the table into docs/performance.md. The unit is the
fastest bare forward pass: BatchNorms folded into the convolutions before them, activations in place, channels last,
the best of some batch sizes, inputs ready in memory. Takes the folder from NEUROCARTO_SAMPLE_IMAGES when none is given.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measuring import PeakMemory, options_of_images, spread, write_section
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import extract
from neurocarto.extraction.activity import autocast
from neurocarto.extraction.devices import devices_of
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.records import Layer
from neurocarto.settings import BATCH_ON_CARDS, RunSettings

UNIT = "bare pass, fastest"
BATCH_SIZES = {"cpu": (4, 8, 16, 32), "cuda": (64, 128, 256, 512), "mps": (16, 32, 64, 128)}
DECODED = {"cpu": 64, "cuda": 1024, "mps": 256}
"""Images whose pixels the bare passes run on, again and again."""
IMAGENET = 1_281_167
"""Images that ImageNet trains on."""


def bare_pass(module: nn.Module, inputs: Tensor, count: int, batch_size: int, precision: str = "full") -> None:
    """Run the network on `count` images, the same inputs again and again, and forget what it gives."""
    with torch.inference_mode(), autocast(inputs.device.type, precision):
        for begin in range(0, count, batch_size):
            start = begin % (len(inputs) - batch_size + 1)
            module(inputs[start : start + min(batch_size, count - begin)])
    if inputs.is_cuda:
        torch.cuda.synchronize()


def dense_argsort(model: Model, layers: Sequence[Layer], images: ImageSet, batch_size: int) -> None:
    """Keep every activation in a matrix of images × neurons and sort its columns: the usual way, no places."""
    rows: list[Tensor] = []

    def keep(_: str, maps: Tensor) -> None:
        found.append(maps.amax((2, 3)))

    with torch.inference_mode(), layer_outputs(model.module, layers, keep):
        for begin in range(0, len(images), batch_size):
            found: list[Tensor] = []
            model.module(model.inputs([images.open(i) for i in range(begin, min(begin + batch_size, len(images)))]))
            rows.append(torch.cat(found, 1).cpu())
    np.argsort(torch.cat(rows).numpy(), axis=0)


def fastest_batch(module: nn.Module, inputs: Tensor, precision: str = "full") -> int:
    """Return the batch size at which the network runs through the inputs soonest."""

    def seconds(size: int) -> float:
        way = partial(bare_pass, module, inputs, len(inputs), size, precision)
        way()
        return min(_timed(way) for _ in range(3))

    return min((size for size in BATCH_SIZES[inputs.device.type] if size <= len(inputs)), key=seconds)


def measure(model: Model, images: ImageSet, settings: RunSettings, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each way takes for all images, in every round; and the memory that extraction takes."""
    layers = describe_layers(model)
    count, size, precision = len(images), settings.batch_size, settings.precision
    placed, fused = (each.on(devices_of(settings.device)[0]) for each in (model, for_inference(model, layers)))
    inputs = placed.inputs([images.open(i) for i in range(min(DECODED[settings.device], count))]).contiguous(
        memory_format=torch.channels_last
    )
    fastest = fastest_batch(fused.module, inputs, precision)
    ways: dict[str, Callable[[], object]] = {
        UNIT: partial(bare_pass, fused.module, inputs, count, fastest, precision),
        "bare pass, as loaded": partial(bare_pass, placed.module, inputs, count, size, precision),
        "extraction": lambda: extract(model, layers, images, settings, lambda _: None),
        "dense matrix and argsort": partial(dense_argsort, placed, layers, images, size),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(_timed(way))
    with PeakMemory() as memory:
        ways["extraction"]()
    return {**seconds, "memory": [memory.peak / 1e6], "batch": [fastest]}


def _timed(way: Callable[[], object]) -> float:
    begin = time.perf_counter()
    way()
    return time.perf_counter() - begin


def table(seconds: dict[str, list[float]], count: int) -> str:
    """Return seconds (n,) of every way in n rounds as a Markdown table, beside those of the unit in the same round."""
    lines = ["| | seconds | images/s | × the fastest bare pass |", "|---|---|---|---|"]
    for name, taken in seconds.items():
        ratios = [own / unit for own, unit in zip(taken, seconds[UNIT], strict=True)]
        cells = spread(taken, ".1f"), spread([count / one for one in taken]), spread(ratios, ".2f")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the report."""
    parser = options_of_images(__doc__)
    parser.add_argument("--model", default="efficientnet_lite0", help="any network (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default: %(default)s)")
    parser.add_argument("--device", choices=[*DECODED], default="cpu", help="what the network runs on")
    parser.add_argument("--precision", choices=["full", "mixed"], default="full", help="of what the network computes")
    options = parser.parse_args()
    load, on_card = os.getloadavg()[0], options.device != "cpu"
    keep_freed_memory()
    model, images = load_model(options.model), list_images(options.images)
    settings = RunSettings(device=options.device, precision=options.precision)
    if on_card:
        settings = replace(settings, batch_size=BATCH_ON_CARDS)
    torch.set_num_threads(settings.threads)
    results = measure(model, images, settings, options.rounds)
    print(json.dumps(results, indent=1))
    (memory,), (fastest,) = results.pop("memory"), results.pop("batch")
    neurons = sum(layer.channels for layer in describe_layers(model))
    hours = statistics.median(results["extraction"]) / len(images) * IMAGENET / 3600
    text = (
        f"{len(images):,} images of `{Path(options.images).name}`, {options.model}, {neurons:,} neurons; measured on "
        f"{datetime.now(UTC):%Y-%m-%d} on {_machine(settings)}, {settings.precision} precision, torch "
        f"{torch.__version__}; the machine's load was {load:.1f} before. Median of {options.rounds} turns, lowest to "
        "highest behind.\n\n"
        f"{table(results, len(images))}\n\n"
        f"The fastest bare pass runs on batches of {fastest:.0f}, BatchNorms folded, activations in place, inputs "
        "ready in memory. "
        f"Extraction reads and decodes the files, keeps the strongest images of either half with their places, and "
        f"took {memory:,.0f} MB more than the process held before. The dense matrix holds maxima alone, without "
        f"places, and grows with the images. At this rate ImageNet's {IMAGENET:,} images take {hours:.1f} hours, where "
        "they are read as fast. `make bench` measures this anew."
    )
    print(text)
    write_section(f"Extraction on a card, {settings.precision} precision" if on_card else "Extraction", text)


def _machine(settings: RunSettings) -> str:
    cores = f"{settings.threads} cores ({platform.machine()})"
    return f"{torch.cuda.get_device_name()} and {cores}" if settings.device == "cuda" else cores


if __name__ == "__main__":
    main()
