"""Preprocessing from transforms, pairs and files; squashed and grey inputs; what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2

from neurocarto.errors import ModelError
from neurocarto.extraction.preprocessing import Preprocessing, default_preprocessing, from_transform, overridden

IMAGENET = default_preprocessing(3)
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))

TRANSFORMS = {
    "v1": v1.Compose(
        [v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))]
    ),
    "v2": v2.Compose([
        v2.ToImage(), v2.Resize([40], antialias=True), v2.CenterCrop([32, 32]), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]), v2.ToPureTensor(),
    ]),
    "levels of 255": nn.Sequential(
        v2.PILToTensor(), v2.RGB(), v2.Resize(40, v2.InterpolationMode.BICUBIC), v2.CenterCrop(32),
        v2.ToDtype(torch.float32), v2.Normalize([127.5], [63.75]),
    ),
    "squashed": v1.Compose([v1.Resize((32, 32)), v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]),
    "squashed and cut": v1.Compose([v1.Resize((48, 36)), v1.CenterCrop(32), v1.ToTensor()]),
    "preset": models.Swin_T_Weights.DEFAULT.transforms(),
}  # fmt: skip


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(ModelError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFromTransform:
    @pytest.mark.parametrize("name", TRANSFORMS)
    def test_the_networks_input_is_what_the_transform_makes(self, name: str) -> None:
        preprocessing = from_transform(TRANSFORMS[name])
        made = preprocessing.normalise(preprocessing.pixels(PHOTO)[None])[0]
        expected = TRANSFORMS[name](PHOTO)
        assert made.shape == expected.shape
        assert (made - expected).abs().max() < 2.6 / 255 / min(preprocessing.std)  # resizing tensors rounds differently

    def test_by_hand(self) -> None:
        assert from_transform(TRANSFORMS["v1"]) == Preprocessing(40, 32, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")
        assert from_transform(TRANSFORMS["v2"]) == from_transform(TRANSFORMS["v1"])
        assert from_transform(TRANSFORMS["levels of 255"]) == Preprocessing(40, 32, (0.5,) * 3, (0.25,) * 3, "bicubic")
        assert from_transform(TRANSFORMS["squashed"]) == Preprocessing((32, 32), 32, (0,) * 3, (1,) * 3, "bilinear")

    def test_grey_images(self) -> None:
        grey = Image.new("L", (28, 28), 51)
        preprocessing = from_transform(v1.Compose([v1.Resize((28, 28)), v1.ToTensor()]), channels=1)
        assert preprocessing.pixels(grey.convert("RGB")).shape == (28, 28, 1)
        assert preprocessing.normalise(preprocessing.pixels(grey)[None]).unique().tolist() == pytest.approx([0.2])

    def test_grey_by_the_transform(self) -> None:
        steps = [v1.Grayscale(), v1.Resize((28, 28)), v1.ToTensor(), v1.Normalize(0.1307, 0.3081)]
        preprocessing = from_transform(v1.Compose(steps))
        assert preprocessing == Preprocessing((28, 28), 28, (0.1307,), (0.3081,), "bilinear")
        made = preprocessing.normalise(preprocessing.pixels(PHOTO)[None])[0]
        assert (made - v1.Compose(steps)(PHOTO)).abs().max() < 1e-6

    def test_itself(self) -> None:
        assert from_transform(IMAGENET) is IMAGENET

    @pytest.mark.parametrize(
        ("steps", "expected"),
        [
            ([v1.Lambda(abs)], "the transform Lambda() is not understood; understood are Compose, Resize, "),
            ([v1.RandomCrop(3)], "the transform RandomCrop(size=(3, 3), padding=None) is not understood"),
            ([abs], "the transform <built-in function abs> is not understood"),
            ([v1.Resize(32), v1.Resize(32)], "comes after another Resize or CenterCrop"),
            ([v1.CenterCrop(32)], "does not come once after Resize"),
            ([v1.Resize(32), v1.CenterCrop((32, 30))], "is not a square"),
            ([v1.Resize(32, max_size=40)], "has a max_size"),
            ([v1.Resize(32), v1.ToTensor()], "the transform's Resize(32) is not followed by a CenterCrop"),
            ([v1.Resize((32, 30)), v1.ToTensor()], "the transform's Resize(32, 30) is not followed by a CenterCrop"),
            ([v1.Resize((32, 32))], "the transform has no ToTensor or ToDtype to floats"),
            ([v1.ToTensor()], "the transform has no Resize, so the input's size is unknown"),
            ([v1.Normalize([0.5], [0.5])], "does not come once after ToTensor"),
            ([v1.Grayscale(3)], "repeats grey in several channels"),
            ([v1.Resize(30), v1.CenterCrop(32), v1.ToTensor()], "resize 30 leaves less than size 32"),
            ([v1.Resize((9, 9), v1.InterpolationMode.BOX), v1.ToTensor()], "not 'box'"),
        ],
    )
    def test_refusals_name_the_step(self, steps: list[Any], expected: str) -> None:
        assert expected in refusal(from_transform, v1.Compose(steps))


class TestOverridden:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "resize=256, size=224,mean=0.5,std=0.25,interpolation=lanczos",
                Preprocessing(256, 224, (0.5,) * 3, (0.25,) * 3, "lanczos"),
            ),
            ("mean=0.1/0.2/0.3", Preprocessing(256, 224, (0.1, 0.2, 0.3), IMAGENET.std, "bilinear")),
            ("size=112", Preprocessing(128, 112, IMAGENET.mean, IMAGENET.std, "bilinear")),
            ("resize=300x240", Preprocessing((300, 240), 224, IMAGENET.mean, IMAGENET.std, "bilinear")),
        ],
    )
    def test_pairs(self, text: str, expected: Preprocessing) -> None:
        assert overridden(text, IMAGENET, 3) == expected

    def test_a_file_as_the_manifest_has_it(self, tmp_path: Path) -> None:
        manifest = {"resize": [30, 20], "size": 16, "mean": [0.5], "std": [0.25], "interpolation": "nearest"}
        (tmp_path / "p.json").write_text(json.dumps(manifest))
        for base in (default_preprocessing(1), None):
            made = overridden(str(tmp_path / "p.json"), base, 1)
            assert made == Preprocessing((30, 20), 16, (0.5,), (0.25,), "nearest")

    def test_a_squashed_base_keeps_its_proportions(self) -> None:
        base = Preprocessing((40, 20), 20, (0,), (1,))
        assert overridden("size=40", base, 1).resize == (80, 40)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "'' is not one key=value each"),
            ("size", "'size' is not one key=value each"),
            ("size=8,size=9", "'size=9' is not one key=value each"),
            ("colour=1", "preprocessing has no key 'colour'; its keys are resize, size, mean, std, interpolation"),
            ("size=2\n4", r"size='2\n4' is not a number"),
            ("size=0", "size must be a whole number of 1 … 4096, not 0"),
            ("size=5000", "size must be a whole number of 1 … 4096, not 5000"),
            ("resize=1x2x3", "resize must be a whole number of 1 … 4096, not [1, 2, 3]"),
            ("resize=200", "resize 200 leaves less than size 224 to cut out"),
            ("mean=0.5/0.5", "mean has 2 values, but the network takes 3 channels"),
            ("mean=nan", "mean must be finite"),
            ("std=0", "std must be above 0"),
            ("interpolation=cubic", "must be one of nearest, bilinear, bicubic, lanczos, not 'cubic'"),
        ],
    )
    def test_refused_pairs(self, text: str, expected: str) -> None:
        assert expected in refusal(overridden, text, IMAGENET, 3)

    @pytest.mark.parametrize(
        ("held", "expected"),
        [
            ("{", "as JSON"),
            ("[1]", "must hold an object"),
            ('{"size": "8"}', "size must be a whole number of 1 … 4096, not '8'"),
            ('{"size": true}', "not True"),
            ('{"mean": "x"}', "mean must be one number or three, not 'x'"),
            ('{"interpolation": []}', "not []"),
        ],
    )
    def test_refused_files(self, held: str, expected: str, tmp_path: Path) -> None:
        (tmp_path / "p.json").write_text(held)
        assert expected in refusal(overridden, str(tmp_path / "p.json"), IMAGENET, 3)

    def test_without_a_base_it_must_be_complete(self) -> None:
        expected = "--preprocess must say resize, mean, std too: the factory's transform is not understood"
        assert refusal(overridden, "size=8", None, 3) == expected


class TestSquashed:
    def test_to_original_by_hand(self) -> None:
        # 60 x 90 squashed to 30 x 30 and cut from (5, 5) on: 2 by 3 pixels of the original for each
        preprocessing = Preprocessing((30, 30), 20, (0,), (1,))
        x, y, scale = preprocessing.to_original(np.float32([0, 10]), np.float32([0, 10]), 60, 90)
        assert (x.tolist(), y.tolist(), scale) == ([10, 30], [15, 45], pytest.approx(6**0.5))

    @given(
        sides=st.tuples(st.integers(40, 300), st.integers(40, 300)),
        resize=st.tuples(st.integers(64, 128), st.integers(64, 128)),
        place=st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    )
    def test_a_block_is_seen_where_to_original_says(
        self, sides: tuple[int, int], resize: tuple[int, int], place: tuple[float, float]
    ) -> None:
        width, height = sides
        preprocessing = Preprocessing(resize, 64, (0,), (1,))
        image = np.zeros((height, width), np.uint8)
        left, top = int(place[0] * width), int(place[1] * height)
        image[top : top + 4, left : left + 4] = 255
        seen = preprocessing.pixels(Image.fromarray(image).convert("RGB"))[..., 0].astype(float)
        centres = np.arange(64) + 0.5
        where = (np.float32([seen.sum(axis) @ centres / seen.sum()]) for axis in (0, 1))
        x, y, _ = preprocessing.to_original(*where, width, height)
        assert x == pytest.approx(left + 2, abs=0.5 + width / resize[1])
        assert y == pytest.approx(top + 2, abs=0.5 + height / resize[0])


def test_what_a_network_gets_that_brings_nothing() -> None:
    assert default_preprocessing(1) == Preprocessing(256, 224, (0.5,), (0.5,), "bilinear")
    assert refusal(default_preprocessing, 5) == "the network takes 5 channels; images have three, or one as grey"


@pytest.mark.parametrize("levels", [((0.5,), (0.5,) * 3), ((0.5,) * 2, (0.5,) * 2), ((0.5,) * 3, (0.5, 0.5, -1))])
def test_means_and_deviations_must_go_together(levels: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
    refusal(Preprocessing, 8, 8, *levels)
