import numpy as np

from benchmarks.clustering import buckets, exponent, loops, table
from benchmarks.planted_stimuli import judge, plant


def test_planted_stimuli_are_stimuli_and_the_same_every_time() -> None:
    planted, again = plant(200, 1000), plant(200, 1000)
    stimuli = planted.stimuli
    assert np.array_equal(stimuli.images, again.stimuli.images)
    present = stimuli.images >= 0
    assert (np.diff(stimuli.images, axis=1) > 0)[present[:, :-1]].all()
    assert np.allclose(np.linalg.norm(stimuli.weights, axis=1), 1)
    assert not stimuli.weights[~present].any()
    assert stimuli.rows.max() < 7
    loops(planted)
    buckets(planted)


def test_recall_counts_pairs_and_precision_clusters() -> None:
    group = np.array([0, 0, 0, 1, 1, -1])
    assert judge(np.array([0, 0, -1, 1, 1, 1], np.int32), group) == (2 / 4, 1 / 2)
    assert judge(np.array([0, 0, 0, 1, 1, -1], np.int32), group) == (1, 1)


def test_the_table_leaves_out_what_was_not_run() -> None:
    row = {"ours": [2.0], "processor": [4.0], "memory": [9.0], "recall": 1.0, "precision": 1.0}
    results = {10_000: {**row, "exact": [3.0], "buckets": [0.5]}, 100_000: {**row, "processor": [40.0]}}
    assert abs(exponent(results) - 1) < 1e-9
    lines = table(results).splitlines()
    assert lines[2] == "| 10,000 | 2.0 | 4.0 | 9 | 1.000 | 1.000 | 0.5 |  |  | 3 |  |  | 1.5 |"
    assert lines[3].endswith("| 1.000 |  |  |  |  |  |  |  |")
