import json
from dataclasses import Field, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.errors import SettingsError
from neurocarto.settings import RunSettings

KNOBS = [knob for knob in fields(RunSettings) if "low" in knob.metadata]
CHOICES = [knob for knob in fields(RunSettings) if "choices" in knob.metadata]


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
@pytest.mark.parametrize("side", ["low", "high"])
def test_a_value_outside_its_range_is_refused_with_value_and_range(knob: Field[object], side: str) -> None:
    name, limits = knob.name, knob.metadata
    value = limits[side] + (1 if side == "high" else -1)
    with pytest.raises(SettingsError) as caught:
        RunSettings(**{name: value})
    assert str(caught.value) == f"{name} is {value}; it must be between {limits['low']} and {limits['high']}"


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
@pytest.mark.parametrize("side", ["low", "high"])
def test_the_ends_of_a_range_belong_to_it(knob: Field[object], side: str) -> None:
    value = knob.metadata[side]
    others = {"examples": {"top_k": 10_000}, "top_k": {"examples": 1}, "band_rows": {"permutations": 16 * 5}}
    assert getattr(RunSettings(**{**others.get(knob.name, {}), knob.name: value}), knob.name) == value


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_every_knob_is_explained_and_its_default_lies_in_its_range(knob: Field[object]) -> None:
    assert knob.metadata["help"]
    assert knob.metadata["low"] <= getattr(RunSettings(), knob.name) <= knob.metadata["high"]


@pytest.mark.parametrize("knob", CHOICES, ids=lambda knob: knob.name)
def test_a_choice_that_there_is_not_is_refused_with_those_there_are(knob: Field[object]) -> None:
    assert knob.metadata["help"]
    assert [getattr(RunSettings(**{knob.name: choice}), knob.name) for choice in knob.metadata["choices"]]
    with pytest.raises(
        SettingsError, match=f"{knob.name} is 'other'; it must be one of: {', '.join(knob.metadata['choices'])}"
    ):
        RunSettings(**{knob.name: "other"})


@pytest.mark.parametrize(("name", "value"), [("top_k", 7.5), ("seed", True), ("min_distance", "0.1"), ("top_k", None)])
def test_a_value_of_another_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{name} is {value!r}; it must be a "):
        RunSettings(**{name: value})


def test_not_a_number_is_in_no_range() -> None:
    with pytest.raises(SettingsError, match="min_distance is nan"):
        RunSettings(min_distance=float("nan"))


def test_settings_that_contradict_each_other_are_refused_with_both_values() -> None:
    with pytest.raises(SettingsError, match=r"permutations is 100; .* multiple of band_rows \(3\)"):
        RunSettings(permutations=100, band_rows=3)
    with pytest.raises(SettingsError, match=r"examples is 30; .* at most top_k \(20\)"):
        RunSettings(examples=30, top_k=20)


@given(
    seed=st.integers(0, 2**31 - 1),
    rows=st.integers(1, 16),
    bands=st.integers(16, 256),
    share=st.floats(0.001, 0.5),
    place=st.floats(0.25, 7.0),
)
def test_settings_survive_json(seed: int, rows: int, bands: int, share: float, place: float) -> None:
    settings = RunSettings(
        seed=seed, band_rows=rows, permutations=rows * bands, stimuli_share=share, place_width=place, threads=3
    )
    assert RunSettings(**json.loads(json.dumps(settings.as_dict()))) == settings
