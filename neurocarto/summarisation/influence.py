"""How clusters build on each other, layer by layer, up to a class, and what the class loses without them.

The weight of an edge is the signed share of the target's activation that is lost when the source's channels are
replaced by their mean maps: total loss ÷ total activation over the class's sampled images. It is negative where the
source inhibits. The effect of a cluster is the same share of the class's own output. What activation means here:
summarisation/strengths.py. Both are found by interventions, or weights are estimated from gradients alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import spearmanr

from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.inference import for_inference
from neurocarto.extraction.lineage import Lineage
from neurocarto.extraction.models import Model
from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT, Extraction, FloatArray, Layer, important, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.gradients import estimate_drops
from neurocarto.summarisation.importance import class_images
from neurocarto.summarisation.interventions import Drops, Interventions
from neurocarto.summarisation.strengths import Groups, Pictures, Strengths, Study

NOTES = {
    "intervention": "measured: the source's channels were replaced by their mean maps and the network run on",
    "gradient": "an estimate to first order, not an intervention: gradient x activation against the mean maps",
}
_MEASURE = (
    "mean maps over the sampled images; a target's activation is what lies above rest in the mean over the map, the "
    "class's own output its logit above the mean logit (of several outputs, the logarithm of their mean exponential)"
)
_COMPARED = 3
"""Classes on which gradients are compared with interventions."""
_RESAMPLES = 200
_INTERVAL = (2.5, 97.5)
_EDGE = ["weight", "low", "high"]
_EFFECT = ["effect", "effect_low", "effect_high", "effect_null", "effect_null_low", "effect_null_high"]


@dataclass(frozen=True)
class Influence:
    """What was found: edges (class, source, target, weight, low, high) and effects, and how.

    effects: class, cluster, effect, its interval, and the same of random sets of as many neurons of the cluster's
    layer (effect_null…); only of classes that the network has an output for, and empty where gradients stand in.
    agreement: the rank correlation (spearman) of gradients with interventions over the edges of some classes,
    None where it was not measured.
    """

    edges: pd.DataFrame
    effects: pd.DataFrame
    method: str
    note: str
    agreement: dict[str, object] | None


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
    say: Callable[[str], object] = lambda _: None,
) -> Influence:
    """Measure the influence between clusters of successive layers (lineage), for each class and all images.

    Per class, edges join its most important clusters (all images: those most important for any class),
    on a seeded sample of its images; clusters of the layers that the network's output builds on directly
    also have edges to the class's own outputs (target -1) where it has any. Intervals are the central
    95 % of bootstrap resamples of the images. advance is called once per class; say, before the first,
    with what the interventions will take, judged by the work behind each layer and how long the mean maps took.

    Time and memory: see Interventions.drops and estimate_drops.
    """
    torch.set_num_threads(settings.threads)
    studies = _studies(model, extraction, cluster, clusters, classes, importance, settings)
    sampled = np.unique(np.concatenate([study.images for study in studies]))
    pictures = Pictures(model, images, images.indices(extraction.images["path"]), settings.batch_size)
    # Interventions take passes without gradients, and many: on the network made faster for these.
    faster = for_inference(model, extraction.layers)
    strengths = Strengths(faster, extraction.layers, extraction.reach, replace(pictures, model=faster))
    begin = time.perf_counter()
    strengths.learn_means(sampled)
    per_image = (time.perf_counter() - begin) / len(sampled)
    interventions, plain = Interventions(strengths, lineage), strengths.of(model)
    if settings.influence == "intervention":
        runs = sum(map(interventions.cost, studies))
        say(
            f"influence: interventions as much work as {runs:,.0f} images through the network, about "
            f"{runs * per_image / 60:.1f} minutes; fewer --influence-images, or --influence gradient, take less"
        )
    edges, effects = [], []
    for i, study in enumerate(studies):
        if settings.influence == "gradient":
            drops = estimate_drops(plain, lineage, study)
        else:
            drops = interventions.drops(study, np.random.default_rng([settings.seed, i]))
        edges.append(edge_table(study.name, drops, settings.seed))
        effects.append(_effect_table(study.name, drops, settings.seed))
        advance(1)
    found = pd.concat(edges, ignore_index=True)
    compared = [] if settings.influence == "gradient" else [s for s in studies if s.name in {*found["class"]}]
    return Influence(
        edges=found,
        effects=pd.concat(effects, ignore_index=True),
        method=settings.influence,
        note=f"{NOTES[settings.influence]}; {_MEASURE}",
        agreement=_agreement(found, plain, lineage, compared, settings.seed),
    )


def edge_table(name: str, drops: Drops, seed: int) -> pd.DataFrame:
    """Return the edges (class, source, target, weight, low, high) of what was lost on a class's images."""
    found = shares([*drops.edges.values()], [drops.strengths[target] for _, target in drops.edges], seed)
    rows = [(name, *edge, *bounds) for edge, bounds in zip(drops.edges, found, strict=True) if bounds is not None]
    return _table(rows, {"class": str, "source": int, "target": int} | dict.fromkeys(_EDGE, float))


