"""Groups of neurons of a layer that detect the same concept."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.records import Layer, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.axes import placed_vectors
from neurocarto.summarisation.candidates import FEW, bands
from neurocarto.summarisation.linkage import complete_linkage, strongest
from neurocarto.summarisation.similarity import (
    Arrays,
    Floats,
    Images,
    Stimuli,
    compare,
    lay_out,
    peak_agreement,
    similarities,
    strongest_half,
)

MOST_SIMILAR = 64
"""Similar neurons that each is compared with; without a bound, few images make all pairs of a wide layer similar."""

REACH = 64
"""Neurons before it that each of more than FEW is compared with in a band: popular images make many agree."""

FEW_NEW = 0.001
"""Share of the similar pairs that have to be new in the latest bands, for more to be searched."""

SHARES = 16
"""Shares of a layer's neurons that are compared with those before them apart, by any number of threads."""

MAX_PAIRS = 5000
"""Pairs of neurons that a cluster is described by; more, as in clusters of over 100, are sampled."""


def find_clusters(
    stimuli: Stimuli, layers: Sequence[Layer], settings: RunSettings, vectors: Floats | None = None
) -> tuple[npt.NDArray[np.int32], pd.DataFrame]:
    """Group the neurons of each layer.

    MinHash signatures of the neurons' stimuli → LSH candidates → exact similarity of the candidates →
    complete linkage down to settings.min_similarity. vectors: the neurons on the common axes (axes.placed_vectors),
    where they are known already. O(N (axes + permutations) m) for sets of m images and O(m + axes) for each candidate,
    of which layers of up to candidates.FEW neurons have all pairs at most, larger ones a number that grows with N. The
    number of threads changes nothing.

    Returns each neuron's cluster (N,), -1 for none, and one row per cluster: cluster, layer, size,
    similarity (mean over its pairs of neurons), shared_images (mean over pairs), peak_agreement (share of
    the shared images on which both peak within one cell of a 7 × 7 grid), all on the images that formed it.
    """
    if vectors is None:
        vectors = placed_vectors(stimuli, settings.axes, settings.place_width, settings.seed, settings.threads)
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
    tables = []
    count = 0
    for layer, rows in layer_slices(layers).items():
        found = groups.get(layer, ())
        if not len(found):
            continue
        numbers = np.arange(count, count := count + len(found), dtype=np.int64)
        cluster[rows.start + np.concatenate(found)] = np.repeat(numbers, [len(members) for members in found])
        described = _describe(stimuli[rows], vectors[rows], settings, found)
        tables.append(pd.DataFrame({"cluster": numbers, "layer": layer, **described}))
    columns = ["cluster", "layer", "size", "similarity", "shared_images", "peak_agreement"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return cluster, table.astype(dict.fromkeys(columns[3:], np.float32))


def _layer_clusters(stimuli: Stimuli, vectors: Floats, settings: RunSettings) -> list[npt.NDArray[np.int64]]:
    if stimuli.alive.sum() < settings.min_cluster_size:
        return []
    groups = linked(*compared_pairs(stimuli, vectors, settings, settings.min_similarity), settings.min_similarity)
    return [group for group in groups if len(group) >= settings.min_cluster_size]


def compared_pairs(
    stimuli: Stimuli, vectors: Floats, settings: RunSettings, least: float = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the pairs (p, 2) of a layer's neurons that are candidates and at least so similar, and how similar (p,).

    Candidates agree in a band of their signatures. Of more than candidates.FEW neurons bands are searched until few of
    the pairs that they bring are new. Near-linear in neurons plus candidates.
    """
    living = np.flatnonzero(stimuli.alive)
    halves = strongest_half(stimuli)[living]
    pairs, similarity = np.empty((0, 2), np.int64), np.empty(0)
    for links in bands(halves, settings.permutations, settings.band_rows, settings.seed, settings.threads):
        new, values = _similar(stimuli, vectors, settings, living, links, pairs, least)
        pairs, similarity = np.concatenate([pairs, new]), np.concatenate([similarity, values])
        if len(new) < FEW_NEW * len(pairs):
            break
    order = np.argsort(pairs[:, 0] * len(stimuli) + pairs[:, 1])
    return pairs[order], similarity[order]


def _similar(
    stimuli: Stimuli,
    vectors: Floats,
    settings: RunSettings,
    living: npt.NDArray[np.int64],
    links: Images,
    known: npt.NDArray[np.int64],
    least: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the similar pairs (p, 2) of those that links (bands, n) hold, without the known ones (q, 2)."""
    n = len(living)
    known = known[np.argsort(known[:, 1], kind="stable")]
    begins = np.searchsorted(known[:, 1], living)
    ends = (n * np.sqrt(np.arange(SHARES + 1) / SHARES)).astype(np.int64)  # later ones have more before them

    def share(begin: int, end: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        pairs, similarity = _compare_linked(
            begin,
            end,
            links,
            n if n <= FEW else REACH,
            living,
            known,
            begins,
            stimuli.arrays,
            vectors,
            settings.place_width,
            settings.min_agreement,
            least,
        )
        return pairs, similarity

    with ThreadPoolExecutor(settings.threads) as pool:
        pairs, similarity = zip(*pool.map(share, ends[:-1], ends[1:]), strict=True)
    return np.concatenate(pairs), np.concatenate(similarity)


@numba.njit(cache=True, nogil=True)
def _compare_linked(
    begin: int,
    end: int,
    links: Images,
    reach: int,
    living: npt.NDArray[np.int64],
    known: npt.NDArray[np.int64],
    begins: npt.NDArray[np.int64],
    stimuli: Arrays,
    vectors: Floats,
    place_width: float,
    least_agreement: float,
    least: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Compare each neuron from begin to end with those that links lead to, at most `reach` in a band."""
    images = stimuli.images
    met = np.full(len(images), -1, np.int32)
    at = np.full(images.max() + 1, -1, np.int32)
    pairs, similarity, count = np.empty((1024, 2), np.int64), np.empty(1024), 0
    for row in range(begin, end):
        neuron = living[row]
        lay_out(at, images[neuron], True)
        i = begins[row]
        while i < len(known) and known[i, 1] == neuron:
            met[known[i, 0]] = row
            i += 1
        for band in range(len(links)):
            linked_row = links[band, row]
            for _ in range(reach):
                if linked_row < 0:
                    break
                other = living[linked_row]
                linked_row = links[band, linked_row]
                if met[other] == row:
                    continue
                met[other] = row
                value = compare(at, neuron, other, stimuli, vectors, place_width, least_agreement, least)
                if value < least:
                    continue
                if count == len(pairs):
                    pairs = np.concatenate((pairs, np.empty_like(pairs)))
                    similarity = np.concatenate((similarity, np.empty_like(similarity)))
                pairs[count, 0], pairs[count, 1], similarity[count] = other, neuron, value
                count += 1
        lay_out(at, images[neuron], False)
    return pairs[:count].copy(), similarity[:count].copy()


def linked(
    pairs: npt.NDArray[np.int64], similarity: npt.NDArray[np.float64], least: float
) -> list[npt.NDArray[np.int64]]:
    """Group neurons by those of the pairs (p, 2) that are similar enough; see complete_linkage."""
    keep = similarity >= least
    return complete_linkage(*strongest(pairs[keep], similarity[keep], MOST_SIMILAR))


def _describe(
    stimuli: Stimuli, vectors: Floats, settings: RunSettings, groups: Sequence[npt.NDArray[np.int64]]
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the columns of the table that tell what the groups are like."""
    within = [*_pairs_within(groups, settings.seed)]
    pairs, begins = np.concatenate(within), np.cumsum([0, *(len(own) for own in within[:-1])])

    def share(own: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.generic], ...]:
        similarity = similarities(stimuli, vectors, own, settings.place_width, settings.min_agreement)
        return similarity, *peak_agreement(stimuli, own)

    with ThreadPoolExecutor(settings.threads) as pool:
        shares = zip(*pool.map(share, np.array_split(pairs, settings.threads)), strict=True)
    similarity, shared, agreeing = (np.add.reduceat(np.concatenate(values), begins) for values in shares)
    counts = np.diff(begins, append=len(pairs))
    return {
        "size": np.array([len(members) for members in groups]),
        "similarity": similarity / counts,
        "shared_images": shared / counts,
        "peak_agreement": agreeing / np.maximum(1, shared),
    }


def _pairs_within(groups: Sequence[npt.NDArray[np.int64]], seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the pairs (p, 2) of each group's members, of large ones MAX_PAIRS."""
    corners: dict[int, npt.NDArray[np.int64]] = {}
    for members in groups:
        size = len(members)
        if size not in corners:
            corners[size] = np.stack(np.triu_indices(size, 1), axis=1)
        pairs = members[corners[size]]
        yield pairs if len(pairs) <= MAX_PAIRS else np.random.default_rng(seed).permutation(pairs)[:MAX_PAIRS]
