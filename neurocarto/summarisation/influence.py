"""How clusters build on each other, layer by layer, up to a class.

The weight of an edge estimates how much of the target's activation would be lost if the source's channels
were replaced by their mean maps: to first order the gradient of the target with respect to the source's
channels, times the channels' distance from their means ("gradient × activation"), relative to the
target's activation. It is negative where the source inhibits. The manifest says that it is an estimate.
A cluster's activation is here the mean of its channels over the map, each relative to its maximum; the
class's own output is its logit above the mean of all logits; mean maps are over the sampled images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from neurocarto.extraction.hooks import inside_clamp, layer_outputs
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.models import Model
from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT, Extraction, Layer, important, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.importance import class_images

VERSION = 1
"""Version of the algorithm; part of cache keys."""

METHOD = "gradient"
NOTE = (
    "an estimate to first order, not an intervention: gradient x activation against the mean maps of the sampled "
    "images; a target's activation is its mean over the map, the class's own output its logit above the mean logit"
)
_RESAMPLES = 200
_INTERVAL = (2.5, 97.5)
_COLUMNS = ["class", "source", "target", "weight", "low", "high"]


@dataclass(frozen=True)
class _Study:
    """One class (or all images): its clusters per layer, its images, the outputs that mean it."""

    name: str
    clusters: Mapping[str, list[int]]
    images: npt.NDArray[np.int64]
    outputs: list[int]


def measure_influence(
    model: Model,
    images: ImageSet,
    extraction: Extraction,
    cluster: npt.NDArray[np.int32],
    clusters: pd.DataFrame,
    classes: pd.DataFrame,
    importance: pd.DataFrame,
    settings: RunSettings,
    advance: Callable[[int], object],
) -> pd.DataFrame:
    """Estimate the influence between clusters of successive layers, for each class and over all images.

    Per class, edges join its most important clusters (all images: those most important for any class),
    on a seeded sample of its images; clusters of the last layer also have edges to the class's own
    outputs (target -1) where it has any. low and high bound the central 95 % of bootstrap resamples of
    the images. advance is called once per class.

    Time: for each class influence_images forward passes, each with one backward pass through one layer per
    target cluster. Returns class, source, target, weight, low, high.
    """
    torch.set_num_threads(settings.threads)
    studies = _studies(model, extraction, clusters, classes, importance, settings)
    sampled = np.unique(np.concatenate([study.images for study in studies]))
    tracer = _Tracer(model, extraction.layers, extraction, images, cluster, settings)
    tracer.learn_means(sampled)
    rows: list[tuple[str, int, int, float, float, float]] = []
    for study in studies:
        drops, strengths = tracer.drops(study)
        for (source, target), drop in drops.items():
            bounds = _relative(np.array(drop), np.array(strengths[target]), settings.seed)
            if bounds is not None:
                rows.append((study.name, source, target, *bounds))
        advance(1)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _studies(
    model: Model,
    extraction: Extraction,
    clusters: pd.DataFrame,
    classes: pd.DataFrame,
    importance: pd.DataFrame,
    settings: RunSettings,
) -> list[_Study]:
    rng = np.random.default_rng(settings.seed)
    ranked = important(importance, settings.false_discovery_rate).merge(clusters[["cluster", "layer"]], on="cluster")
    studies = []
    for row in classes.to_dict("records"):
        own = class_images(extraction.images, row["class"], row["kind"], model.categories)
        chosen = np.sort(rng.permutation(own)[: settings.influence_images])
        nodes = _strongest(ranked[ranked["class"] == row["class"]], settings.influence_clusters)
        studies.append(_Study(row["class"], nodes, chosen, row["outputs"]))
    best = ranked.sort_values("score", ascending=False, kind="stable").drop_duplicates("cluster")
    if best.empty:
        best = clusters.assign(score=clusters["size"])
    count = min(len(extraction.images), 4 * settings.influence_images)
    everywhere = np.sort(rng.permutation(len(extraction.images))[:count])
    return [_Study(ALL_IMAGES, _strongest(best, settings.influence_clusters), everywhere, []), *studies]


def _strongest(ranked: pd.DataFrame, count: int) -> dict[str, list[int]]:
    ordered = ranked.sort_values(["score", "cluster"], ascending=[False, True])
    return {str(layer): sorted(group["cluster"].head(count)) for layer, group in ordered.groupby("layer")}


class _Tracer:
    """Runs the network on some images and traces what its clusters owe to each other."""

    def __init__(
        self,
        model: Model,
        layers: Sequence[Layer],
        extraction: Extraction,
        images: ImageSet,
        cluster: npt.NDArray[np.int32],
        settings: RunSettings,
    ) -> None:
        self._model = model
        self._layers = {layer.name: layer for layer in layers}
        self._slices = layer_slices(layers)
        self._cluster = torch.from_numpy(cluster)
        self._maximum = torch.from_numpy(extraction.maximum).clamp(min=1e-12)
        self._images = images
        self._files = images.indices(extraction.images["path"])
        self._batch_size = settings.batch_size
        self._means: dict[str, Tensor] = {}

    def learn_means(self, images: npt.NDArray[np.int64]) -> None:
        """Average every channel's activation map over some images."""
        sums: dict[str, Tensor] = {}

        def add(name: str, output: Tensor) -> None:
            sums[name] = sums.get(name, 0) + self._clamped(name, output).sum(0, dtype=torch.float64)

        with torch.inference_mode(), layer_outputs(self._model.module, self._layers.values(), add):
            for batch in self._batches(images):
                self._model.module(batch)
        self._means = {name: (total / len(images)).to(torch.float32) for name, total in sums.items()}

    def drops(self, study: _Study) -> tuple[dict[tuple[int, int], list[float]], dict[int, list[float]]]:
        """Return each edge's estimated drop of its target, and each target's activation, per image.

        Each layer's output goes on as a fresh leaf, so only the graph between two layers is ever held.
        """
        drops: dict[tuple[int, int], list[float]] = {}
        strengths: dict[int, list[float]] = {}

        def collect(target: int, strength: Tensor, layer: str, activations: Tensor) -> None:
            (gradient,) = torch.autograd.grad(strength.sum(), activations, retain_graph=True)  # (B, C, H, W)
            drop = (gradient * (activations.detach() - self._means[layer])).sum((2, 3))  # (B, C)
            strengths.setdefault(target, []).extend(strength.tolist())
            for source, members in self._members(study, layer).items():
                drops.setdefault((source, target), []).extend(drop[:, members].sum(1).tolist())

        for batch in self._batches(study.images) if study.clusters else ():
            leaf: dict[str, Tensor] = {}

            def visit(name: str, output: Tensor, leaf: dict[str, Tensor] = leaf) -> Tensor:
                activations = self._clamped(name, output)
                for before, source in leaf.items():
                    for target, members in self._members(study, name).items() if study.clusters.get(before) else ():
                        collect(target, self._strength(activations, name, members), before, source)
                leaf.clear()
                leaf[name] = activations.detach().requires_grad_()
                return leaf[name]

            with layer_outputs(self._model.module, self._layers.values(), visit):
                logits = self._model.logits(batch)
            for last, source in leaf.items():
                if study.outputs and study.clusters.get(last):
                    collect(CLASS_OUTPUT, logits[:, study.outputs].mean(1) - logits.mean(1), last, source)
        return drops, strengths

    def _strength(self, activations: Tensor, layer: str, members: Tensor) -> Tensor:
        """A cluster's activation (B,): its channels' mean over the map ÷ their maxima, averaged."""
        maxima = self._maximum[self._slices[layer]][members]
        return (activations[:, members].mean((2, 3)) / maxima).mean(1)

    def _members(self, study: _Study, layer: str) -> dict[int, Tensor]:
        """The channels of each of the study's clusters in a layer."""
        cluster = self._cluster[self._slices[layer]]
        return {number: (cluster == number).nonzero().flatten() for number in study.clusters.get(layer, [])}

    def _clamped(self, name: str, output: Tensor) -> Tensor:
        return inside_clamp(output, self._layers[name].clamp)

    def _batches(self, images: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        for begin in range(0, len(images), self._batch_size):
            files = self._files[images[begin : begin + self._batch_size]]
            yield self._model.inputs([self._images.open(file) for file in files.tolist()])


def _relative(
    drop: npt.NDArray[np.float64], strength: npt.NDArray[np.float64], seed: int
) -> tuple[float, float, float] | None:
    """Total drop ÷ total strength over images (n,), with its bootstrap interval; None without strength."""
    if strength.sum() <= 1e-9:
        return None
    draws = np.random.default_rng(seed).multinomial(len(drop), np.full(len(drop), 1 / len(drop)), _RESAMPLES)
    totals = draws @ strength
    ratios = (draws @ drop)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(ratios, _INTERVAL)
    return float(drop.sum() / strength.sum()), float(low), float(high)
