"""A network whose channels are what its input's colours say, so that concepts can be drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from planted import IMAGES, plant
from torch import Tensor, nn

from neurocarto.engine.local import extract
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Extraction, Site
from neurocarto.settings import RunSettings
from neurocarto.summarisation import paper
from neurocarto.summarisation.candidates import signatures
from neurocarto.summarisation.paper import connected, find_paper_clusters, map_signatures, sample_images
from neurocarto.summarisation.similarity import find_stimuli

SETTINGS = RunSettings(threads=1, batch_size=8, top_k=20)
SIDE = 12


class Colours(nn.Module):
    """Red three times, at strengths of its own; red moved by half the map, twice; green, twice; nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 8, SIDE + 1, padding=SIDE // 2, bias=False)
        weight = torch.zeros(8, 3, SIDE + 1, SIDE + 1)
        middle, aside = SIDE // 2, SIDE // 2 + 6
        for channel, strength in ((0, 1.0), (1, 2.0), (2, 0.5)):
            weight[channel, 0, middle, middle] = strength
        for channel in (3, 4):
            weight[channel, 0, middle, aside] = 1
        for channel in (5, 6):
            weight[channel, 1, middle, middle] = 1
        self.maps.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).mean((2, 3))


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, ImageSet, Extraction]:
    """80 black images, half with a red patch on the right, half with a green one, of various brightness."""
    folder: Path = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for i in range(80):
        pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
        top, left = rng.integers(0, SIDE - 4), rng.integers(6, SIDE - 4)
        pixels[top : top + 4, left : left + 4, i % 2] = rng.integers(180, 256)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    preprocessing = Preprocessing(resize=SIDE, size=SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    module = Colours().eval()
    categories = tuple(f"class {i}" for i in range(8))
    model = Model("colours", module, (Site("maps"),), preprocessing, categories, "here", "")
    images = list_images(folder)
    return model, images, extract(model, describe_layers(model), images, SETTINGS, lambda _: None)


def test_the_same_at_the_same_place_is_joined_the_same_elsewhere_is_not(studied):
    done: list[int] = []
    cluster, table = find_paper_clusters(*studied, SETTINGS, done.append)
    assert cluster.tolist() == [0, 0, 0, 1, 1, 2, 2, -1]
    assert table["size"].tolist() == [3, 2, 2]
    assert table["layer"].tolist() == ["maps"] * 3
    assert table.columns.tolist() == ["cluster", "layer", "size", "similarity", "shared_images", "peak_agreement"]
    assert (table["peak_agreement"] == 1).all()
    assert 0 < sum(done) <= len(studied[1])


def test_red_and_moved_red_share_their_images(studied):
    alive = np.array([True] * 7 + [False])
    groups = paper._image_groups(studied[2], alive, seed=0)
    assert [group.members.tolist() for group in groups] == [[0, 1, 2, 3, 4], [5, 6]]


def test_the_same_twice(studied):
    one, two = (find_paper_clusters(*studied, SETTINGS, lambda _: None) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert one[1].equals(two[1])


def test_the_least_size_of_a_cluster_holds(studied):
    cluster, _ = find_paper_clusters(*studied, replace(SETTINGS, min_cluster_size=3), lambda _: None)
    assert cluster.tolist() == [0, 0, 0, -1, -1, -1, -1, -1]


def test_identical_maps_share_all_buckets_and_the_signature_is_that_of_the_set():
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((5, 49)) < [[0.02], [0.1], [0.3], [0.7], [1]], 2, axis=0)
    active[:, 3] = True
    signature = map_signatures(active, seed=7)
    assert np.array_equal(signature[::2], signature[1::2])
    cells = np.where(active, np.arange(49, dtype=np.int32), -1)
    assert np.array_equal(signature, signatures(cells, paper.CELL_BANDS * paper.CELL_ROWS, 7))


def test_silent_neurons_meet_nobody():
    active = np.zeros((4, 9), bool)
    active[[0, 3], 2] = True
    matches = paper._matches(active, seed=0).toarray()
    assert np.argwhere(matches).tolist() == [[0, 3]]
    assert paper._matches(np.zeros((4, 9), bool), seed=0).nnz == 0


def test_maps_meet_the_more_surely_the_more_they_overlap():
    sure, rare = np.zeros((2, 2, 400), bool)
    sure[0, :90] = sure[1, 10:100] = True  # Jaccard .8: meet with probability 1 - (1 - .8^5)^30 > .999
    rare[0, :60] = rare[1, 40:100] = True  # Jaccard .2: .0096
    met = [[paper._matches(maps, seed).nnz for seed in range(40)] for maps in (sure, rare)]
    assert sum(met[0]) >= 39
    assert sum(met[1]) <= 3


def test_a_bucket_of_a_whole_layer_stays_linear():
    matches = paper._matches(np.ones((500, 4), bool), seed=0)
    assert matches.nnz == sum(min(paper.REACH, 499 - i) for i in range(500))
    assert len(connected(np.argwhere(matches.toarray()), 500)) == 1


def test_planted_groups_of_images_are_recovered(studied):
    planted = plant(np.random.default_rng(0), [6] * 10)
    stimuli = find_stimuli(planted.top, IMAGES, 0.05)
    top = replace(planted.top, images=stimuli.images)  # without the weak noise
    table = pd.DataFrame(index=range(IMAGES))
    extraction = replace(studied[2], layers=planted.layers, whole=top, images=table)
    groups = paper._image_groups(extraction, stimuli.alive, seed=0)
    found = {tuple(group.members.tolist()) for group in groups}
    assert {tuple(np.flatnonzero(planted.concept == concept).tolist()) for concept in range(10)} <= found


def test_images_are_sampled_among_those_that_two_neurons_keep_in_one_order():
    first = np.array([[0, 1, 2], [1, 2, 3]], np.int32)
    second = np.array([[2, 1, -1], [2, 1, -1], [2, 5, 6]], np.int32)
    one, two = sample_images([first, second], 8, seed=0)
    assert sorted(one.tolist()) == [1, 2]
    assert one.tolist() == two.tolist()


def test_too_many_groups_choose_in_turns(monkeypatch):
    monkeypatch.setattr(paper, "MAX_IMAGES", 4)
    groups = [np.tile(np.arange(start, start + 5, dtype=np.int32), (2, 1)) for start in (0, 5)]
    assert [len(sample) for sample in sample_images(groups, 10, seed=0)] == [2, 2]


def test_components():
    pairs = np.array([[4, 2], [5, 6], [6, 2]])
    assert [part.tolist() for part in connected(pairs, 8)] == [[2, 4, 5, 6]]
    assert connected(np.empty((0, 2), np.int64), 3) == []


def test_no_living_neuron(studied):
    model, images, extraction = studied
    dead = replace(extraction.whole, images=np.full_like(extraction.whole.images, -1))
    cluster, table = find_paper_clusters(model, images, replace(extraction, whole=dead), SETTINGS, lambda _: None)
    assert (cluster == -1).all()
    assert table.empty
