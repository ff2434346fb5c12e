"""A second network that looks at example patches in a person's place.

Every patch is the same square share of its image, so that no size of box wins. What the judge sees of a neuron is the
mean of its pooled features over patches of the neuron.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

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
DEPTH = 2 * PATCHES
"""Patches of a neuron that are looked at: some stand in where a picture may not be shown again."""
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


@dataclass(frozen=True)
class Sights:
    """What a judge sees of neurons, patch by patch.

    features (U, d): of every distinct patch; patch (N, R): the rows of a neuron's patches, the strongest first, -1 for
    none; image (N, R): the pictures that they are cut from, -1 for none.
    """

    features: npt.NDArray[np.float32]
    patch: npt.NDArray[np.int32]
    image: npt.NDArray[np.int32]

    def __getitem__(self, neurons: slice) -> "Sights":
        return replace(self, patch=self.patch[neurons], image=self.image[neurons])

    @cached_property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which neurons have patches, (N,)."""
        return np.asarray(self.patch[:, 0] >= 0)

    @cached_property
    def means(self) -> npt.NDArray[np.float32]:
        """Mean features of every neuron's PATCHES strongest patches (N, d), of unit length, zeros where it has none."""
        return mean_features(self.features, self.patch[:, :PATCHES])


def mean_features(features: npt.NDArray[np.float32], chosen: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return means of chosen rows (n, K), -1 for none, of features (U, d): (n, d) of unit length, zeros for no row."""
    weights = (chosen >= 0).astype(np.float32)
    rows = torch.from_numpy(np.maximum(chosen, 0))
    sums = functional.embedding_bag(
        rows, torch.from_numpy(features), mode="sum", per_sample_weights=torch.from_numpy(weights)
    )
    return np.asarray(functional.normalize(sums, eps=1e-30).numpy())


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
    """Return where every neuron's strongest patches lie: neuron, image, x, y in pixels of the upright original.

    DEPTH of each neuron, the strongest first. images: one row per image, with width and height; preprocessing: of the
    network under study.
    """
    neuron, rank = (top.images[:, :DEPTH] >= 0).nonzero()
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


def look(
    judge: Judge,
    places: pd.DataFrame,
    images: pd.DataFrame,
    count: int,
    picture: Open,
    advance: Callable[[int], object],
) -> Sights:
    """Return what the judge sees of `count` neurons.

    places: neuron, image, x, y; of each neuron the strongest first. Each distinct patch is looked at once. advance is
    called with the number of images done, after each. Memory: distinct patches × d.
    """
    boxes = patch_boxes(places, images)
    distinct, which = np.unique(boxes[["image", "left", "top", "side"]].to_numpy(float), axis=0, return_inverse=True)
    neuron, rank = boxes["neuron"].to_numpy(), boxes.groupby("neuron").cumcount().to_numpy()
    depth = rank.max(initial=0) + 1
    patch, image = np.full((2, count, depth), -1, np.int32)
    patch[neuron, rank], image[neuron, rank] = which, boxes["image"]
    seen = [judge.features(batch) for batch in _patches(judge, distinct, images, picture, advance)]
    return Sights(np.concatenate(seen) if seen else np.zeros((1, 1), np.float32), patch, image)


def _patches(
    judge: Judge,
    distinct: npt.NDArray[np.float64],
    images: pd.DataFrame,
    picture: Open,
    advance: Callable[[int], object],
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of patches (image, left, top, side), by image, in batches."""
    widths = images["width"].to_numpy()

    def pixels() -> Iterator[npt.NDArray[np.uint8]]:
        last, whole, scale = -1, None, 1.0
        for image, *box in distinct.tolist():
            if image != last or whole is None:
                last, whole = image, picture(int(image))
                scale = whole.width / widths[int(image)]
                advance(1)
            yield _cut(judge, whole, *(edge * scale for edge in box))

    for batch in _batched(pixels(), BATCH):
        yield np.stack(batch)


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
