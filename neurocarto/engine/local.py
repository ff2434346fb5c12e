"""Extraction: shards of the images, run one after the other or as an engine does, merged in their order."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn.functional import pad

from neurocarto.engine.heap import give_back
from neurocarto.errors import ImagesError
from neurocarto.extraction.activity import Activity, clamp_bounds, run_batch, signed_neurons
from neurocarto.extraction.decoding import shown
from neurocarto.extraction.devices import devices_of
from neurocarto.extraction.images import MIN_IMAGES, ImageSet
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.models import Model
from neurocarto.extraction.topk import EMPTY, TopK, decode
from neurocarto.records import Extraction, Layer, Skipped, TopActivations, layer_slices
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings

WRITING_SHARE = 0.05
"""Share of the time that may go into saving what is done: quick shards are saved in groups."""

BATCHES_AHEAD = 3
"""Batches whose images are decoded, the one that the network runs on among them."""

Advance = Callable[[int], object]
"""Called with the number of images done since the last call."""


class Checkpoint(Protocol):
    """Keeps what an interrupted pass has finished, under names."""

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return what was put under the name, None when there is nothing."""

    def put(self, name: str, parts: Mapping[str, Any]) -> None:
        """Keep arrays and JSON under the name, in place of what was there."""


Pixels = tuple[npt.NDArray[np.uint8], tuple[int, int]]
_Loading = list[tuple[int, Future[Pixels | str]]]


@dataclass(frozen=True)
class Shard:
    """A part of the images: those at positions start, start + 1, … of the seeded order.

    sampled: the positions whose activations are kept whole.
    """

    start: int
    images: ImageSet
    sampled: frozenset[int]


