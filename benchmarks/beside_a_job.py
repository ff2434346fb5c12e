"""How quickly Explore answers while a run is made on the same machine, beside how quickly it answers otherwise.

    PYTHONPATH=tests python -m benchmarks.beside_a_job IMAGES

IMAGES: a folder with a picture per file, or NEUROCARTO_SAMPLE_IMAGES. Starts a job as the Runs page does, with the
packaged model and default settings, and goes on clicking in the demo run until it has finished. Prints what was
measured and puts the tables into docs/performance.md.
"""

import itertools
import os
import platform
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from browser.serving import CHROMIUM, FLAGS, ROOT, serve
from playwright.sync_api import sync_playwright

from benchmarks.measuring import options_of_images, spread, write_section
from benchmarks.views import Visitor, changing_classes
from neurocarto.extraction.images import list_images
from neurocarto.request import ModelRequest
from neurocarto.runs.jobs import NICENESS, Asked, Jobs

BEFORE = 30
"""Inputs without a job, a third of each kind."""
Timed = dict[str, list[float]]


def inputs(visitor: Visitor) -> Iterator[tuple[str, float]]:
    """Use Explore without end: yields what was done and after how many milliseconds the views had changed."""
    classes = changing_classes(ROOT / "data/demo", 10)
    for turn in itertools.count():
        yield "class change", visitor.choose_class(classes[turn % len(classes)])
        yield "click in the graph", visitor.click_in_graph(turn)
        yield "lasso", visitor.lasso()[0]


def measure(images: Path, folder: Path) -> tuple[Timed, Timed, Timed, float]:
    """Return milliseconds of each kind of input without a job and beside one, those by stage, and the job's seconds."""
    alone, beside, by_stage = defaultdict(list), defaultdict(list), defaultdict(list)
    with sync_playwright() as playwright, serve(folder) as server:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        visitor = Visitor(browser, server.address, "demo")
        doing = inputs(visitor)
        for kind, milliseconds in itertools.islice(doing, BEFORE):
            alone[kind].append(milliseconds)
        job = Jobs(folder).start(Asked("beside", str(images), ModelRequest().name))
        try:
            while not (status := job.status()).is_over:
                kind, milliseconds = next(doing)
                beside[kind].append(milliseconds)
                by_stage[status.stage or "start"].append(milliseconds)
        finally:
            job.stop()
        if status.state != "finished":
            raise SystemExit(f"the run came to an end without a result: {status.error}")
        browser.close()
    return dict(alone), dict(beside), dict(by_stage), sum(status.seconds.values())


def table(alone: Timed, beside: Timed, by_stage: Timed) -> str:
    """Return both tables: by kind of input, and by the stage that ran."""
    rows = [(kind, alone[kind], beside[kind]) for kind in alone]
    rows.append(("**all**", [*itertools.chain(*alone.values())], [*itertools.chain(*beside.values())]))
    kinds = [f"| {kind} | {len(own)} | {spread(own)} | {len(busy)} | {spread(busy)} |" for kind, own, busy in rows]
    stages = [f"| {stage} | {len(times)} | {spread(times)} |" for stage, times in by_stage.items()]
    return "\n".join(
        [
            "| | inputs | without a job (ms) | inputs | beside a job (ms) |",
            "|---|---|---|---|---|",
            *kinds,
            "",
            "| while this stage ran | inputs | ms |",
            "|---|---|---|",
            *stages,
        ]
    )


def main() -> None:
    """Measure, print and write the report."""
    options = options_of_images(__doc__).parse_args()
    load = os.getloadavg()[0]
    count = len(list_images(options.images))
    with tempfile.TemporaryDirectory() as folder:
        alone, beside, by_stage, seconds = measure(options.images.resolve(), Path(folder))
    text = (
        f"Explore on the demo run while a job makes a run of {count:,} images with the packaged model and default "
        f"settings ({seconds:,.0f} s in its stages). Measured on {datetime.now(UTC):%Y-%m-%d} on {os.cpu_count()} "
        f"cores ({platform.machine()}), which server, browser and job share; the machine's load was {load:.1f} before. "
        f"Median, lowest to highest in brackets; from the release of the mouse to the frame after all views have "
        f"changed.\n\n{table(alone, beside, by_stage)}\n\n`make bench-views` measures this anew. A job runs with a "
        f"niceness of {NICENESS}: what it leaves to the pages is the system's choice."
    )
    print(text)
    write_section("Beside a job", text)


if __name__ == "__main__":
    main()
