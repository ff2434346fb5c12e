from dataclasses import replace

import numpy as np
import pytest

from neurocarto.records import ALL_IMAGES, Layer, with_counts
from neurocarto.runs.store import Run
from neurocarto.views.lookup import Lookup


def test_neurons_carry_their_layer_and_name(lookup: Lookup) -> None:
    assert lookup.neuron_layer.tolist() == [0] * 40 + [1] * 40 + [2] * 40
    assert lookup.neuron_name(41) == "block1/1"


PARALLEL = {
    "stem": (), "one": ("stem",), "two.0": ("stem",), "two.1": ("two.0",), "joined": ("one", "two.1"),
    "last": ("joined",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("parents", "levels"),
    [
        (PARALLEL, (0, 1, 1, 2, 3, 4)),
        (dict.fromkeys(PARALLEL), (0, 1, 2, 3, 4, 5)),
        ({"a": (), "b": None, "c": ("a",)}, (0, 1, 2)),
        ({"a": (), "b": (), "c": ("a", "gone")}, (0, 0, 1)),
    ],
)
def test_layers_side_by_side_share_a_level_and_unknown_ones_have_their_own(
    lookup: Lookup, parents: dict[str, tuple[str, ...] | None], levels: tuple[int, ...]
) -> None:
    run = Run(lookup.run.folder)
    layers = tuple(Layer(name, 4, 7, 7, parents=before) for name, before in parents.items())
    run.manifest = replace(run.manifest, layers=layers)
    assert Lookup(run).levels == levels


def test_members_are_the_clusters_neurons_strongest_first(lookup: Lookup) -> None:
    members = lookup.members(3)
    assert sorted(members.tolist()) == [12, 13, 14, 15]
    strength = lookup.run.neurons["max_activation"].to_numpy()[members]
    assert (np.diff(strength) <= 0).all()


def test_neurons_that_never_fired_are_silent_and_have_no_examples(lookup: Lookup) -> None:
    assert np.flatnonzero(lookup.silent).tolist() == [39, 79, 119]
    assert lookup.examples(39, 5).empty


def test_examples_of_both_halves_come_strongest_first(lookup: Lookup) -> None:
    found = lookup.examples(7, 10)
    assert set(found["neuron"]) == {7}
    assert set(found["half"]) == {0, 1}
    assert found["activation"].is_monotonic_decreasing


def test_a_clusters_patches_show_images_that_most_members_share(lookup: Lookup) -> None:
    found = lookup.cluster_examples(5, 6)
    assert found["image"].is_unique
    assert set(found["neuron"]) <= set(lookup.members(5).tolist())
    everything = lookup.run.examples[lookup.run.examples["neuron"].isin(lookup.members(5))]
    shared = everything.groupby("image").size()
    assert shared[found["image"].iloc[0]] >= shared[found["image"].iloc[-1]]


def test_important_clusters_pass_both_the_rate_and_chance(lookup: Lookup) -> None:
    rows = lookup.important("birds")
    assert len(rows) > 0
    assert (rows["q_value"] <= 0.05).all()
    assert (rows["score"] > 0.5).all()
    assert rows["score"].is_monotonic_decreasing
    assert lookup.important("no such class").empty


@pytest.mark.parametrize("class_", ["birds", ALL_IMAGES])
def test_strengths_lie_between_0_and_1_and_fall(lookup: Lookup, class_: str) -> None:
    values = list(lookup.strengths(class_).values())
    assert 0 <= min(values) <= max(values) <= 1
    assert values == sorted(values, reverse=True)
    assert -1 not in lookup.strengths(class_)


def test_saturated_examples_of_both_halves_take_turns(lookup: Lookup):
    first = lookup.examples(0, 4)  # rank by rank the halves of the synthetic run are equally strong
    assert first["rank"].tolist() == [0, 0, 1, 1]
    assert sorted(first["half"].tolist()[:2]) == [0, 1]


def test_only_what_is_important_is_read_and_a_q_value_of_exactly_the_rate_is(lookup: Lookup) -> None:
    run = Run(lookup.run.folder)
    run.manifest = replace(run.manifest, settings={**run.manifest.settings, "false_discovery_rate": 0.6})
    found = Lookup(run).important("birds")
    assert "importance" not in vars(run)
    whole = run.importance
    expected = whole[(whole["class"] == "birds") & (whole["score"] > 0.5)]
    assert (expected["q_value"] > 0.5).any()
    assert found["cluster"].tolist() == expected["cluster"].tolist()


def test_counts_of_important_clusters_are_those_of_the_run_or_else_counted(lookup: Lookup) -> None:
    counts = {name: len(lookup.important(name)) for name in lookup.classes}
    assert lookup.important_counts == counts
    run = Run(lookup.run.folder)
    run.classes = with_counts(run.classes, run.importance, 0.05)
    stored = Lookup(run)
    assert stored.important_counts == counts
    assert "all_important" not in vars(stored)


def test_edges_of_a_class_are_read_without_those_of_others(lookup: Lookup) -> None:
    run = Run(lookup.run.folder)
    found = Lookup(run).edges("birds")
    assert "influence" not in vars(run)
    expected = run.influence[run.influence["class"] == "birds"].drop(columns="class").reset_index(drop=True)
    assert len(expected) < len(run.influence)
    assert found.equals(expected)


def test_related_neurons_are_the_nearest_in_the_embedding(lookup: Lookup) -> None:
    vectors = lookup.run.embedding.astype(np.float64)
    vectors[lookup.silent] = 0
    length = np.linalg.norm(vectors, axis=1)
    for neuron in (0, 9, 77):
        cosine = vectors @ vectors[neuron] / np.where(length > 0, length, np.inf) / length[neuron]
        cosine[neuron] = -1
        expected = np.argsort(-cosine)[:10]
        found = lookup.related(neuron)
        assert [i for i, _ in found] == expected.tolist()
        np.testing.assert_allclose([value for _, value in found], cosine[expected], rtol=1e-4)


def test_driving_classes_are_those_above_the_neurons_mean_highest_first(lookup: Lookup) -> None:
    means = lookup.run.array("class_means")[:, 9]
    found = lookup.driving_classes(9)
    overall = lookup.mean_activation(9)
    assert [value for _, value in found] == sorted(means[means > overall].tolist(), reverse=True)
    assert all(means[lookup.classes.index(name)] == np.float32(value) for name, value in found)


def test_a_run_without_means_by_class_names_no_driving_class(lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(lookup.run.manifest.files, "class_means.npy")
    assert lookup.driving_classes(9) == []


def test_the_classes_that_need_a_cluster_are_those_it_is_important_for(lookup: Lookup) -> None:
    for cluster in (0, 5, 26):
        expected = {name for name in lookup.classes if cluster in set(lookup.important(name)["cluster"])}
        assert set(lookup.needed_by(cluster)["class"]) == expected


def test_pairs_are_what_labels_are_taken_for(lookup: Lookup) -> None:
    images = lookup.run.images
    assert lookup.pairs == frozenset(zip(images["label"], images["prediction"], strict=True))
