from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from neurocarto.errors import ModelError
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.quality.judge import DEPTH, Judge, load_judge, look, mean_features, patch_boxes, peak_places
from neurocarto.records import TopActivations

if TYPE_CHECKING:
    from neurocarto.extraction.models import Model

IMAGES = pd.DataFrame({"width": [100, 200], "height": [100, 50]})
SEEN = Preprocessing(resize=8, size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


class Toy:
    """A judge that sees colours: the mean of each channel."""

    preprocessing = SEEN

    def __init__(self) -> None:
        self.looks = 0

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.looks += len(pixels)
        return pixels.mean((1, 2)).astype(np.float32)


def picture(image: int) -> Image.Image:
    """Red on the left, blue on the right."""
    width, height = (int(side) for side in IMAGES.iloc[image])
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 255, 255
    return Image.fromarray(pixels)


def places(*rows: tuple[int, int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["neuron", "image", "x", "y"])


def test_patches_are_squares_around_the_peak_that_stay_inside_the_image() -> None:
    boxes = patch_boxes(places((0, 0, 50, 50), (0, 0, 1, 99), (0, 1, 100, 25), (0, 1, 199, 0)), IMAGES)
    assert boxes["side"].tolist() == [40, 40, 20, 20]
    assert boxes["left"].tolist() == [30, 0, 90, 180]
    assert boxes["top"].tolist() == [30, 60, 15, 0]


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.4])
def test_a_patch_lies_less_than_a_step_from_its_peak(shift: float) -> None:
    (box,) = patch_boxes(places((0, 0, 50 + shift, 50 - shift)), IMAGES).to_dict("records")
    assert abs(box["left"] + 20 - (50 + shift)) <= 2.5
    assert abs(box["top"] + 20 - (50 - shift)) <= 2.5


def test_places_are_those_of_the_strongest_images_in_pixels_of_the_original() -> None:
    more = np.tile(np.arange(DEPTH + 2, dtype=np.int32), (2, 1)) % 2
    more[1, 3:] = -1
    half = np.full(more.shape, 0.5, np.float32)
    top = TopActivations(half, half, more, np.full(more.shape, 0.25, np.float32), half)
    found = peak_places(top, IMAGES, Preprocessing(100, 100, (0.5,) * 3, (0.5,) * 3))
    assert found["neuron"].tolist() == [0] * DEPTH + [1] * 3
    assert found.iloc[0].tolist() == [0, 0, 50, 25]
    assert found.iloc[1].tolist() == [0, 1, 100, 12.5]


def test_a_neuron_is_the_mean_of_its_patches_and_each_distinct_patch_is_looked_at_once() -> None:
    judge, done = Toy(), []
    rows = places((0, 0, 20, 50), (1, 0, 20, 50), (1, 1, 190, 20), (3, 0, 80, 50))
    found = look(cast(Judge, judge), rows, IMAGES, 4, picture, done.append)
    assert judge.looks == 3
    assert sum(done) == 2
    assert found.image.tolist() == [[0, -1], [0, 1], [-1, -1], [0, -1]]
    assert found.patch[0, 0] == found.patch[1, 0] != found.patch[3, 0]
    assert found.seen.tolist() == [True, True, False, True]
    assert found.means == pytest.approx(np.array([[1, 0, 0], [0.5**0.5, 0, 0.5**0.5], [0, 0, 0], [0, 0, 1]]), abs=1e-6)
    assert np.array_equal(found[1:3].means, found.means[1:3])


def test_only_the_ten_strongest_patches_make_the_mean() -> None:
    rows = places(*[(0, 0, 20, 50)] * 10, *[(0, 0, 80, 50)] * 5)
    found = look(cast(Judge, Toy()), rows, IMAGES, 1, picture, lambda _: None)
    assert found.patch.shape == (1, 15)
    assert found.means == pytest.approx(np.array([[1, 0, 0]]))


def test_means_are_over_the_rows_that_there_are() -> None:
    features = np.array([[3, 0], [0, 4], [0, 0]], np.float32)
    chosen = np.array([[0, -1], [0, 1], [-1, -1], [2, -1]], np.int32)
    assert mean_features(features, chosen) == pytest.approx(np.array([[1, 0], [0.6, 0.8], [0, 0], [0, 0]]))


def test_neurons_without_patches_are_not_seen() -> None:
    found = look(cast(Judge, Toy()), places((0, 0, 20, 50)).head(0), IMAGES, 2, picture, lambda _: None)
    assert not found.seen.any()
    assert not found.means.any()


def test_smaller_pictures_show_the_same_patches() -> None:
    rows = places((0, 0, 20, 50), (1, 1, 190, 20))
    judge = cast(Judge, Toy())
    whole = look(judge, rows, IMAGES, 2, picture, lambda _: None)
    small = look(judge, rows, IMAGES, 2, lambda image: picture(image).reduce(2), lambda _: None)
    assert small.means == pytest.approx(whole.means, abs=0.02)


def test_the_features_are_what_the_classifier_is_given(network: "Model") -> None:
    judge = Judge(network)
    assert judge.preprocessing.size == 128
    pixels = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3), dtype=np.uint8)
    features = judge.features(pixels)
    module = cast(Any, network.module)
    expected = module[:-1](judge.preprocessing.normalise(pixels)).numpy()
    assert features == pytest.approx(expected, abs=1e-6)


def test_a_network_without_a_linear_classifier_gives_its_last_layer(network: "Model") -> None:
    from dataclasses import replace

    from torch import nn

    module = nn.Sequential(*list(cast(Any, network.module))[:4], nn.Conv2d(24, 4, 1), nn.AdaptiveAvgPool2d(1))
    judge = Judge(replace(network, module=module.requires_grad_(False)))
    assert judge.preprocessing.size == network.preprocessing.size
    assert judge.features(np.zeros((2, 48, 48, 3), np.uint8)).shape == (2, 24)


def test_the_network_under_study_cannot_judge_itself(network: "Model", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurocarto.quality.judge.load_model", lambda _: SimpleNamespace(weights_sha256="abc"))
    with pytest.raises(ModelError, match="'tiny' is the network under study, which cannot judge itself"):
        load_judge("tiny", "abc")


def test_a_judge_that_there_is_not_is_said_in_one_line() -> None:
    with pytest.raises(ModelError, match="there is no model 'efficientnet_lite9'; nearest: efficientnet_lite"):
        load_judge("efficientnet_lite9", "abc")
