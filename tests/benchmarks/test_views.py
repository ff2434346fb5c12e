from pathlib import Path

import pytest

from benchmarks import views


def test_a_table_tells_the_median_and_what_it_lies_between() -> None:
    found = {"a": {"click (ms)": [300.0, 100.0, 200.0]}, "b": {"click (ms)": [7.0], "memory (MB)": [1234.4]}}
    assert views.table(found).splitlines()[2:] == [
        "| click (ms) | 200 (100 to 300) | 7 |",
        "| memory (MB) | not measured | 1,234 |",
    ]


def test_a_report_replaces_its_own_section_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "REPORT", tmp_path / "performance.md")
    views.write_report("first")
    assert views.REPORT.read_text() == "# Performance\n\n## Views\n\nfirst\n"
    views.REPORT.write_text("# Performance\n\nIntroduction.\n\n## Views\n\nfirst\n\n## Runs\n\nkept\n")
    views.write_report("second\n")
    assert views.REPORT.read_text() == "# Performance\n\nIntroduction.\n\n## Views\n\nsecond\n\n## Runs\n\nkept\n"
