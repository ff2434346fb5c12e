"""Whether edges and important clusters do what a run says, on images that the run has not seen.

Every edge's source is switched off on unseen images of its class, and what its target loses is compared with the
weight. Beside the strongest edges and the most important clusters stand random sets of neurons of the same layers and
sizes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.extraction.lineage import Lineage
from neurocarto.extraction.models import Model
from neurocarto.quality.measures import interval
from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT, FloatArray, Layer, cluster_channels, important
from neurocarto.runs.store import Run
from neurocarto.summarisation.importance import class_images
from neurocarto.summarisation.influence import rank_correlation, share
from neurocarto.summarisation.interventions import RANDOM_SETS, Interventions
from neurocarto.summarisation.strengths import Pictures, Strengths, Study

DECILE = 0.1
IMPORTANT = 5
CLASSES = 30
"""Classes looked at, at most, and all images together; more are drawn from."""
_RESAMPLES = 400
_EDGE = ["class", "source", "target", "weight"]


@dataclass(frozen=True)
class Claims:
    """What a run says of a network.

    layers, reach (N,): as of an Extraction; cluster (N,): every neuron's; classes, importance, edges: the run's tables;
    rate: its false discovery rate.
    """

    layers: Sequence[Layer]
    reach: npt.NDArray[np.float32]
    cluster: npt.NDArray[np.int32]
    classes: pd.DataFrame
    importance: pd.DataFrame
    edges: pd.DataFrame
    rate: float

    @classmethod
    def of_run(cls, run: Run) -> "Claims":
        """Read what a run says."""
        return cls(
            layers=run.manifest.layers,
            reach=run.reach,
            cluster=run.neurons["cluster"].to_numpy(np.int32),
            classes=run.classes,
            importance=run.importance,
            edges=run.influence,
            rate=float(run.manifest.settings.get("false_discovery_rate", 0.05)),
        )

    def channels(self, cluster: int) -> tuple[str, npt.NDArray[np.int64]]:
        """Return a cluster's layer and its channels there."""
        return self._channels[cluster]

    @cached_property
    def _channels(self) -> dict[int, tuple[str, npt.NDArray[np.int64]]]:
        return cluster_channels(self.layers, self.cluster)


@dataclass(frozen=True)
class Faithfulness:
    """What became of a run's claims.

    edges: class, source, target, weight, drop: the share of its activation that the target lost on unseen images;
    random: the same of a random pair for each of the strongest edges, instead of which it stands (rows of edges in
    `edge`); ablations: measure, class, drop, random: what the class's own output loses without five of its clusters,
    and without random sets.
    """

    edges: pd.DataFrame
    random: pd.DataFrame
    ablations: pd.DataFrame

    def measures(self, seed: int = 0) -> pd.DataFrame:
        """Return the measures (records.MEASURES) of the whole run, and faithfulness of each layer's edges.

        faithfulness: rank correlation of weight and drop over edges; strongest_decile: mean drop of the tenth of the
        edges with the largest weights, in the direction that the weight says, ÷ mean size of the drop of random pairs;
        five_clusters: mean drop of a class's output without its most important clusters ÷ mean size of its drop without
        random sets; five_effective: the same of the important clusters whose effect the run found to be surest
        (effect_low); strongest_drop, five_clusters_drop, five_effective_drop: what these divide, the random ones as
        null. Intervals resample edges or classes.
        """
        rng = np.random.default_rng(seed)
        edges = self.edges
        rows = [("", "faithfulness", _ranked(edges, rng), len(edges))]
        for layer, table in _parts(edges, "layer"):
            rows.append((layer, "faithfulness", _ranked(table, rng), len(table)))
        strongest = edges.loc[self.random["edge"]]
        says = np.sign(strongest["weight"].to_numpy())
        pairs = np.column_stack([says * strongest["drop"].to_numpy(), self.random["drop"].abs().to_numpy()])
        rows.append(("", "strongest_decile", _bootstrap(pairs, _ratio, rng), len(pairs)))
        rows.append(("", "strongest_drop", _beside(pairs, rng), len(pairs)))
        for measure, table in _parts(self.ablations, "measure"):
            sets = np.column_stack([table["drop"], table["random"].abs()])
            rows.append(("", measure, _bootstrap(sets, _ratio, rng), len(sets)))
            rows.append(("", f"{measure}_drop", _beside(sets, rng), len(sets)))
        columns = ["value", "low", "high", "null", "null_low", "null_high"]
        return pd.DataFrame(
            [
                {"layer": layer, "cluster": -1, "measure": measure, "count": count}
                | dict(zip(columns, (*values, *[np.nan] * 3)[:6], strict=True))
                for layer, measure, values, count in rows
                if count
            ],
            columns=["layer", "cluster", "measure", *columns, "count"],
        )


