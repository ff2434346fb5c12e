"""The records that travel between stages, and the schemas of a run's tables (run format 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

FORMAT = 1
"""Version of the run folder. Columns never change their meaning within a format."""

ALL_IMAGES = ""
"""In place of a class: all images."""
CLASS_OUTPUT = -1
"""In place of a cluster, as the target of influence: the class's own output."""

LEAST_REACH = 1e-3
"""Share of its maximum by which a neuron has to exceed its rest: less is the rounding of a constant."""

Clamp = tuple[float | None, float | None]
"""Bounds (low, high) that a layer's output is clamped to; None where there is none on that side."""

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Site:
    """Where a network can be hooked: a module's path, what its output is clamped to, the layout of that output.

    layout None: to be found out by running the network.
    """

    name: str
    clamp: Clamp | None = None
    layout: str | None = None


@dataclass(frozen=True)
class Layer:
    """One hooked layer.

    name: module path in the model; channels: its neurons; map_height, map_width: cells of its
    activation maps; layout: axes of the module's output (extraction/layouts.py); clamp: what the output
    is clamped to, or None; signed: whether outputs have no rest at zero, as linear bottlenecks and residual
    streams: there active means above the neuron's own mean; receptive_field: side of the theoretical field
    in input pixels, None when unknown or unbounded; example_box: side of the example box in input pixels,
    None before it is measured; parents: names of the hooked layers that it builds on directly (none: on the image),
    None when unknown.
    """

    name: str
    channels: int
    map_height: int
    map_width: int
    layout: str = "BCHW"
    clamp: Clamp | None = None
    signed: bool = False
    receptive_field: int | None = None
    example_box: float | None = None
    parents: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Layer":
        """Read a layer from its JSON object, without what this version does not know."""
        known = {name: entry[name] for name in cls.__dataclass_fields__ if name in entry}
        if known.get("clamp") is not None:
            low, high = known["clamp"]
            known["clamp"] = (None if low is None else float(low), None if high is None else float(high))
        if known.get("parents") is not None:
            known["parents"] = tuple(known["parents"])
        return cls(**known)


