"""People's names of clusters, wherever a cluster shows, with the computed label beside them."""

from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.runs.names import Name, Names
from neurocarto.runs.store import Run
from neurocarto.views.cards import NOTED, Cards
from neurocarto.views.cascade import cascade, flow
from neurocarto.views.cascade_cards import CascadeCards
from neurocarto.views.comparison import compared
from neurocarto.views.comparison_graph import comparison_graph
from neurocarto.views.comparison_lists import ComparisonLists
from neurocarto.views.error_lists import ErrorLists
from neurocarto.views.errors import confusions
from neurocarto.views.gallery import Gallery
from neurocarto.views.graph import graph, wrapped
from neurocarto.views.inspector import Inspector, cluster_button
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.projection import captions
from neurocarto.views.quality import QualityCards
from views.conftest import MARKUP
from views.test_gallery import Outline


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory: pytest.TempPathFactory) -> Lookup:
    folder = tmp_path_factory.mktemp("named") / "run"
    return Lookup(Run(write_synthetic_run(folder, judges=("EfficientNet-Lite2",))))


@pytest.fixture(scope="module")
def lookup(unnamed: Lookup) -> Lookup:
    """Every cluster is called by its number and has a note."""
    return unnamed.named(Names({c: Name("", f"{c} of hearts", f"note on {c}") for c in unnamed.cluster_layer}))


@pytest.fixture(scope="module")
def patches(unnamed: Lookup) -> Patches:
    return Patches(unnamed.run)


def test_names_are_laid_over_one_lookup_that_stays_as_it_is(tmp_path: Path) -> None:
    first = Lookup(Run(write_synthetic_run(tmp_path / "run", layers=2, channels=10)))
    second = first.named(Names({1: Name("", "wheels")}))
    assert second.label(1) == f"wheels · {first.label(1)}"
    assert second.short_label(1) == "wheels"
    assert second.label(0) == second.short_label(0) == first.label(0) == first.labels[0]
    for of_all in ("neuron_cluster", "places", "images", "labels", "all_important", "scorecard"):
        assert getattr(first, of_all) is getattr(second, of_all)
    assert second.important("birds") is first.important("birds")
    assert second.edges("") is first.edges("")


def test_a_name_that_is_the_label_shows_once(unnamed: Lookup) -> None:
    label = unnamed.label(3)
    assert unnamed.named(Names({3: Name("", label)})).label(3) == label


def test_the_graph_has_room_for_the_name_and_tells_the_label_under_the_mouse(lookup: Lookup) -> None:
    drawn = [
        graph(lookup, class_="birds"),
        comparison_graph(lookup, "birds", "fish"),
        flow(lookup, cascade(lookup, 3, "", 3)),
    ]
    for content in drawn:
        clusters = [node for node in content["nodes"] if node["id"] >= 0]
        assert clusters
        for node in clusters:
            assert node["label"] == wrapped(f"{node['id']} of hearts", 16)
            assert node["name"] == f"{node['id']} of hearts · {lookup.labels[node['id']]}"


def test_names_show_wherever_a_cluster_does(lookup: Lookup, patches: Patches) -> None:
    called = lookup.label(3)
    found = cascade(lookup, 3, "", 3)
    chosen = confusions(lookup)[0]
    groups = compared(lookup, "birds", "fish")
    shown = {
        "card": Gallery(lookup, patches).cluster(3),
        "compact card": Gallery(lookup, patches).clusters([3]),
        "neuron": Gallery(lookup, patches).neuron(int(lookup.members(3)[0])),
        "link": cluster_button(lookup, 3),
        "hovered cluster": Cards(lookup, patches).answer("c:3"),
        "hovered neuron": Cards(lookup, patches).answer(f"n:{lookup.members(3)[0]}"),
        "start": CascadeCards(lookup, patches, "birds").alone(3),
        "ranking": QualityCards(lookup, patches).ranking(),
        "selected class": ComparisonLists(lookup, patches).selected("birds", "fish", [3]),
    }
    assert [place for place, html in shown.items() if called not in Outline(html).text] == []
    anyone = {
        "flows": Inspector(lookup, patches).cluster(3),
        "steps": CascadeCards(lookup, patches, "").steps(found, 1),
        "compared": ComparisonLists(lookup, patches).groups("birds", "fish", groups),
        "confusion": ErrorLists(lookup, patches).confusion(chosen),
    }
    assert [place for place, html in anyone.items() if " of hearts · " not in Outline(html).text] == []


def test_a_note_shows_in_the_inspector_and_its_beginning_on_the_card(lookup: Lookup, patches: Patches) -> None:
    assert "note on 3" in Outline(Gallery(lookup, patches).cluster(3)).text
    assert "note on 3" not in Outline(Gallery(lookup, patches).clusters([3])).text
    long = lookup.named(Names({3: Name("", "", "word " * 300)}))
    text = Outline(Cards(long, patches).answer("c:3")).text
    assert "word word" in text
    assert text.count("word") < NOTED / len("word")
    assert long.label(3) == lookup.labels[3]


def test_the_form_knows_name_note_and_label(lookup: Lookup, unnamed: Lookup, patches: Patches) -> None:
    label = unnamed.labels[3]
    cards = Cards(unnamed, patches)
    assert cards.answer("f:3") == {"name": "", "note": "", "label": label}
    assert cards.named(lookup).answer("f:3") == {"name": "3 of hearts", "note": "note on 3", "label": label}
    assert cards.answer("f:27") is None


def test_the_map_is_captioned_by_computed_labels_alone(lookup: Lookup, unnamed: Lookup) -> None:
    assert captions(lookup) == captions(unnamed)


def test_markup_in_names_and_notes_shows_as_text(unnamed: Lookup, patches: Patches) -> None:
    odd = unnamed.named(Names({c: Name("", MARKUP, MARKUP) for c in unnamed.cluster_layer}))
    shown = "".join([
        Gallery(odd, patches).cluster(3), Inspector(odd, patches).cluster(3), Cards(odd, patches).answer("c:3"),
        QualityCards(odd, patches).ranking(), CascadeCards(odd, patches, "").alone(3),
    ])  # fmt: skip
    assert "script" not in Outline(shown).tags
    assert Outline(shown).text.count(MARKUP) > 5
