"""Which page the session is on, and where what happens in a view leads."""

from collections.abc import Iterator

import pytest
import streamlit as st

from neurocarto.dashboard import components, moves


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    st.session_state.clear()
    yield
    st.session_state.clear()


def test_a_page_that_a_view_asks_for_is_opened_once() -> None:
    assert moves.enter("cascade") is None
    moves.go("explore")
    assert moves.enter("cascade") == "explore"
    assert moves.enter("explore") is None
    assert moves.current() == "explore"
    assert moves.enter("cascade") is None


def test_a_page_that_asks_for_itself_is_drawn() -> None:
    moves.go("about")
    assert moves.enter("about") is None


def heard(monkeypatch: pytest.MonkeyPatch, key: str) -> tuple[list[components.Event], components.Event]:
    """Mount a view; return what reached the app and what the view was given to report by."""
    events: list[components.Event] = []
    given: components.Event = {}
    monkeypatch.setattr(components, "_component", lambda _: lambda **what: given.update(what))
    components.gallery(html="", on_event=events.append, name=key)
    return events, given


def test_an_event_reaches_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    events, given = heard(monkeypatch, "cards")
    st.session_state["nc_cards"] = {"event": {"kind": "clear", "number": 3}}
    given["on_event_change"]()
    assert events == [{"kind": "clear", "number": 3}]
    assert moves.enter("explore") is None


def test_an_event_that_is_lost_with_its_page_does_not_bring_that_page_back(monkeypatch: pytest.MonkeyPatch) -> None:
    moves.enter("explore")
    events, given = heard(monkeypatch, "cards")
    given["on_event_change"]()
    assert not events
    assert moves.enter("cascade") == "explore"