@dataclass(frozen=True)
class Skipped:
    """An image file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class TopActivations:
    """The strongest images of every neuron, strongest first.

    activations (N, k) float32, after the layer's clamp; peaks (N, k) float32, before it, so that
    saturated images keep their order; images (N, k) int32, -1 where a neuron is active on fewer than k
    images: there peaks and activations are the neuron's rest; rows, columns (N, k) float32: where the peak
    lies on the activation map, as fractions of its height and width (cell centres).
    """

    activations: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]
    images: npt.NDArray[np.int32]
    rows: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)


def joined(halves: Sequence[TopActivations]) -> TopActivations:
    """Return what is strongest over several sets of images, from the strongest of each: (N, sum of k).

    Complete as far as each set reaches down: entries weaker than the last one kept of another set are left out (image
    -1, with the peak and activation of that one), since of that set as strong ones may be missing.
    """
    fields = {name: np.concatenate([getattr(top, name) for top in halves], axis=1) for name in _TOP_FIELDS}
    floor = np.max([top.peaks[:, -1:] for top in halves], axis=0)
    least = np.max([top.activations[:, -1:] for top in halves], axis=0)
    kept = (fields["images"] >= 0) & (fields["peaks"] >= floor)
    for name, beyond in (("images", -1), ("peaks", floor), ("activations", least)):
        fields[name] = np.where(kept, fields[name], beyond).astype(fields[name].dtype)
    order = np.lexsort((fields["images"], -fields["peaks"], ~kept), axis=1)
    return TopActivations(**{name: np.take_along_axis(values, order, axis=1) for name, values in fields.items()})


_TOP_FIELDS = tuple(TopActivations.__dataclass_fields__)
_ARRAYS = ("maximum", "mean", "rest", "active_fraction", "profile", "profile_images")


@dataclass(frozen=True)
class Extraction:
    """What one pass over the images has kept of a network.

    images: one row per usable image (image, path, label, output, confidence, width, height, half);
    output is the index of the predicted class, half says which seeded half the image belongs to.
    whole: the strongest images over all images; halves: over each half alone; snapshots: over the first
    5, 10, 25 … % (with the number of images behind each). maximum, mean (N,) float32: strongest and mean
    activation (an image's activation is the maximum of its map); rest (N,) float32: the activation that counts as
    none, 0 or, of signed neurons, the mean (the maximum is never less); active_fraction (N,): share of images with
    an activation above rest, of signed neurons among the sampled images. class_means: for each (kind, class) the
    mean activation on its images, (N,) float32. profile (P, N) float16: activations on the sampled images
    profile_images (P,).
    """

    layers: tuple[Layer, ...]
    images: pd.DataFrame
    skipped: tuple[Skipped, ...]
    whole: TopActivations
    halves: tuple[TopActivations, TopActivations]
    snapshots: tuple[tuple[int, TopActivations], ...]
    maximum: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    rest: npt.NDArray[np.float32]
    active_fraction: npt.NDArray[np.float32]
    class_means: Mapping[tuple[str, str], npt.NDArray[np.float32]]
    profile: npt.NDArray[np.float16]
    profile_images: npt.NDArray[np.int32]

    @property
    def reach(self) -> npt.NDArray[np.float32]:
        """How far each neuron's strongest activation lies above its rest (N,); 0 for constant neurons."""
        return reach(self.maximum, self.rest)

    def parts(self) -> dict[str, Any]:
        """Return everything as arrays, tables and JSON; from_parts makes an equal extraction of them."""
        tops = {"whole": self.whole, "half0": self.halves[0], "half1": self.halves[1]}
        tops |= {f"snapshot{i}": top for i, (_, top) in enumerate(self.snapshots)}
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "images": self.images,
            "skipped": [asdict(skipped) for skipped in self.skipped],
            **{f"{name}.{field}": getattr(top, field) for name, top in tops.items() for field in _TOP_FIELDS},
            "seen": [count for count, _ in self.snapshots],
            **{name: getattr(self, name) for name in _ARRAYS},
            "classes": [list(key) for key in self.class_means],
            "class_means": np.stack([*self.class_means.values()]),
        }

    @classmethod
    def from_parts(cls, parts: Mapping[str, Any]) -> "Extraction":
        """Make the extraction that parts() described."""

        def top(name: str) -> TopActivations:
            return TopActivations(*(parts[f"{name}.{field}"] for field in _TOP_FIELDS))

        return cls(
            layers=tuple(Layer.from_json(entry) for entry in parts["layers"]),
            images=parts["images"],
            skipped=tuple(Skipped(**entry) for entry in parts["skipped"]),
            whole=top("whole"),
            halves=(top("half0"), top("half1")),
            snapshots=tuple((count, top(f"snapshot{i}")) for i, count in enumerate(parts["seen"])),
            class_means=dict(zip(map(tuple, parts["classes"]), parts["class_means"], strict=True)),
            **{name: parts[name] for name in _ARRAYS},
        )


