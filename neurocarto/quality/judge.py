"""A second network that looks at example patches in a person's place.

Every patch is the same square share of its image, so that no size of box wins. What the judge sees of a neuron is the
mean of its pooled features over the neuron's patches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import TopActivations

DEFAULT = "efficientnet_lite2"
"""Packaged, so that it needs no network."""
PATCHES = 10
"""Example patches that a neuron shows."""
SHARE = 0.4
"""Side of a patch, as a share of the image's short side."""
STEPS = 8
"""Patches lie on a grid of so many steps a side: neurons with nearly the same patch share it."""
SIDE = 128
"""Pixels at which the judge looks at a patch, where it takes any size."""
BATCH = 32

T = TypeVar("T")

Open = Callable[[int], Image.Image]
"""Opens the picture of an image, in any size."""


class Judge:
    """A network that turns patches into features.

    The features are what its classifier is given; where no linear classifier can be found, its last layer averaged
    over the map.
    """

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.weights_sha256 = model.weights_sha256
        self._model = model
        self._classifier = _classifier(model)
        self._layer = None if self._classifier else describe_layers(model)[-1]
        size = SIDE if self._classifier and _takes(model, SIDE) else model.preprocessing.size
        self.preprocessing = replace(model.preprocessing, resize=size, size=size)

    def features(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the features (B, d) of patches (B, size, size, channels)."""
        inputs = self.preprocessing.normalise(pixels)
        with torch.inference_mode():
            if self._classifier is not None:
                (seen,) = _inputs_of([self._classifier], self._model, inputs).values()
                return np.asarray(seen.flatten(1).numpy())
            kept: list[Tensor] = []
            assert self._layer is not None
            with layer_outputs(self._model.module, [self._layer], lambda _, maps: kept.append(maps.mean((2, 3)))):
                self._model.module(inputs)
            return np.asarray(kept[0].numpy())


def load_judge(name: str, studied_sha256: str) -> Judge:
    """Load a judge; ModelError when there is none of that name, or when it is the studied network itself."""
    model = load_model(name)
    if model.weights_sha256 == studied_sha256:
        raise ModelError(f"{name!r} is the network under study, which cannot judge itself; name another with --judge")
    return Judge(model)


def peak_places(top: TopActivations, images: pd.DataFrame, preprocessing: Preprocessing) -> pd.DataFrame:
    """Return where every neuron's ten strongest patches lie: neuron, image, x, y in pixels of the upright original.

    images: one row per image, with width and height; preprocessing: of the network under study.
    """
    neuron, rank = (top.images[:, :PATCHES] >= 0).nonzero()
    image = top.images[neuron, rank]
    sizes = images[["width", "height"]].to_numpy()[image]
    x, y, _ = preprocessing.to_original(
        top.columns[neuron, rank] * preprocessing.size, top.rows[neuron, rank] * preprocessing.size, *sizes.T
    )
    return pd.DataFrame({"neuron": neuron, "image": image, "x": x, "y": y})


def patch_boxes(places: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Return places with the patches around them: left, top, side in pixels, inside the image."""
    width, height = images[["width", "height"]].to_numpy()[places["image"]].T
    side = np.rint(SHARE * np.minimum(width, height)).clip(1)
    step = side / STEPS
    corners = {
        name: (np.rint((places[centre] - side / 2) / step) * step).clip(0, room - side)
        for name, centre, room in (("left", "x", width), ("top", "y", height))
    }
    return places.assign(**corners, side=side)


def neuron_features(
    judge: Judge,
    places: pd.DataFrame,
    images: pd.DataFrame,
    count: int,
    picture: Open,
    advance: Callable[[int], object],
) -> npt.NDArray[np.float32]:
    """Return what the judge sees of every neuron, (count, d) of unit length, zeros for neurons without patches.

    Each distinct patch is looked at once. advance is called with the number of images done, after each.
    Memory: count × d.
    """
    boxes = patch_boxes(places, images)
    sums: npt.NDArray[np.float32] | None = None
    for neurons, features in _looked_at(judge, boxes, images, picture, advance):
        if sums is None:
            sums = np.zeros((count, len(features)), np.float32)
        sums[neurons] += features
    if sums is None:
        return np.zeros((count, 1), np.float32)
    unit: npt.NDArray[np.float32] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-30)
    return unit


def _looked_at(
    judge: Judge, boxes: pd.DataFrame, images: pd.DataFrame, picture: Open, advance: Callable[[int], object]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Yield, for every distinct patch, the neurons that show it and its features."""
    distinct, which = np.unique(boxes[["image", "left", "top", "side"]].to_numpy(float), axis=0, return_inverse=True)
    shown_by = np.split(
        boxes["neuron"].to_numpy()[np.argsort(which, kind="stable")], np.cumsum(np.bincount(which))[:-1]
    )
    widths = images["width"].to_numpy()

    def patches() -> Iterator[npt.NDArray[np.uint8]]:
        last, whole, scale = -1, None, 1.0
        for image, *box in distinct.tolist():
            if image != last or whole is None:
                last, whole = image, picture(int(image))
                scale = whole.width / widths[int(image)]
                advance(1)
            yield _cut(judge, whole, *(edge * scale for edge in box))

    for batch in _batched(zip(shown_by, patches(), strict=True), BATCH):
        features = judge.features(np.stack([pixels for _, pixels in batch]))
        yield from zip((neurons for neurons, _ in batch), features, strict=True)


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield the items in batches."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch


def _cut(judge: Judge, whole: Image.Image, left: float, top: float, side: float) -> npt.NDArray[np.uint8]:
    """A patch as the judge sees it."""
    size = judge.preprocessing.size
    box = (left, top, min(left + side, whole.width), min(top + side, whole.height))
    return judge.preprocessing.pixels(whole.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _takes(model: Model, size: int) -> bool:
    """Whether the network runs on inputs of that size."""
    with suppress(Exception), torch.inference_mode():  # a network's own code may raise anything
        model.logits(torch.zeros(1, model.preprocessing.channels, size, size))
        return True
    return False


def _classifier(model: Model) -> nn.Module | None:
    """The last linear module that gives the network's outputs, if one does."""
    with torch.inference_mode():
        outputs = model.logits(model.blank()).shape[1]
        linear = [m for m in model.module.modules() if isinstance(m, nn.Linear) and m.out_features == outputs]
        seen = _inputs_of(linear, model, model.blank(2))
    found = [module for module, given in seen.items() if given.ndim == 2 and len(given) == 2]
    return found[-1] if found else None


def _inputs_of(modules: Sequence[nn.Module], model: Model, inputs: Tensor) -> dict[nn.Module, Tensor]:
    """What modules are given in one pass, in the order in which they run."""
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[module] = given[0]

    handles = []
    try:
        handles += [module.register_forward_pre_hook(keep) for module in modules]
        model.module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen
