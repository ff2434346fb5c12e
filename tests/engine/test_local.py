import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from neurocarto.engine.local import _sample, extract, shard_bounds
from neurocarto.errors import ImagesError
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Extraction, Layer, Site
from neurocarto.settings import RunSettings

SAMPLE_IMAGES = os.environ.get("NEUROCARTO_SAMPLE_IMAGES")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).mean((2, 3))


@pytest.fixture(scope="module")
def small() -> Model:
    preprocessing = Preprocessing(resize=12, size=12, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Model("small", Small().requires_grad_(False), (Site("a"), Site("b")), preprocessing, tuple("wxyz"), "", "")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(60):
        (folder / f"class{i % 3}").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (12, 12 + i % 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"class{i % 3}" / f"{i:02}.png")
    return list_images(folder)


def _extract(model: Model, images: ImageSet, **settings: int) -> Extraction:
    knobs = {"threads": 1, "batch_size": 4, "top_k": 9, "examples": 5, "profile_images": 12, "min_class_images": 2}
    return extract(model, describe_layers(model), images, RunSettings(**{**knobs, **settings}), lambda _: None)


def test_shards_end_at_their_size_and_where_a_snapshot_is_due():
    assert shard_bounds(100, 40, [5, 10, 25, 50, 100]) == [0, 5, 10, 25, 40, 50, 80, 100]
    assert shard_bounds(3, 40, [1, 1, 1, 2, 3]) == [0, 1, 2, 3]


def test_the_strongest_images_are_those_of_a_pass_over_all_of_them(small: Model, images: ImageSet):
    result = _extract(small, images)
    pixels = np.stack([small.preprocessing.pixels(images.open(i)) for i in range(60)])
    first = small.module.a(small.preprocessing.normalise(pixels))  # (60, 6, 10, 10)
    peaks = first.amax((2, 3)).numpy()
    for neuron in range(6):
        expected = np.argsort(-peaks[:, neuron], kind="stable")[:9]
        assert result.whole.images[neuron].tolist() == expected.tolist()
        assert result.whole.peaks[neuron] == pytest.approx(peaks[expected, neuron], abs=1e-5)
        cells = first[expected, neuron].flatten(1).argmax(1).numpy()
        assert result.whole.rows[neuron] == pytest.approx((cells // 10 + 0.5) / 10)
        assert result.whole.columns[neuron] == pytest.approx((cells % 10 + 0.5) / 10)
    assert result.maximum[:6] == pytest.approx(peaks.max(0), abs=1e-5)
    assert result.mean[:6] == pytest.approx(peaks.mean(0), abs=1e-5)


def test_halves_split_the_images_and_make_up_the_whole(small: Model, images: ImageSet):
    result = _extract(small, images)
    half = result.images["half"].to_numpy()
    assert sorted(np.bincount(half)) == [30, 30]
    for number, top in enumerate(result.halves):
        assert (half[top.images] == number).all()
    both = np.concatenate([top.peaks for top in result.halves], axis=1)
    assert np.array_equal(result.whole.peaks, -np.sort(-both, axis=1)[:, :9])


@pytest.mark.parametrize("shard_size", [4, 20, 60])
def test_the_size_of_a_shard_changes_nothing(small: Model, images: ImageSet, shard_size: int):
    one, other = _extract(small, images, shard_size=8), _extract(small, images, shard_size=shard_size)
    assert np.array_equal(one.whole.images, other.whole.images)
    assert np.array_equal(one.profile_images, other.profile_images)
    assert other.mean == pytest.approx(one.mean)
    assert [count for count, _ in one.snapshots] == [3, 6, 15, 30, 60]
    for (_, early), (_, same) in zip(one.snapshots, other.snapshots, strict=True):
        assert np.array_equal(early.images, same.images)


def test_the_sample_is_spread_over_the_labels(small: Model, images: ImageSet):
    result = _extract(small, images)
    assert result.images.loc[result.profile_images, "label"].value_counts().tolist() == [4, 4, 4]
    assert np.array_equal(np.sort(result.profile_images), result.profile_images)
    order = np.arange(60)
    assert _sample(images, order, RunSettings(profile_images=60)) == frozenset(range(60))
    few = RunSettings(profile_images=10, min_class_images=7)
    assert len(_sample(images, order, few)) == 3 * 7  # enough to judge each of the three labels


class Grey(nn.Module):
    """Three neurons on the grey level of an image: as it is, darker is more, always the same."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 3, 1)
        self.a.weight.data = torch.tensor([1.0, -1.0, 0.0])[:, None, None, None].expand(3, 3, 1, 1) / 3
        self.a.bias.data = torch.tensor([0.0, 0.0, -0.1])

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).mean((2, 3))


@pytest.mark.parametrize("signed", [True, False])
def test_neurons_of_a_signed_layer_are_active_above_their_mean(tmp_path: Path, signed: bool):
    levels = [-4, -4, -4, -4, -4, -3, -3, -3, -1, 10]  # in units of 1/20; mean -2
    for i, level in enumerate(levels):
        Image.new("RGB", (4, 4), (100 + level,) * 3).save(tmp_path / f"{i}.png")
    preprocessing = Preprocessing(resize=4, size=4, mean=(100 / 255,) * 3, std=(20 / 255,) * 3)
    model = Model("grey", Grey().requires_grad_(False), (), preprocessing, ("x", "y", "z"), "", "")
    settings = RunSettings(threads=1, top_k=10, examples=5, profile_images=10)
    result = extract(model, (Layer("a", 3, 4, 4, signed=signed),), list_images(tmp_path), settings, lambda _: None)
    mean = np.array([-0.1, 0.1, -0.1])
    assert result.mean == pytest.approx(mean, abs=1e-6)
    assert result.rest == pytest.approx(mean if signed else 0, abs=1e-6)
    # Brighter than the mean are two images, darker eight; above zero are one and nine.
    assert result.active_fraction == pytest.approx([0.2, 0.8, 0] if signed else [0.1, 0.9, 0])
    assert (result.whole.images >= 0).sum(1).tolist() == ([2, 8, 0] if signed else [1, 9, 0])
    for top in (*result.halves, *(top for _, top in result.snapshots)):
        assert set(top.images[0]) <= ({-1, 8, 9} if signed else {-1, 9})
        assert not {8, 9} & set(top.images[1]) if signed else 9 not in top.images[1]
    assert result.maximum == pytest.approx([0.5, 0.2, -0.1 if signed else 0], abs=1e-6)
    none = result.whole.images < 0
    assert (result.whole.activations[none] == np.broadcast_to(result.rest[:, None], none.shape)[none]).all()
    assert (result.whole.peaks[none] == result.whole.activations[none]).all()


def test_too_few_readable_images_are_refused(small: Model, tmp_path: Path):
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    with pytest.raises(ImagesError, match="only 1 of 12 images"):
        _extract(small, list_images(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(
    not SAMPLE_IMAGES, reason="needs photographs named after their WordNet ids: NEUROCARTO_SAMPLE_IMAGES"
)
def test_the_packaged_network_sees_what_is_there():
    """File names begin with the WordNet id, and ImageNet's classes are in the order of these ids."""
    model = load_model("efficientnet_lite0")
    images = list_images(str(SAMPLE_IMAGES))
    result = _extract(model, images, threads=1, batch_size=8, top_k=5)
    names = [Path(path).name.partition("_")[0] for path in result.images["path"]]
    right = (np.searchsorted(np.unique(names), names) == result.images["output"]).mean()
    print(f"top-1 {right:.1%} of {len(names)}")
    assert len(set(names)) == 1000
    assert right >= 0.85
