"""Progress of a run: which stage is at work, how fast, how long still."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


class Progress:
    """Times the stages of a run and, unless quiet, shows a bar for each with rate and time left.

    seconds: what each finished stage took.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._quiet = quiet

    def say(self, text: str) -> None:
        """Show a line, unless quiet."""
        if not self._quiet:
            tqdm.write(text, file=sys.stderr)

    @contextmanager
    def stage(self, name: str, total: int = 1, unit: str = "step") -> Iterator[Callable[[int], object]]:
        """Time a stage of `total` units; yields a function to call with the number of units just done."""
        start = time.perf_counter()
        bar = tqdm(total=total, desc=f"{name:<11}", unit=unit, disable=self._quiet, dynamic_ncols=True, mininterval=0.5)
        with bar:
            bar.leave = False  # where the stage fails, the line that says why stands alone
            yield bar.update
            bar.update(total - bar.n)
            bar.leave = True
        self.seconds[name] = round(time.perf_counter() - start, 3)
