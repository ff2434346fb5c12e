from types import SimpleNamespace

import numpy as np
import pytest

from neurocarto.settings import RunSettings
from neurocarto.summarisation.similarity import Stimuli
from scripts.compare_methods import _agreement, compare_embeddings


def test_each_embedding_is_judged_on_images_that_it_did_not_see():
    rng = np.random.default_rng(0)
    fires = np.arange(200)[:, None] % 10 == np.arange(60) % 10
    profile = (fires * rng.uniform(1, 2, (200, 60))).astype(np.float16)
    extraction = SimpleNamespace(profile=profile, rest=np.zeros(60, np.float32))
    table = compare_embeddings(extraction, RunSettings(threads=1, dimensions=8, top_k=30))
    assert table.index.tolist() == ["svd", "skipgram"]
    assert table.loc["svd", "lift@10"] == pytest.approx(
        59 / 10, rel=0.2
    )  # 5 of 59 others share all, 5 of the nearest 10
    assert (table["low"] <= table["lift@10"]).all()
    assert (table["lift@10"] <= table["high"]).all()


def test_agreement_is_judged_within_clusters_of_these_sizes():
    images = np.tile(np.array([3, 8], np.int32), (5, 1))
    rows = np.array([[0, 0], [0, 3], [0, 3], [6, 6], [6, 6]], np.float32)
    stimuli = Stimuli(images, np.ones((5, 2), np.float32), rows, np.zeros((5, 2), np.float32))
    cluster = np.array([0, 0, 0, 1, 1])
    assert _agreement(cluster, stimuli, range(3, 4)) == pytest.approx(4 / 6)
    assert _agreement(cluster, stimuli, range(2, 4)) == pytest.approx(6 / 8)
    assert np.isnan(_agreement(cluster, stimuli, range(4, 9)))
