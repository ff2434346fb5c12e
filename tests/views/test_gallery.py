from html.parser import HTMLParser

import pytest

from neurocarto.views.gallery import Gallery, evidence_text, parse_evidence
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from views.conftest import MARKUP


class Outline(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_cluster_shows_members_by_patches(lookup: Lookup, patches: Patches) -> None:
    html = Gallery(lookup, patches, "birds").cluster(3, patches=5)
    outline = Outline(html)
    assert html.count('data-neuron="') == 4
    assert len(outline.pictures) == 20
    for text in ("4 neurons", "block0", "similarity", "peak agreement"):
        assert text in outline.text


def test_every_picture_has_its_text_and_is_inline(lookup: Lookup, patches: Patches) -> None:
    for picture in Outline(Gallery(lookup, patches).cluster(0)).pictures:
        assert str(picture["src"]).startswith("data:image/webp;base64,")
        assert "activation" in str(picture["alt"])


def test_a_neuron_shows_its_statistics_and_the_way_to_its_cluster(lookup: Lookup, patches: Patches) -> None:
    html = Gallery(lookup, patches).neuron(9)
    assert 'data-cluster="2"' in html
    assert "highest activation" in html
    assert "in no cluster" in Gallery(lookup, patches).neuron(38)


def test_a_silent_neuron_is_said_to_have_never_fired(lookup: Lookup, patches: Patches) -> None:
    assert "never fired on these images" in Gallery(lookup, patches).neuron(39)


def test_large_clusters_say_how_many_members_are_left_out(lookup: Lookup, patches: Patches) -> None:
    assert "and 2 more neurons" in Gallery(lookup, patches).cluster(3, members=2)


def test_selected_cards_are_marked(lookup: Lookup, patches: Patches) -> None:
    html = Gallery(lookup, patches).clusters([1, 2], selected=[2])
    assert html.count("nc-selected") == 1


def test_markup_in_names_shows_as_text(odd: Lookup) -> None:
    draw = Gallery(odd, Patches(odd.run), MARKUP)
    html = draw.clusters([0]) + draw.cluster(0) + draw.neuron(0) + draw.neurons([1, 2])
    outline = Outline(html)
    assert "script" not in outline.tags
    assert MARKUP in outline.text
    assert any(MARKUP in str(picture["alt"]) for picture in outline.pictures)


@pytest.mark.parametrize("text", [None, "", "{", "3", '{"name": 1}', "[1, null]", float("nan")])
def test_evidence_that_is_not_there_is_left_out(text: object) -> None:
    assert parse_evidence(text) == []


def test_evidence_tells_counts_and_what_chance_would_give() -> None:
    entry = {"name": "dog", "kind": "prediction", "count": 12, "of": 20, "base": 0.05}
    assert evidence_text(entry) == "dog 12 of 20 (5% of all images) as predicted"
