"""Questions of the intruder test: three neurons of a cluster and one that is not in it. Which one is it?

The design is that of the study with people by Park et al. (NeuroCartography, 2021).
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.records import IntArray

MEMBERS = ("first", "second", "third")
SHOWN = (*MEMBERS, "intruder")
"""Columns of the four neurons of a question."""
CHANCE = 1 / len(SHOWN)
"""How often one who knows nothing names the intruder."""
SIZES = range(3, 41)
"""Sizes of the clusters that are asked about: fewer than three neurons make no question."""


def draw(
    cluster: IntArray,
    layer: npt.NDArray[Any],
    alive: npt.NDArray[np.bool_],
    count: int,
    seed: int,
    sizes: Collection[int] = SIZES,
) -> pd.DataFrame:
    """Draw questions: a cluster with probability by its size, three of its members, one neuron of its layer outside it.

    cluster, layer, alive (N,): each neuron's cluster (-1: none), its layer by name or number, and whether it has
    patches to show; neurons that have none are left out, also of the sizes. Returns `count` rows with layer, cluster
    and the neurons first, second, third and intruder; no row where no cluster can be asked about.
    """
    living = np.flatnonzero(alive)
    codes = np.unique(layer[living], return_inverse=True)[1]
    order = np.lexsort((cluster[living], codes))
    neurons, codes, clusters = living[order], codes[order], cluster[living[order]]
    # Sorted so, a layer and a cluster are each one stretch: where each neuron's begins, and how long it is.
    layer_start, layer_size = _stretches(codes[1:] != codes[:-1], len(codes))
    start, size = _stretches((codes[1:] != codes[:-1]) | (clusters[1:] != clusters[:-1]), len(codes))
    fit = np.flatnonzero((clusters >= 0) & np.isin(size, list(sizes)) & (size >= len(MEMBERS)) & (size < layer_size))
    rng = np.random.default_rng(seed)
    first = rng.choice(fit, count if len(fit) else 0)  # of all members the same chance: of a cluster by its size
    begin, long = start[first], size[first]
    # Every other member follows at a distance around the cluster; the third passes over the second.
    step = rng.integers(1, long)
    further = rng.integers(1, long - 1)
    further += further >= step
    second, third = (begin + (first - begin + way) % long for way in (step, further))
    other = layer_start[first] + rng.integers(0, layer_size[first] - long)
    intruder = np.where(other >= begin, other + long, other)
    places = dict(zip(SHOWN, (first, second, third, intruder), strict=True))
    asked = {"layer": layer[neurons[first]], "cluster": clusters[first]}
    return pd.DataFrame(asked | {name: neurons[place] for name, place in places.items()})


def shuffled(cluster: IntArray, layer: npt.NDArray[Any], alive: npt.NDArray[np.bool_], seed: int) -> IntArray:
    """Return random groups (N,) of the clusters' sizes: the clusters of each layer dealt anew to its living neurons.

    Neurons that are not alive are in none.
    """
    living = np.flatnonzero(alive)
    codes = np.unique(layer[living], return_inverse=True)[1]
    dealt = np.lexsort((np.random.default_rng(seed).random(len(living)), codes))
    groups = np.full_like(cluster, -1)
    groups[living[dealt]] = cluster[living[np.argsort(codes, kind="stable")]]
    return groups


def _stretches(changes: npt.NDArray[np.bool_], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each of `count` entries, where its stretch of equal ones begins and how long that is."""
    starts = np.concatenate([np.zeros(min(count, 1), np.int64), np.flatnonzero(changes) + 1])
    sizes = np.diff(np.append(starts, count))
    return np.repeat(starts, sizes), np.repeat(sizes, sizes)
