"""Groups of neurons of a layer that detect the same concept."""

import heapq
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.records import Layer, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.similarity import (
    Stimuli,
    candidate_pairs,
    peak_agreement,
    placed_vectors,
    signatures,
    similarities,
    strongest_half,
)

MOST_SIMILAR = 64
"""Similar neurons that each is compared with; without a bound, few images make all pairs of a wide layer similar."""

MAX_PAIRS = 5000
"""Pairs of neurons that a cluster is described by; more, as in clusters of over 100, are sampled."""


def find_clusters(
    stimuli: Stimuli, layers: Sequence[Layer], settings: RunSettings
) -> tuple[npt.NDArray[np.int32], pd.DataFrame]:
    """Group the neurons of each layer.

    MinHash signatures of the neurons' stimuli → LSH candidates → exact similarity of the candidates →
    complete linkage down to settings.min_similarity. Near-linear in neurons plus candidate pairs.

    Returns each neuron's cluster (N,), -1 for none, and one row per cluster: cluster, layer, size,
    similarity (mean over its pairs of neurons), shared_images (mean over pairs), peak_agreement (share of
    the shared images on which both peak within one cell of a 7 × 7 grid), all on the images that formed it.
    """
    vectors = placed_vectors(stimuli, settings.axes, settings.place_width, settings.seed)
    groups = {
        layer: _layer_clusters(stimuli[rows], vectors[rows], settings) for layer, rows in layer_slices(layers).items()
    }
    return tabulate(groups, stimuli, vectors, layers, settings)


def tabulate(
    groups: Mapping[str, Sequence[npt.NDArray[np.int64]]],
    stimuli: Stimuli,
    vectors: npt.NDArray[np.float32],
    layers: Sequence[Layer],
    settings: RunSettings,
) -> tuple[npt.NDArray[np.int32], pd.DataFrame]:
    """Number the groups of each layer (their channels) and describe them; returns what find_clusters does."""
    cluster = np.full(len(stimuli), -1, np.int32)
    found: list[dict[str, object]] = []
    for layer, rows in layer_slices(layers).items():
        describe = partial(_describe, stimuli[rows], vectors[rows], settings)
        for members in groups.get(layer, ()):
            cluster[rows.start + members] = len(found)
            found.append({"cluster": len(found), "layer": layer, **describe(members)})
    columns = ["cluster", "layer", "size", "similarity", "shared_images", "peak_agreement"]
    table = pd.DataFrame(found, columns=columns)
    return cluster, table.astype(dict.fromkeys(columns[3:], np.float32))


def _layer_clusters(
    stimuli: Stimuli, vectors: npt.NDArray[np.float32], settings: RunSettings
) -> list[npt.NDArray[np.int64]]:
    if stimuli.alive.sum() < settings.min_cluster_size:
        return []
    groups = linked(*compared_pairs(stimuli, vectors, settings), settings.min_similarity)
    return sorted((g for g in groups if len(g) >= settings.min_cluster_size), key=lambda g: int(g[0]))


def compared_pairs(
    stimuli: Stimuli, vectors: npt.NDArray[np.float32], settings: RunSettings
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the candidate pairs (p, 2) of a layer's living neurons, and how similar the two of each are (p,)."""
    alive = np.flatnonzero(stimuli.alive)
    signature = signatures(strongest_half(stimuli)[alive], settings.permutations, settings.seed)
    pairs = alive[candidate_pairs(signature, settings.band_rows)]
    return pairs, similarities(stimuli, vectors, pairs, settings.place_width, settings.min_agreement)


def linked(
    pairs: npt.NDArray[np.int64], similarity: npt.NDArray[np.float64], least: float
) -> list[npt.NDArray[np.int64]]:
    """Group neurons by those of the pairs (p, 2) that are similar enough; see complete_linkage."""
    keep = similarity >= least
    return complete_linkage(*strongest(pairs[keep], similarity[keep], MOST_SIMILAR))


def _describe(
    stimuli: Stimuli, vectors: npt.NDArray[np.float32], settings: RunSettings, members: npt.NDArray[np.int64]
) -> dict[str, float]:
    pairs = members[np.stack(np.triu_indices(len(members), 1), axis=1)]
    if len(pairs) > MAX_PAIRS:
        pairs = np.random.default_rng(settings.seed).permutation(pairs)[:MAX_PAIRS]
    shared, agreeing = peak_agreement(stimuli, pairs)
    return {
        "size": len(members),
        "similarity": similarities(stimuli, vectors, pairs, settings.place_width, settings.min_agreement).mean(),
        "shared_images": shared.mean(),
        "peak_agreement": agreeing.sum() / max(1, shared.sum()),
    }


def strongest(
    pairs: npt.NDArray[np.int64], similarity: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Keep the pairs (p, 2) that are among the `count` most similar of either neuron, in their order. O(p log p)."""
    neuron = pairs.T.ravel()  # every pair twice, from the side of either neuron
    order = np.lexsort((-np.tile(similarity, 2), neuron))
    rank = np.arange(len(order)) - np.searchsorted(neuron[order], neuron[order])
    keep = np.unique(order[rank < count] % max(1, len(pairs)))
    return pairs[keep], similarity[keep]


def complete_linkage(pairs: npt.NDArray[np.int64], similarity: npt.NDArray[np.float64]) -> list[npt.NDArray[np.int64]]:
    """Merge the most similar groups first, as long as *every* pair across them is among `pairs`.

    Two groups are as similar as their least similar members, so groups do not chain: nothing joins a
    group by resembling one of its members. pairs (p, 2), each once; similarity (p,). Equal similarities
    are merged in the order of the smallest members. Returns the groups of two and more, members rising.
    O(p log p) for groups of bounded size.
    """
    links: dict[int, dict[int, float]] = {}
    for (a, b), value in zip(pairs.tolist(), similarity.tolist(), strict=True):
        links.setdefault(a, {})[b] = value
        links.setdefault(b, {})[a] = value
    members = {neuron: [neuron] for neuron in links}
    queue = [(-value, a, b) for (a, b), value in zip(pairs.tolist(), similarity.tolist(), strict=True)]
    heapq.heapify(queue)
    while queue:
        negative, a, b = heapq.heappop(queue)
        if links.get(a, {}).get(b) != -negative:  # one of them was merged since, or their similarity fell
            continue
        near_a, near_b = links.pop(a), links.pop(b)
        for c in near_a.keys() - {b}:
            del links[c][a]
        for c in near_b.keys() - {a}:
            del links[c][b]
        links[a] = merged = {c: min(near_a[c], near_b[c]) for c in near_a.keys() & near_b.keys()}
        members[a] += members.pop(b)
        for c, value in merged.items():
            links[c][a] = value
            heapq.heappush(queue, (-value, min(a, c), max(a, c)))
    return [np.sort(np.array(group)) for group in members.values() if len(group) > 1]
