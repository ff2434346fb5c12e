import base64
from typing import Any

import pytest
from own_images import content, entry

from neurocarto.views.lookup import Lookup
from neurocarto.views.own_image import OwnImage, _apart
from neurocarto.views.patches import Patches
from views.conftest import MARKUP


def test_what_fires_is_unusually_strong(lookup: Lookup) -> None:
    assert OwnImage(content(), lookup).fires == {2: 0.8, 12: 0.8}


def test_the_answer_means_a_class_of_the_run_or_none(lookup: Lookup) -> None:
    own = OwnImage(content(), lookup)
    assert own.class_ == lookup.classes[2]
    answers = [{"output": 77, "name": "elsewhere", "confidence": 1.0}]
    assert OwnImage(content(answers=answers), lookup).class_ is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"run": "another"},
        {"clusters": [entry(9999, 1.0)]},
        {"closely": [{"cluster": None}]},
        {"picture": "?"},
        {"picture": base64.b64encode(b"no picture").decode()},
    ],
    ids=str,
)
def test_what_is_of_another_run_or_damaged_is_refused(lookup: Lookup, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it is of another run|is damaged"):
        OwnImage(content(**wrong), lookup)


def test_cards_say_how_strong_and_what_the_answer_loses(lookup: Lookup, patches: Patches) -> None:
    html = OwnImage(content(), lookup).html(patches, selected=(12,))
    assert html.count("data-card-cluster=") == 3
    assert 'nc-selected" data-card-cluster="12"' in html
    assert "Stronger than on 99%" in html
    assert "Without it “birds” −25.0% (random neurons: +1.0% … −2.0%)" in html
    assert "−1.5% (random neurons: +1.0% … −2.0%); no more than chance" in html
    assert "cannot be said" in html
    rests = html[html.index("rests most on") : html.index("nc-cards")]
    assert 'data-cluster="2"' in rests
    assert 'data-cluster="12"' not in rests
    assert html.count("A patch of your image") == 3
    assert html.count("data-strip=") == 3


def test_boxes_lie_in_the_image(lookup: Lookup, patches: Patches) -> None:
    html = OwnImage(content(), lookup).html(patches)
    assert 'data-boxed="2" style="left:0.00%;top:10.00%;width:22.50%;height:50.00%"' in html


def test_only_clusters_of_the_chosen_layers_show(lookup: Lookup, patches: Patches) -> None:
    html = OwnImage(content(), lookup).html(patches, layers=("block1",))
    assert 'data-card-cluster="12"' in html
    assert 'data-card-cluster="2"' not in html
    assert 'data-boxed="2"' not in html


def test_markup_shows_as_text(odd: Lookup) -> None:
    html = OwnImage(content(answer=MARKUP), odd).html(Patches(odd.run))
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") > 5


def test_boxes_at_one_place_are_one() -> None:
    boxes = [[0, 0, 10, 10], [2, 1, 12, 11], [0, 5, 10, 15]]
    assert _apart([{"box": box} for box in boxes]) == [(0, 0, 10, 10), (0, 5, 10, 15)]


def test_nothing_of_the_image_is_kept_among_the_runs_patches(lookup: Lookup) -> None:
    patches = Patches(lookup.run)
    OwnImage(content(), lookup).html(patches)
    assert patches.uri.cache_info().currsize == patches.whole.cache_info().currsize == 0
