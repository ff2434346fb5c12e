"""What one image excites in the network of a finished run, and what the network's answer rests on.

A cluster's *strength* on an image: how far its neurons' activations lie above rest, relative to how far the strongest
ones of the run do; the mean over its neurons. Large photographs excite neurons otherwise than small pictures, so where
a strength stands among the run's images is found out on small copies of both, as the run keeps them.
"""

import base64
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from neurocarto.errors import ModelError, NeurocartoError, RunError, one_line
from neurocarto.extraction.activity import clamp_bounds, run_batch
from neurocarto.extraction.decoding import shown
from neurocarto.extraction.hooks import Consumer, layer_outputs, outputs_until
from neurocarto.extraction.images import preview
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.models import Model
from neurocarto.extraction.offsets import is_placed
from neurocarto.extraction.replay import Replay
from neurocarto.extraction.studied import load_studied
from neurocarto.files import replace_text
from neurocarto.records import Layer, cluster_channels, layer_slices
from neurocarto.runs.store import Run
from neurocarto.settings import available_threads
from neurocarto.summarisation.strengths import class_output

ANSWERS = 5
CLOSELY = 24
"""Clusters that are looked at closely: where they fire, and what the answer loses without them."""
MEMBERS = 3
"""Neurons of each whose places are found, the strongest ones."""
COMPARED = 96
"""Images of the run that strengths are compared with."""
FEWEST = 8
RANDOM_SETS = 10
COPIES = 8
"""Images per pass: on a CPU more are slower."""
PICTURE = 640
"""Long side of the picture that is given back, in pixels."""

Places = dict[int, list[dict[str, Any]]]
Channels = npt.NDArray[np.int64]
Array = npt.NDArray[np.float32]


def look(run: Run, image: Image.Image, model: str | None = None, weights: str | None = None) -> dict[str, Any]:
    """Run a run's network on an image (upright, RGB); return what it excites, ready for JSON.

    run: the run's id; width, height of the image, and a small picture of it (webp, base64); answers: output, name and
    confidence of the strongest outputs; compared: how many of the run's images strengths were compared with;
    clusters: cluster, strength and the share of these images on which it is weaker, the most unusual first; closely:
    the first of these again, each with its strongest neurons (neuron, activation, box: x0, y0, x1, y1 in pixels of the
    image) and with what share of the first answer's output is lost without the cluster (drop, null where it cannot be
    said), beside random sets of as many neurons of its layer (random, random_low, random_high: the mean, least and
    largest).

    model, weights: as of load_studied; a factory's code is run only where it is named. ModelError, RunError.
    """
    torch.set_num_threads(max(1, available_threads() - 1))  # one is left to whoever waits
    return _Look(run, _network(run, model, weights), image).content()


def _network(run: Run, model: str | None, weights: str | None) -> Model:
    name = str(run.manifest.model["name"])
    if ":" in name and model is None:
        raise ModelError(
            f"the run's network is made by {name!r}, whose code runs only where you say so: --model {name}"
        )
    advice = "; --weights names their file, --model a packaged or torchvision network or package.module:factory"
    return load_studied(run.manifest, advice, model, weights)


@dataclass(frozen=True)
class _Cluster:
    number: int
    layer: str
    channels: Channels