def reach(maximum: npt.NDArray[np.float32], rest: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how far neurons' strongest activations lie above their rest; 0 for constant neurons."""
    above = maximum - rest
    return np.where(above > LEAST_REACH * np.abs(maximum), above, np.float32(0))


def important(importance: pd.DataFrame, false_discovery_rate: float) -> pd.DataFrame:
    """Return the rows of an importance table that count as important: above chance, below the false discovery rate."""
    return importance[(importance["q_value"] <= false_discovery_rate) & (importance["score"] > 0.5)]


def with_counts(classes: pd.DataFrame, importance: pd.DataFrame, false_discovery_rate: float) -> pd.DataFrame:
    """Return a table of classes with a column `important`: how many clusters are important for each."""
    counts = important(importance, false_discovery_rate)["class"].value_counts()
    return classes.assign(important=classes["class"].map(counts.to_dict()).fillna(0).astype(np.int32))


def plain(name: str) -> str:
    """Return a name as it is compared with others: a folder `tabby_cat` means the output `Tabby cat`."""
    return name.strip().casefold().replace("_", " ").replace("-", " ")


def layer_slices(layers: Sequence[Layer]) -> dict[str, slice]:
    """Return, for each layer's name, its neurons as a slice of 0 … N-1."""
    ends = np.cumsum([layer.channels for layer in layers]).tolist()
    return {layer.name: slice(end - layer.channels, end) for layer, end in zip(layers, ends, strict=True)}


def cluster_channels(
    layers: Sequence[Layer], cluster: npt.NDArray[np.int32]
) -> dict[int, tuple[str, npt.NDArray[np.int64]]]:
    """Return each cluster's layer and its channels there; -1 are those of the last layer that are in none.

    cluster (N,): every neuron's.
    """
    found = {}
    for layer, own in layer_slices(layers).items():
        order = np.argsort(cluster[own], kind="stable")
        numbers, begins = np.unique(cluster[own][order], return_index=True)
        for number, channels in zip(numbers.tolist(), np.split(order, begins[1:]), strict=True):
            found[number] = layer, channels
    return found


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_int8, _int16, _int32, _float32, _string = pa.int8(), pa.int16(), pa.int32(), pa.float32(), pa.string()

SCHEMAS: dict[str, pa.Schema] = {
    "neurons": _schema(
        neuron=_int32, layer=_string, channel=_int32, cluster=_int32, x=_float32, y=_float32,
        max_activation=_float32, mean_activation=_float32, active_fraction=_float32,
    ),
    "examples": _schema(
        neuron=_int32, rank=_int16, half=_int8, image=_int32, activation=_float32,
        x0=_float32, y0=_float32, x1=_float32, y1=_float32,
    ),
    "images": _schema(
        image=_int32, path=_string, label=_string, prediction=_string, confidence=_float32,
        width=_int32, height=_int32,
    ),
    "classes": pa.schema(
        [
            pa.field("class", _string), pa.field("kind", _string),
            pa.field("outputs", pa.list_(_int32)), pa.field("images", _int32),
        ]
    ),
    "clusters": _schema(cluster=_int32, layer=_string, size=_int32, label=_string),
    "importance": pa.schema(
        [
            pa.field("class", _string), pa.field("cluster", _int32), pa.field("score", _float32),
            pa.field("q_value", _float32), pa.field("rank", _int32), pa.field("effect", _float32),
        ]
    ),
    "influence": pa.schema(
        [
            pa.field("class", _string), pa.field("source", _int32), pa.field("target", _int32),
            pa.field("weight", _float32), pa.field("low", _float32), pa.field("high", _float32),
        ]
    ),
}  # fmt: skip
"""Columns that every run has; tables may carry more behind them."""

MEASURES = _schema(
    layer=_string, cluster=_int32, measure=_string, value=_float32, low=_float32, high=_float32,
    null=_float32, null_low=_float32, null_high=_float32, count=_int32,
)  # fmt: skip
"""What was measured of a run, a layer or a cluster: layer "" is the whole run, cluster -1 none.

low, high: central 95 % bootstrap interval; null: the same for random groups of the same sizes and layer, null_low and
null_high its central 95 %; count: draws or pairs behind it. NaN where there is none.
"""

LATER_SCHEMAS: dict[str, pa.Schema] = {
    "confusions": _schema(
        label=_string, prediction=_string, against=_string, sampled=_int32, others=_int32,
        cluster=_int32, score=_float32, q_value=_float32, rank=_int32,
    ),
    "quality": MEASURES,
}  # fmt: skip
"""The same of tables that format 1 has gained since: older runs lack them."""

PREVIEWS = _schema(image=_int32, webp=pa.binary())
"""previews/previews.parquet: one small whole image (long side 224 pixels) for each image with an example."""
