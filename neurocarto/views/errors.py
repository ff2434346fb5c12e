"""Where a network says something else than the label, and which clusters go with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurocarto.records import plain
from neurocarto.views.lookup import Lookup, table_rows


@dataclass(frozen=True)
class Confusion:
    """A label's images for which the network says something else.

    against: "right" where the label names an output of the network, so that these predictions are wrong; "others" where
    it names none, so that nothing is right or wrong. images: how many of all images. sampled, others: how many sampled
    ones were compared with how many (the right ones, or the label's others); 0 where that was not judged.
    """

    label: str
    prediction: str
    against: str
    images: int
    sampled: int = 0
    others: int = 0

    @property
    def judged(self) -> bool:
        """Whether clusters were looked for; there may have been too few sampled images, or the run is an older one."""
        return self.sampled > 0


def confusions(lookup: Lookup) -> list[Confusion]:
    """Return the confusions of all images, those of most images first.

    None is judged in a run that was made before clusters were looked for: its `run.confusions` is None.
    """
    classes = lookup.run.classes
    named = set(classes.loc[(classes["kind"] == "label") & (classes["outputs"].str.len() > 0), "class"])
    judged = _judged(lookup)
    counts = lookup.run.images.groupby(["label", "prediction"]).size().rename("images").reset_index()
    return [
        Confusion(
            row.label,
            row.prediction,
            "right" if row.label in named else "others",
            row.images,
            *judged.get((row.label, row.prediction), (0, 0)),
        )
        for row in table_rows(counts.sort_values("images", ascending=False, kind="stable"))
        if plain(row.label) != plain(row.prediction)
    ]


def _judged(lookup: Lookup) -> dict[tuple[str, str], tuple[int, int]]:
    """Sampled images and those that they were compared with, of each judged confusion."""
    table = lookup.run.confusions
    if table is None:
        return {}
    first = table.drop_duplicates(["label", "prediction"])
    return {(row.label, row.prediction): (row.sampled, row.others) for row in table_rows(first)}


def misleading(lookup: Lookup, label: str, prediction: str) -> pd.DataFrame:
    """Return the clusters that fire more on a confusion's images (cluster, score, q_value, rank), best first.

    Whatever their q-value; empty where none was found or looked for.
    """
    columns = ["cluster", "score", "q_value", "rank"]
    table = lookup.run.confusions
    if table is None:
        return pd.DataFrame(columns=columns)
    own = (table["label"] == label) & (table["prediction"] == prediction) & (table["score"] > 0.5)
    return table.loc[own, columns].sort_values("rank").reset_index(drop=True)


def wrong_images(lookup: Lookup, label: str, prediction: str) -> pd.DataFrame:
    """Return a confusion's images (image, path, label, prediction, confidence), the most confident first."""
    images = lookup.run.images
    own = (images["label"] == label) & (images["prediction"] == prediction)
    columns = ["image", "path", "label", "prediction", "confidence"]
    return images.loc[own, columns].sort_values("confidence", ascending=False, kind="stable").reset_index(drop=True)


def firing(lookup: Lookup, cluster: int, images: Iterable[int]) -> dict[int, Any]:
    """Return for each image the row of the table of examples that shows best where a cluster fires there.

    It is that of the member with the strongest activation; None where the image is no example of any member.
    """
    examples = lookup.run.examples
    neurons = examples["neuron"].to_numpy()
    members = np.sort(lookup.members(cluster)).astype(neurons.dtype)
    bounds = zip(*(np.searchsorted(neurons, members, side) for side in ("left", "right")), strict=True)
    found = dict.fromkeys(map(int, images))
    rows = np.concatenate([np.empty(0, np.int64), *(np.arange(*bound) for bound in bounds)])
    own = examples.take(rows[np.isin(examples["image"].to_numpy()[rows], [*found])])
    strongest = own.sort_values("activation", ascending=False, kind="stable").drop_duplicates("image")
    return found | {row.image: row for row in table_rows(strongest)}
