"""Which clusters tell a class from all others."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.stats import false_discovery_control, rankdata

from neurocarto.records import Extraction, FloatArray, plain
from neurocarto.settings import RunSettings

_CHUNK = 256


def find_classes(extraction: Extraction, categories: tuple[str, ...], settings: RunSettings) -> pd.DataFrame:
    """List the classes: every label, and every prediction with enough images to judge that no label names.

    Columns class, kind, outputs (the network's outputs of that name), images.
    """
    images = extraction.images
    by_name: dict[str, list[int]] = {}
    for output, category in enumerate(categories):
        by_name.setdefault(plain(category), []).append(output)
    labels = images["label"].dropna().value_counts().sort_index()
    predictions = images["output"].map(lambda output: categories[output]).value_counts().sort_index()
    taken = {plain(str(label)) for label in labels.index}
    rows = [(str(label), "label", by_name.get(plain(str(label)), []), n) for label, n in labels.items()]
    rows += [
        (str(name), "prediction", by_name[plain(str(name))], n)
        for name, n in predictions.items()
        if n >= settings.min_class_images and plain(str(name)) not in taken
    ]
    return pd.DataFrame(rows, columns=["class", "kind", "outputs", "images"])


def class_images(images: pd.DataFrame, name: str, kind: str, categories: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Return the images (rows of `images`) of a class."""
    if kind == "label":
        return np.flatnonzero(images["label"] == name)
    return np.flatnonzero(images["output"].map(lambda output: categories[output]) == name)


def cluster_activations(extraction: Extraction, cluster: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.float32]:
    """Return the activation (clusters, P) of each cluster on the sampled images.

    The mean over its neurons of the relative activation: (activation - rest) ÷ (maximum - rest), negative below rest;
    constant neurons count as 0.
    """
    neurons = np.flatnonzero(cluster >= 0)
    sizes = np.bincount(cluster[neurons], minlength=count)
    reach = np.where(extraction.reach > 0, extraction.reach, np.inf)[neurons]
    weights = 1 / (reach * sizes[cluster[neurons]])
    share = sparse.csr_matrix((weights.astype(np.float32), (cluster[neurons], neurons)), (count, len(cluster)))
    parts = [
        share @ (extraction.profile[begin : begin + _CHUNK].astype(np.float32) - extraction.rest).T
        for begin in range(0, len(extraction.profile), _CHUNK)
    ]
    return np.concatenate(parts, axis=1)


def judge_importance(
    activations: npt.NDArray[np.float32], members: dict[str, npt.NDArray[np.bool_]], settings: RunSettings
) -> pd.DataFrame:
    """Score every cluster for every class.

    activations (clusters, P); members: for each class which of the P images are its own. score is the
    area under the ROC curve (AUC, the Mann-Whitney statistic): how often the cluster is more active on an
    image of the class than on another, ties counting half. The null is the same score under shuffled
    labels, pooled over clusters; q_value is the Benjamini-Hochberg false discovery rate within the class.
    Classes with fewer than min_class_images sampled images, or with no image outside, are left out.
    Time and memory: clusters × P per class and per 100 shufflings.

    Returns class, cluster, score, q_value, rank (0 = highest score), effect (missing: not measured).
    """
    ranks = rankdata(activations, axis=1).astype(np.float32)  # (clusters, P)
    nulls: dict[int, FloatArray] = {}
    tables = [pd.DataFrame(columns=["class", "cluster", "score", "q_value", "rank", "effect"])]
    for name, mine in members.items():
        size, others = int(mine.sum()), int((~mine).sum())
        if size < settings.min_class_images or others == 0 or not len(activations):
            continue
        if size not in nulls:
            nulls[size] = null_scores(ranks, size, settings.label_permutations, settings.seed)
        score, q_value = judge(ranks, mine, nulls[size])
        rank = np.empty(len(score), np.int32)
        rank[np.lexsort((np.arange(len(score)), -score))] = np.arange(len(score))
        table = pd.DataFrame(
            {
                "class": name,
                "cluster": np.arange(len(score)),
                "score": score,
                "q_value": q_value,
                "rank": rank,
                "effect": np.nan,
            }
        )
        tables.append(table.sort_values("rank"))
    return pd.concat(tables if len(tables) == 1 else tables[1:], ignore_index=True)


def judge(
    ranks: npt.NDArray[np.float32], mine: npt.NDArray[np.bool_], null: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return score and q-value of every cluster, from its ranks (clusters, P) and null_scores of as many images."""
    score = _auc(ranks, mine[:, None])[:, 0]
    return score, np.asarray(false_discovery_control(_exceedance(score, null)))


def null_scores(ranks: npt.NDArray[np.float32], size: int, permutations: int, seed: int) -> FloatArray:
    """Return the scores of all clusters for shuffled groups of so many images, rising."""
    rng = np.random.default_rng([seed, size])
    shuffled = rng.permuted(np.tile(np.arange(ranks.shape[1]) < size, (permutations, 1)), axis=1)
    return np.sort(_auc(ranks, shuffled.T), axis=None)


def _auc(ranks: npt.NDArray[np.float32], groups: npt.NDArray[np.bool_]) -> FloatArray:
    """AUC (clusters, G) of each group of images, groups (P, G), from ranks (clusters, P)."""
    size = groups.sum(axis=0).astype(np.float64)
    sums = (ranks @ groups.astype(np.float32)).astype(np.float64)
    return np.asarray((sums - size * (size + 1) / 2) / (size * (len(groups) - size)))


def _exceedance(score: FloatArray, null: FloatArray) -> FloatArray:
    at_least = len(null) - np.searchsorted(null, score, side="left")
    return (1.0 + at_least) / (1.0 + len(null))