@dataclass(frozen=True)
class Pass:
    """What all shards of an extraction have in common. key: the same for those of which every shard gives the same."""

    model: Model
    layers: Sequence[Layer]
    settings: RunSettings
    key: str = ""
    _models: dict[str, Model] = field(default_factory=dict, init=False)
    """The network on each device that it has been moved to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Pass, (self.model, self.layers, self.settings, self.key)  # another machine moves it itself

    def run(self, shard: Shard, advance: Advance, device: str = "") -> Activity:
        """Run one shard, on as many threads as the settings say: its bytes depend on them.

        device: one of those that the settings mean, their first when none is given. What is made is the processor's.
        """
        torch.set_num_threads(self.settings.threads)
        device = device or devices_of(self.settings.device)[0]
        model = self._models.setdefault(device, self.model.on(device))
        # Sums in double precision, which Apple's cards do not have.
        kept_on = "cpu" if device == "mps" else device
        made = Activity(self.layers, self.settings.top_k, kept_on)
        with torch.inference_mode(), ThreadPoolExecutor(self.settings.threads) as pool:
            for batch in self._batches(shard, pool):
                usable = dict(_usable(batch, shard.start, made))
                if usable:
                    pixels, sizes = zip(*usable.values(), strict=True)
                    inputs = model.preprocessing.normalise(np.stack(pixels), model.device)
                    positions = torch.tensor([shard.start + index for index in usable])
                    result = run_batch(model, self.layers, inputs, positions, self.settings.precision)
                    labels = [shard.images.labels[index] for index in usable]
                    made.update(result.to(kept_on), sizes, labels, model.categories, shard.sampled)
                advance(len(batch))
        return made if kept_on == "cpu" else Activity.from_parts(self.layers, made.parts())

    def _batches(self, shard: Shard, pool: ThreadPoolExecutor) -> Iterator[_Loading]:
        """Batches of images on their way, a few ahead of the one that is asked for."""
        ahead: deque[_Loading] = deque()
        for begin in range(0, len(shard.images), self.settings.batch_size):
            chosen = range(begin, min(begin + self.settings.batch_size, len(shard.images)))
            ahead.append([(index, pool.submit(self._load, shard.images, index)) for index in chosen])
            if len(ahead) == BATCHES_AHEAD:
                yield ahead.popleft()
        yield from ahead

    def _load(self, images: ImageSet, index: int) -> Pixels | str:
        try:
            image = images.open(index)
        except ImagesError as error:
            return str(error).removeprefix(f"{shown(PurePath(images.paths[index]).name)}: ")
        return self.model.preprocessing.pixels(image), image.size


def _usable(batch: _Loading, start: int, made: Activity) -> Iterator[tuple[int, Pixels]]:
    for index, future in batch:
        loaded = future.result()
        if isinstance(loaded, str):
            made.skipped[start + index] = loaded
        else:
            yield index, loaded


Engine = Callable[[Pass, Iterator[Shard], Advance], Generator[Activity]]
"""Runs shards somewhere and yields what each has made, in their order."""


def in_turn(work: Pass, shards: Iterator[Shard], advance: Advance) -> Generator[Activity]:
    """Run shards in this process: one after the other, or of several graphics cards one on each at a time."""
    devices = devices_of(work.settings.device)
    if len(devices) == 1:
        for shard in shards:
            yield work.run(shard, advance)
        return
    with ExitStack() as stack:
        cards = [stack.enter_context(ThreadPoolExecutor(1)) for _ in devices]
        under_way: deque[tuple[int, Future[Activity]]] = deque()
        for shard, card, device in zip(shards, cycle(cards), cycle(devices), strict=False):
            under_way.append((len(shard.images), card.submit(work.run, shard, lambda _: None, device)))
            if len(under_way) == len(devices):
                yield _finished(under_way, advance)
        while under_way:
            yield _finished(under_way, advance)


def _finished(under_way: deque[tuple[int, Future[Activity]]], advance: Advance) -> Activity:
    count, running = under_way.popleft()
    made = running.result()
    advance(count)
    return made


def extract(
    model: Model,
    layers: Sequence[Layer],
    images: ImageSet,
    settings: RunSettings,
    advance: Advance,
    checkpoint: Checkpoint | None = None,
    engine: Engine = in_turn,
    key: str = "",
) -> Extraction:
    """Run the network once over all images and keep what the later stages need.

    What checkpoint holds of an interrupted pass over the same is not done again, and the result is the same. engine:
    where the shards run; of no influence on the result on machines of one kind. key: see Pass.
    Time: one forward pass per image. Memory: see Activity. ImagesError when fewer than ten images can be read.
    """
    order = np.random.default_rng(settings.seed).permutation(len(images))
    stops = [max(1, round(fraction * len(images))) for fraction in SNAPSHOT_FRACTIONS]
    done = _Done(layers, settings.top_k, checkpoint)
    total, snapshots = done.total, done.snapshots
    advance(done.count)
    bounds = [
        bound for bound in pairwise(shard_bounds(len(images), settings.shard_size, stops)) if bound[0] >= done.count
    ]
    sampled = _sample(images, order, settings)
    shards = (Shard(a, images.take(order[a:b]), sampled.intersection(range(a, b))) for a, b in bounds)
    work = Pass(for_inference(model, layers), layers, settings, key)
    with torch.inference_mode(), closing(engine(work, shards, advance)) as activities:
        for _, stop in bounds:
            total.merge(next(activities))
            snapshots += [_snapshot(total)] * stops.count(stop)
            done.save(stop)
    if len(total.predictions) < MIN_IMAGES:
        position, reason = next(iter(total.skipped.items()))
        raise ImagesError(
            f"only {len(total.predictions)} of {len(images)} images in {images.source} can be read, at least "
            f"{MIN_IMAGES} are needed; the first problem: {shown(images.paths[order[position]])}: {reason}"
        )
    return _result(total, snapshots, model, images, order, settings)


def shard_bounds(count: int, shard_size: int, stops: Sequence[int]) -> list[int]:
    """Return where shards begin and end: every shard_size images, and wherever a snapshot is due."""
    return sorted({*range(0, count, shard_size), *stops, count})


def _snapshot(total: Activity) -> tuple[int, TopK]:
    """The number of images so far, and what the largest stimuli_share takes of them, and one more."""
    seen = len(total.predictions)
    return seen, total.strongest((seen + 1) // 2 + 1)


class _Done:
    """What the first `count` images have made, kept in a checkpoint while the pass goes on."""

    def __init__(self, layers: Sequence[Layer], k: int, checkpoint: Checkpoint | None) -> None:
        self.total = Activity(layers, k)
        self.snapshots: list[tuple[int, TopK]] = []
        self.count = 0
        self._checkpoint = checkpoint
        self._saved, self._cost = time.monotonic(), 0.0
        state = checkpoint.get("state") if checkpoint else None
        if checkpoint and state:
            stored = [checkpoint.get(f"snapshot{i}") for i in range(len(state["snapshots"]))]
            tops = [TopK.of(parts["keys"], parts["cells"], parts["k"]) for parts in stored if parts]
            self.snapshots = list(zip(state["snapshots"], tops, strict=True))
            self.total, self.count = Activity.from_parts(layers, state), state["count"]
        self._kept = len(self.snapshots)

    def save(self, count: int) -> None:
        """Keep what is done, unless that would slow the pass down."""
        begin = time.monotonic()
        self.count = count
        if self._checkpoint is None or (begin - self._saved) * WRITING_SHARE < self._cost:
            return
        for i in range(self._kept, len(self.snapshots)):
            top = self.snapshots[i][1]
            self._checkpoint.put(f"snapshot{i}", {"keys": top.keys.numpy(), "cells": top.cells.numpy(), "k": top.k})
        self._kept = len(self.snapshots)
        counts = [count for count, _ in self.snapshots]
        self._checkpoint.put("state", {**self.total.parts(), "count": count, "snapshots": counts})
        self._saved = time.monotonic()
        self._cost = self._saved - begin


def _sample(images: ImageSet, order: npt.NDArray[np.int64], settings: RunSettings) -> frozenset[int]:
    """Choose the positions whose activations are kept whole: the first of each label in the seeded order.

    profile_images of them, or more where that is too few to judge every label.
    """
    labels = pd.Series([images.labels[index] or "" for index in order])
    turn = labels.groupby(labels).cumcount()  # 0 for the first image of each label, 1 for the second, …
    wanted = max(settings.profile_images, int((turn < settings.min_class_images).sum()))
    return frozenset(turn.sort_values(kind="stable").index[:wanted].tolist())


def _result(
    total: Activity,
    snapshots: list[tuple[int, TopK]],
    model: Model,
    images: ImageSet,
    order: npt.NDArray[np.int64],
    settings: RunSettings,
) -> Extraction:
    """Read out what a pass has kept; total and snapshots are emptied on the way, as both forms need much memory."""
    usable = np.sort(order[sorted(total.predictions)])
    image_at = np.full(len(images) + 1, -1, np.int32)  # last entry: position -1, no image
    positions = np.array(sorted(total.predictions))
    image_at[positions] = np.searchsorted(usable, order[positions])
    rows = [
        (image_at[p], images.paths[order[p]], images.labels[order[p]], t.output, t.confidence, t.width, t.height, p % 2)
        for p, t in total.predictions.items()
    ]
    columns = ["image", "path", "label", "output", "confidence", "width", "height", "half"]
    table = pd.DataFrame(rows, columns=columns).sort_values("image", ignore_index=True)
    class_means = {key: (total.class_sums[key] / n).float().numpy() for key, n in _class_sizes(table, model, settings)}
    total.class_sums.clear()
    give_back()
    sampled = sorted(total.profile, key=lambda position: int(image_at[position]))
    profile = torch.empty((len(sampled), total.count), dtype=torch.float16)
    for row, position in zip(profile, sampled, strict=True):
        row.copy_(total.profile.pop(position))
    mean = (total.total / len(table)).to(torch.float32)
    signed = signed_neurons(total.layers)
    rest = torch.where(signed, mean, 0.0)
    # Rounding keeps the order, so that both sides have to be rounded alike for a constant neuron to be none above rest.
    above = (profile > rest.to(torch.float16)).sum(0) / len(profile)
    skipped = [(order[position], reason) for position, reason in total.skipped.items()]

    def read(top: TopK) -> TopActivations:
        return _top_activations(top, total.layers, rest, image_at)

    seen = []
    while snapshots:
        count, top = snapshots.pop(0)
        seen.append((count, read(top)))
    whole = read(total.strongest(settings.top_k))
    return Extraction(
        layers=total.layers,
        images=table,
        skipped=tuple(Skipped(images.paths[i], reason) for i, reason in sorted(skipped)),
        whole=whole,
        halves=(read(total.halves[0]), read(total.halves[1])),
        snapshots=tuple(seen),
        maximum=whole.activations[:, 0],
        mean=mean.numpy(),
        rest=rest.numpy(),
        active_fraction=torch.where(signed, above, (total.active / len(table)).to(torch.float32)).numpy(),
        class_means=class_means,
        profile=profile.numpy(),
        profile_images=image_at[sampled],
    )


def _class_sizes(images: pd.DataFrame, model: Model, settings: RunSettings) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield (kind, class) and the number of images of what may be judged: labels, and predictions of enough images."""
    for kind, names, least in (
        ("label", images["label"].dropna(), 1),
        ("prediction", np.array(model.categories)[images["output"]], settings.min_class_images),
    ):
        for name, n in zip(*np.unique(np.array(names, dtype=str), return_counts=True), strict=True):
            if n >= least:
                yield (kind, str(name)), int(n)


