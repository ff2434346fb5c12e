import numpy as np
import numpy.typing as npt
import pytest

from neurocarto.quality.groups import Groups, find_groups
from neurocarto.quality.intruder import accuracy, coherence, distinct_patches, intruder, intruder_distinct, named
from neurocarto.quality.judge import DEPTH, PATCHES, Sights
from neurocarto.quality.measures import Measured, measure, tabulate
from neurocarto.records import MEASURES, Layer

SIZE, CLUSTERS, LOOSE = 8, 30, 60
NEURONS = SIZE * CLUSTERS + LOOSE


def features(noise: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """What a toy judge sees: the same of all neurons of a cluster, but for noise."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(CLUSTERS + LOOSE, 32))[
        np.r_[np.repeat(np.arange(CLUSTERS), SIZE), CLUSTERS : CLUSTERS + LOOSE]
    ]
    seen += noise * rng.normal(size=seen.shape)
    unit: npt.NDArray[np.float32] = (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)
    return unit


def clusters() -> npt.NDArray[np.int32]:
    return np.r_[np.repeat(np.arange(CLUSTERS), SIZE), np.full(LOOSE, -1)].astype(np.int32)


def groups(cluster: npt.NDArray[np.int32] | None = None) -> Groups:
    return find_groups(clusters() if cluster is None else cluster, np.arange(NEURONS))


def judged(seen: npt.NDArray[np.float32], cluster: npt.NDArray[np.int32] | None = None, seed: int = 0) -> Measured:
    found = measure(groups(cluster), intruder(seen), 1000, seed)
    assert found is not None
    return found


def test_the_judge_names_the_neuron_least_like_the_other_three() -> None:
    seen = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2]]
    assert named(seen, np.array([[0, 1, 2, 3], [0, 4, 1, 2], [3, 2, 1, 0]])).tolist() == [3, 1, 0]


def test_neurons_that_look_the_same_are_not_taken_for_the_intruder() -> None:
    same = np.ones((NEURONS, 1), np.float32)
    assert judged(same).layer == 0  # the intruder is the last of the four, and the first of equals is named


def test_planted_clusters_are_told_apart_and_random_groups_are_not() -> None:
    seen = features(noise=0.5)
    found = judged(seen)
    assert found.layer > 0.95
    assert (found.value > 0.8).all()
    assert 0.22 < found.layer_null.mean() < 0.28
    dealt = np.random.default_rng(1).permutation(clusters()).astype(np.int32)
    assert judged(seen, dealt).layer == pytest.approx(0.25, abs=0.03)


def test_features_that_know_nothing_of_the_clusters_are_at_chance() -> None:
    found = judged(features(noise=50))
    low, high = np.percentile(found.layer_replicates, (2.5, 97.5))
    assert low < found.layer_null.mean() < high


def test_noisier_features_are_judged_worse() -> None:
    values = [judged(features(noise)).layer for noise in (0.5, 1.5, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.2


def sights(shared: bool, concept: float, pictures: int = 4000, seed: int = 0) -> Sights:
    """Neurons whose patches look like their picture, and by so much like what their cluster detects.

    shared: whether the neurons of a cluster fire on the same pictures, in an order of their own.
    """
    rng = np.random.default_rng(seed)
    image = rng.permuted(np.tile(np.arange(pictures), (NEURONS, 1)), axis=1)[:, :DEPTH]
    if shared:
        image[: SIZE * CLUSTERS] = rng.permuted(np.repeat(image[: SIZE * CLUSTERS : SIZE], SIZE, axis=0), axis=1)
    scene, detected = rng.normal(size=(pictures, 32)), rng.normal(size=(CLUSTERS + 1, 32))
    features = scene[image] + concept * detected[clusters()][:, None]
    patch = np.arange(image.size).reshape(image.shape)
    return Sights(features.reshape(-1, 32).astype(np.float32), patch.astype(np.int32), image.astype(np.int32))


def both(seen: Sights) -> tuple[float, float]:
    """Accuracy where pictures may come again, and where they may not."""
    found = [measure(groups(), kind, 1000, 0) for kind in (intruder(seen.means), intruder_distinct(seen))]
    assert found[0] is not None
    assert found[1] is not None
    assert 0.22 < found[1].layer_null.mean() < 0.28
    return found[0].layer, found[1].layer


def test_neurons_that_share_nothing_but_pictures_are_known_only_where_pictures_come_again() -> None:
    repeated, distinct = both(sights(shared=True, concept=0))
    assert repeated > 0.9
    assert distinct == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("shared", [False, True])
def test_what_comes_again_in_other_pictures_is_known(shared: bool) -> None:
    assert min(both(sights(shared=shared, concept=1.5))) > 0.9


def test_no_picture_comes_twice_in_a_question_and_the_strongest_go_first() -> None:
    seen = sights(shared=True, concept=1)
    asked = np.array([[0, 1, 2, 100], [8, 9, 10, 200]])
    shown = distinct_patches(seen, asked, np.random.default_rng(0))
    assert shown.shape == (2, 4, PATCHES)
    images = np.where(shown >= 0, seen.image.ravel()[shown], -1)
    for question in images:
        own = question[question >= 0]
        assert len(np.unique(own)) == len(own)
    for question, four in zip(images, asked, strict=True):
        assert np.array_equal(question[3], seen.image[four[3], :PATCHES])  # it shares none with the others
        assert sorted((question[:3] >= 0).sum(axis=1)) == [6, 7, 7]  # three share twenty pictures
        for neuron, pictures in zip(four, question, strict=True):
            ranks = [seen.image[neuron].tolist().index(picture) for picture in pictures[pictures >= 0]]
            assert ranks == sorted(ranks)


def test_a_question_for_which_there_are_not_pictures_enough_does_not_count() -> None:
    one = np.zeros((NEURONS, 1), np.int32)
    found = measure(groups(), intruder_distinct(Sights(np.ones((1, 4), np.float32), one, one)), 1000, 0)
    assert found is not None
    assert np.isnan(found.layer)


def test_the_same_seed_asks_the_same_questions() -> None:
    seen = features(noise=1.5)
    once, again, other = (judged(seen, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(once.replicates, again.replicates)
    assert np.array_equal(once.null, again.null)
    assert not np.array_equal(once.value, other.value)


def test_questions_show_three_different_members_and_one_neuron_outside() -> None:
    own, rng = groups(), np.random.default_rng(0)
    trios, outside = own.draw(3, 200, rng), own.draw_outside(200, rng)
    assert (clusters()[trios] == own.cluster[:, None, None]).all()
    assert (np.diff(np.sort(trios, axis=2), axis=2) > 0).all()
    assert (clusters()[outside] != own.cluster[:, None]).all()
    assert np.bincount(trios.ravel(), minlength=NEURONS)[: SIZE * CLUSTERS].min() > 0
    assert np.bincount(outside.ravel(), minlength=NEURONS).min() > 0


def test_clusters_of_two_or_of_over_forty_and_members_without_patches_are_not_asked_about() -> None:
    cluster = np.repeat([0, 1, 2, 3], [2, 41, 4, 13])
    seen = np.setdiff1d(np.arange(60), [43, 44])  # of cluster 2, of which two remain
    assert find_groups(cluster, seen).cluster.tolist() == [3]
    assert find_groups(cluster, np.arange(60)).cluster.tolist() == [2, 3]
    assert len(find_groups(np.zeros(5, int), np.arange(5))) == 0  # nothing to tell it from


def test_random_groups_have_the_same_sizes_and_numbers() -> None:
    cluster = np.repeat([0, 1, 2, -1], [3, 7, 12, 20])
    own = find_groups(cluster, np.arange(42))
    dealt = own.shuffled(np.random.default_rng(0))
    assert dealt.cluster.tolist() == own.cluster.tolist()
    assert dealt.size.tolist() == own.size.tolist()
    assert sorted(dealt.members) != sorted(own.members)


def test_coherence_is_the_cosine_between_members() -> None:
    found = measure(groups(), coherence(features(noise=0.0)), 1000, 0)
    assert found is not None
    assert found.value == pytest.approx(1, abs=1e-5)
    assert abs(found.layer_null.mean()) < 0.1


def test_accuracy_of_every_layer_is_that_of_the_full_measure() -> None:
    seen = np.concatenate([features(noise=1.0), np.zeros((4, 32), np.float32)])
    cluster = np.r_[clusters(), [-1] * 4].astype(np.int32)
    quick = accuracy(cluster, (Layer("a", NEURONS, 7, 7), Layer("blind", 4, 7, 7)), seen, draws=4000)
    assert list(quick) == ["a"]
    assert quick["a"] == pytest.approx(judged(features(noise=1.0)).layer, abs=0.03)


def test_the_table_has_a_row_for_every_cluster_the_layer_and_the_run() -> None:
    one, two = judged(features(noise=1.0)), judged(features(noise=1.0, seed=5))
    halves = [(one, {0: 7}), (two, {0: 7, 1: 3})]
    table = tabulate("intruder", {"a": halves, "empty": []})
    assert table.columns.tolist() == MEASURES.names
    assert table[["layer", "cluster"]].to_numpy().tolist() == [["", -1], ["a", -1], ["a", 3], ["a", 7]]
    rows = table.set_index(["layer", "cluster"])
    assert rows.loc[("a", 7), "value"] == pytest.approx((one.value[0] + two.value[0]) / 2)
    assert rows.loc[("a", 3), "value"] == pytest.approx(two.value[1])
    assert rows.loc[("a", -1), "value"] == pytest.approx((one.layer + two.layer) / 2)
    assert rows.loc[("", -1), "value"] == rows.loc[("a", -1), "value"]
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["null_low"] <= table["null"]).all()
    assert (table["null"] <= table["null_high"]).all()
