"""How alike classes are in what they rely on: two side by side, and all at once."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import RISING

FIRST, BOTH, SECOND = "first", "both", "second"
GROUPS = (FIRST, BOTH, SECOND)
"""Whose the clusters are, from left to right."""
CHUNK = 4096
"""Clusters per step of `similarity`: 1,000 classes need 16 MB at a time."""


def compared(
    lookup: Lookup, first: str, second: str, layers: Sequence[str] = (), least: float = 0.0
) -> dict[str, pd.DataFrame]:
    """Return the clusters that are important for two classes, by group, each best first.

    Groups: only for `first`, for both, only for `second`. Columns: cluster, first, second (importance, NaN where the
    cluster is not important), first_q, second_q, score. The score that ranks is, of shared clusters, the lower of the
    two: only what both rely on comes high, while a mean would let one class carry what the other hardly needs.
    least: clusters are left out when neither importance reaches it; layers: names, none for all of them. The group
    itself never depends on these.
    """
    own, other = (lookup.important(name)[["cluster", "score", "q_value"]] for name in (first, second))
    table = own.merge(other, on="cluster", how="outer", suffixes=("_own", "_other"))
    table.columns = pd.Index(["cluster", FIRST, "first_q", SECOND, "second_q"])
    scores = table[[FIRST, SECOND]]
    table["score"] = scores.min(axis=1)
    kept = scores.max(axis=1) >= np.float32(least)
    if layers:
        kept &= table["cluster"].map(lookup.cluster_layer).map(lookup.layers.__getitem__).isin(layers)
    group = np.select([table[SECOND].isna(), table[FIRST].isna()], [FIRST, SECOND], BOTH)
    ranked = table.assign(group=group)[kept].sort_values(["score", "cluster"], ascending=[False, True])
    return {name: ranked[ranked["group"] == name].drop(columns="group").reset_index(drop=True) for name in GROUPS}


def similarity(lookup: Lookup) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Return how alike the classes rely on clusters, and how many they share, both (C, C).

    The first is the cosine of their importance strengths: a class's vector holds 2 × (score - 0.5) for its important
    clusters and 0 for all others, so 0 means that no cluster is shared and 1 that the same ones matter alike. A class
    without important clusters resembles none. Time: classes² × clusters; memory: classes × CHUNK.
    """
    codes, columns, strengths = _entries(lookup)
    count = len(lookup.classes)
    total, shared = np.zeros((count, count), np.float32), np.zeros((count, count), np.float32)
    for start in range(0, int(columns[-1]) + 1 if len(columns) else 0, CHUNK):
        here = slice(*np.searchsorted(columns, [start, start + CHUNK]))
        for values, sums in ((strengths, total), (np.ones_like(strengths), shared)):
            part = np.zeros((count, CHUNK), np.float32)
            part[codes[here], columns[here] - start] = values[here]
            sums += part @ part.T
    length = np.sqrt(np.diag(total))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    cosine: npt.NDArray[np.float32] = np.clip(total * scale[:, None] * scale, 0, 1)
    return cosine, shared.astype(np.int32)


def _entries(lookup: Lookup) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Every important cluster of every class: class, cluster and strength, ordered by cluster."""
    table, places = lookup.all_important, {name: i for i, name in enumerate(lookup.classes)}
    names = np.array([places[name] for name in table["class"].cat.categories], np.int64)
    codes, clusters = names[table["class"].cat.codes], table["cluster"].to_numpy(np.int64)
    scores = table["score"].to_numpy(np.float32)
    order = np.argsort(clusters, kind="stable")
    strengths: npt.NDArray[np.float32] = (2 * scores - 1).clip(0, 1).astype(np.float32)
    return codes[order], clusters[order], strengths[order]


def similar_together(cosine: npt.NDArray[np.float32]) -> list[int]:
    """Return an order of the classes in which neighbours are alike: each is followed by the one left most like it.

    It starts with the class that is most like all others together; of equals the earlier class comes first.
    """
    if not len(cosine):
        return []
    at = int(np.argmax(cosine.sum(axis=1)))
    order, left = [at], np.ones(len(cosine), bool)
    for _ in range(len(cosine) - 1):
        left[at] = False
        at = int(np.argmax(np.where(left, cosine[at], -1)))
        order.append(at)
    return order


@dataclass(frozen=True)
class Kin:
    """A class beside another: how alike they are (0…1), and how many clusters they share."""

    name: str
    similarity: float
    shared: int


@dataclass(frozen=True)
class Kinship:
    """All classes by how alike they are.

    names: the classes, similar ones together; cosine, shared (C, C): their similarity and their shared clusters, in
    the same order.
    """

    names: tuple[str, ...]
    cosine: npt.NDArray[np.float32]
    shared: npt.NDArray[np.int32]

    @classmethod
    def of(cls, lookup: Lookup) -> "Kinship":
        """Compare all classes of a run."""
        cosine, shared = similarity(lookup)
        order = similar_together(cosine)
        there = np.ix_(order, order)
        return cls(tuple(lookup.classes[i] for i in order), cosine[there], shared[there])

    def nearest(self, name: str) -> list[Kin]:
        """Return all other classes beside one, the most similar first."""
        own = self.names.index(name)
        order = np.argsort(-self.cosine[own], kind="stable").tolist()
        return [Kin(self.names[i], float(self.cosine[own, i]), int(self.shared[own, i])) for i in order if i != own]


def matrix(lookup: Lookup, kinship: Kinship) -> dict[str, Any]:
    """Return what the browser draws the matrix of.

    names; codes: their numbers in the run; counts: their important clusters; values: the similarities in hundredths,
    a byte each, row by row, as base64; scale: the colours from 0 to 1 in either theme.
    """
    numbers = {name: number for number, name in enumerate(lookup.classes)}
    hundredths = np.rint(100 * kinship.cosine).astype(np.uint8)
    return {
        "names": kinship.names,
        "codes": [numbers[name] for name in kinship.names],
        "counts": np.diag(kinship.shared).tolist(),
        "values": base64.b64encode(hundredths.tobytes()).decode(),
        "scale": RISING,
    }
