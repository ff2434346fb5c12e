"""How clusters build on each other, layer by layer, up to a class.

The weight of an edge estimates how much of the target's activation would be lost if the source's channels
were replaced by their mean maps: to first order the gradient of the target with respect to the source's
channels, times the channels' distance from their means ("gradient × activation"), relative to the
target's activation. It is negative where the source inhibits. The manifest says that it is an estimate.
A cluster's activation is here the mean over the map of how far each channel lies above rest, relative to how far
its maximum does. At rest a channel is zero; one of a signed layer, whose values would cancel, is at its mean map.
Only what lies above rest counts, so the weight says how much of that would be lost. The class's own output is its
logit above the mean of all logits; mean maps are over the sampled images.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from neurocarto.extraction.hooks import inside_clamp, layer_outputs
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.lineage import OUTPUT, Lineage, follow
from neurocarto.extraction.models import Model
from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT, Extraction, important, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.importance import class_images

METHOD = "gradient"
NOTE = (
    "an estimate to first order, not an intervention: gradient x activation against the mean maps of the sampled "
    "images; a target's activation is what lies above rest in the mean over the map, the class's own output its "
    "logit above the mean logit"
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
    lineage: Lineage,
    cluster: npt.NDArray[np.int32],
    clusters: pd.DataFrame,
    classes: pd.DataFrame,
    importance: pd.DataFrame,
    settings: RunSettings,
    advance: Callable[[int], object],
) -> pd.DataFrame:
    """Estimate the influence between clusters of successive layers (lineage), for each class and all images.

    Per class, edges join its most important clusters (all images: those most important for any class),
    on a seeded sample of its images; clusters of the layers that the network's output builds on directly
    also have edges to the class's own outputs (target -1) where it has any. low and high bound the central
    95 % of bootstrap resamples of the images. advance is called once per class.

    Time: for each class influence_images forward passes, each with one backward pass through one layer per
    target cluster. Memory: see follow. Returns class, source, target, weight, low, high.
    """
    torch.set_num_threads(settings.threads)
    studies = _studies(model, extraction, clusters, classes, importance, settings)
    sampled = np.unique(np.concatenate([study.images for study in studies]))
    tracer = _Tracer(model, extraction, lineage, images, cluster, settings)
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
        studies.append(_Study(row["class"], nodes, chosen, list(row["outputs"])))
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
        extraction: Extraction,
        lineage: Lineage,
        images: ImageSet,
        cluster: npt.NDArray[np.int32],
        settings: RunSettings,
    ) -> None:
        self._model = model
        self._layers = {layer.name: layer for layer in extraction.layers}
        self._slices = layer_slices(extraction.layers)
        self._cluster = torch.from_numpy(cluster)
        reach = torch.from_numpy(extraction.reach)
        self._reach = reach.masked_fill(reach == 0, torch.inf)  # constant neurons count as 0
        self._lineage = lineage
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
        """Return each edge's estimated drop of its target, and each target's activation, per image."""
        drops: dict[tuple[int, int], list[float]] = {}
        strengths: dict[int, list[float]] = {}

        def collect(target: int, strength: Tensor, sources: Mapping[str, Tensor]) -> None:
            gradients = torch.autograd.grad(strength.sum(), [*sources.values()], retain_graph=True)
            strengths.setdefault(target, []).extend(strength.tolist())
            for (layer, activations), gradient in zip(sources.items(), gradients, strict=True):
                drop = (gradient * (activations.detach() - self._means[layer])).sum((2, 3))  # (B, C)
                for source, members in self._members(study, layer).items():
                    drops.setdefault((source, target), []).extend(drop[:, members].sum(1).tolist())

        def visit(name: str, output: Tensor, before: Mapping[str, Tensor]) -> None:
            sources = {layer: activations for layer, activations in before.items() if study.clusters.get(layer)}
            for target, strength in self._strengths(study, name, output) if sources else ():
                collect(target, strength, sources)

        for batch in self._batches(study.images) if study.clusters else ():
            follow(self._model, [*self._layers.values()], self._lineage, batch, visit)
        return drops, strengths

    def _strengths(self, study: _Study, name: str, output: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The activation (B,) of each target in a layer, or of the class where the layer is the network's output."""
        if name != OUTPUT:
            activations = self._clamped(name, output)
            for target, members in self._members(study, name).items():
                yield target, self._strength(activations, name, members)
        elif study.outputs:
            yield CLASS_OUTPUT, output[:, study.outputs].mean(1) - output.mean(1)

    def _strength(self, activations: Tensor, layer: str, members: Tensor) -> Tensor:
        """A cluster's activation (B,): what lies above rest, in the mean over the map and relative to its maximum."""
        own = activations[:, members]
        above = own - self._means[layer][members] if self._layers[layer].signed else own
        return (above.clamp(min=0).mean((2, 3)) / self._reach[self._slices[layer]][members]).mean(1)

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
