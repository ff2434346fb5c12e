"""Boxes are true: they lie where the network looked, and what they hold is what made it fire."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from neurocarto.engine.local import extract
from neurocarto.extraction.hooks import outputs_until
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.lineage import find_lineage
from neurocarto.extraction.models import Model, load_model
from neurocarto.extraction.offsets import measure_offsets
from neurocarto.extraction.patches import LARGEST_AREA, _radial_mass, _side, example_table, measure_boxes
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import Extraction, Layer
from neurocarto.settings import RunSettings

SETTINGS = RunSettings(threads=1, top_k=20, examples=10)
OBJECT = 64
UPRIGHT_SIZES = [(320, 320), (480, 300), (300, 480), (260, 400), (640, 320)]
SIDEWAYS = 6  # EXIF orientation: turn by 90° to see it upright


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("efficientnet_lite0")


def _object(rng: np.random.Generator) -> Image.Image:
    """A disc of coloured stripes: nothing natural, but nothing that a blank image holds either."""
    y, x = np.mgrid[:OBJECT, :OBJECT] - OBJECT / 2
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 16)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)[..., None]
    colours = rng.uniform(0, 255, (2, 3))
    pixels = np.where(wave > 0, colours[0], colours[1])
    inside = (x**2 + y**2 < (OBJECT / 2 - 1) ** 2)[..., None]
    return Image.fromarray(np.where(inside, pixels, 128).astype(np.uint8))


@pytest.fixture(scope="module")
def pasted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSet, dict[str, tuple[float, float]]]:
    """Grey images with one object each; its centre in the upright original, by path."""
    folder = tmp_path_factory.mktemp("pasted")
    rng = np.random.default_rng(0)
    centres = {}
    for i in range(40):
        width, height = UPRIGHT_SIZES[i % len(UPRIGHT_SIZES)]
        shorter = min(width, height)  # the network sees the central square
        left, top = (
            int((side - shorter) / 2 + rng.uniform(0.07, 0.93) * shorter - OBJECT / 2) for side in (width, height)
        )
        left, top = (int(np.clip(v, 0, side - OBJECT)) for v, side in ((left, width), (top, height)))
        image = Image.new("RGB", (width, height), (128, 128, 128))
        image.paste(_object(rng), (left, top))
        exif = Image.Exif()
        if i % 4 == 0:
            image = image.transpose(Image.Transpose.ROTATE_90)
            exif[0x0112] = SIDEWAYS
        name = f"{i:02}.png"
        image.save(folder / name, exif=exif)
        centres[name] = (left + OBJECT / 2, top + OBJECT / 2)
    return list_images(folder), centres


def _table(model: Model, images: ImageSet) -> tuple[Extraction, tuple[Layer, ...], pd.DataFrame]:
    extraction = extract(model, describe_layers(model), images, SETTINGS, lambda _: None)
    layers = measure_boxes(model, extraction, images, SETTINGS, lambda _: None)
    lineage = find_lineage(model, layers)
    offsets = measure_offsets(model, extraction, lineage, images, SETTINGS, lambda _: None)
    return extraction, layers, example_table(extraction, layers, offsets, model.preprocessing, SETTINGS.examples)


@pytest.fixture(scope="module")
def found(model: Model, pasted) -> tuple[Extraction, tuple[Layer, ...], pd.DataFrame]:
    return _table(model, pasted[0])


def test_boxes_lie_on_the_object_that_excites_late_neurons(model: Model, pasted, found):
    _, centres = pasted
    extraction, layers, table = found
    sizes = extraction.images.loc[table["image"], ["width", "height"]].to_numpy()
    assert {tuple(size) for size in sizes} == set(UPRIGHT_SIZES)  # sizes are those of the upright image
    with torch.inference_mode():
        blank = model.preprocessing.normalise(np.full((1, 224, 224, 3), 128, np.uint8))
        at_rest = outputs_until(model.module, blank, layers)
    start = 0
    for layer in layers:
        rest = at_rest[layer.name].amax((0, 2, 3)).clamp(*layer.clamp).numpy()
        rows = table["neuron"].between(start, start + layer.channels - 1)
        neurons = table["neuron"] - start
        excited = rows & (table["activation"] > 3) & (rest[neurons.where(rows, 0)] < 0.5)
        start += layer.channels
        if layer.map_width > 14:
            continue
        mine = table[excited]
        assert len(mine) > 50, layer.name
        stride = 224 / layer.map_width * sizes[excited].min(axis=1) / model.preprocessing.resize
        wanted = np.array([centres[path] for path in extraction.images["path"].to_numpy()[mine["image"]]])
        off = np.maximum(
            abs((mine["x0"] + mine["x1"]) / 2 - wanted[:, 0]), abs((mine["y0"] + mine["y1"]) / 2 - wanted[:, 1])
        )
        near = (off - OBJECT / 2 <= stride).mean()
        print(f"{layer.name}: {len(mine)} boxes, {near:.0%} within one stride of the object")
        # Features spread over the map with depth: the last layers also fire beside the object.
        assert near >= 0.85, layer.name


def test_boxes_grow_with_depth_and_stay_small(found):
    _, layers, table = found
    sides = [layer.example_box for layer in layers]
    assert sides[0] < sides[8] < sides[14]
    assert max(sides) <= 224 * LARGEST_AREA**0.5
    assert ((table["x1"] - table["x0"]) - (table["y1"] - table["y0"])).abs().max() < 1e-3  # squares
    assert not table.duplicated(["neuron", "image"]).any()


class Grey(nn.Module):
    """Sees grey; maps, then tokens that are mixed by pairs, then one fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.maps, self.tokens, self.full = nn.Conv2d(1, 6, 2, 2), nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(self.maps(x).relu().flatten(2).transpose(1, 2))
        return self.full(tokens.mean(1))


