from dataclasses import fields, replace

import pytest

from neurocarto import stages
from neurocarto.settings import RunSettings
from neurocarto.stages import EVERYWHERE, STAGES, run_id, settings_of, stage_keys

SETTINGS = RunSettings(threads=1)
SOURCE = {"model": {"name": "a"}, "images": "b"}


def changed(**settings: object) -> set[str]:
    """The stages that other settings make anew."""
    before, after = stage_keys(SOURCE, SETTINGS), stage_keys(SOURCE, replace(SETTINGS, **settings))
    return {name for name in STAGES if before[name] != after[name]}


def test_stages_come_after_what_they_build_on() -> None:
    names = list(STAGES)
    for name, stage in STAGES.items():
        assert all(names.index(before) < names.index(name) for before in stage.after)


def test_every_setting_belongs_to_a_stage() -> None:
    declared = {*EVERYWHERE, *(name for stage in STAGES.values() for name in stage.settings)}
    assert declared == {knob.name for knob in fields(RunSettings)}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"neighbours": 20}, {"projection", "quality"}),
        ({"min_distance": 0.2}, {"projection", "quality"}),
        ({"embedding": "skipgram"}, {"embedding", "projection", "quality"}),
        ({"dimensions": 20}, {"embedding", "projection", "quality"}),
        ({"min_similarity": 0.2}, {"clusters", "importance", "confusions", "labels", "influence", "quality"}),
        ({"label_permutations": 100}, {"importance", "confusions", "influence", "quality"}),
        ({"influence_images": 4}, {"influence"}),
        ({"box_share": 0.5}, {"boxes", "examples", "previews"}),
        ({"examples": 10}, {"examples", "previews"}),
        ({"top_k": 50}, set(STAGES) - {"model", "lineage"}),
        ({"seed": 1}, set(STAGES)),
    ],
)
def test_a_setting_makes_its_stages_and_those_after_them_anew(setting: dict[str, object], expected: set[str]) -> None:
    assert changed(**setting) == expected


@pytest.mark.parametrize("part", ["model", "images"])
def test_another_model_or_other_images_make_everything_anew(part: str) -> None:
    before, after = stage_keys(SOURCE, SETTINGS), stage_keys({**SOURCE, part: "other"}, SETTINGS)
    assert not {*before.values()} & {*after.values()}


def test_another_version_of_a_package_or_an_algorithm_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_keys(SOURCE, SETTINGS)
    monkeypatch.setitem(STAGES, "clusters", replace(STAGES["clusters"], version=99))
    other = stage_keys(SOURCE, SETTINGS)
    changed = {name for name in STAGES if before[name] != other[name]}
    assert changed == {"clusters", "importance", "confusions", "labels", "influence", "quality"}
    monkeypatch.setattr(stages, "version", lambda _: "0")
    assert not {*before.values()} & {*stage_keys(SOURCE, SETTINGS).values()}


def test_a_stage_sees_only_the_settings_that_its_key_holds() -> None:
    assert vars(settings_of("projection", SETTINGS)) == {"seed": 0, "threads": 1, "neighbours": 15, "min_distance": 0.1}
    with pytest.raises(AttributeError):
        settings_of("projection", SETTINGS).top_k  # noqa: B018


def test_the_id_of_a_run_changes_with_any_stage() -> None:
    keys = stage_keys(SOURCE, SETTINGS)
    assert len(run_id(keys)) == 12
    assert len({run_id(keys), *(run_id({**keys, name: ""}) for name in keys)}) == 1 + len(STAGES)
