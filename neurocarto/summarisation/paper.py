"""Clusters as the paper finds them (NeuroCartography, Park et al., IEEE VIS 2021, section 5.1).

First, neurons of a layer whose strongest images resemble each other fall into a group; second, neurons of a
group that are active at the same places of the group's images are joined. Both by MinHash and buckets, both
made transitive by union-find, so that groups and clusters chain: it is kept beside the default for comparison,
figures in docs/decisions.md. Where the original's code went wrong, this does what the paper says:

- The original drew new permutations of the cells for every neuron: identical maps met with a probability of .02 to
  .84 instead of 1. Here all neurons of a layer are hashed alike.
- There, all neurons that are silent on an image shared a bucket. Here they have none.
- There, a cell was active above 0. Many maps are that nearly everywhere (ACTIVE_SHARE).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.images import ImageSet
from neurocarto.extraction.models import Model
from neurocarto.records import Extraction, IntArray, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.axes import placed_vectors
from neurocarto.summarisation.candidates import candidate_pairs, signatures
from neurocarto.summarisation.clusters import tabulate
from neurocarto.summarisation.linkage import connected_parts
from neurocarto.summarisation.similarity import find_stimuli

IMAGE_BANDS, IMAGE_ROWS = 100, 3
"""Bands and rows of the first stage. The paper: 100 bands of 2 to 3 rows; its code's default is 2."""

CELL_BANDS, CELL_ROWS = 30, 5
"""Bands and rows of the second stage, the paper's: maps meet in a bucket from a Jaccard similarity of about .5."""

JOIN_SHARE = 0.03
"""Share of a group's sampled images on which two neurons have to meet to be joined, the paper's."""

GROUP_IMAGES = 100
"""Images sampled for each group, so that the share is a count of 3. The original took all of a group's images."""

MAX_IMAGES = 4000
"""Images sampled for all groups together: this many forward passes at most."""

ACTIVE_SHARE = 0.5
"""A neuron is active at cells above this share of its strongest activation, both measured from its rest. Above rest,
the original's choice, the median map of EfficientNet-Lite0 is active at 13 to 96 % of its cells, and up to 44 % of a
layer's maps at every one; above half, at 1 to 10 % in most layers."""

REACH = 64
"""Neurons of a bucket are paired with the next so many in the order of channels: a large bucket stays linear."""

Matches = sparse.csr_array[Any, tuple[int, int]]
"""Counts for pairs of a group's neurons, above the diagonal (n, n)."""


@dataclass
class _Group:
    """Neurons of a layer with similar images: channels (n,), sampled images (s,), on how many of them two meet."""

    layer: str
    members: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    matches: Matches


def find_paper_clusters(
    model: Model,
    images: ImageSet,
    extraction: Extraction,
    settings: RunSettings,
    advance: Callable[[int], object],
) -> tuple[npt.NDArray[np.int32], pd.DataFrame]:
    """Group the neurons of each layer by the paper's two stages.

    Returns what clusters.find_clusters does. advance is called with the number of images done, at most MAX_IMAGES
    in all. Time: one forward pass for each sampled image, and near-linear in neurons; memory: 8 bytes for each pair
    of neurons that ever met, 1.2 kB for each cell of the largest map; no maps are kept.
    """
    stimuli = find_stimuli(extraction.whole, len(extraction.images), settings.stimuli_share)
    groups = _image_groups(extraction, stimuli.alive, settings.seed)
    _count_matches(model, images, extraction, groups, settings, advance)
    found: defaultdict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for group in groups:
        met = group.matches.tocoo()
        joined = np.stack([met.row, met.col], axis=1)[met.data >= JOIN_SHARE * len(group.images)]
        clusters = [group.members[cluster] for cluster in connected(joined, len(group.members))]
        found[group.layer] += [cluster for cluster in clusters if len(cluster) >= settings.min_cluster_size]
    vectors = placed_vectors(stimuli, settings.axes, settings.place_width, settings.seed)
    return tabulate(found, stimuli, vectors, extraction.layers, settings)


def _pair_counts(pairs: IntArray, n: int) -> Matches:
    """Count 1 for each of these pairs (p, 2) among n neurons."""
    return sparse.csr_array((np.ones(len(pairs), np.int32), (pairs[:, 0], pairs[:, 1])), (n, n))


