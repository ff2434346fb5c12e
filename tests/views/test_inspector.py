import pytest

from neurocarto.records import CLASS_OUTPUT
from neurocarto.views.inspector import SHOWN, Inspector
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from views.conftest import MARKUP
from views.test_gallery import Outline


def test_a_neuron_shows_what_it_is_related_to_with_patches(lookup: Lookup, patches: Patches) -> None:
    html = Inspector(lookup, patches).neuron(9)
    outline = Outline(html)
    for neuron, closeness in lookup.related(9):
        assert f'data-neuron="{neuron}"' in html
        assert f"{closeness:.2f}" in outline.text
    assert len(outline.pictures) >= 10 * 4


def test_a_neuron_shows_the_classes_that_drive_it(lookup: Lookup, patches: Patches) -> None:
    html = Inspector(lookup, patches).neuron(9)
    names = [name for name, _ in lookup.driving_classes(9)]
    assert names
    assert all(name in Outline(html).text for name in names)


def test_a_silent_neuron_is_related_to_nothing(lookup: Lookup, patches: Patches) -> None:
    assert lookup.related(39) == []
    assert "no place in the embedding" in Inspector(lookup, patches).neuron(39)


def test_a_cluster_shows_its_influences_strongest_first(lookup: Lookup, patches: Patches) -> None:
    cluster = 12  # in the middle layer: with edges in and out
    edges = lookup.edges("birds")
    html = Inspector(lookup, patches, "birds").cluster(cluster)
    into = edges[edges["target"] == cluster]
    strongest = into.loc[into["weight"].abs().idxmax()]
    first = html.index('data-cluster="')
    assert html[first:].startswith(f'data-cluster="{int(strongest["source"])}"')
    assert f"Built from ({len(into)})" in html
    assert f"and {len(into) - SHOWN} weaker" in html
    assert "on images of birds" in html


def test_where_a_class_has_no_edges_those_of_all_images_are_shown_and_it_is_said(
    lookup: Lookup, patches: Patches
) -> None:
    assert "over all images" in Inspector(lookup, patches, "no such class").cluster(12)


def test_the_class_output_is_named(lookup: Lookup, patches: Patches) -> None:
    edges = lookup.edges("birds")
    cluster = int(edges.loc[edges["target"] == CLASS_OUTPUT, "source"].iloc[0])
    assert "output of birds" in Inspector(lookup, patches, "birds").cluster(cluster)


def test_a_cluster_shows_the_classes_that_need_it(lookup: Lookup, patches: Patches) -> None:
    cluster = int(lookup.important("fish")["cluster"].iloc[0])
    needed = lookup.needed_by(cluster)
    html = Inspector(lookup, patches).cluster(cluster)
    assert f"Classes that need it ({len(needed)})" in html
    assert needed["score"].is_monotonic_decreasing
    assert 'data-class="fish"' in html


def _matters(lookup: Lookup, patches: Patches, class_: str, cluster: int) -> str:
    text = Outline(Inspector(lookup, patches, class_).cluster(cluster)).text
    return text[text.index("Does it matter?") : text.index("Built from")]


def test_a_cluster_says_what_the_class_loses_without_it_beside_random_neurons(lookup: Lookup, patches: Patches) -> None:
    cluster = int(lookup.important("birds")["cluster"].iloc[0])
    row = lookup.run.importance.query("`class` == 'birds' and cluster == @cluster").iloc[0]
    said = _matters(lookup, patches, "birds", cluster)
    assert f"Without it, the output of birds falls by {row['effect']:.1%}" in said
    assert f"({row['effect_low']:.1%} … {row['effect_high']:.1%})" in said
    assert f"without 4 random neurons of block{cluster // 9}, it falls by {row['effect_null']:.1%}" in said
    assert said.strip().endswith("More than chance.")


def test_where_the_effect_was_not_measured_the_reason_is_said(lookup: Lookup, patches: Patches) -> None:
    assert "Choose a class" in _matters(lookup, patches, "", 12)
    assert "the network has no output that means fish" in _matters(lookup, patches, "fish", 12)
    effects = lookup.run.importance.query("`class` == 'birds'").set_index("cluster")["effect"]
    unmeasured = int(effects.index[effects.isna()][0])
    assert "estimated from gradients" in _matters(lookup, patches, "birds", unmeasured)


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        ({"effect": 0.1}, "falls by 10.0%. Random neurons were not measured beside it."),
        ({"effect": 0.1, "effect_low": -0.01, "effect_high": 0.2, "effect_null": 0.01, "effect_null_high": 0.02},
         "falls by 10.0% (−1.0% … 20.0%); without 4 random neurons of block1, it falls by 1.0%. No more than chance."),
        ({"effect": -0.1, "effect_low": -0.2, "effect_high": -0.05, "effect_null": 0.0, "effect_null_low": -0.01,
          "effect_null_high": 0.01},
         "rises by 10.0% (5.0% … 20.0%); without 4 random neurons of block1, it falls by 0.0% (−1.0% … 1.0%). "
         "It holds the class back."),
    ],
)  # fmt: skip
def test_effects_in_words(
    lookup: Lookup, patches: Patches, monkeypatch: pytest.MonkeyPatch, measured: dict[str, float], text: str
) -> None:
    monkeypatch.setattr(lookup, "effect", lambda *_: measured)
    assert f"Without it, the output of birds {text}" in _matters(lookup, patches, "birds", 12)


@pytest.mark.parametrize(("low", "high", "unsure"), [(0.1, 0.3, False), (-0.1, 0.3, True), (-0.3, -0.1, False)])
def test_an_influence_whose_interval_holds_zero_is_called_uncertain(low: float, high: float, unsure: bool) -> None:
    from types import SimpleNamespace

    from neurocarto.views.inspector import weight

    assert ("uncertain" in weight(SimpleNamespace(weight=(low + high) / 2, low=low, high=high))) is unsure


def test_markup_in_names_shows_as_text(odd: Lookup) -> None:
    draw = Inspector(odd, Patches(odd.run), MARKUP)
    outline = Outline("".join(draw.cluster(cluster) for cluster in range(27)) + draw.neuron(0))
    assert "script" not in outline.tags
    assert MARKUP in outline.text
