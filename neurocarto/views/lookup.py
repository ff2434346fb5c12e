"""What the views look up in a run again and again, indexed once."""

from collections import namedtuple
from collections.abc import Iterator
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from neurocarto.errors import NamesError
from neurocarto.records import ALL_IMAGES, layer_slices
from neurocarto.runs.names import Names
from neurocarto.runs.names import read as read_names
from neurocarto.runs.store import Run
from neurocarto.views.scorecard import Scorecard

CLASS_MEANS = "class_means.npy"
KEPT_CLASSES = 64
"""Classes whose clusters and edges stay in memory, some 100 kB each where neurons are 100,000."""
IMPORTANT_COLUMNS = ["class", "cluster", "score", "q_value", "effect"]
BoolArray = npt.NDArray[np.bool_]


def table_rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Iterate over a table's rows, each with its columns as attributes.

    As itertuples, which makes a new class at every call: for the few rows of one card that takes most of the time.
    """
    row = _row_type(tuple(frame.columns))
    yield from map(row._make, zip(*(frame[name].tolist() for name in frame), strict=True))


@cache
def _row_type(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", columns, rename=True)


class Lookup:
    """Indices over one run. Read only, shared between sessions; nothing is computed before it is needed.

    names: what people call the clusters. Each session may see others, so they alone lie outside of what is shared.
    """

    __slots__ = ("__dict__", "names")

    def __init__(self, run: Run) -> None:
        self.names = Names()
        self.run = run
        self.scorecard = Scorecard(run)
        self._important = lru_cache(KEPT_CLASSES)(self._read_important)
        self._edges = lru_cache(KEPT_CLASSES)(self._read_edges)

    @classmethod
    def with_names(cls, run: Run) -> "Lookup":
        """Return the indices of a run under the names that lie beside it; without them where these are damaged."""
        lookup = cls(run)
        try:
            return lookup.named(read_names(run.folder, run.manifest.run_id))
        except NamesError:
            return lookup

    def named(self, names: Names) -> "Lookup":
        """Return the same indices under other names of clusters: whatever either computes, both have."""
        other = Lookup.__new__(Lookup)
        other.__dict__ = self.__dict__
        other.names = names
        return other

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, from the image to the class."""
        return tuple(layer.name for layer in self.run.manifest.layers)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """How many layers lie, by the longest way, between the image and each layer; branches side by side share some.

        Where it is unknown on which others a layer builds, each layer has a level of its own.
        """
        layers = self.run.manifest.layers
        if any(layer.parents is None for layer in layers):
            return tuple(range(len(layers)))
        levels: dict[str, int] = {}
        for layer in layers:  # in the order in which they run
            levels[layer.name] = max(
                (levels[parent] + 1 for parent in layer.parents or () if parent in levels), default=0
            )
        return tuple(levels[layer.name] for layer in layers)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the run's order."""
        return tuple(dict.fromkeys(self.run.classes["class"]))

    @cached_property
    def neuron_layer(self) -> npt.NDArray[np.int32]:
        """Index of each neuron's layer (N,)."""
        codes = np.empty(len(self.run.neurons), np.int32)
        for index, rows in enumerate(layer_slices(self.run.manifest.layers).values()):
            codes[rows] = index
        return codes

    @cached_property
    def neuron_cluster(self) -> npt.NDArray[np.int32]:
        """Cluster of each neuron (N,), -1 for none."""
        return self.run.neurons["cluster"].to_numpy(np.int32)

    @cached_property
    def places(self) -> npt.NDArray[np.float32]:
        """Places on the map (N, 2), NaN for neurons that never fired or fired alike on all images."""
        return self.run.neurons[["x", "y"]].to_numpy(np.float32)

    @cached_property
    def silent(self) -> BoolArray:
        """Neurons without a place on the map (N,)."""
        return np.isnan(self.places[:, 0]) | np.isnan(self.places[:, 1])

    @cached_property
    def clusters(self) -> pd.DataFrame:
        """The clusters' table, indexed by cluster."""
        return self.run.clusters.set_index("cluster")

    @cached_property
    def images(self) -> pd.DataFrame:
        """The images' table, indexed by image."""
        return self.run.images.set_index("image")

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Every pair of an image's label and what the network says of it."""
        known = self.run.images[["label", "prediction"]].dropna().drop_duplicates()
        return frozenset(zip(known["label"], known["prediction"], strict=True))

    @cached_property
    def cluster_layer(self) -> dict[int, int]:
        """Index of the layer of each cluster."""
        codes = {name: index for index, name in enumerate(self.layers)}
        ids = self.run.clusters["cluster"].tolist()
        return {cluster: codes[layer] for cluster, layer in zip(ids, self.run.clusters["layer"], strict=True)}

    @cached_property
    def _by_cluster(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        strength = -self.run.neurons["max_activation"].to_numpy()
        order = np.lexsort((strength, self.neuron_cluster))
        return order, self.neuron_cluster[order]

    def members(self, cluster: int) -> npt.NDArray[np.int64]:
        """Return a cluster's neurons, the most strongly activated first."""
        order, clusters = self._by_cluster
        return order[slice(*np.searchsorted(clusters, np.array([cluster, cluster + 1], clusters.dtype)))]

    def label(self, cluster: int) -> str:
        """Return how a cluster is called: people's name and the computed label, or the latter alone."""
        return " · ".join(dict.fromkeys((self.short_label(cluster), self.labels[cluster])))

    def short_label(self, cluster: int) -> str:
        """Return people's name of a cluster, or the computed label where it has none: where there is no room."""
        return self.names.given.get(cluster, self.labels[cluster])

    @cached_property
    def labels(self) -> dict[int, str]:
        """The clusters' computed labels, in the order of their table; the number of one that has none."""
        table = self.run.clusters
        return {
            cluster: label if isinstance(label, str) and label.strip() else f"cluster {cluster}"
            for cluster, label in zip(table["cluster"].tolist(), table["label"].tolist(), strict=True)
        }

    def neuron_name(self, neuron: int) -> str:
        """Return `layer/channel`, the name by which anyone can find the neuron in the model."""
        return f"{self.layers[self.neuron_layer[neuron]]}/{self.run.neurons['channel'].iat[neuron]}"

    @cached_property
    def _example_begins(self) -> npt.NDArray[np.int64]:
        """Where each neuron's rows begin in the table of examples (N + 1,), which is ordered by neuron."""
        neurons = self.run.examples["neuron"].to_numpy()
        return np.searchsorted(neurons, np.arange(len(self.neuron_cluster) + 1, dtype=neurons.dtype))

    @cached_property
    def _example_images(self) -> npt.NDArray[np.int32]:
        return self.run.examples["image"].to_numpy()

    @cached_property
    def _example_halves(self) -> npt.NDArray[np.int8]:
        return self.run.examples["half"].to_numpy()

    @cached_property
    def _example_ranks(self) -> npt.NDArray[np.int16]:
        return self.run.examples["rank"].to_numpy()

    @cached_property
    def _example_activations(self) -> npt.NDArray[np.float32]:
        return self.run.examples["activation"].to_numpy()

    def examples(self, neuron: int, count: int, half: int | None = None) -> pd.DataFrame:
        """Return a neuron's strongest example patches, of one half of the images or of both, strongest first."""
        return self.run.examples.take(self._strongest_rows(neuron, count, half))

    def example_counts(self, half: int | None = None) -> npt.NDArray[np.int64]:
        """Return how many example patches each neuron has (N,), of one half of the images or of both."""
        table = self.run.examples
        rows = table["neuron"] if half is None else table.loc[table["half"] == half, "neuron"]
        return np.bincount(rows.to_numpy(), minlength=len(self.neuron_cluster))

    def cluster_examples(self, cluster: int, count: int, depth: int = 8) -> pd.DataFrame:
        """Return the patches that speak best for a cluster, one per image.

        Images that most members respond to come first, then the stronger ones; each patch is cut where
        the member with the strongest activation fires. `depth` examples of each member are considered.
        """
        members = self.members(cluster)[:32].tolist()
        rows = np.concatenate([np.empty(0, np.int64), *(self._strongest_rows(neuron, depth) for neuron in members)])
        images = self._example_images[rows]
        _, inverse, counts = np.unique(images, return_inverse=True, return_counts=True)
        rows = rows[np.lexsort((-self._example_activations[rows], -counts[inverse]))]
        _, first = np.unique(self._example_images[rows], return_index=True)
        return self.run.examples.take(rows[np.sort(first)[:count]])

    def _strongest_rows(self, neuron: int, count: int, half: int | None = None) -> npt.NDArray[np.int64]:
        """The strongest of one half or both. Where a clamp makes activations equal, the halves take turns by rank."""
        begin, end = self._example_begins[neuron : neuron + 2]
        if half is not None:  # a neuron's rows are ordered by half
            begin, end = begin + np.searchsorted(self._example_halves[begin:end], [half, half + 1])
        ranks, activations = self._example_ranks[begin:end], self._example_activations[begin:end]
        rows: npt.NDArray[np.int64] = begin + np.lexsort((ranks, -activations))[:count]
        return rows

    def mean_activation(self, neuron: int) -> float:
        """Return a neuron's mean activation over all images."""
        return float(self.run.neurons["mean_activation"].to_numpy()[neuron])

    @cached_property
    def _directions(self) -> npt.NDArray[np.float32]:
        """The embedding with every neuron at distance 1; 0 where a neuron has no place."""
        vectors = np.asarray(self.run.embedding, np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        directions: npt.NDArray[np.float32] = np.divide(
            vectors, length, out=np.zeros_like(vectors), where=(length > 0) & ~self.silent[:, None]
        )
        return directions

    def related(self, neuron: int, count: int = 10) -> list[tuple[int, float]]:
        """Return the neurons nearest to one in the embedding, with their cosine, nearest first.

        None where the neuron has no place. Time: one product with the whole embedding.
        """
        closeness = self._directions @ self._directions[neuron]
        closeness[neuron] = -np.inf
        nearest = np.argpartition(-closeness, min(count, len(closeness) - 1))[:count]
        order = nearest[np.lexsort((nearest, -closeness[nearest]))]
        return [(int(i), float(closeness[i])) for i in order if closeness[i] > 0]

    def driving_classes(self, neuron: int, count: int = 5) -> list[tuple[str, float]]:
        """Return the classes on whose images a neuron fires most, with its mean activation there, highest first.

        Only classes above the neuron's mean over all images; none where the run does not hold means by class.
        """
        if CLASS_MEANS not in self.run.manifest.files:
            return []
        means = self.run.column("class_means", neuron)
        names = self.run.classes["class"].to_numpy()
        overall = self.mean_activation(neuron)
        best = np.argsort(-means, kind="stable")[:count]
        return [(str(names[i]), float(means[i])) for i in best if means[i] > overall]

    def needed_by(self, cluster: int) -> pd.DataFrame:
        """Return the classes for which a cluster is important (class, score, q_value, effect), best first."""
        table = self.all_important
        rows: pd.DataFrame = table[table["cluster"].to_numpy() == cluster]
        return rows.sort_values("score", ascending=False, kind="stable")

    def important(self, class_: str) -> pd.DataFrame:
        """Return a class's important clusters (class, cluster, score, q_value, effect), best first.

        Important: the q-value is within the run's false discovery rate and the score is above chance.
        """
        return self._important(class_)

    def _read_important(self, class_: str) -> pd.DataFrame:
        where = self._is_important & (pc.field("class") == class_)
        rows = self.run.rows("importance", where, [*IMPORTANT_COLUMNS, "rank"])
        return rows.sort_values("rank", kind="stable", ignore_index=True).drop(columns="rank")

    @cached_property
    def all_important(self) -> pd.DataFrame:
        """Every class's important clusters (class, cluster, score, q_value, effect).

        The table holds every cluster for every class: reading it through takes half a second for 12 million rows, so
        this is for what concerns all classes.
        """
        return self.run.rows("importance", self._is_important, IMPORTANT_COLUMNS)

    @cached_property
    def important_counts(self) -> dict[str, int]:
        """How many clusters are important for each class."""
        if "important" in self.run.classes:
            return dict(zip(self.run.classes["class"], self.run.classes["important"].tolist(), strict=True))
        counts = self.all_important["class"].value_counts()
        return {name: int(counts.get(name, 0)) for name in self.classes}

    @cached_property
    def _is_important(self) -> pc.Expression:
        """As `records.important`, and as float32, as stored: in double precision the rate itself can lie below it."""
        rate = float(self.run.manifest.settings.get("false_discovery_rate", 0.05))
        return (pc.field("q_value") <= pa.scalar(rate, pa.float32())) & (pc.field("score") > 0.5)

    @cached_property
    def class_kinds(self) -> dict[str, str]:
        """Where each class comes from: `label` or `prediction`."""
        return dict(zip(self.run.classes["class"], self.run.classes["kind"], strict=True))

    @cached_property
    def outputs(self) -> dict[str, int]:
        """How many of the network's outputs mean each class."""
        return {
            name: len(own) for name, own in zip(self.run.classes["class"], self.run.classes["outputs"], strict=True)
        }

    def effect(self, class_: str, cluster: int) -> dict[str, float]:
        """Return what was measured of a cluster's effect on a class's output: the columns effect… of importance.

        Empty where it was not measured; without effect_null… where it does not stand beside random sets.
        """
        columns = [name for name in self.run.schema("importance").names if name.startswith("effect")]
        where = (pc.field("class") == class_) & (pc.field("cluster") == cluster)
        rows = self.run.rows("importance", where, columns)
        return {name: float(rows[name].iloc[0]) for name in columns if len(rows) and pd.notna(rows[name].iloc[0])}

    def has_output(self, class_: str) -> bool:
        """Return whether influence on the class's own output is known."""
        return class_ in self._with_output

    @cached_property
    def _with_output(self) -> frozenset[str]:
        return frozenset(self.run.rows("influence", pc.field("target") < 0, ["class"])["class"])

    def edges(self, class_: str) -> pd.DataFrame:
        """Return the influence edges of a class (source, target, weight, low, high)."""
        return self._edges(class_)

    def _read_edges(self, class_: str) -> pd.DataFrame:
        return self.run.rows("influence", pc.field("class") == class_, ["source", "target", "weight", "low", "high"])

    def measured_for(self, cluster: int) -> list[str]:
        """Return the classes for which a cluster's influence was measured, in either direction; "" for all images."""
        touched = (pc.field("source") == cluster) | (pc.field("target") == cluster)
        return list(dict.fromkeys(self.run.rows("influence", touched, ["class"])["class"]))

    def importances(self, class_: str) -> dict[int, float]:
        """Return the clusters that matter for a class with their importance as it is shown, the most important first.

        For a class the score (AUC, above 0.5); for all images the relative influence (0…1) of `strengths`.
        """
        if class_ == ALL_IMAGES:
            return self.strengths(ALL_IMAGES)
        rows = self.important(class_)
        return dict(zip(rows["cluster"].tolist(), rows["score"].tolist(), strict=True))

    def strengths(self, class_: str) -> dict[int, float]:
        """Return the clusters that matter for a class with their strength in 0…1, strongest first.

        For a class, strength is 2 × (score - 0.5) of its important clusters. For all images, it is the
        summed absolute influence on later layers and from earlier ones, relative to the layer's
        highest; of equals, those in later layers come first.
        """
        if class_ != ALL_IMAGES:
            rows = self.important(class_)
            return dict(zip(rows["cluster"].tolist(), (2 * rows["score"] - 1).clip(0, 1).tolist(), strict=True))
        edges = self.edges(ALL_IMAGES)
        weight = edges["weight"].abs()
        total = weight.groupby(edges["source"]).sum().add(weight.groupby(edges["target"]).sum(), fill_value=0)
        total = total[total.index >= 0]
        layer = pd.Series(total.index.map(self.cluster_layer), index=total.index)
        relative = (total / total.groupby(layer).transform("max")).fillna(0.0)
        order = np.lexsort((-layer.to_numpy(), -relative.to_numpy()))
        return dict(zip(relative.index[order].tolist(), relative.iloc[order].tolist(), strict=True))
