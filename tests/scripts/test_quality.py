import numpy as np
import pandas as pd
import pytest
from planted import plant

from neurocarto.quality.judge import Sights
from neurocarto.records import Extraction
from neurocarto.settings import RunSettings
from scripts.quality import Subject, _jaccard, _k_means, _tree, compare, markdown, ways


def test_the_tree_is_cut_where_coverage_is_nearest() -> None:
    concept = np.repeat(np.arange(10), 4)
    rng = np.random.default_rng(0)
    alike = np.where(concept[:, None] == concept[None, :], 0.8, 0.1) + rng.uniform(0, 0.05, (40, 40))
    groups = _tree(alike, "complete", 1.0)
    assert len(np.unique(groups)) == 10
    assert all(len(np.unique(groups[concept == number])) == 1 for number in range(10))
    covered = np.isin(np.bincount(none := _tree(alike, "complete", 0.0))[none], range(3, 41)).mean()
    assert covered < 0.3


def test_jaccard_is_shared_images_by_all_images() -> None:
    images = np.array([[-1, 2, 5], [2, 5, 7], [8, 9, 10]], np.int32)
    assert _jaccard(images) == pytest.approx(np.array([[1, 2 / 3, 0], [2 / 3, 1, 0], [0, 0, 1]]))


def test_k_means_finds_profiles_that_are_alike() -> None:
    profiles = np.eye(4, dtype=np.float32)[np.repeat(np.arange(4), 8)]
    groups = _k_means(profiles, 0)
    assert len(np.unique(groups)) == 4


def test_every_way_that_needs_no_network_is_compared_on_planted_concepts() -> None:
    planted = plant(np.random.default_rng(0), [6, 9, 14, 5, 20])
    n, (layer,) = len(planted.concept), planted.layers
    top, half = planted.top, pd.DataFrame({"half": np.zeros(1000, int)})
    profile = np.zeros((1000, n), np.float16)
    neuron, rank = (top.images >= 0).nonzero()
    profile[top.images[neuron, rank], neuron] = top.peaks[neuron, rank]
    nothing = np.zeros(n, np.float32)
    made = Extraction(
        (layer,), half, (), top, (top, top), (), top.activations[:, 0], nothing, nothing, nothing, {}, profile,
        np.arange(1000, dtype=np.int32),
    )  # fmt: skip
    seen = np.eye(n, dtype=np.float32)
    for concept in range(5):
        seen[planted.concept == concept, concept] += 2
    patch = np.repeat(np.arange(n, dtype=np.int32)[:, None], 20, axis=1)
    own = np.arange(n * 20, dtype=np.int32).reshape(n, 20)  # each neuron fires on pictures of its own
    sights = Sights(seen, patch, own)
    subject = Subject(None, None, made, RunSettings(threads=1), (sights, sights))  # type: ignore[arg-type]
    chosen = {name: way for name, way in ways(subject).items() if "paper" not in name}
    table = compare(subject, chosen)
    assert len(table) == 7
    assert float(table.loc["default", "intruder"].split()[0]) > 0.9
    distinct, repeated = (table.loc["default", name].split()[0] for name in ("no picture twice", "intruder"))
    assert distinct == repeated
    assert markdown(table).splitlines()[0].startswith("|  | intruder | random | no picture twice | random  | peak")