def measure_faithfulness(
    pictures: Pictures,
    shown: pd.DataFrame,
    claims: Claims,
    lineage: Lineage,
    seed: int = 0,
    class_images: int = 24,
    advance: Callable[[int], object] = lambda _: None,
) -> Faithfulness:
    """Hold a run's edges and important clusters against unseen images.

    pictures: the unseen images; shown: of each its label, as the run's, and the network's output (a column each);
    class_images: so many are drawn of a class at most (of all images four times as many). Of classes with edges and
    unseen images, CLASSES are looked at; advance is called after each. Raises ImagesError when an image cannot be read.

    Time: the network from the source's layer to the target's, for each edge's source, and for each random source beside
    the strongest edges.
    """
    rng = np.random.default_rng(seed)
    strengths = Strengths(pictures.model, claims.layers, claims.reach, pictures)
    own = {name: found for name, found in _class_images(pictures.model, claims, shown).items() if len(found)}
    looked_at = {ALL_IMAGES, *rng.permutation(sorted(own.keys() - {ALL_IMAGES}))[:CLASSES].tolist()}
    chosen = {
        name: np.sort(rng.permutation(found)[: class_images * (1 if name else 4)])
        for name, found in own.items()
        if name in looked_at
    }
    strengths.learn_means(np.unique(np.concatenate([*chosen.values()])))
    interventions = Interventions(strengths, lineage)
    edges = claims.edges.loc[claims.edges["class"].isin([*chosen]), _EDGE].reset_index(drop=True)
    edges["layer"] = [claims.channels(source)[0] for source in edges["source"]]
    outputs: dict[str, list[int]] = {ALL_IMAGES: []}
    outputs |= dict(zip(claims.classes["class"], map(list, claims.classes["outputs"]), strict=True))
    strongest = edges["weight"].abs().nlargest(ceil(DECILE * len(edges))).index
    parts: list[pd.DataFrame] = []
    randoms: list[pd.DataFrame] = []
    for name, table in _parts(edges, "class"):
        pairs = [*zip(table["source"].tolist(), table["target"].tolist(), strict=True)]
        sets = {number: claims.channels(number) for pair in pairs for number in pair if number != CLASS_OUTPUT}
        study = _study(name, sets, chosen[name], outputs[name])
        parts.append(table.assign(drop=_shares(interventions, study, pairs, seed)))
        pairs = [pairs[i] for i in np.flatnonzero(table.index.isin(strongest))]
        study, pairs = _random_study(study, pairs, sets, strengths, rng)
        rows = table.index[table.index.isin(strongest)]
        randoms.append(pd.DataFrame({"edge": rows, "drop": _shares(interventions, study, pairs, seed)}))
        advance(1)
    edges = pd.concat(parts).sort_index() if parts else edges.assign(drop=np.nan)
    random = pd.concat(randoms) if randoms else pd.DataFrame({"edge": [], "drop": []})
    random = random[random["drop"].notna() & edges["drop"].reindex(random["edge"]).notna().to_numpy()]
    return Faithfulness(
        edges[edges["drop"].notna()], random, _ablations(interventions, strengths, claims, chosen, outputs, rng)
    )


