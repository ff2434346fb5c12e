"""What extraction costs beside the bare network, both in this process, taking turns.

    python -m benchmarks.extraction [IMAGES] [--rounds 5]

Prints what was measured as JSON and as a Markdown table, and puts the table into docs/performance.md. The unit is the
fastest bare forward pass: BatchNorms folded into the convolutions before them, activations in place, channels last,
the best of some batch sizes, inputs ready in memory. Takes the folder from NEUROCARTO_SAMPLE_IMAGES when none is given.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measuring import PeakMemory, spread, write_section
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import extract
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.records import Layer
from neurocarto.settings import RunSettings

UNIT = "bare pass, fastest"
BATCH_SIZES = (4, 8, 16, 32)
DECODED = 64
"""Images whose pixels the bare passes run on, again and again."""


def bare_pass(module: nn.Module, inputs: Tensor, count: int, batch_size: int) -> None:
    """Run the network on `count` images, the same inputs again and again, and forget what it gives."""
    with torch.inference_mode():
        for begin in range(0, count, batch_size):
            start = begin % (len(inputs) - batch_size + 1)
            module(inputs[start : start + min(batch_size, count - begin)])


def dense_argsort(model: Model, layers: Sequence[Layer], images: ImageSet, batch_size: int) -> None:
    """Keep every activation in a matrix of images × neurons and sort its columns: the usual way, no places."""
    rows: list[Tensor] = []

    def keep(_: str, maps: Tensor) -> None:
        found.append(maps.amax((2, 3)))

    with torch.inference_mode(), layer_outputs(model.module, layers, keep):
        for begin in range(0, len(images), batch_size):
            found: list[Tensor] = []
            model.module(model.inputs([images.open(i) for i in range(begin, min(begin + batch_size, len(images)))]))
            rows.append(torch.cat(found, 1))
    np.argsort(torch.cat(rows).numpy(), axis=0)


def fastest_batch(module: nn.Module, inputs: Tensor) -> int:
    """Return the batch size at which the network runs through DECODED images soonest."""

    def seconds(size: int) -> float:
        bare_pass(module, inputs, DECODED, size)
        return min(_timed(partial(bare_pass, module, inputs, DECODED, size)) for _ in range(3))

    return min((size for size in BATCH_SIZES if size <= len(inputs)), key=seconds)


def measure(model: Model, images: ImageSet, settings: RunSettings, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each way takes for all images, in every round; and the memory that extraction takes."""
    layers = describe_layers(model)
    count, size = len(images), settings.batch_size
    inputs = model.inputs([images.open(i) for i in range(min(DECODED, count))]).contiguous(
        memory_format=torch.channels_last
    )
    fused = for_inference(model, layers).module
    fastest = fastest_batch(fused, inputs)
    ways: dict[str, Callable[[], object]] = {
        UNIT: partial(bare_pass, fused, inputs, count, fastest),
        "bare pass, as loaded": partial(bare_pass, model.module, inputs, count, size),
        "extraction": lambda: extract(model, layers, images, settings, lambda _: None),
        "dense matrix and argsort": partial(dense_argsort, model, layers, images, size),
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("NEUROCARTO_SAMPLE_IMAGES")
    parser.add_argument("images", type=Path, nargs="?" if given else None, default=given, help="the folder of images")
    parser.add_argument("--model", default="efficientnet_lite0", help="any network (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default: %(default)s)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    keep_freed_memory()
    model, images, settings = load_model(options.model), list_images(options.images), RunSettings()
    torch.set_num_threads(settings.threads)
    results = measure(model, images, settings, options.rounds)
    print(json.dumps(results, indent=1))
    (memory,), (fastest,) = results.pop("memory"), results.pop("batch")
    neurons = sum(layer.channels for layer in describe_layers(model))
    text = (
        f"{len(images):,} images of `{Path(options.images).name}`, {options.model}, {neurons:,} neurons; measured on "
        f"{datetime.now(UTC):%Y-%m-%d} on {settings.threads} cores ({platform.machine()}), torch {torch.__version__}; "
        f"the machine's load was {load:.1f} before. Median of {options.rounds} turns, lowest to highest behind.\n\n"
        f"{table(results, len(images))}\n\n"
        f"The fastest bare pass runs on batches of {fastest:.0f}, BatchNorms folded, activations in place, inputs "
        "ready in memory. "
        f"Extraction reads and decodes the files, keeps the strongest images of either half with their places, and "
        f"took {memory:,.0f} MB more than the process held before. The dense matrix holds maxima alone, without "
        "places, and grows with the images. `make bench` measures this anew."
    )
    print(text)
    write_section("Extraction", text)


if __name__ == "__main__":
    main()
