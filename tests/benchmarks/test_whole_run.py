from pathlib import Path

import pytest
from PIL import Image

from benchmarks.beside_a_job import table as beside_table
from benchmarks.measuring import power
from benchmarks.whole_run import Size, draw, growth, repeated, table

WHOLE = {Size(1000, 17, 100): {"extraction": [10.0, 10.0], "influence": [3.0, 3.0]}}
KINDS = {
    "images": growth({Size(250, 17, 100): {"extraction": [2.5], "influence": [3.0]}} | WHOLE, "images"),
    "neurons": growth({Size(1000, 4, 50): {"extraction": [10.0], "influence": [1.5]}} | WHOLE, "neurons"),
}


def test_every_image_comes_as_often_as_asked_for(tmp_path: Path) -> None:
    for number in range(10):
        path = tmp_path / "given" / ("cats" if number < 6 else "dogs") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    more = repeated(tmp_path / "given", 23, tmp_path / "more")
    assert len([*more.glob("cats/*")]) == 6 * 2 + 3
    assert sorted(path.name for path in more.glob("*/*-2.png")) == ["0-2.png", "1-2.png", "2-2.png"]
    fewer = repeated(tmp_path / "given", 5, tmp_path / "fewer")
    assert sorted(path.name for path in fewer.glob("*/*")) == ["0-0.png", "0-2.png", "0-4.png", "0-6.png", "0-8.png"]
    split = repeated(tmp_path / "given", 20, tmp_path / "split", classes=5)
    assert [len([*part.iterdir()]) for part in sorted(split.iterdir())] == [4] * 5
    assert {path.name for path in (split / "0003").iterdir()} == {"0-6.png", "0-7.png", "1-6.png", "1-7.png"}


def test_growth_is_the_slope_of_the_logarithms() -> None:
    assert power([10, 100, 1000], [2, 200, 20_000]) == pytest.approx(2)
    assert KINDS["images"]["extraction"] == ([250, 1000], [2.5, 10.0])
    assert power(*KINDS["images"]["extraction"]) == pytest.approx(1)
    assert KINDS["neurons"]["influence"] == ([50, 100], [1.5, 3.0])


def test_the_table_says_seconds_beside_extraction_and_powers(tmp_path: Path) -> None:
    slopes = {name: {stage: power(*points) for stage, points in stages.items()} for name, stages in KINDS.items()}
    rows = table(next(iter(WHOLE.values())), slopes).splitlines()
    assert rows[0] == "| stage | seconds | × extraction | grows to the power of: images | neurons |"
    assert rows[2] == "| extraction | 10.0 | 1.00 | 1.00 | 0.00 |"
    assert rows[3] == "| influence | 3.0 | 0.30 | 0.00 | 1.00 |"
    draw(KINDS, tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_inputs_beside_a_job_stand_beside_those_without() -> None:
    text = beside_table({"lasso": [100.0, 300.0]}, {"lasso": [400.0]}, {"boxes": [400.0]})
    assert "| lasso | 2 | 200 (100 to 300) | 1 | 400 |" in text
    assert "| boxes | 1 | 400 |" in text
