from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from neurocarto.records import Extraction, important
from neurocarto.settings import RunSettings
from neurocarto.summarisation.importance import (
    class_images,
    cluster_activations,
    find_classes,
    judge_importance,
)

SETTINGS = RunSettings(threads=1)
CATEGORIES = ("tabby_cat", "dog", "goldfish")


def _extraction(
    labels: list[str | None], outputs: list[int], profile: np.ndarray, rest: np.ndarray | None = None
) -> Extraction:
    images = pd.DataFrame({"label": pd.Series(labels, dtype=object), "output": outputs})
    blank = np.zeros(profile.shape[1], np.float32)
    rest = blank if rest is None else rest.astype(np.float32)
    return Extraction(
        (), images, (), None, (None, None), (), profile.max(0).astype(np.float32), blank, rest, blank, {},
        profile.astype(np.float16), np.arange(len(labels), dtype=np.int32),
    )  # type: ignore[arg-type]  # fmt: skip


def test_classes_are_labels_and_frequent_predictions_that_no_label_names():
    extraction = _extraction(["Dog", "Dog", "fish", None, "fish", None], [1, 1, 2, 2, 2, 0], np.ones((6, 1)))
    settings = replace(SETTINGS, min_class_images=2)
    table = find_classes(extraction, CATEGORIES, settings)
    assert table.to_dict("list") == {
        "class": ["Dog", "fish", "goldfish"],
        "kind": ["label", "label", "prediction"],
        "outputs": [[1], [], [2]],
        "images": [2, 2, 3],
    }
    assert class_images(extraction.images, "goldfish", "prediction", CATEGORIES).tolist() == [2, 3, 4]
    assert class_images(extraction.images, "fish", "label", CATEGORIES).tolist() == [2, 4]


def test_a_clusters_activation_is_the_mean_of_its_neurons_relative_to_their_maxima():
    profile = np.array([[1, 8, 3], [2, 4, 9]])  # two images, three neurons
    activations = cluster_activations(_extraction(["a", "b"], [0, 0], profile), np.array([0, 0, -1], np.int32), 1)
    assert activations == pytest.approx(np.array([[(1 / 2 + 8 / 8) / 2, (2 / 2 + 4 / 8) / 2]]))


def test_relative_activations_are_measured_from_rest():
    # Signed: -4 … 0 about -3. Constant but for rounding. Silent and negative, as behind SiLU.
    profile = np.array([[-4, 0.1, -0.2], [0, 0.1, -0.1], [-3, 0.1, -0.2]])
    extraction = _extraction(["a"] * 3, [0] * 3, profile, np.array([-3, 0.1 - 1e-6, 0]))
    extraction.maximum[2] = 0  # what is kept of a neuron that is never active
    assert extraction.reach.tolist() == [3, 0, 0]
    activations = cluster_activations(extraction, np.array([0, 1, 2], np.int32), 3)
    assert activations == pytest.approx(np.array([[-1 / 3, 1, 0], [0, 0, 0], [0, 0, 0]]))
    together = cluster_activations(extraction, np.array([0, 0, 0], np.int32), 1)
    assert together == pytest.approx(np.array([[-1 / 9, 1 / 3, 0]]))


def test_scores_are_areas_under_the_roc_curve():
    rng = np.random.default_rng(0)
    activations = rng.integers(0, 5, (6, 40)).astype(np.float32)  # with ties
    mine = rng.random(40) < 0.3
    table = judge_importance(activations, {"c": mine}, SETTINGS).set_index("cluster")
    for cluster in range(6):
        assert table.score[cluster] == pytest.approx(roc_auc_score(mine, activations[cluster]))
    assert table["rank"].tolist() == list(range(6))
    assert table.score.is_monotonic_decreasing


def test_a_planted_cluster_is_important_and_noise_is_not():
    rng = np.random.default_rng(0)
    mine = np.arange(300) < 30
    activations = rng.normal(size=(50, 300)).astype(np.float32)
    activations[7] += 1.5 * mine
    table = judge_importance(activations, {"c": mine}, SETTINGS)
    assert important(table, 0.05).cluster.tolist() == [7]


def test_shuffled_labels_make_clusters_important_no_more_often_than_stated():
    rng = np.random.default_rng(1)
    activations = rng.normal(size=(40, 200)).astype(np.float32)
    finds = 0
    for _ in range(200):
        mine = rng.permutation(200) < 20
        finds += len(important(judge_importance(activations, {"c": mine}, SETTINGS), 0.05)) > 0
    assert finds <= 20  # 200 × .05 = 10 expected; more than 20 has a probability below .002


def test_neither_do_clusters_that_go_together_and_are_often_silent():
    """As on photographs: a few themes behind all clusters, most of them at rest on most images."""
    rng = np.random.default_rng(2)
    finds = []
    for _ in range(200):
        themes = rng.normal(size=(4, 200))
        activations = rng.dirichlet(np.ones(4), 60) @ themes + 0.3 * rng.normal(size=(60, 200))
        activations = (activations - rng.uniform(0, 1, (60, 1))).clip(min=0).astype(np.float32)
        labels = rng.permutation(np.repeat(np.arange(5), [10, 20, 40, 60, 70]))
        table = judge_importance(activations, {str(i): labels == i for i in range(5)}, replace(SETTINGS, seed=0))
        finds.append(important(table, 0.05)["class"].nunique())
    # 1,000 × .05 = 50 classes with any find expected at most; the five of one draw hang on each other.
    assert sum(finds) <= 70


def test_classes_too_small_to_judge_are_left_out():
    table = judge_importance(np.ones((3, 20), np.float32), {"c": np.arange(20) < 4, "all": np.ones(20, bool)}, SETTINGS)
    assert table.empty
    assert {"class", "cluster", "score", "q_value", "rank", "effect"} <= set(table.columns)