def _class_images(model: Model, claims: Claims, shown: pd.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """The unseen images of each class that the run has edges for; for all images, all of them."""
    kinds = dict(zip(claims.classes["class"], claims.classes["kind"], strict=True))
    found = {ALL_IMAGES: np.arange(len(shown))}
    for name in claims.edges["class"].unique():
        if name != ALL_IMAGES:
            found[name] = class_images(shown, name, kinds[name], model.categories)
    return found


def _study(
    name: str,
    sets: Mapping[int, tuple[str, npt.NDArray[np.int64]]],
    images: npt.NDArray[np.int64],
    outputs: list[int],
) -> Study:
    groups: dict[str, dict[int, npt.NDArray[np.int64]]] = {}
    for number, (layer, channels) in sets.items():
        groups.setdefault(layer, {})[number] = channels
    return Study(name, groups, images, outputs)


def _random_study(
    study: Study,
    pairs: Sequence[tuple[int, int]],
    sets: Mapping[int, tuple[str, npt.NDArray[np.int64]]],
    strengths: Strengths,
    rng: np.random.Generator,
) -> tuple[Study, list[tuple[int, int]]]:
    """In place of each pair, one of random sets of neurons of the same layers and sizes, numbered anew."""
    drawn: dict[int, tuple[str, npt.NDArray[np.int64]]] = {}
    instead = []
    for pair in pairs:
        numbers = []
        for number in pair:
            if number != CLASS_OUTPUT:
                layer, channels = sets[number]
                numbers.append(len(drawn))
                drawn[len(drawn)] = layer, strengths.random_set(layer, len(channels), rng)
            else:
                numbers.append(CLASS_OUTPUT)
        instead.append((numbers[0], numbers[1]))
    return _study(study.name, drawn, study.images, study.outputs), instead


def _shares(interventions: Interventions, study: Study, pairs: Sequence[tuple[int, int]], seed: int) -> list[float]:
    """The share of its activation that each pair's target loses without the source; NaN where it has none."""
    if not pairs:
        return []
    drops = interventions.edge_drops(study, pairs)
    found = [share(drops.edges[pair], drops.strengths[pair[1]], seed) for pair in pairs]
    return [np.nan if bounds is None else bounds[0] for bounds in found]


def _ablations(
    interventions: Interventions,
    strengths: Strengths,
    claims: Claims,
    chosen: Mapping[str, npt.NDArray[np.int64]],
    outputs: Mapping[str, list[int]],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """What each class with an output loses without five of its important clusters at once, and without random sets."""
    rows = []
    for name, table in _parts(important(claims.importance, claims.rate), "class"):
        if name not in chosen or not outputs[name]:
            continue
        study = Study(name, {}, chosen[name], outputs[name])
        for measure, best in (
            ("five_clusters", table.nsmallest(IMPORTANT, "rank")),
            ("five_effective", table.nlargest(IMPORTANT, "effect_low")),
        ):
            off: dict[str, npt.NDArray[np.int64]] = {}
            for layer, channels in map(claims.channels, best["cluster"]):
                off[layer] = np.concatenate([off.get(layer, channels[:0]), channels])
            strength, drop = interventions.output_drop(study, [off] * len(study.images))
            if off and sum(strength) > 0:
                random = _random_drop(interventions, strengths, study, off, rng)
                rows.append((measure, name, sum(drop) / sum(strength), random / sum(strength)))
    return pd.DataFrame(rows, columns=["measure", "class", "drop", "random"])


def _random_drop(
    interventions: Interventions,
    strengths: Strengths,
    study: Study,
    off: Mapping[str, npt.NDArray[np.int64]],
    rng: np.random.Generator,
) -> float:
    """What the class's own output loses, summed over its images, without random sets in place of some channels."""

    def drawn() -> dict[str, npt.NDArray[np.int64]]:
        return {layer: strengths.random_set(layer, len(channels), rng) for layer, channels in off.items()}

    rounds = ceil(RANDOM_SETS / len(study.images))
    return float(
        np.mean([sum(interventions.output_drop(study, [drawn() for _ in study.images])[1]) for _ in range(rounds)])
    )


def _parts(table: pd.DataFrame, column: str) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, rows in table.groupby(column, sort=False, observed=True):
        yield str(name), rows


def _ranked(edges: pd.DataFrame, rng: np.random.Generator) -> tuple[float, ...]:
    """The rank correlation of weight and drop."""
    return _bootstrap(edges[["weight", "drop"]].to_numpy(), lambda pairs: rank_correlation(*pairs.T), rng)


def _ratio(pairs: FloatArray) -> float:
    own, beside = pairs.mean(axis=0).tolist()
    return own / beside if beside > 0 else np.nan


def _bootstrap(
    pairs: FloatArray, statistic: Callable[[FloatArray], float], rng: np.random.Generator
) -> tuple[float, ...]:
    """A statistic of the rows of (n, 2), with its bootstrap interval."""
    if not len(pairs):
        return (np.nan,) * 3
    drawn = np.array([statistic(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(_RESAMPLES)])
    return statistic(pairs), *interval(drawn)  # samples of a single edge have no correlation


def _beside(pairs: FloatArray, rng: np.random.Generator) -> tuple[float, ...]:
    """The mean of the first column with its interval, and that of the second."""
    first = _bootstrap(pairs, lambda drawn: float(drawn[:, 0].mean()), rng)
    return *first, *_bootstrap(pairs, lambda drawn: float(drawn[:, 1].mean()), rng)