def share(drop: Sequence[float], strength: Sequence[float], seed: int) -> tuple[float, float, float] | None:
    """Total drop ÷ total strength over images, with its bootstrap interval; None without strength."""
    return shares([drop], [strength], seed)[0]


def shares(
    drops: Sequence[Sequence[float]], strengths: Sequence[Sequence[float]], seed: int
) -> list[tuple[float, float, float] | None]:
    """Return the same of many: drops and strengths of each on the same number of images."""
    if not drops:
        return []
    lost, whole = np.array(drops), np.array(strengths)
    count = lost.shape[1]
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    totals = whole @ draws.T
    ratios = np.divide(lost @ draws.T, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
    bounds = np.percentile(ratios, _INTERVAL, axis=1).T
    for row in np.flatnonzero(np.isnan(ratios).any(1) & (whole.sum(1) > 1e-9)):  # a draw without strength says nothing
        bounds[row] = np.nanpercentile(ratios[row], _INTERVAL)
    found = zip((lost.sum(1) / np.maximum(whole.sum(1), 1e-9)).tolist(), bounds.tolist(), strict=True)
    return [
        (weight, *ends) if strength > 1e-9 else None
        for (weight, ends), strength in zip(found, whole.sum(1), strict=True)
    ]


def _effect_table(name: str, drops: Drops, seed: int) -> pd.DataFrame:
    rows = []
    for source, drop in drops.effects.items():
        own = share(drop, drops.strengths[CLASS_OUTPUT], seed)
        beside = share(drops.random[source], drops.strengths[CLASS_OUTPUT], seed)
        if own is not None and beside is not None:
            rows.append((name, source, *own, *beside))
    return _table(rows, {"class": str, "cluster": int} | dict.fromkeys(_EFFECT, float))


def _table(rows: list[tuple[Any, ...]], columns: dict[str, type]) -> pd.DataFrame:
    """Rows with their types, also where there are none."""
    numbers = {name: kind for name, kind in columns.items() if kind is not str}
    return pd.DataFrame(rows, columns=[*columns]).astype(numbers)


def _agreement(
    edges: pd.DataFrame, strengths: Strengths, lineage: Lineage, studies: list[Study], seed: int
) -> dict[str, object] | None:
    """How well gradients rank the edges of a few studies, drawn at random, as interventions do."""
    chosen = [studies[i] for i in np.random.default_rng(seed).permutation(len(studies))[:_COMPARED]]
    if not chosen:
        return None
    estimated = pd.concat([edge_table(study.name, estimate_drops(strengths, lineage, study), seed) for study in chosen])
    both = edges.merge(estimated, on=["class", "source", "target"], suffixes=("", "_estimated"))
    correlation = rank_correlation(both["weight"].to_numpy(), both["weight_estimated"].to_numpy())
    if np.isnan(correlation):
        return None
    return {"spearman": round(correlation, 3), "edges": len(both), "classes": sorted(study.name for study in chosen)}


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Spearman's correlation; NaN where one of the two does not vary."""
    if min(len(np.unique(first)), len(np.unique(second))) < 2:
        return np.nan
    return float(spearmanr(first, second).statistic)


def _studies(
    model: Model,
    extraction: Extraction,
    cluster: npt.NDArray[np.int32],
    clusters: pd.DataFrame,
    classes: pd.DataFrame,
    importance: pd.DataFrame,
    settings: RunSettings,
) -> list[Study]:
    def groups(ranked: pd.DataFrame) -> Groups:
        return members(_strongest(ranked, settings.influence_clusters), cluster, extraction.layers)

    rng = np.random.default_rng(settings.seed)
    ranked = important(importance, settings.false_discovery_rate).merge(clusters[["cluster", "layer"]], on="cluster")
    studies = []
    for row in classes.to_dict("records"):
        own = class_images(extraction.images, row["class"], row["kind"], model.categories)
        chosen = np.sort(rng.permutation(own)[: settings.influence_images])
        studies.append(
            Study(row["class"], groups(ranked[ranked["class"] == row["class"]]), chosen, list(row["outputs"]))
        )
    best = ranked.sort_values("score", ascending=False, kind="stable").drop_duplicates("cluster")
    if best.empty:
        best = clusters.assign(score=clusters["size"])
    count = min(len(extraction.images), 4 * settings.influence_images)
    everywhere = np.sort(rng.permutation(len(extraction.images))[:count])
    return [Study(ALL_IMAGES, groups(best), everywhere, []), *studies]


def members(
    chosen: Mapping[str, Sequence[int]], cluster: npt.NDArray[np.int32], layers: Sequence[Layer]
) -> dict[str, dict[int, npt.NDArray[np.int64]]]:
    """Return the channels of some clusters of each layer; cluster: every neuron's."""
    slices = layer_slices(layers)
    return {
        layer: {number: np.flatnonzero(cluster[slices[layer]] == number) for number in numbers}
        for layer, numbers in chosen.items()
    }


def _strongest(ranked: pd.DataFrame, count: int) -> dict[str, list[int]]:
    ordered = ranked.sort_values(["score", "cluster"], ascending=[False, True])
    return {str(layer): sorted(group["cluster"].head(count)) for layer, group in ordered.groupby("layer")}