def test_boxes_of_tokens_and_of_maps_of_one_cell(pasted):
    preprocessing = Preprocessing(resize=32, size=32, mean=(0.5,), std=(0.5,))
    model = Model("grey", Grey().requires_grad_(False), (), preprocessing, tuple("wxyz"), "", "")
    layers = describe_layers(model, ["maps", "tokens", "full"])
    assert [layer.layout for layer in layers] == ["BCHW", "BTC", "BC"]
    extraction = extract(model, layers, pasted[0], SETTINGS, lambda _: None)
    boxes = measure_boxes(model, extraction, pasted[0], SETTINGS, lambda _: None)
    # A peak's cell is 2 × 2 pixels, all of its mass lies within one pixel of its middle; the last sees everything.
    assert [layer.example_box for layer in boxes] == [2, 2, 32]
    lineage = find_lineage(model, boxes)
    offsets = measure_offsets(model, extraction, lineage, pasted[0], SETTINGS, lambda _: None)
    table = example_table(extraction, boxes, offsets, preprocessing, SETTINGS.examples)
    whole = table[table["neuron"] >= 11]
    sizes = extraction.images.loc[whole["image"], ["width", "height"]].min(axis=1).to_numpy()
    assert (whole["x1"] - whole["x0"]).to_numpy() == pytest.approx(sizes, rel=0.02)


def test_mass_is_counted_in_squares_around_the_peak():
    mass = torch.zeros(2, 8, 8)  # the second peak is a constant channel's
    mass[0, 4, 4] = 3  # the cell just right of and below the middle
    mass[0, 0, 4] = 1
    share = _radial_mass(mass, np.array([0.5, 0.5], np.float32), np.array([0.5, 0.5], np.float32))
    assert len(share) == 1
    assert share[0].tolist() == [0.75, 0.75, 0.75, 1, 1, 1, 1, 1]
    assert _side(share, 0.7) == 2.0
    assert _side(share, 0.8) == pytest.approx(8 * LARGEST_AREA**0.5)  # eight pixels would be too large