class _Look:
    """One look at one image."""

    def __init__(self, run: Run, model: Model, image: Image.Image) -> None:
        # Most passes take no gradients: these run on the network made faster for them.
        self.run, self.model, self.image = run, model, image
        self.faster = for_inference(model, run.manifest.layers)
        self.layers = {layer.name: layer for layer in run.manifest.layers}
        self.slices = layer_slices(run.manifest.layers)
        known = set(run.clusters["cluster"].tolist())
        members = cluster_channels(run.manifest.layers, run.neurons["cluster"].to_numpy(np.int32))
        self.clusters = [_Cluster(number, *members[number]) for number in sorted(known & members.keys())]
        self.rng = np.random.default_rng(0)

    def content(self) -> dict[str, Any]:
        try:
            return self._content()
        except NeurocartoError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError) as error:  # the run describes another network
            raise ModelError(f"the run's network does not run as its manifest says: {one_line(error)}") from error

    def _content(self) -> dict[str, Any]:
        model, run = self.model, self.run
        inputs = model.inputs([self.image])
        seen = run_batch(model, run.manifest.layers, inputs, torch.zeros(1, dtype=torch.int64))
        low, high = clamp_bounds(run.manifest.layers)
        activations = seen.peaks.clamp(low, high).numpy()
        strength = self._strengths(activations)[0]
        copies, means = self._small_copies()
        small = self._strengths(copies)
        weaker = ((small[1:] < small[0]).mean(0) + (small[1:] <= small[0]).mean(0)) / 2
        order = np.lexsort((-strength, -weaker))
        closely = [i for i in order.tolist() if strength[i] > 0][:CLOSELY]
        chosen = [self.clusters[i] for i in closely]
        places = self._places(chosen, activations[0], seen.cells[0].numpy(), inputs)
        drops = self._drops(chosen, inputs, int(seen.logits[0].argmax()), means)

        def entry(i: int) -> dict[str, Any]:
            found = {"strength": _rounded(strength[i]), "weaker": _rounded(weaker[i])}
            return {"cluster": self.clusters[i].number, **found}

        return {
            "run": run.manifest.run_id,
            "width": self.image.width,
            "height": self.image.height,
            "picture": _picture(self.image),
            "answers": self._answers(seen.logits[0]),
            "compared": len(small) - 1,
            "clusters": [entry(i) for i in order.tolist()],
            "closely": [
                {**entry(i), "neurons": places[cluster.number], **drops[cluster.number]}
                for i, cluster in zip(closely, chosen, strict=True)
            ],
        }

    def _answers(self, logits: Tensor) -> list[dict[str, Any]]:
        """The strongest outputs; where weights came without names, those of the run's classes."""
        names = dict(enumerate(self.model.categories))
        for name, outputs in zip(self.run.classes["class"], self.run.classes["outputs"], strict=True):
            if len(outputs) == 1 and names.get(outputs[0]) == f"output {outputs[0]}":
                names[int(outputs[0])] = str(name)
        found = logits.softmax(0).topk(min(ANSWERS, len(logits)))
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [{"output": output, "name": names[output], "confidence": _rounded(share)} for output, share in pairs]

    def _strengths(self, activations: Array) -> Array:
        """Every cluster's strength on some images (B, clusters), from activations (B, N)."""
        reach = self.run.reach
        above = np.where(reach > 0, (activations - self.run.rest).clip(min=0) / np.where(reach > 0, reach, 1), 0)
        of_layer = {name: above[:, own] for name, own in self.slices.items()}
        found = [of_layer[cluster.layer][:, cluster.channels].mean(1) for cluster in self.clusters]
        return np.stack(found, 1).astype(np.float32) if found else np.zeros((len(above), 0), np.float32)

    def _small_copies(self) -> tuple[Array, dict[str, Tensor]]:
        """Activations (1 + B, N) on small copies of the image and of images of the run; the mean maps of the latter."""
        rows: list[Tensor] = []
        sums: dict[str, Tensor] = {}

        def read(name: str, output: Tensor) -> None:
            clamp = self.layers[name].clamp
            maps = output if clamp is None else output.clamp(*clamp)
            rows[-1][:, self.slices[name]] = maps.flatten(2).amax(2)
            own = maps if len(rows) > 1 else maps[1:]
            sums[name] = sums.get(name, 0) + own.sum(0)

        count = len(self.run.neurons)
        pictures = [preview(self.image), *self._previews()]
        if len(pictures) <= FEWEST:
            raise RunError(f"{self.run.folder} keeps pictures of fewer than {FEWEST} images to compare with")
        with torch.inference_mode(), layer_outputs(self.faster.module, self.layers.values(), read):
            for begin in range(0, len(pictures), COPIES):
                batch = [_opened(picture) for picture in pictures[begin : begin + COPIES]]
                rows.append(torch.zeros(len(batch), count))
                self.faster.module(self.faster.inputs(batch))
        means = {name: total / (len(pictures) - 1) for name, total in sums.items()}
        return torch.cat(rows).numpy(), means

    def _previews(self) -> Iterator[bytes]:
        kept = np.unique(self.run.examples["image"])
        for image in np.sort(self.rng.choice(kept, min(COMPARED, len(kept)), replace=False)).tolist():
            picture = self.run.preview(image)
            if picture is not None:
                yield picture

    def _places(self, chosen: Sequence[_Cluster], activations: Array, cells: Channels, inputs: Tensor) -> Places:
        """Where the strongest neurons of some clusters fire: boxes in pixels of the image."""
        reach, rest = self.run.reach, self.run.rest
        relative = np.where(reach > 0, (activations - rest) / np.where(reach > 0, reach, 1), -np.inf)
        places: Places = {cluster.number: [] for cluster in chosen}
        of_layers, inputs = _by_layer(chosen), inputs.clone().requires_grad_()
        layers = [layer for name, layer in self.layers.items() if name in of_layers]
        outputs = outputs_until(self.model.module, inputs, layers) if layers else {}
        for name, clusters in of_layers.items():
            begin, layer = self.slices[name].start, self.layers[name]
            strongest = [
                (cluster.number, int(channel))
                for cluster in clusters
                for channel in cluster.channels[np.argsort(-relative[begin + cluster.channels], kind="stable")][
                    :MEMBERS
                ]
            ]
            channels = np.array([channel for _, channel in strongest])
            middles = self._middles(layer, outputs[name][0].flatten(1), channels, cells[begin + channels], inputs)
            for (number, channel), (y, x) in zip(strongest, middles, strict=True):
                neuron = begin + channel
                if activations[neuron] > rest[neuron]:
                    fires = {
                        "neuron": neuron,
                        "activation": _rounded(activations[neuron]),
                        "box": self._box(layer, y, x),
                    }
                    places[number].append(fires)
        return places

    def _middles(
        self, layer: Layer, maps: Tensor, channels: Channels, cells: Channels, inputs: Tensor
    ) -> list[tuple[float, float]]:
        """The middle (y, x) of each channel's box, in pixels of the input, from the layer's maps (C, cells).

        The box, as large as the run's examples of the layer, that holds most of the peak's input gradient; around the
        cell where a neuron may look anywhere or the map has one cell.
        """
        size, width = self.model.preprocessing.size, layer.map_width
        down, across = size / layer.map_height, size / width
        found = [((cell // width + 0.5) * down, (cell % width + 0.5) * across) for cell in cells.tolist()]
        if not is_placed(layer):
            return found
        side = min(size, max(1, round(layer.example_box or size)))
        return [
            _heaviest(torch.autograd.grad(maps[channel, cell], inputs, retain_graph=True)[0], side, near)
            for channel, cell, near in zip(channels.tolist(), cells.tolist(), found, strict=True)
        ]

    def _box(self, layer: Layer, y: float, x: float) -> list[float]:
        """A box around a place on the input, in pixels of the image, where it may reach past the border."""
        preprocessing = self.model.preprocessing
        across, down = (np.array([place], np.float32) for place in (x, y))
        left, top, scale = preprocessing.to_original(across, down, self.image.width, self.image.height)
        half = (layer.example_box or preprocessing.size) / 2 * float(scale)
        return [round(float(place) + end, 1) for end in (-half, half) for place in (left[0], top[0])]

    def _drops(
        self, chosen: Sequence[_Cluster], inputs: Tensor, output: int, means: Mapping[str, Tensor]
    ) -> dict[int, dict[str, Any]]:
        """What share of an output is lost without each cluster, and without random sets beside it.

        Neurons that are switched off are held at their mean maps over the images compared with.
        """
        replay = Replay(self.faster, inputs.repeat(COPIES, 1, 1, 1))
        found: dict[int, dict[str, Any]] = {cluster.number: {"drop": None} for cluster in chosen}
        logits = replay.run([], lambda *_: None)
        whole = float(class_output(logits[:1], [output])) if logits is not None else 0.0
        if whole <= 0:  # an answer that is no stronger than the mean of all has nothing to lose
            return found
        ordered = _by_layer(chosen)
        for name in (name for name in self.layers if name in ordered):
            clusters, living = ordered[name], np.flatnonzero(self.run.reach[self.slices[name]] > 0)
            sizes = {len(cluster.channels) for cluster in clusters}
            beside = {
                size: [self.rng.choice(living, min(size, len(living)), replace=False) for _ in range(RANDOM_SETS)]
                for size in sorted(sizes)
            }
            replay.advance(name)
            sets = [cluster.channels for cluster in clusters] + [each for group in beside.values() for each in group]
            lost = [
                (whole - left) / whole for left in self._without(replay, self.layers[name], means[name], sets, output)
            ]
            own, rest = lost[: len(clusters)], np.array(lost[len(clusters) :]).reshape(len(beside), -1)
            for cluster, drop in zip(clusters, own, strict=True):
                random = rest[[*beside].index(len(cluster.channels))]
                found[cluster.number] = {
                    "drop": _rounded(drop),
                    "random": _rounded(random.mean()),
                    "random_low": _rounded(random.min()),
                    "random_high": _rounded(random.max()),
                }
        return found

    def _without(
        self, replay: Replay, layer: Layer, means: Tensor, sets: Sequence[Channels], output: int
    ) -> Iterator[float]:
        """An output of the network without each of some sets of a layer's channels."""
        for begin in range(0, len(sets), COPIES):
            some = sets[begin : begin + COPIES]
            off = torch.zeros(COPIES, layer.channels, 1, 1, dtype=torch.bool)
            for copy, channels in enumerate(some):
                off[copy, torch.from_numpy(channels)] = True
            logits = replay.run([layer], _holding(off, means))
            assert logits is not None
            yield from class_output(logits, [output]).tolist()[: len(some)]


def _holding(off: Tensor, means: Tensor) -> Consumer:
    return lambda _, maps: torch.where(off, means, maps)


def _by_layer(clusters: Sequence[_Cluster]) -> dict[str, list[_Cluster]]:
    found = defaultdict(list)
    for cluster in clusters:
        found[cluster.layer].append(cluster)
    return dict(found)


def _heaviest(gradient: Tensor, side: int, near: tuple[float, float]) -> tuple[float, float]:
    """The middle (y, x) of the square that holds most of a gradient (1, channels, S, S).

    Of several alike the nearest to a place.
    """
    mass = gradient[0].abs().sum(0).double().numpy()
    total = np.pad(mass, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    held = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    if held.max() <= 0:  # a peak that hangs on nothing
        return near
    rows, columns = np.nonzero(held >= held.max() * (1 - 1e-6))
    middles = np.stack([rows, columns], 1) + side / 2
    y, x = middles[np.square(middles - near).sum(1).argmin()]
    return float(y), float(x)


def _opened(picture: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError as error:
        raise RunError("a small picture of the run cannot be read; `check` says what is damaged") from error


def _picture(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((PICTURE, PICTURE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=82)
    return base64.b64encode(buffer.getvalue()).decode()


def _rounded(value: float) -> float:
    return round(float(value), 4)


def write(content: Mapping[str, Any], out: Path) -> None:
    """Write what was found as JSON, whole or not at all; RunError when it cannot be written."""
    try:
        replace_text(out, json.dumps(content, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError(f"what was found cannot be written to {out}: {error.strerror}") from error


def lines(run: Run, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was found as lines to read."""
    labels = dict(zip(run.clusters["cluster"], run.clusters["label"], strict=True))
    layers = dict(zip(run.clusters["cluster"], run.clusters["layer"], strict=True))
    answers = [f"{shown(answer['name'])} {answer['confidence']:.0%}" for answer in content["answers"]]
    yield f"answers: {', '.join(answers)}"
    yield f"clusters by the share of {content['compared']} images of the run on which they are weaker:"
    for entry in content["closely"]:
        number = entry["cluster"]
        name = shown(str(labels[number])) if labels[number] else "no label"
        loss = "" if entry["drop"] is None else f"  loss {entry['drop']:+.1%} (random {entry['random']:+.1%})"
        yield (
            f"{number:>7}  {layers[number]:<18} weaker on {entry['weaker']:>4.0%}  "
            f"strength {entry['strength']:.2f}{loss}  {name}"
        )
