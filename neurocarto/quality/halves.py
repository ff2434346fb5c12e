"""Clusters of either half of a run's images, to be judged on the other half.

The final clusters rest on all images, so none is left to judge them on. Clusters of one half alone stand in for them: a
final cluster has the figures of the half's cluster with which it shares most members.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from neurocarto.records import Extraction, IntArray, TopActivations

LEAST_OVERLAP = 0.5
"""Jaccard index of the members from which a half's cluster stands for a final one."""


def half_alone(extraction: Extraction, half: int, share: float) -> Extraction:
    """Return an extraction whose strongest images are those of one half, at the share of images taken of the whole."""
    count, top = len(extraction.images), extraction.halves[half]
    kept = min(round(share * count), sum(own.images.shape[1] for own in extraction.halves) - 1)
    k = 1 + max(1, round(kept * (extraction.images["half"] == half).sum() / count))
    return replace(
        extraction,
        whole=TopActivations(*(getattr(top, name)[:, :k] for name in TopActivations.__dataclass_fields__)),
    )


def match_clusters(cluster: IntArray, final: IntArray) -> dict[int, int]:
    """Return the final cluster (N,) that each cluster (N,) stands for: the one of most overlap, at least half."""
    both = np.flatnonzero((cluster >= 0) & (final >= 0))
    pairs, shared = np.unique(np.stack([cluster[both], final[both]], axis=1), axis=0, return_counts=True)
    sizes, final_sizes = (np.bincount(own[own >= 0], minlength=1) for own in (cluster, final))
    overlap = shared / (sizes[pairs[:, 0]] + final_sizes[pairs[:, 1]] - shared)
    table = pd.DataFrame({"cluster": pairs[:, 0], "final": pairs[:, 1], "overlap": overlap})
    best = table[table["overlap"] >= LEAST_OVERLAP].sort_values(["overlap", "final"], ascending=[False, True])
    best = best.drop_duplicates("cluster")
    return dict(zip(best["cluster"].tolist(), best["final"].tolist(), strict=True))
