import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import measuring
from benchmarks.measuring import PeakMemory, spread, write_section


def test_a_series_is_its_median_and_what_it_lies_between() -> None:
    assert spread([300.0, 100.0, 200.0]) == "200 (100 to 300)"
    assert spread([1.21, 1.19], ".1f") == "1.2"
    assert spread([]) == "not measured"


def test_a_report_replaces_one_section_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "REPORT", report := tmp_path / "performance.md")
    write_section("Views", "first")
    assert report.read_text() == "# Performance\n\n## Views\n\nfirst\n"
    report.write_text("# Performance\n\nIntroduction.\n\n## Views\n\nfirst\n\n## Runs\n\nkept\n")
    write_section("Views", "second\n")
    assert report.read_text() == "# Performance\n\nIntroduction.\n\n## Views\n\nsecond\n\n## Runs\n\nkept\n"


def test_memory_is_counted_at_its_highest() -> None:
    with PeakMemory() as memory:
        held = np.ones(10_000_000)
        time.sleep(0.3)
        del held
    assert memory.peak > 70e6
