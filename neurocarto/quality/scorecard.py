"""The scorecard that a run has by itself: no judge looks at pictures, no network is run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from neurocarto.quality.agreement import agreement
from neurocarto.quality.embedding import Embed, Interval, lift, trustworthiness
from neurocarto.quality.groups import find_groups
from neurocarto.quality.halves import half_alone, match_clusters
from neurocarto.quality.measures import Directed, Draw, Figure, measure, pooled, tabulate
from neurocarto.quality.questions import SIZES
from neurocarto.records import MEASURES, Extraction, FloatArray, IntArray, Layer, important, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.importance import judge_importance
from neurocarto.summarisation.similarity import Stimuli, find_stimuli

SEEDS = 5
"""Clusterings that differ in nothing but the seed."""
SHUFFLES = 20
"""Random relabellings behind the null of an agreement between clusterings."""
PAIRS = 1000
"""Pairs of members drawn from a layer at least."""


def own_table(
    extraction: Extraction,
    cluster: IntArray,
    halves: Sequence[IntArray],
    others: Sequence[IntArray],
    settings: RunSettings,
) -> pd.DataFrame:
    """Return what clusters (N,) are worth by the run alone, as a table of measures.

    halves: the clusters of each half of the images; others: the clusters under other seeds, none where they were not
    sought.
    """
    alive = find_stimuli(extraction.whole, len(extraction.images), settings.stimuli_share).alive
    layers, seed = extraction.layers, settings.seed
    tables = [
        peak_agreement_table(halves, cluster, extraction, settings),
        shape_table(cluster, layers, alive),
        stability_table("stability_halves", halves, layers, alive, seed),
    ]
    if others:
        tables.append(stability_table("stability_seeds", [cluster, *others], layers, alive, seed))
    return pd.concat([table for table in tables if len(table)], ignore_index=True)


def both_ways(
    name: str,
    halves: Sequence[IntArray],
    final: IntArray,
    layers: Sequence[Layer],
    seen: Sequence[npt.NDArray[np.bool_]],
    drawing: Callable[[int, slice], Draw],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Return the table of a measure of either half's clusters on the other half.

    halves: clusters (N,) of each half alone; final (N,): those of all images; seen: which neurons each half can judge,
    (N,); drawing(half, neurons): how a layer's clusters are drawn from and judged on that half.
    """
    matches = [match_clusters(cluster, final) for cluster in halves]
    measured: dict[str, list[Directed]] = {}
    for layer, neurons in layer_slices(layers).items():
        for formed, cluster in enumerate(halves):
            judging = 1 - formed
            groups = find_groups(cluster[neurons], np.flatnonzero(seen[judging][neurons]))
            found = measure(groups, drawing(judging, neurons), draws, seed)
            if found:
                measured.setdefault(layer, []).append((found, matches[formed]))
    return tabulate(name, measured)


def peak_agreement_table(
    halves: Sequence[IntArray], final: IntArray, extraction: Extraction, settings: RunSettings
) -> pd.DataFrame:
    """Return the peak agreement of either half's clusters on the other half."""
    stimuli = [half_stimuli(extraction, half, settings) for half in (0, 1)]
    return both_ways(
        "peak_agreement",
        halves,
        final,
        extraction.layers,
        [own.alive for own in stimuli],
        lambda half, neurons: agreement(stimuli[half][neurons]),
        PAIRS,
        settings.seed,
    )


def half_stimuli(extraction: Extraction, half: int, settings: RunSettings) -> Stimuli:
    """Return the stimuli of all neurons on one half."""
    alone = half_alone(extraction, half, settings.stimuli_share)
    return find_stimuli(alone.whole, len(extraction.images), settings.stimuli_share)


