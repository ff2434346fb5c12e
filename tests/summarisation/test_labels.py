import json

import numpy as np
import pandas as pd

from neurocarto.summarisation.labels import MIXED, label_clusters

NAMES = {
    "label": pd.Series(["bird"] * 10 + ["fish"] * 90),
    "prediction": pd.Series([None] * 8 + ["goose"] * 2 + ["cod"] * 90),
}


def test_a_cluster_is_named_after_what_is_over_represented():
    top = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 50, 60], [2, 3, 4, 5, 6, 7, 8, 9, 51, 61]], np.int32)
    table = label_clusters(np.array([0, 0], np.int32), 1, top, NAMES)
    assert table.label[0] == "bird 16/20"
    (entry,) = json.loads(table.evidence[0])
    assert entry == {"name": "bird", "kind": "label", "count": 16, "of": 20, "base": 0.1}


def test_nothing_over_represented_is_mixed():
    top = np.array([[0, 20, 30, 40, 50, 60, 70, 80, 90, 95]], np.int32)
    table = label_clusters(np.array([0], np.int32), 1, top, NAMES)
    assert (table.label[0], table.evidence[0]) == (MIXED, "[]")


def test_many_patches_of_the_same_two_images_are_no_evidence():
    top = np.array([[0, 1, -1, -1]] * 8, np.int32)
    assert label_clusters(np.zeros(8, np.int32), 1, top, NAMES).label[0] == MIXED


def test_neurons_outside_clusters_do_not_count():
    top = np.array([[0, 1, 2, 3, 4, 5], [20, 30, 40, 50, 60, 70]], np.int32)
    table = label_clusters(np.array([-1, 0], np.int32), 2, top, NAMES)
    assert table.label.tolist() == [MIXED, MIXED]  # the second cluster has no neuron at all