def _top_activations(
    top: TopK, layers: Sequence[Layer], rest: torch.Tensor, image_at: npt.NDArray[np.int32]
) -> TopActivations:
    """Read what a stream has kept; entries that do not exceed the neuron's rest (N,) are none."""
    slices = layer_slices(layers)
    parts = [_read(top, layer, slices[layer.name], rest, image_at) for layer in layers]  # few temporaries at a time
    return TopActivations(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _read(
    top: TopK, layer: Layer, rows: slice, rest: torch.Tensor, image_at: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[Any]]:
    beyond = (0, top.k - top.keys.shape[1])
    peaks, positions = decode(pad(top.keys[rows], beyond, value=EMPTY))
    cells = pad(top.cells[rows], beyond)
    (low, high), rest = clamp_bounds([layer]), rest[rows, None]
    activations = peaks.clamp(low[:, None], high[:, None])
    empty = (positions < 0) | (activations <= rest)
    return {
        "peaks": torch.where(empty, rest, peaks).numpy(),
        "activations": torch.where(empty, rest, activations).numpy(),
        "images": image_at[positions.masked_fill(empty, -1).numpy()],
        "rows": ((cells // layer.map_width + 0.5) / layer.map_height).to(torch.float32).numpy(),
        "columns": ((cells % layer.map_width + 0.5) / layer.map_width).to(torch.float32).numpy(),
    }
