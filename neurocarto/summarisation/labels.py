"""Names for clusters, from the images that excite them."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom

MIXED = "mixed"
PATCHES = 10
LEAST_IMAGES = 3
ERROR_RATE = 0.05
SHOWN = 5


@dataclass(frozen=True)
class Evidence:
    """A name that is over-represented: on `count` of `of` patches, but on the share `base` of all images."""

    name: str
    kind: str
    count: int
    of: int
    base: float

    @property
    def weight(self) -> float:
        """How much the name explains: patches × log ratio to its share of all images."""
        return self.count * math.log(self.count / self.of / self.base)


def label_clusters(
    cluster: npt.NDArray[np.int32],
    count: int,
    top_images: npt.NDArray[np.int32],
    names: Mapping[str, pd.Series],
) -> pd.DataFrame:
    """Name each cluster after what is over-represented among its patches.

    top_images (N, k): each neuron's strongest images, -1 for none; the ten strongest count. names:
    for each kind ("label", "prediction") the name of every image, in order of image, None where there is
    none. A name counts when at least three different images carry it and a binomial test against its
    share of all images stays below 0.05, corrected for the number of names (Bonferroni); the one that
    explains most (count × log ratio) becomes the label.

    Returns label ("goose 12/40", or "mixed" when nothing is over-represented) and evidence: a JSON list of
    {name, kind, count, of, base}, strongest first; base is the name's share of all images.
    """
    top = top_images[:, :PATCHES]
    order = np.argsort(cluster, kind="stable")
    bounds = np.searchsorted(cluster[order], np.arange(count + 1))
    codes = {kind: _coded(series) for kind, series in names.items()}
    rows = []
    for begin, end in zip(bounds[:-1], bounds[1:], strict=True):
        patches = top[order[begin:end]].ravel()
        patches = patches[patches >= 0]
        evidence = sorted(
            (entry for kind, coded in codes.items() for entry in _over_represented(patches, kind, *coded)),
            key=lambda entry: (-entry.weight, entry.name),
        )
        label = f"{evidence[0].name} {evidence[0].count}/{evidence[0].of}" if evidence else MIXED
        rows.append((label, json.dumps([asdict(entry) for entry in evidence[:SHOWN]], ensure_ascii=False)))
    return pd.DataFrame(rows, columns=["label", "evidence"])


def _coded(series: pd.Series) -> tuple[npt.NDArray[np.int64], list[str], npt.NDArray[np.float64]]:
    codes, names = pd.factorize(series, sort=True)
    shares = np.bincount(codes[codes >= 0], minlength=len(names)) / max(1, len(series))
    return codes.astype(np.int64), [str(name) for name in names], shares


def _over_represented(
    patches: npt.NDArray[np.int32],
    kind: str,
    codes: npt.NDArray[np.int64],
    names: list[str],
    shares: npt.NDArray[np.float64],
) -> list[Evidence]:
    counts, distinct = (
        np.bincount(codes[images][codes[images] >= 0], minlength=len(names)) for images in (patches, np.unique(patches))
    )
    # Patches of one image are not independent evidence, so the test counts images.
    p_values = binom.sf(distinct - 1, len(np.unique(patches)), shares)
    return [
        Evidence(names[code], kind, int(counts[code]), len(patches), float(shares[code]))
        for code in np.flatnonzero((distinct >= LEAST_IMAGES) & (p_values * len(names) < ERROR_RATE))
    ]
