import shutil
from dataclasses import replace
from math import comb
from pathlib import Path

import pytest

from neurocarto.runs.manifest import Manifest
from neurocarto.runs.store import Run, check_run
from neurocarto.views.errors import confusions, firing, misleading, wrong_images
from neurocarto.views.lookup import Lookup

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"


@pytest.fixture
def older(lookup: Lookup, tmp_path: Path) -> Lookup:
    """The same run as it was written before confusions were looked for."""
    folder = Path(shutil.copytree(lookup.run.folder, tmp_path / "older"))
    (folder / "confusions.parquet").unlink()
    manifest = Manifest.read(folder)
    files = {name: entry for name, entry in manifest.files.items() if name != "confusions.parquet"}
    (folder / "manifest.json").write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
    return Lookup(Run(folder))


def test_confusions_are_counted_over_all_images(lookup: Lookup) -> None:
    found = confusions(lookup)
    tools = '<b>tools & "signs"</b>'
    counts = [(c.label, c.prediction, c.images) for c in found]
    assert counts[0] == ("fish", tools, 4)
    assert sorted(counts) == [
        (tools, "birds", 3), (tools, "fish", 3), ("birds", tools, 2), ("birds", "fish", 2),
        ("fish", tools, 4), ("fish", "birds", 2),
    ]  # fmt: skip
    assert [c.images for c in found] == sorted((c.images for c in found), reverse=True)
    # Only the label fish names no output of the network.
    assert {c.label for c in found if c.against == "others"} == {"fish"}
    assert {c.label for c in found if c.against == "right"} == {"birds", tools}


def test_it_is_known_what_was_judged_on_how_many_images(lookup: Lookup) -> None:
    for confusion in confusions(lookup):
        assert confusion.judged == (confusion.images >= 3)
        others = {"fish": 6}.get(confusion.label, 4)
        assert (confusion.sampled, confusion.others) == ((confusion.images, others) if confusion.judged else (0, 0))


def test_names_that_differ_in_writing_only_are_no_confusion(lookup: Lookup) -> None:
    run = Run(lookup.run.folder)
    run.images = run.images.assign(label="Tabby_cat ", prediction=["tabby cat"] * 20 + ["dog"] * 10)
    assert [(c.label, c.prediction, c.images) for c in confusions(Lookup(run))] == [("Tabby_cat ", "dog", 10)]
    run.images = run.images.assign(label=None)
    assert confusions(Lookup(run)) == []


def test_misleading_clusters_come_best_first_with_their_q_value(lookup: Lookup) -> None:
    found = misleading(lookup, '<b>tools & "signs"</b>', "birds")
    assert found["rank"].tolist() == [0, 1, 2, 3, 4]
    assert found["score"].is_monotonic_decreasing
    assert (found["q_value"] <= 0.05).tolist() == [True, True, False, False, False]
    assert misleading(lookup, "birds", "fish").empty
    assert misleading(lookup, "no", "such").columns.tolist() == found.columns.tolist()


def test_the_images_of_a_confusion(lookup: Lookup) -> None:
    found = wrong_images(lookup, "fish", '<b>tools & "signs"</b>')
    assert sorted(found["image"].tolist()) == [7, 10, 13, 28]
    assert found.columns.tolist() == ["image", "path", "label", "prediction", "confidence"]
    assert found["confidence"].is_monotonic_decreasing
    assert wrong_images(lookup, "fish", "no such").empty


def test_where_a_cluster_fires_is_shown_by_its_strongest_member(lookup: Lookup) -> None:
    members = lookup.members(5).tolist()
    examples = lookup.run.examples
    own = examples[examples["neuron"].isin(members)]
    found = firing(lookup, 5, range(30))
    assert [*found] == [*range(30)]
    assert {image for image, row in found.items() if row is not None} == set(own["image"])
    assert any(row is None for row in found.values())
    for image, row in found.items():
        if row is not None:
            assert (row.image, row.neuron in members) == (image, True)
            assert row.activation == own.loc[own["image"] == image, "activation"].max()
            assert row.x1 > row.x0
    assert firing(lookup, 5, []) == {}


def test_the_demo_was_judged_on_all_images_wherever_three_can_be_told_from_chance() -> None:
    lookup = Lookup(Run(DEMO))
    labels = lookup.run.images["label"].value_counts()
    for confusion in confusions(lookup):
        others = labels[confusion.label] - confusion.images
        splits = comb(int(labels[confusion.label]), confusion.images)
        assert confusion.judged == (min(confusion.images, others) >= 3 and splits >= 1000)
        if confusion.judged:
            assert (confusion.against, confusion.sampled, confusion.others) == ("others", confusion.images, others)


def test_an_older_run_has_counts_and_says_that_nothing_was_judged(older: Lookup, lookup: Lookup) -> None:
    assert check_run(older.run.folder) == []
    assert older.run.confusions is None
    assert [(c.label, c.prediction, c.images) for c in confusions(older)] == [
        (c.label, c.prediction, c.images) for c in confusions(lookup)
    ]
    assert not any(c.judged for c in confusions(older))
    assert misleading(older, '<b>tools & "signs"</b>', "birds").empty
