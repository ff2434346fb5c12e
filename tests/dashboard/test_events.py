"""What a view sends changes the one selection, or nothing."""

import pytest

from neurocarto.dashboard import moves, state
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection

START = Selection(run="planted", class_="birds")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Selection]:
    """Stand in for the session: what the views select, in order."""
    history = [START]
    monkeypatch.setattr(state, "current", lambda: history[-1])
    monkeypatch.setattr(state, "change", history.append)
    return history


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that the views lead to."""
    asked: list[str] = []
    monkeypatch.setattr(moves, "go", asked.append)
    return asked


def test_clicks_and_lassos_select(opened: OpenRun, chosen: list[Selection]) -> None:
    on_event(opened, {"kind": "click", "cluster": 4, "add": False})
    on_event(opened, {"kind": "click", "cluster": 5, "add": True})
    assert chosen[-1].clusters == (4, 5)
    on_event(opened, {"kind": "click", "neuron": 9, "add": False})
    assert chosen[-1] == Selection(run="planted", class_="birds", neuron=9)
    on_event(opened, {"kind": "lasso", "polygon": [[0, 0], [1, 0], [1, 1]] * 30})
    assert 3 <= len(chosen[-1].lasso) <= 32
    on_event(opened, {"kind": "clear"})
    assert chosen[-1] == START


def test_a_click_toggles_but_what_is_searched_for_stays_selected(opened: OpenRun, chosen: list[Selection]) -> None:
    for _ in range(2):
        on_event(opened, {"kind": "select", "cluster": 4})
    assert chosen[-1].clusters == (4,)
    for _ in range(2):
        on_event(opened, {"kind": "select", "neuron": 7})
    assert (chosen[-1].neuron, chosen[-1].clusters) == (7, ())
    on_event(opened, {"kind": "select", "name": "fish"})
    assert (chosen[-1].class_, chosen[-1].neuron) == ("fish", 7)
    for _ in range(2):
        on_event(opened, {"kind": "click", "cluster": 4})
    assert chosen[-1].is_empty


def test_two_classes_are_compared(opened: OpenRun, chosen: list[Selection]) -> None:
    on_event(opened, {"kind": "compare", "first": "fish", "second": "birds"})
    assert (chosen[-1].class_, chosen[-1].other) == ("fish", "birds")


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("colour", "rate", "colour", "rate"),
        ("show", "all", "show", "all"),
        ("min", "0.75", "least", 0.75),
        ("edges", "0", "edges", 0),
        ("map", "2", "snapshot", 2),
        ("map", "", "snapshot", None),
        ("pictures", "off", "pictures", False),
        ("branches", "5", "branches", 5),
    ],
)
def test_what_is_chosen_on_a_view(
    opened: OpenRun, chosen: list[Selection], name: str, value: str, field: str, expected: object
) -> None:
    on_event(opened, {"kind": "choose", "name": name, "value": value})
    assert getattr(chosen[-1], field) == expected


def test_a_click_may_lead_to_another_page(opened: OpenRun, chosen: list[Selection], pages: list[str]) -> None:
    on_event(opened, {"kind": "click", "cluster": 4, "page": "explore"})
    on_event(opened, {"kind": "click", "cluster": 5, "page": "../secret"})
    on_event(opened, {"kind": "click", "cluster": 999, "page": "explore"})
    assert pages == ["explore"]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"kind": "click"},
        {"kind": "click", "cluster": 999},
        {"kind": "click", "neuron": 10**6},
        {"kind": "click", "neuron": "3"},
        {"kind": "click", "neuron": float("nan")},
        {"kind": "click", "neuron": float("inf")},
        {"kind": "click", "cluster": True},
        {"kind": "select", "name": "gone"},
        {"kind": "class", "name": ["birds"]},
        {"kind": "compare", "first": "birds", "second": {}},
        {"kind": "lasso"},
        {"kind": "lasso", "polygon": [[0, 0], [1], [2, 2]]},
        {"kind": "lasso", "polygon": [[0, 0], [1, None], [2, 2]]},
        {"kind": "lasso", "polygon": [[0, 0], [1, float("nan")], [2, 2]]},
    ],
    ids=str,
)
def test_events_that_name_nothing_change_nothing(opened: OpenRun, chosen: list[Selection], event: dict) -> None:
    on_event(opened, event)
    assert chosen == [START]


@pytest.mark.parametrize(
    ("name", "value"),
    [("colour", "<b>"), ("class", "fish"), ("clusters", "3"), (["colour"], {}), ("min", "nan"), ("map", "-1")],
)
def test_choices_that_cannot_be_read_change_nothing(
    opened: OpenRun, chosen: list[Selection], name: object, value: object
) -> None:
    on_event(opened, {"kind": "choose", "name": name, "value": value})
    assert chosen[-1] == START
