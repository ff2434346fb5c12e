from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from neurocarto.views.cards import STRIP, Cards
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from views.conftest import MARKUP
from views.test_gallery import Outline


@pytest.fixture(scope="module")
def cards(lookup: Lookup, patches: Patches) -> Cards:
    return Cards(lookup, patches)


def test_a_neurons_card_names_it_and_shows_its_best_patches(cards: Cards) -> None:
    outline = Outline(cards.answer("n:9"))
    assert "block0/9" in outline.text
    assert "(cluster 2)" in outline.text
    assert len(outline.pictures) == 5
    assert "in no cluster" in cards.answer("n:38")
    assert "never fired on these images" in cards.answer("n:39")


def test_a_clusters_card_shows_members_by_patches(cards: Cards) -> None:
    outline = Outline(cards.answer("c:3"))
    assert "cluster 3 in block0" in outline.text
    assert "4 neurons" in outline.text
    assert len(outline.pictures) == 20


def test_a_thumbnail_is_one_patch(cards: Cards) -> None:
    assert cards.answer("t:9").startswith("data:image/webp;base64,")
    assert cards.answer("t:39") is None


def test_a_cluster_of_a_graph_has_one_patch_as_its_picture(cards: Cards) -> None:
    assert cards.answer("g:3").startswith("data:image/webp;base64,")
    assert cards.answer("g:999") is None


def test_a_clusters_strip_has_patches_that_open(cards: Cards) -> None:
    assert cards.answer("s:3").count("data-image=") == STRIP
    assert cards.answer("s:999") is None


def test_the_whole_image_has_the_box_of_the_neuron(cards: Cards, lookup: Lookup) -> None:
    example = lookup.examples(9, 1).iloc[0]
    html = cards.answer(f"i:{int(example['image'])}:9")
    row = lookup.images.loc[int(example["image"])]
    left = max(example["x0"], 0) / row["width"]
    assert f"left:{left:.2%}" in html
    for text in (row["label"], row["prediction"], row["path"], "block0/9", f"{example['activation']:.3g}"):
        assert text in Outline(html).text


def test_an_image_without_an_example_of_the_neuron_shows_no_box(cards: Cards, lookup: Lookup) -> None:
    own = set(lookup.examples(9, 99)["image"])
    other = next(image for image in lookup.images.index if image not in own)
    assert "nc-box" not in cards.answer(f"i:{other}:9")
    assert "not among its strongest" in cards.answer(f"i:{other}:9")


def test_an_original_is_shown_only_from_folders_that_may_be_shown(
    lookup: Lookup, patches: Patches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / str(lookup.images.loc[0, "path"])
    path.parent.mkdir()
    Image.new("RGB", (1800, 900), "teal").save(path)
    monkeypatch.setitem(lookup.run.manifest.images, "source", str(tmp_path))
    question, preview = "i:0:9", Cards(lookup, patches).answer("i:0:9")
    assert Cards(lookup, patches, [tmp_path]).answer(question) != preview
    assert Cards(lookup, patches, [tmp_path / "elsewhere"]).answer(question) == preview
    path.write_text("no image")
    assert Cards(lookup, patches, [tmp_path]).answer(question) == preview


def test_the_maps_travel_to_within_a_step(cards: Cards, lookup: Lookup) -> None:
    import base64

    import numpy as np

    sent = cards.answer("maps")
    codes = np.frombuffer(base64.b64decode(sent["data"]), "<i2").reshape(-1, len(lookup.neuron_cluster), 2)
    places = sent["low"] + (sent["high"] - sent["low"]) * codes / sent["steps"]
    expected = lookup.run.snapshots[:-1]
    known = np.isfinite(expected)
    np.testing.assert_allclose(places[known], expected[known], atol=(sent["high"] - sent["low"]) / sent["steps"])
    assert (codes[~known] == -1).all()


@given(st.text() | st.from_regex(r"[nctim]:[-0-9]{0,12}(:[-0-9]{0,12})?", fullmatch=True))
def test_a_question_about_nothing_has_no_answer_and_raises_nothing(cards: Cards, question: str) -> None:
    answer = cards.answer(question)
    assert answer is None or isinstance(answer, str | dict)


@pytest.mark.parametrize("question", ["n:-1", "n:120", "c:27", "i:30:0", "i:0", "n:9:1", "n:٣", "x:1", "", "maps:1"])
def test_what_is_not_there_has_no_answer(cards: Cards, question: str) -> None:
    assert cards.answer(question) is None


def test_markup_in_names_shows_as_text(odd: Lookup) -> None:
    cards = Cards(odd, Patches(odd.run))
    image = int(odd.examples(0, 1)["image"].iloc[0])
    shown = "".join(cards.answer(question) for question in ("n:0", "c:0", f"i:{image}:0"))
    assert "script" not in Outline(shown).tags
    assert MARKUP in Outline(shown).text
