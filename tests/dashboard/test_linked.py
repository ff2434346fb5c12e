import pytest

from neurocarto.dashboard import linked, state
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.selection import Selection
from neurocarto.runs.store import Run
from neurocarto.views.highlight import highlight
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches


@pytest.fixture
def opened(run_folder: object) -> OpenRun:
    run = Run(str(run_folder))
    return OpenRun("planted", "1", Lookup(run), Patches(run))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Selection]:
    """Stand in for the session: what the views select, in order."""
    history = [Selection(run="planted", class_="birds")]
    monkeypatch.setattr(state, "current", lambda: history[-1])
    monkeypatch.setattr(state, "change", history.append)
    return history


def test_views_change_the_selection(opened: OpenRun, chosen: list[Selection]) -> None:
    linked.on_event(opened, {"kind": "click", "cluster": 4, "add": False})
    linked.on_event(opened, {"kind": "click", "cluster": 5, "add": True})
    assert chosen[-1].clusters == (4, 5)
    linked.on_event(opened, {"kind": "click", "neuron": 9, "add": False})
    assert chosen[-1] == Selection(run="planted", class_="birds", neuron=9)
    linked.on_event(opened, {"kind": "lasso", "polygon": [[0, 0], [1, 0], [1, 1]] * 30})
    assert 3 <= len(chosen[-1].lasso) <= 32
    linked.on_event(opened, {"kind": "clear"})
    assert chosen[-1].is_empty


def test_the_map_chooses_its_colours_and_whose_they_are(opened: OpenRun, chosen: list[Selection]) -> None:
    linked.on_event(opened, {"kind": "choose", "name": "colour", "value": "rate"})
    linked.on_event(opened, {"kind": "choose", "name": "show", "value": "all"})
    assert (chosen[-1].colour, chosen[-1].show) == ("rate", "all")


@pytest.mark.parametrize(
    "event",
    [{}, {"kind": "click"}, {"kind": "click", "cluster": 999}, {"kind": "click", "neuron": 10**6},
     {"kind": "choose", "name": "colour", "value": "<b>"}, {"kind": "choose", "name": "class_", "value": "fish"},
     {"kind": "choose", "name": ["colour"], "value": {}},
     {"kind": "click", "neuron": "3"}, {"kind": "click", "cluster": True}],
)  # fmt: skip
def test_events_that_name_nothing_change_nothing(opened: OpenRun, chosen: list[Selection], event: dict) -> None:
    linked.on_event(opened, event)
    assert len(chosen) == 1


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection(class_="birds"), "The most important clusters for birds"),
        (Selection(), "The most important clusters over all images"),
        (Selection(clusters=(1, 2, 3, 4)), "Also selected"),
        (Selection(neuron=9), "Neuron block0/9"),
        (Selection(lasso=((-99, -99), (99, -99), (99, 99), (-99, 99))), "117 neurons in the lasso, 27 clusters"),
        (Selection(lasso=((900, 900), (901, 900), (900, 901))), "No neuron lies in the lasso"),
        (Selection(class_="gone"), "No cluster is important for gone (false discovery rate 5%)"),
    ],
)
def test_the_gallery_follows_the_selection(opened: OpenRun, selection: Selection, text: str) -> None:
    shown = highlight(
        opened.lookup,
        class_=selection.class_,
        clusters=selection.clusters,
        neuron=selection.neuron,
        lasso=selection.lasso,
    )
    assert text in linked.gallery_html(opened, selection, shown)


def test_a_graph_is_named_by_all_that_it_shows(opened: OpenRun) -> None:
    versions = {
        linked.graph_version(opened, selection)
        for selection in (
            Selection(),
            Selection(class_="a"),
            Selection(layers=("a",)),
            Selection(least=0.9),
            Selection(edges=1),
            Selection(clusters=(1,)),
        )
    }
    assert len(versions) == 5