def shape_table(cluster: IntArray, layers: Sequence[Layer], alive: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Return what the clusters (N,) are like: coverage, size, largest, of every layer and of the whole run.

    coverage: share of the living neurons in clusters of 3 to 40; size: median of a cluster; largest: share of a layer's
    neurons in its largest cluster, for the run that of the worst layer.
    """
    sizes = np.bincount(cluster[cluster >= 0], minlength=1)
    counted = (cluster >= 0) & np.isin(sizes[cluster], SIZES)
    rows = []
    largest = 0.0
    for layer, neurons in {**layer_slices(layers), "": slice(0, len(cluster))}.items():
        own = np.unique(cluster[neurons][cluster[neurons] >= 0])
        living = alive[neurons]
        share = float(sizes[own].max(initial=0) / len(living)) if layer else largest
        largest = max(largest, share)
        rows += [
            (layer, "coverage", counted[neurons][living].mean() if living.any() else np.nan, living.sum()),
            (layer, "size", np.median(sizes[own]) if len(own) else np.nan, len(own)),
            (layer, "largest", share, len(living)),
        ]
    return _plain(rows)


def _plain(rows: Iterable[tuple[str, str, float, int]]) -> pd.DataFrame:
    """Rows without intervals or nulls."""
    table = pd.DataFrame(rows, columns=["layer", "measure", "value", "count"])
    return table.reindex(columns=MEASURES.names).assign(cluster=-1)


def stability_table(
    name: str, clusterings: Sequence[IntArray], layers: Sequence[Layer], alive: npt.NDArray[np.bool_], seed: int
) -> pd.DataFrame:
    """Return how far clusterings (N,) agree: the adjusted Rand index (Hubert and Arabie, 1985).

    The mean over pairs of them, on the living neurons of each layer, those in no cluster each alone; the run's is the
    mean of its layers. low and high: central 95 % of the pairs, of layers for the run; null: one of a pair dealt anew.
    Near-linear in neurons.
    """
    rng = np.random.default_rng(seed)
    figures = {}
    for layer, neurons in layer_slices(layers).items():
        own = [_alone(cluster[neurons][alive[neurons]]) for cluster in clusterings]
        if len(own[0]) < 2:
            continue
        pairs = list(combinations(own, 2))
        values = np.array([adjusted_rand_score(a, b) for a, b in pairs])
        null = np.array([adjusted_rand_score(own[0], rng.permutation(own[-1])) for _ in range(SHUFFLES)])
        spread = values if len(pairs) > 1 else np.full(1, np.nan)
        figures[layer] = Figure(float(values.mean()), spread, null, len(pairs))
    if not figures:
        return _plain([])
    of_layers = np.array([figure.value for figure in figures.values()])
    whole = pooled([*figures.values()])
    chosen = rng.choice(of_layers, (400, len(of_layers)))
    whole = Figure(whole.value, chosen.mean(axis=1), whole.null, whole.count)
    return pd.DataFrame([whole.row(name), *(figure.row(name, layer) for layer, figure in figures.items())])


def _alone(cluster: IntArray) -> IntArray:
    """Clusters in which every neuron without one has one of its own."""
    none = cluster < 0
    alone = cluster.astype(np.int64)
    alone[none] = alone.max(initial=-1) + 1 + np.arange(none.sum())
    return alone


def map_table(
    extraction: Extraction,
    embed: Embed,
    embedding: npt.NDArray[np.float32],
    layout: npt.NDArray[np.float32],
    settings: RunSettings,
) -> pd.DataFrame:
    """Return what embedding and map are worth: lift@10, where chance is 1, and trustworthiness beside a shuffled map.

    embed: makes an embedding as the run's was made; embedding (N, d), layout (N, 2): the run's own.
    """
    seed = settings.seed
    above = extraction.profile - extraction.rest
    predicted = lift(above, embed, seed=seed, share=settings.stimuli_share, top_k=extraction.whole.images.shape[1])
    shuffled = layout[np.random.default_rng(seed).permutation(len(layout))]
    figures: dict[str, tuple[Interval, Interval]] = {
        "lift@10": (predicted, (1.0, np.nan, np.nan)),
        "trustworthiness": (
            trustworthiness(embedding, layout, seed=seed),
            trustworthiness(embedding, shuffled, seed=seed),
        ),
    }
    rows = [("", -1, name, *value, *null, len(layout)) for name, (value, null) in figures.items()]
    return pd.DataFrame(rows, columns=MEASURES.names)


def false_discoveries(
    activations: npt.NDArray[np.float32], members: Mapping[str, npt.NDArray[np.bool_]], settings: RunSettings
) -> pd.DataFrame:
    """Return the share of pairs of class and cluster that are called important under shuffled labels.

    activations (clusters, P), members: as judge_importance takes them. The images are shuffled once for all classes;
    low and high resample classes. One row of the run, none where no class can be judged.
    """
    rng = np.random.default_rng([settings.seed, len(members)])
    order = rng.permutation(activations.shape[1])
    judged = judge_importance(activations, {name: mine[order] for name, mine in members.items()}, settings)
    if not len(judged):
        return _plain([])
    judged["called"] = judged.index.isin(important(judged, settings.false_discovery_rate).index)
    shares = judged.groupby("class", sort=False)["called"].mean().to_numpy()
    replicates: FloatArray = rng.choice(shares, (400, len(shares))).mean(axis=1)
    return pd.DataFrame([Figure(float(shares.mean()), replicates, np.zeros(0), len(judged)).row("false_discoveries")])
