import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from synthetic import write_synthetic_run

from neurocarto.files import written_size
from neurocarto.runs.store import Run
from neurocarto.views.library import HEIGHT, WIDTH, card, small_map


def test_a_card_says_what_a_run_is(tmp_path: Path) -> None:
    run = Run(write_synthetic_run(tmp_path / "planted", judges=("a judge",)))
    made = card(run)
    lines = made.facts.split("<br>")
    assert lines[0] == run.manifest.model["name"]
    assert lines[2].startswith(f"{len(run.neurons):,} neurons in {len(run.manifest.layers)} layers, ")
    assert re.search(r"\d+ (solid|tentative|not above chance)", lines[3])
    assert made.bytes == sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())


def test_it_says_where_nobody_has_scored_a_run(tmp_path: Path) -> None:
    assert "clusters not scored" in card(Run(write_synthetic_run(tmp_path / "planted"))).facts


def test_the_small_map_has_a_dot_for_each_neuron_in_its_layer_s_colour() -> None:
    places = np.array([[0, 0], [1, 1], [0, 1], [np.nan, np.nan]], np.float32)
    picture = Image.open(BytesIO(small_map(places, np.array([0, 1, 1, 0]), 2)))
    assert picture.size == (WIDTH, HEIGHT)
    pixels = np.asarray(picture)
    shown = pixels[pixels[..., 3] > 0]
    assert 0 < len(shown) <= 3 * 4
    assert len(np.unique(shown, axis=0)) <= 2


def test_no_neuron_with_a_place_makes_an_empty_map() -> None:
    nowhere = np.full((2, 2), np.nan, np.float32)
    assert not np.asarray(Image.open(BytesIO(small_map(nowhere, np.array([0, 0]), 1))))[..., 3].any()


def test_sizes_are_written_as_people_do() -> None:
    assert [written_size(n) for n in (999, 1500, 2.5e6, 3.2e9)] == ["999 B", "2 kB", "2 MB", "3.2 GB"]
