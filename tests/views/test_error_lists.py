import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from neurocarto.runs.manifest import Manifest
from neurocarto.runs.store import Run
from neurocarto.views.error_lists import ErrorLists
from neurocarto.views.errors import Confusion, confusions, wrong_images
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches

TOOLS = '<b>tools & "signs"</b>'


def one(lookup: Lookup, label: str, prediction: str) -> Confusion:
    return next(c for c in confusions(lookup) if (c.label, c.prediction) == (label, prediction))


@pytest.fixture
def draw(lookup: Lookup, patches: Patches) -> ErrorLists:
    return ErrorLists(lookup, patches)


def test_the_list_counts_images_and_marks_what_is_chosen(lookup: Lookup, draw: ErrorLists) -> None:
    found = confusions(lookup)
    html = draw.listed(found, found[1])
    assert html.count('class="nc-choice"') == len(found)
    assert [part[:4] for part in html.split("aria-pressed=")[1:]].count('"tru') == 1
    assert f"<small>{found[0].images}</small>" in html
    assert "<b>tools" not in html


def test_a_wrong_prediction_is_compared_with_right_ones(lookup: Lookup, draw: ErrorLists) -> None:
    chosen = one(lookup, TOOLS, "birds")
    html = draw.confusion(chosen)
    assert "taken for birds" in html
    assert f"the {chosen.others} images of the label that the network got right" in html
    assert "2 of the best 5 pass the false discovery rate of 5%" in html
    assert html.count("may be chance") == 3
    assert html.count("data-card-cluster") == 5
    assert html.count('loading="lazy"><small>') == chosen.images
    for image in wrong_images(lookup, TOOLS, "birds")["image"]:
        assert f'data-image="{image}" title=' in html


def test_of_a_label_without_output_nothing_is_called_wrong(lookup: Lookup, draw: ErrorLists) -> None:
    html = draw.confusion(one(lookup, "fish", TOOLS))
    assert "nothing is right or wrong here" in html
    assert "The images (4)" in html
    assert "seen as" in html


def test_too_few_images_are_said_to_be_too_few(lookup: Lookup, draw: ErrorLists) -> None:
    html = draw.confusion(one(lookup, "birds", "fish"))
    assert "Too few images to tell: 2 in all" in html
    assert "data-card-cluster" not in html


def test_an_older_run_says_what_to_do(lookup: Lookup, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lookup.run.folder, tmp_path / "older"))
    (folder / "confusions.parquet").unlink()
    manifest = Manifest.read(folder)
    files = {name: entry for name, entry in manifest.files.items() if name != "confusions.parquet"}
    (folder / "manifest.json").write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
    older = Lookup(Run(folder))
    html = ErrorLists(older, Patches(older.run)).confusion(one(older, TOOLS, "birds"))
    assert "Make it again" in html
    assert "The wrong images (3)" in html