def connected(pairs: IntArray, count: int) -> list[npt.NDArray[np.int64]]:
    """Return the connected components of two and more among 0 … count-1, by their smallest members."""
    label = connected_parts(pairs, count)
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def _image_groups(extraction: Extraction, alive: npt.NDArray[np.bool_], seed: int) -> list[_Group]:
    """First stage: per layer, neurons that share a bucket of images, directly or through others; with a sample."""
    found = []
    for layer, rows in layer_slices(extraction.layers).items():
        living = np.flatnonzero(alive[rows])
        if len(living) < 2:
            continue
        signature = signatures(extraction.whole.images[rows][living], IMAGE_BANDS * IMAGE_ROWS, seed)
        neighbours = candidate_pairs(signature, IMAGE_ROWS, reach=1)  # buckets are made transitive anyway
        found += [(layer, living[members]) for members in connected(neighbours, len(living))]
    slices = layer_slices(extraction.layers)
    top = [extraction.whole.images[slices[layer]][members] for layer, members in found]
    samples = sample_images(top, len(extraction.images), seed)
    return [
        _Group(layer, members, sample, _pair_counts(np.empty((0, 2), np.int64), len(members)))
        for (layer, members), sample in zip(found, samples, strict=True)
    ]


def sample_images(top: Sequence[npt.NDArray[np.int32]], image_count: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Sample the images of each group: those that two of its members keep, first come in one seeded order.

    top: the groups' strongest images (n, k), -1 for none. Where MAX_IMAGES is too few for all groups, they
    choose in turns.
    """
    turn_of = np.random.default_rng(seed).permutation(image_count)
    wanted = []
    for images in top:
        kept, keepers = np.unique(images[images >= 0], return_counts=True)
        common = kept[keepers >= 2]
        wanted.append(common[np.argsort(turn_of[common])][:GROUP_IMAGES].astype(np.int64))
    turns = (own[turn] for turn in range(GROUP_IMAGES) for own in wanted if turn < len(own))
    chosen = np.array(list(dict.fromkeys(turns))[:MAX_IMAGES], np.int64)
    return [own[np.isin(own, chosen)] for own in wanted]


def _count_matches(
    model: Model,
    images: ImageSet,
    extraction: Extraction,
    groups: Sequence[_Group],
    settings: RunSettings,
    advance: Callable[[int], object],
) -> None:
    """Second stage: run the network on the sampled images and count for each pair on how many it meets."""
    torch.set_num_threads(settings.threads)
    rest, strongest = torch.from_numpy(extraction.rest), torch.from_numpy(extraction.whole.activations[:, 0])
    threshold = rest + ACTIVE_SHARE * (strongest - rest)  # (N,)
    least = {name: threshold[rows] for name, rows in layer_slices(extraction.layers).items()}
    needing: defaultdict[tuple[str, int], list[_Group]] = defaultdict(list)
    for group in groups:
        for image in group.images.tolist():
            needing[group.layer, image].append(group)
    batch: list[int] = []

    def visit(name: str, maps: Tensor) -> None:
        for image, own in zip(batch, maps.cpu(), strict=True):
            for group in needing.get((name, image), ()):
                active = own[group.members] > least[name][group.members, None, None]  # (n, H, W)
                group.matches = group.matches + _matches(active.flatten(1).numpy(), settings.seed)

    needed = {group.layer for group in groups}
    layers = [layer for layer in extraction.layers if layer.name in needed]
    files = images.indices(extraction.images["path"])
    with torch.inference_mode(), layer_outputs(model.module, layers, visit):
        for batch in _batches(sorted({image for _, image in needing}), settings.batch_size):
            model.logits(model.inputs([images.open(int(files[image])) for image in batch]))
            advance(len(batch))


def _batches(images: list[int], size: int) -> Iterator[list[int]]:
    return (images[start : start + size] for start in range(0, len(images), size))


def _matches(active: npt.NDArray[np.bool_], seed: int) -> Matches:
    """Count 1 for each two neurons that meet in a bucket on one image; active (n, cells)."""
    some = np.flatnonzero(active.any(axis=1))
    pairs = some[candidate_pairs(map_signatures(active[some], seed), CELL_ROWS, reach=REACH)]
    return _pair_counts(pairs, len(active))


def map_signatures(active: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.uint32]:
    """Return the MinHash signature (n, bands × rows) of each map's active cells; active (n, cells), none empty.

    The same as candidates.signatures of the sets of cells: every neuron is hashed with the same permutations. The
    least hash is found at the first active cell in the order of hashes, so dense maps are quick.
    """
    return np.asarray(_first_active(active, *_cell_hashes(active.shape[1], seed)))


@cache
def _cell_hashes(cells: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
    """Hashes (bands × rows, cells) of single cells, and the order in which they rise."""
    single = signatures(np.arange(cells, dtype=np.int32)[:, None], CELL_BANDS * CELL_ROWS, seed)
    hashes = np.ascontiguousarray(single.T)
    return hashes, hashes.argsort(axis=1).astype(np.int32)


@numba.njit(cache=True)
def _first_active(
    active: npt.NDArray[np.bool_], hashes: npt.NDArray[np.uint32], order: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint32]:
    signature = np.empty((len(active), len(hashes)), np.uint32)
    for neuron in range(len(active)):
        for function in range(len(hashes)):
            for cell in order[function]:
                if active[neuron, cell]:
                    signature[neuron, function] = hashes[function, cell]
                    break
    return signature
