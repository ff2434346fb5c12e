"""The cascade page says where it starts, where nothing was measured, and why there is no way to a class."""

import pandas as pd
import pytest

from dashboard.conftest import Visit
from neurocarto.dashboard import cascade, cascade_html, moves, state
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection
from neurocarto.runs.store import Run
from neurocarto.views import cascade as views
from neurocarto.views.cards import Cards
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches


@pytest.fixture
def opened(run_folder: object) -> OpenRun:
    lookup = Lookup(Run(str(run_folder)))
    patches = Patches(lookup.run)
    return OpenRun("planted", "1", lookup, patches, Cards(lookup, patches))


def said(opened: OpenRun, selection: Selection, start: int) -> str:
    found = views.cascade(opened.lookup, start, selection.class_, selection.branches)
    return cascade_html.html(opened, selection, found, [])


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), (None, [])),
        (Selection(clusters=(7, 3)), (7, [3])),
        (Selection(neuron=9, clusters=(7,)), (2, [7])),
        (Selection(neuron=38), (None, [])),
        (Selection(lasso=((900, 900), (901, 900), (900, 901))), (None, [])),
    ],
    ids=str,
)
def test_it_starts_at_the_neurons_cluster_or_the_first_that_is_selected(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch, selection: Selection, expected: tuple[int | None, list[int]]
) -> None:
    monkeypatch.setattr(state, "current", lambda: selection)
    assert cascade.start_of(opened, selection) == expected


def test_a_click_that_leads_to_another_page_never_clears_what_is_selected(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, pages = [Selection(clusters=(4,))], list[str]()
    monkeypatch.setattr(state, "current", lambda: history[-1])
    monkeypatch.setattr(state, "change", history.append)
    monkeypatch.setattr(moves, "go", pages.append)
    on_event(opened, {"kind": "click", "cluster": 4, "page": "explore"})
    assert (history[-1].clusters, pages) == ((4,), ["explore"])


def test_why_there_is_no_way_to_a_class_is_said(opened: OpenRun) -> None:
    assert "Choose a class to see the way" in said(opened, Selection(), 20)
    # fish has no output in this run, and the last layer's fifth cluster does not reach the one of birds.
    assert "the output of fish is not among the network's" in said(opened, Selection(class_="fish"), 20)
    assert "some influence is uncertain" in said(opened, Selection(class_="birds"), 24)
    assert "output of birds" in said(opened, Selection(class_="birds"), 18)


def test_not_measured_and_isolated_are_told_apart(opened: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["source", "target", "weight", "low", "high"]
    weak = pd.DataFrame([(1, 9, 0.01, 0.005, 0.015), (2, 9, 0.99, 0.9, 1.0)], columns=columns)
    monkeypatch.setattr(opened.lookup, "edges", {"birds": weak, "": weak}.__getitem__)
    assert "It is isolated" in said(opened, Selection(class_="birds"), 1)
    unknown = said(opened, Selection(class_="birds"), 6)
    assert "measured neither on the images of birds nor over all images" in unknown
    assert "isolated" not in unknown
    assert 'data-class="fish"' in unknown


def test_where_nothing_is_selected_there_are_places_to_start(opened: OpenRun) -> None:
    html = cascade_html.starts_html(opened, Selection(class_="birds"))
    assert "Nothing is selected yet" in html
    assert html.count("data-card-cluster") == cascade_html.SHOWN_STARTS
    assert "in no cluster" in cascade_html.starts_html(opened, Selection(neuron=38))


@pytest.mark.parametrize("branches", ["0", "1", "8"])
def test_the_page_shows_any_number_of_concepts_per_step(visit: Visit, branches: str) -> None:
    app = visit("cascade", v="1", run="planted", class_="birds", clusters="12", branches=branches)
    assert not app.exception
    assert app.query_params["branches"] == branches
