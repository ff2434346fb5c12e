"""Which clusters lead a label's images to another prediction."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from neurocarto.records import plain
from neurocarto.settings import RunSettings
from neurocarto.summarisation.importance import judge, null_scores

RIGHT, OTHERS = "right", "others"
LEAST_IMAGES = 3
"""On either side: two images, often of one scene, differ from any others by hundreds of clusters."""
LEAST_SPLITS = 1000
"""Ways to split the images in two groups of these sizes: a perfect split comes by chance in one of them."""
MOST_CONFUSIONS = 200
MOST_CLUSTERS = 20
_COLUMNS = ["label", "prediction", "against", "sampled", "others", "cluster", "score", "q_value", "rank"]


@dataclass(frozen=True)
class _Confusion:
    """A label's images with one prediction, and those that they are compared with: rows of the sampled images."""

    label: str
    prediction: str
    against: str
    mine: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]

    @property
    def judgeable(self) -> bool:
        sizes = len(self.mine), len(self.others)
        return min(sizes) >= LEAST_IMAGES and comb(sum(sizes), sizes[0]) >= LEAST_SPLITS


def judge_confusions(
    activations: npt.NDArray[np.float32], images: pd.DataFrame, classes: pd.DataFrame, settings: RunSettings
) -> pd.DataFrame:
    """Score the clusters that fire more on a label's images with one prediction than on its other images.

    activations (clusters, P); images: label and prediction of the same P images; classes: as find_classes lists them.
    A label that names outputs of the network can be missed: its images with a wrong prediction are compared with those
    that are right (against "right"). One that names none is neither right nor wrong: the images of each prediction are
    compared with all others of the label (against "others"). score, q_value and their null are those of
    judge_importance, among these images alone. Only confusions with enough sampled images are judged (LEAST_IMAGES,
    LEAST_SPLITS), the MOST_CONFUSIONS with most images; kept are the best cluster and up to MOST_CLUSTERS with a score
    above 0.5, whatever their q-value. Of equal scores the one with the greater difference of means comes first.
    Time for each: clusters × compared images × label_permutations; memory: clusters × label_permutations.

    Returns label, prediction, against, sampled (images with that prediction), others (images that they are compared
    with), cluster, score, q_value, rank (0 = highest score).
    """
    found = [confusion for confusion in _confusions(images, classes) if confusion.judgeable]
    found.sort(key=lambda confusion: -len(confusion.mine))
    tables = [_judged(activations, confusion, settings) for confusion in found[:MOST_CONFUSIONS] if len(activations)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_COLUMNS)


def _confusions(images: pd.DataFrame, classes: pd.DataFrame) -> Iterator[_Confusion]:
    predictions = images["prediction"].to_numpy()
    for row in classes[classes["kind"] == "label"].to_dict("records"):
        label = row["class"]
        own = np.flatnonzero(images["label"] == label)
        names = np.unique(predictions[own].astype(str))
        right = np.isin(predictions[own], [name for name in names if plain(name) == plain(label)])
        for name in names[[plain(name) != plain(label) for name in names]]:
            mine = predictions[own] == name
            against, others = (RIGHT, right) if len(row["outputs"]) else (OTHERS, ~mine)
            yield _Confusion(label, str(name), against, own[mine], own[others])


def _judged(activations: npt.NDArray[np.float32], confusion: _Confusion, settings: RunSettings) -> pd.DataFrame:
    size = len(confusion.mine)
    compared = activations[:, np.concatenate([confusion.mine, confusion.others])]
    ranks = rankdata(compared, axis=1).astype(np.float32)
    null = null_scores(ranks, size, settings.label_permutations, settings.seed)
    score, q_value = judge(ranks, np.arange(compared.shape[1]) < size, null)
    difference = compared[:, :size].mean(axis=1) - compared[:, size:].mean(axis=1)
    best = np.lexsort((-difference, -score))[:MOST_CLUSTERS]
    best = best[: max(1, int((score[best] > 0.5).sum()))]
    return pd.DataFrame(
        {
            "label": confusion.label,
            "prediction": confusion.prediction,
            "against": confusion.against,
            "sampled": size,
            "others": len(confusion.others),
            "cluster": best,
            "score": score[best],
            "q_value": q_value[best],
            "rank": np.arange(len(best)),
        }
    )
