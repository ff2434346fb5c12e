"""What looking only costs: deploy/view_only.py in an environment of its own requirements, with one visitor and ten.

    PYTHONPATH=tests python -m benchmarks.deployment [--environment FOLDER] [--repeats 3] [--only demo]

Makes the environment where it is not there yet, prints what was measured, and puts the table into docs/performance.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from browser.driving import at_rest, settled
from browser.serving import CHROMIUM, FLAGS, ROOT, serve
from playwright.sync_api import Browser, sync_playwright

from benchmarks.large_run import LARGE, MEDIUM, write_large_run
from benchmarks.measuring import write_section
from benchmarks.views import Visitor, changing_classes, table
from neurocarto.dashboard.shell import PAGES
from neurocarto.runs.publish import server_bytes
from neurocarto.runs.store import Run

ENTRYPOINT, REQUIREMENTS = "deploy/view_only.py", "deploy/requirements.txt"
HEAVY = ("torch", "torchvision", "umap", "numba", "datasketch", "sklearn", "scipy")
"""Packages that looking only does without."""
VISITORS = 10


def environment(folder: Path) -> Path:
    """Make a virtual environment of the entrypoint's requirements, unless it is there, and return its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", ROOT / REQUIREMENTS], check=True)
    return python


def packages(python: Path) -> tuple[Path, float, list[str]]:
    """Return the folder of an environment's packages, its MB on the disk, and which heavy ones are in it."""
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    folder = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    kilobytes = subprocess.run(["du", "-sk", folder], check=True, capture_output=True, text=True).stdout.split()[0]
    return folder, int(kilobytes) * 1024 / 1e6, [name for name in HEAVY if (folder / name).exists()]


def walk(visitor: Visitor, turn: int, classes: list[str]) -> None:
    """Use every view of Explore, then open every page, as another visitor each turn."""
    visitor.choose_class(classes[turn % len(classes)])
    visitor.click_on_map(turn)
    visitor.lasso()
    visitor.click_in_graph(turn)
    for _, title in [*PAGES.values()][1:] + [*PAGES.values()][:1]:
        visitor.page.get_by_role("link", name=title, exact=True).click()
        visitor.page.wait_for_timeout(500)  # the script begins only when the click has reached the server
        at_rest(visitor.page)
    settled(visitor.page)


def measure(browser: Browser, runs: Path, name: str, python: Path, repeats: int) -> dict[str, list[float]]:
    """Return what was measured on a run: milliseconds and MB."""
    found: dict[str, list[float]] = defaultdict(list)
    folder = runs / name if (runs / name).exists() else ROOT / "data" / name
    classes = changing_classes(folder, VISITORS)
    started = partial(serve, runs, ENTRYPOINT, python=str(python))
    for _ in range(repeats):
        with started() as server:
            visitor = Visitor(browser, server.address, name)
            found["first view, cold server (ms)"].append((visitor.first_view - server.healthy) * 1000)
            found["first view, server's processor time (ms)"].append(server.busy() * 1000)
            found["server after the first view (MB)"].append(server.memory("VmRSS"))
            visitor.context.close()
    with started() as server:
        visitors = []
        for turn in range(VISITORS):
            visitors.append(Visitor(browser, server.address, name))
            walk(visitors[-1], turn, classes)
            if not turn:
                found["server with one visitor who walked all pages (MB)"].append(server.memory("VmRSS"))
        found["server with ten who walked all pages (MB)"].append(server.memory("VmRSS"))
        found["server at its highest (MB)"].append(server.memory("VmHWM"))
        for visitor in visitors:
            visitor.context.close()
    for visitors_, words in ((1, "one visitor"), (VISITORS, "ten")):
        found[f"reckoned with {words} (MB)"].append(server_bytes(Run(folder), visitors_) / 1e6)
    return dict(found)


def main() -> None:
    """Measure, print and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deployment", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--environment", type=Path, help="of deploy/requirements.txt alone (default: a new one)")
    parser.add_argument("--repeats", type=int, default=3, help="how often a cold server is opened (3)")
    parser.add_argument("--only", help="one of the runs: demo, medium, large; the report is left as it is")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        python = environment(options.environment or Path(folder) / "environment")
        where, installed, heavy = packages(python)
        print(f"{where}: {installed:,.0f} MB; of the pipeline's packages it holds {', '.join(heavy) or 'none'}")
        runs = Path(folder) / "runs"
        sizes = {"demo": None, "medium": MEDIUM, "large": LARGE}
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        results = {}
        for name, size in sizes.items():
            if options.only in (None, name):
                run = Run(write_large_run(runs / name, size) if size else ROOT / "data" / name)
                title = f"{name}: {len(run.neurons):,} neurons, {len(run.examples):,} patches"
                results[title] = measure(browser, runs, name, python, options.repeats)
                print(table(results), flush=True)
        browser.close()
    text = (
        f"`{ENTRYPOINT}` in an environment of `{REQUIREMENTS}` alone: {installed:,.0f} MB of packages, of the "
        f"pipeline's ({', '.join(HEAVY)}) {', '.join(heavy) or 'none'}. Measured on {datetime.now(UTC):%Y-%m-%d} on "
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}; the machine's load was "
        f"{load:.1f} before. Median of {options.repeats}, lowest to highest in brackets.\n\n{table(results)}\n\n{HOW}"
    )
    if options.only is None:
        write_section("View-only deployment", text)


HOW = (
    "`make bench-deployment` measures this anew. Memory is the server's resident set; Chromium runs beside it. A "
    "visitor who walks changes the class, clicks on the map and in the graph, draws a lasso, opens every page; all "
    "ten stay connected. Reckoned: by the formula of `python -m neurocarto publish`. Streamlit Community Cloud gives a "
    "server 690 MB."
)

if __name__ == "__main__":
    main()
