"""What the benchmarks share: peak memory, a series of measurements as text, and sections of docs/performance.md."""

import argparse
import math
import os
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path

from neurocarto.engine.heap import give_back
from neurocarto.engine.memory import resident_bytes

REPORT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


class PeakMemory:
    """Watches how far the process's memory rises above what it held before: `peak`, in bytes.

    What the C library keeps of freed memory goes back first: else it would serve what comes now, uncounted.
    """

    def __enter__(self) -> "PeakMemory":
        give_back()
        self._before = resident_bytes()
        self.peak, self._over = 0, threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, resident_bytes() - self._before)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
        self.peak = max(self.peak, resident_bytes() - self._before)


def options_of_images(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the folder of images, which NEUROCARTO_SAMPLE_IMAGES names where none is given."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("NEUROCARTO_SAMPLE_IMAGES")
    parser.add_argument("images", type=Path, nargs="?" if given else None, default=given, help="the folder of images")
    return parser


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Return the median of some measurements, with the lowest and the highest where these differ from it."""
    if not values:
        return "not measured"
    low, middle, high = (f"{value:{form}}" for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def power(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the power of the size that values grow as, by least squares on logarithms; NaN for fewer than two."""
    if len(sizes) < 2:
        return math.nan
    return statistics.linear_regression([*map(math.log, sizes)], [*map(math.log, values)]).slope


def write_section(title: str, text: str) -> None:
    """Put a text into one section of the report, in place of what it said."""
    report = REPORT.read_text(encoding="utf-8") if REPORT.exists() else "# Performance\n"
    before, _, after = report.partition(f"## {title}\n")
    _, heading, rest = after.partition("\n## ")
    REPORT.write_text(f"{before.rstrip()}\n\n## {title}\n\n{text.strip()}\n{heading}{rest}", encoding="utf-8")
