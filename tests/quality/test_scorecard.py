from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from planted import plant

from neurocarto.quality.halves import half_alone, match_clusters
from neurocarto.quality.scorecard import (
    both_ways,
    false_discoveries,
    own_table,
    peak_agreement_table,
    shape_table,
    stability_table,
)
from neurocarto.records import MEASURES, Extraction, Layer
from neurocarto.settings import RunSettings

SETTINGS = RunSettings(threads=1)
SIZES = [6, 9, 14, 5, 20]


def extraction(seed: int = 0) -> tuple[Extraction, npt.NDArray[np.int32]]:
    """Planted concepts on two halves that share no image, and the concept of every neuron."""
    halves = [plant(np.random.default_rng([seed, half]), SIZES) for half in (0, 1)]
    first, second = (own.top for own in halves)
    second = replace(second, images=np.where(second.images < 0, -1, second.images + 1000).astype(np.int32))
    n, (layer,) = len(first), halves[0].layers
    nothing = np.zeros(n, np.float32)
    images = pd.DataFrame({"half": np.repeat([0, 1], 1000)})
    made = Extraction(
        (layer,), images, (), first, (first, second), (), first.activations[:, 0], nothing, nothing, nothing, {},
        np.zeros((0, n), np.float16), np.zeros(0, np.int32),
    )  # fmt: skip
    return made, np.where(halves[0].concept < 0, -1, halves[0].concept).astype(np.int32)


def row(table: pd.DataFrame, measure: str, layer: str = "", cluster: int = -1) -> pd.Series:
    chosen = (table["measure"] == measure) & (table["layer"] == layer) & (table["cluster"] == cluster)
    (found,) = table[chosen].to_dict("records")
    return pd.Series(found)


def test_a_half_keeps_the_same_share_of_its_images() -> None:
    whole, _ = extraction()
    assert half_alone(whole, 0, 0.02).whole.images.shape[1] == 1 + 20
    assert half_alone(whole, 1, 0.1).whole.images.shape[1] == 100  # all that were kept
    assert (half_alone(whole, 1, 0.1).whole.images >= 1000)[:50].all()


def test_a_cluster_stands_for_the_final_one_with_half_of_the_members() -> None:
    final = np.repeat([0, 1, 2, -1], [4, 4, 4, 4])
    half = np.array([5, 5, 5, 5, 6, 6, -1, -1, 7, -1, -1, -1, 8, 8, 8, 8])
    assert match_clusters(half, final) == {5: 0, 6: 1}
    assert match_clusters(np.full(16, -1), final) == {}


def test_planted_concepts_agree_in_place_on_the_other_half_and_random_groups_as_others_do() -> None:
    made, concept = extraction()
    table = peak_agreement_table([concept, concept], concept, made, SETTINGS)
    whole = row(table, "peak_agreement")
    assert whole["value"] > 0.8
    assert whole["low"] > whole["null_high"]
    dealt = np.random.default_rng(0).permutation(concept)
    random = row(peak_agreement_table([dealt, dealt], dealt, made, SETTINGS), "peak_agreement")
    assert random["low"] < random["null"]
    assert set(table.loc[table["cluster"] >= 0, "cluster"]) == set(range(len(SIZES)))


def test_each_half_is_judged_on_the_other() -> None:
    asked = []

    def drawing(half: int, neurons: slice):  # type: ignore[no-untyped-def]
        def draw(groups, count, rng):  # type: ignore[no-untyped-def]
            asked.append((half, set(groups.cluster.tolist())))
            return np.ones((len(groups), count)), np.ones((len(groups), count))

        return draw

    first, second = np.repeat([0, 1, -1], [3, 3, 4]), np.repeat([4, -1], [3, 7])
    both_ways("m", [first, second], first, [Layer("a", 10, 7, 7)], [np.ones(10, bool)] * 2, drawing, 10, 0)
    assert {half for half, found in asked if found == {0, 1}} == {1}
    assert {half for half, found in asked if found == {4}} == {0}


def test_shape_counts_living_neurons_in_clusters_of_three_to_forty() -> None:
    cluster = np.r_[np.repeat([0, 1, -1], [2, 4, 4]), np.full(10, -1)].astype(np.int32)
    layers = [Layer("a", 10, 7, 7), Layer("b", 10, 7, 7)]
    alive = np.r_[np.ones(8, bool), np.zeros(2, bool), np.zeros(10, bool)]
    table = shape_table(cluster, layers, alive)
    assert row(table, "coverage", "a")["value"] == pytest.approx(4 / 8)
    assert row(table, "coverage")["value"] == pytest.approx(4 / 8)
    assert row(table, "size", "a")["value"] == 3
    assert row(table, "largest", "a")["value"] == pytest.approx(0.4)
    assert row(table, "largest")["value"] == pytest.approx(0.4)
    assert np.isnan([row(table, name, "b")["value"] for name in ("coverage", "size")]).all()


def test_the_same_clusters_are_stable_and_random_ones_are_not() -> None:
    made, concept = extraction()
    alive, layers = np.ones(len(concept), bool), made.layers
    same = row(stability_table("stability_seeds", [concept] * 5, layers, alive, 0), "stability_seeds")
    assert (same["value"], same["count"]) == (1, 10)
    assert abs(same["null"]) < 0.05
    other = np.random.default_rng(0).permutation(concept)
    table = stability_table("stability_halves", [concept, other], layers, alive, 0)
    assert abs(row(table, "stability_halves")["value"]) < 0.05


def test_the_run_by_itself_is_one_table_and_the_same_again() -> None:
    made, concept = extraction()
    table, again = (own_table(made, concept, [concept, concept], [concept], SETTINGS) for _ in range(2))
    pd.testing.assert_frame_equal(table, again)
    assert table.columns.tolist() == MEASURES.names
    assert set(table["measure"]) == {
        "peak_agreement", "coverage", "size", "largest", "stability_halves", "stability_seeds"
    }  # fmt: skip


def test_shuffled_labels_find_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    members = {f"class {i}": np.arange(400) // 20 == i for i in range(20)}
    activations = rng.normal(size=(50, 400)).astype(np.float32)
    for cluster, mine in enumerate(members.values()):
        activations[cluster, mine] += 3
    settings = replace(SETTINGS, label_permutations=200)
    shares = [
        false_discoveries(activations, members, replace(settings, seed=seed))["value"].item() for seed in range(5)
    ]
    assert np.mean(shares) <= settings.false_discovery_rate
    assert not len(false_discoveries(activations, {}, settings))