@pytest.mark.slow
def test_keeping_only_the_box_keeps_the_activation(model: Model, tmp_path: Path, record_property):
    """Median over neurons, per layer: the box keeps at least twice what an equal box elsewhere keeps."""
    source = os.environ.get("NEUROCARTO_SAMPLE_IMAGES")
    if not source:
        pytest.skip("needs real photographs: set NEUROCARTO_SAMPLE_IMAGES to a folder of them")
    for i, path in enumerate(sorted(Path(source).rglob("*.jpg"))[::8]):
        (tmp_path / f"{i:03}.jpg").symlink_to(path)
    images = list_images(tmp_path)
    extraction, layers, table = _table(model, images)
    rng = np.random.default_rng(0)
    strongest = table[(table["rank"] == 0) & (table["half"] == 0)]
    start = 0
    for layer in layers:
        rows = strongest[strongest["neuron"].between(start, start + layer.channels - 1)]
        kept = _kept(model, layer, rows.sample(min(24, len(rows)), random_state=0), start, extraction, images, rng)
        start += layer.channels
        box, elsewhere = np.median(kept, axis=0)
        record_property(layer.name, f"box {box:.2f}, elsewhere {elsewhere:.2f}")
        print(f"{layer.name}: box side {layer.example_box:.0f}, keeps {box:.2f}, elsewhere {elsewhere:.2f}")
        assert box >= 2 * elsewhere, layer.name


def _kept(
    model: Model,
    layer: Layer,
    rows: pd.DataFrame,
    start: int,
    extraction: Extraction,
    images: ImageSet,
    rng: np.random.Generator,
) -> np.ndarray:
    """Share of the activation above rest, at the peak's cell, that the box and an equal box elsewhere keep."""
    size = model.preprocessing.size
    side = round(layer.example_box)
    inputs, cells = [torch.zeros(3, size, size)], []
    for row in rows.itertuples():
        top = extraction.halves[0]
        y, x = top.rows[row.neuron, 0] * size, top.columns[row.neuron, 0] * size
        cells.append(
            (int(top.rows[row.neuron, 0] * layer.map_height), int(top.columns[row.neuron, 0] * layer.map_width))
        )
        path = extraction.images["path"][row.image]
        image = model.preprocessing.normalise(model.preprocessing.pixels(images.open(images.paths.index(path)))[None])[
            0
        ]
        corner = round(y - side / 2), round(x - side / 2)
        inputs += [image, _only(image, corner, side), _only(image, _elsewhere(corner, side, size, rng), side)]
    with torch.inference_mode():
        parts = [
            outputs_until(model.module, torch.stack(inputs[i : i + 8]), [layer])[layer.name]
            for i in range(0, len(inputs), 8)
        ]
    maps = torch.cat(parts).clamp(*layer.clamp)
    shares = []
    for i, (neuron, (y, x)) in enumerate(zip(rows["neuron"], cells, strict=True)):
        rest, full, box, other = (maps[j, neuron - start, y, x].item() for j in (0, *range(3 * i + 1, 3 * i + 4)))
        if full - rest > 0.3 * full:  # a neuron that fires on nothing at all says nothing about places
            shares.append(((box - rest) / (full - rest), (other - rest) / (full - rest)))
    return np.array(shares)


def _only(image: torch.Tensor, corner: tuple[int, int], side: int) -> torch.Tensor:
    kept = torch.zeros_like(image)
    y, x = (slice(max(0, c), max(0, c + side)) for c in corner)
    kept[:, y, x] = image[:, y, x]
    return kept


def _elsewhere(corner: tuple[int, int], side: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Of 200 places inside the image the one that overlaps the box least."""
    places = rng.integers(0, size - side + 1, (200, 2))
    overlap = np.maximum(0, side - abs(places - np.array(corner))).prod(axis=1)
    y, x = places[overlap.argmin()]
    return int(y), int(x)
