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
