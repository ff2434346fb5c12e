"""How much memory extraction takes, and how long, as images grow: the same ones again and again.

    python -m benchmarks.image_counts [IMAGES] [--counts 1000 1000 1000 10000 10000 50000]

Each number in a process of its own, as often as it is named. Prints what was measured as JSON and as a Markdown table,
and puts the table into docs/performance.md. Takes the folder from NEUROCARTO_SAMPLE_IMAGES when none is given.
"""

import json
import os
import platform
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.measuring import PeakMemory, options_of_images, power, spread, write_section
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import extract
from neurocarto.extraction.images import list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import load_model
from neurocarto.settings import RunSettings

COUNTS = [1_000, 1_000, 1_000, 10_000, 10_000, 50_000]


def measure(folder: Path, name: str, count: int) -> dict[str, float]:
    """Return seconds of extraction from so many images, megabytes it took more and those of the whole process."""
    keep_freed_memory()
    model, images = load_model(name), list_images(folder)
    layers, many = describe_layers(model), images.take(np.arange(count) % len(images))
    with PeakMemory() as memory:
        begin = time.perf_counter()
        extract(model, layers, many, RunSettings(), lambda _: None)
        seconds = time.perf_counter() - begin
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": seconds, "more": memory.peak / 1e6, "process": whole}


Results = Mapping[int, Sequence[Mapping[str, float]]]
"""For each number of images what was measured, as often as it was."""


def growth(results: Results, what: str) -> float:
    """Return the power of the number of images that the medians of a measurement grow as."""
    return power([*results], [median(one[what] for one in found) for found in results.values()])


def table(results: Results) -> str:
    """Return the measurements as a Markdown table, one row per number of images."""
    lines = [
        "| images | processes | seconds | images/s | more memory (MB) | whole process (MB) |",
        "|---|---|---|---|---|---|",
    ]
    for count, found in results.items():
        rates = [{**one, "rate": count / one["seconds"]} for one in found]
        cells = [spread([one[what] for one in rates]) for what in ("seconds", "rate", "more", "process")]
        lines.append(f"| {count:,} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the report."""
    parser = options_of_images(__doc__)
    parser.add_argument("--model", default="efficientnet_lite0", help="any network (default: %(default)s)")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of images")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    results: dict[int, list[dict[str, float]]] = {count: [] for count in sorted(options.counts)}
    for count in sorted(options.counts):
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            results[count].append(alone.submit(measure, Path(options.images), options.model, count).result())
        print(json.dumps({count: results[count][-1]}), flush=True)
    text = (
        f"Images of `{Path(options.images).name}` by repetition, {options.model}, default settings; measured on "
        f"{datetime.now(UTC):%Y-%m-%d} on {RunSettings().threads} cores ({platform.machine()}); the machine's load was "
        f"{load:.1f} before. Median, lowest to highest in brackets.\n\n{table(results)}\n\n"
        f"Seconds grow as images to the power of {growth(results, 'seconds'):.2f}, the memory of the process to that "
        f"of {growth(results, 'process'):.3f}: until {RunSettings().profile_images:,} images are kept whole and the "
        f"snapshots' {RunSettings().top_k} places a neuron are full it grows with them, then by a row per image in a "
        "table alone. `make bench` measures this anew."
    )
    print(text)
    write_section("Number of images", text)


if __name__ == "__main__":
    main()
