"""What each stage of a whole run takes, and how it grows with images, with neurons and with classes.

    python -m benchmarks.whole_run [IMAGES] [--counts 250 1000 4000] [--layers 2 5 9 17] [--classes 10 40 100]
                                   [--rounds 2]

Every run is the command line's, in a process of its own, without a cache: its seconds, compilation included. Images
beyond those of the folder are the same ones again; fewer layers are the last ones; classes are as many parts of the
images in the order of their paths, in which those of a kind follow each other. The runs take turns. Prints the
seconds as JSON, and puts the table into docs/performance.md and the plots beside it.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.measuring import REPORT, options_of_images, power, spread, write_section
from neurocarto.extraction.images import list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import load_model

PLOT = REPORT.parent / "images" / "scaling.svg"
LEAST = 2.0
"""Seconds below which a stage of the largest run is left out of the plots: it is all noise."""
Seconds = Mapping[str, Sequence[float]]
Growth = dict[str, tuple[list[int], list[float]]]
"""For each stage sizes, and its median seconds at each."""


@dataclass(frozen=True)
class Size:
    """How many images a run is of, how many of the last layers, with their neurons, and how many classes.

    classes: 0 for the folders that the images lie in.
    """

    images: int
    layers: int
    neurons: int
    classes: int = 0


def repeated(images: Path, count: int, folder: Path, classes: int = 0) -> Path:
    """Make a folder of so many images, with their classes as folders; every file again as often as needed.

    classes: as of a Size.
    """
    paths = sorted(images / path for path in list_images(images).paths)
    for number in range(count):
        index = number * len(paths) // count if count < len(paths) else number % len(paths)
        path = paths[index]
        name = f"{index * classes // len(paths):04}" if classes else path.parent.name
        place = folder / name / f"{number // len(paths)}-{path.name}"
        place.parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(path, place)
    return folder


def run(images: Path, layers: Sequence[str]) -> tuple[dict[str, float], float]:
    """Make a run, and return the seconds of its stages and its peak memory (MB)."""
    with tempfile.TemporaryDirectory() as folder:
        status = Path(folder) / "status.json"
        command = [sys.executable, "-m", "neurocarto", "run", f"--images={images}", f"--out={folder}/run", "--quiet"]
        process = subprocess.Popen([*command, "--no-cache", f"--status={status}", f"--layers={','.join(layers)}"])
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        if process.returncode:
            raise SystemExit(f"a run of {images} ended with {process.returncode}")
        return json.loads(status.read_text())["seconds"], used.ru_maxrss / 1000


def growth(results: Mapping[Size, Seconds], along: str) -> Growth:
    """Return, for each stage, the sizes and its median seconds, of runs that differ in nothing else."""
    chosen = sorted(results, key=lambda size: getattr(size, along))
    at = [getattr(size, along) for size in chosen]
    return {stage: (at, [statistics.median(results[size][stage]) for size in chosen]) for stage in results[chosen[-1]]}


def draw(kinds: Mapping[str, Growth], path: Path) -> None:
    """Draw the stages' seconds against images, neurons and classes, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "neurocarto"  # the same drawing from the same figures
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(kinds), figsize=(6.5 * len(kinds), 4.6), sharey=True, layout="constrained")
    for place, (along, stages) in zip(np.atleast_1d(axes), kinds.items(), strict=True):
        for stage, (sizes, seconds) in stages.items():
            if seconds[-1] >= LEAST:
                place.plot(sizes, seconds, "o-", label=f"{stage}, {power(sizes, seconds):z.2f}")
        place.set(xscale="log", yscale="log", xlabel=along, ylabel="seconds")
        place.legend(title="stage, exponent", fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        place.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def table(found: Seconds, slopes: Mapping[str, Mapping[str, float]]) -> str:
    """Return a row per stage: its seconds in the whole run, beside extraction, and how it grows."""
    reference = statistics.median(found["extraction"])
    lines = [
        f"| stage | seconds | × extraction | grows to the power of: {' | '.join(slopes)} |",
        "|---|---|---|" + "---|" * len(slopes),
    ]
    for stage, seconds in found.items():
        middle = statistics.median(seconds)
        powers = [f"{slope[stage]:z.2f}" if middle >= LEAST else "" for slope in slopes.values()]
        lines.append(f"| {stage} | {spread(seconds, '.1f')} | {middle / reference:.2f} | {' | '.join(powers)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write the report."""
    parser = options_of_images(__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[250, 1000, 4000], help="numbers of images")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 5, 9, 17], help="numbers of last layers")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 40, 100], help="numbers of classes")
    parser.add_argument("--rounds", type=int, default=2, help="how often each run is made (2)")
    options = parser.parse_args()
    layers = describe_layers(load_model("efficientnet_lite0"))

    def size(images: int, count: int, classes: int = 0) -> Size:
        return Size(images, count, sum(layer.channels for layer in layers[-count:]), classes)

    middle, full = sorted(options.counts)[len(options.counts) // 2], max(options.layers)
    whole = size(middle, full)
    by_kind = {
        "images": [size(n, full) for n in options.counts],
        "neurons": [size(middle, n) for n in options.layers],
        "classes": [size(middle, full, n) for n in options.classes],
    }
    sizes = list(dict.fromkeys(size for chosen in by_kind.values() for size in chosen))
    load, results, memory = os.getloadavg()[0], {s: defaultdict[str, list[float]](list) for s in sizes}, {}
    with tempfile.TemporaryDirectory() as folder:
        images = {
            (n, classes): repeated(options.images, n, Path(folder) / f"{n}-{classes}", classes)
            for n, classes in {(s.images, s.classes) for s in sizes}
        }
        for _ in range(options.rounds):
            for asked in sizes:
                names = [layer.name for layer in layers[-asked.layers :]]
                seconds, memory[asked] = run(images[asked.images, asked.classes], names)
                print(json.dumps({"size": vars(asked), "seconds": seconds, "MB": memory[asked]}), flush=True)
                for stage, taken in seconds.items():
                    results[asked][stage].append(taken)
    kinds = {along: growth({size: results[size] for size in chosen}, along) for along, chosen in by_kind.items()}
    draw(kinds, PLOT)
    slopes = {name: {stage: power(*points) for stage, points in stages.items()} for name, stages in kinds.items()}
    total = sum(statistics.median(seconds) for seconds in results[whole].values())
    text = (
        f"A whole run of {middle:,} images of `{options.images.name}`, efficientnet_lite0, {whole.neurons:,} "
        f"neurons, default settings, nothing cached: {total:.0f} s in its stages, {memory[whole]:,.0f} MB at its "
        f"highest. Measured on {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}; the machine's load was {load:.1f} before. Median of {options.rounds}, lowest to "
        f"highest in brackets.\n\n{table(results[whole], slopes)}\n\nPowers are fitted through "
        f"{', '.join(f'{n:,}' for n in sorted(options.counts))} images of all layers, through the last "
        f"{', '.join(map(str, sorted(options.layers)))} layers on {middle:,}, and through "
        f"{', '.join(map(str, sorted(options.classes)))} classes of these images, in the order of their paths; stages "
        f"below {LEAST:.0f} s have none. "
        f"`python -m benchmarks.whole_run` measures this anew.\n\n![Seconds of the stages](images/{PLOT.name})"
    )
    print(text)
    write_section("A whole run", text)


if __name__ == "__main__":
    main()
