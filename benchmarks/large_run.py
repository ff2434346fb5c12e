"""A seeded run of any size with planted content, written without loops over its rows.

Every table is as long as a real run of that size would make it: importance holds every cluster for every class.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT, FloatArray, IntArray, Layer
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.store import write_run
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings

PICTURE = 200
"""Side of the original images, in pixels."""
IMPORTANT = 0.12
"""Share of the clusters that are important for a class: as in the demo."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Size:
    """How large a run is.

    cluster: neurons per cluster on average; examples: patches per neuron and half; edges: clusters per layer and
    class that influence connects; dimensions: of the embedding.
    """

    neurons: int
    classes: int
    layers: int
    images: int = 2_000
    cluster: int = 8
    examples: int = 5
    edges: int = 8
    dimensions: int = 30

    @property
    def channels(self) -> int:
        """Neurons of each layer."""
        return self.neurons // self.layers


MEDIUM = Size(neurons=20_000, classes=20, layers=10)
LARGE = Size(neurons=100_000, classes=1_000, layers=20)


def write_large_run(out: Path, size: Size, seed: int = 0) -> Path:
    """Write a run of a size: neurons of a cluster are neighbours in their layer and on the map.

    Some 4 % of the neurons are in no cluster, and the last of every layer never fired.
    """
    rng = np.random.default_rng(seed)
    layers = tuple(
        Layer(f"block{i}.norm", size.channels, 7, 7, clamp=(0.0, 6.0), receptive_field=32 * (i + 1), example_box=56.0)
        for i in range(size.layers)
    )
    cluster, cluster_layer = _clusters(size, rng)
    centres = rng.normal(size=(len(cluster_layer) + 1, 2)) * 5
    places = (centres[cluster] + rng.normal(size=(size.neurons, 2)) * 0.15).astype(np.float32)
    dead = np.arange(size.channels - 1, size.neurons, size.channels)
    places[dead] = np.nan
    names = [layer.name for layer in layers]
    classes = [f"class {i:04}" for i in range(size.classes)]
    importance = _importance(classes, len(cluster_layer), rng)
    motion = np.linspace(2, 0, len(SNAPSHOT_FRACTIONS))[:, None, None] * rng.normal(size=(size.neurons, 2))
    noise = rng.normal(size=(size.neurons, size.dimensions // 2 * 2))
    manifest = Manifest(
        run_id=f"large{size.neurons}x{size.classes}s{seed}",
        created="2026-01-01T00:00:00+00:00",
        version="0",
        settings=RunSettings(seed=seed).as_dict(),
        model={"name": "synthetic", "source": "benchmarks", "weights_sha256": "0" * 64, "preprocessing": {}},
        images={"source": "nowhere", "fingerprint": "0" * 64, "count": size.images, "skipped": []},
        layers=layers,
        packages={},
        seconds={},
        snapshots=SNAPSHOT_FRACTIONS,
        influence={"method": "gradient"},
    )
    return write_run(
        out,
        manifest,
        {
            "neurons": _neurons(size, names, cluster, places, dead, rng),
            "examples": _examples(size, np.setdiff1d(np.arange(size.neurons), dead), rng),
            "images": _images(size, classes, rng),
            "classes": pd.DataFrame(
                {
                    "class": classes,
                    "kind": "label",
                    "outputs": [[i] for i in range(size.classes)],
                    "images": size.images // size.classes,
                    "important": np.int32(np.ceil(len(cluster_layer) * IMPORTANT)),
                }
            ),
            "clusters": _cluster_table(names, classes, cluster, cluster_layer, rng),
            "importance": importance,
            "influence": _influence(size, classes, importance, cluster_layer, rng),
        },
        {
            "embedding": (centres[cluster].repeat(size.dimensions // 2, axis=1) + noise).astype(np.float32),
            "snapshots": (places + motion).astype(np.float32),
            "class_means": rng.uniform(0, 3, (size.classes, size.neurons)).astype(np.float32),
        },
        ((i, _picture(rng)) for i in range(size.images)),
    )


def _clusters(size: Size, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Cluster of each neuron (N,), -1 for none, and layer of each cluster."""
    cluster, first = np.full(size.neurons, -1, np.int32), 0
    layers: list[IntArray] = []
    for layer in range(size.layers):
        sizes = rng.integers(size.cluster // 2, size.cluster * 3 // 2 + 1, size.channels // size.cluster)
        sizes = sizes[np.cumsum(sizes) <= size.channels * 0.96]
        begin = layer * size.channels
        cluster[begin : begin + sizes.sum()] = np.repeat(np.arange(first, first + len(sizes)), sizes)
        layers.append(np.full(len(sizes), layer))
        first += len(sizes)
    return cluster, np.concatenate(layers)


def _neurons(
    size: Size, names: list[str], cluster: IntArray, places: Floats, dead: IntArray, rng: np.random.Generator
) -> pd.DataFrame:
    measured = {
        name: rng.uniform(low, high, size.neurons)
        for name, low, high in (("max_activation", 3, 6), ("mean_activation", 0.1, 1), ("active_fraction", 0.1, 1))
    }
    for values in measured.values():
        values[dead] = 0.0
    return pd.DataFrame(
        {
            "neuron": np.arange(size.neurons),
            "layer": np.repeat(names, size.channels),
            "channel": np.tile(np.arange(size.channels), size.layers),
            "cluster": cluster,
            "x": places[:, 0],
            "y": places[:, 1],
            **measured,
        }
    )


def _examples(size: Size, alive: IntArray, rng: np.random.Generator) -> pd.DataFrame:
    each, rows = 2 * size.examples, len(alive) * 2 * size.examples
    # Steps through the images that share no factor with their number: no neuron shows an image twice.
    steps = np.array([step for step in range(1, size.images) if np.gcd(step, size.images) == 1])
    start, step = rng.integers(size.images, size=(len(alive), 1)), rng.choice(steps, (len(alive), 1))
    corners = rng.uniform(-10, PICTURE - 50, (2, rows)).astype(np.float32)
    return pd.DataFrame(
        {
            "neuron": alive.repeat(each),
            "rank": np.tile(np.arange(size.examples), 2 * len(alive)),
            "half": np.tile(np.repeat([0, 1], size.examples), len(alive)),
            "image": ((start + step * np.arange(each)) % size.images).ravel(),
            "activation": np.tile(np.linspace(6, 1, size.examples), 2 * len(alive)),
            "x0": corners[0],
            "y0": corners[1],
            "x1": corners[0] + 56,
            "y1": corners[1] + 56,
        }
    )


def _images(size: Size, classes: list[str], rng: np.random.Generator) -> pd.DataFrame:
    image = np.arange(size.images)
    names = np.array(classes)
    return pd.DataFrame(
        {
            "image": image,
            "path": [f"{names[i % size.classes]}/picture {i}.png" for i in image],
            "label": names[image % size.classes],
            "prediction": names[(image + image % 7 // 6) % size.classes],
            "confidence": rng.uniform(0.3, 1, size.images),
            "width": PICTURE,
            "height": PICTURE,
        }
    )


def _cluster_table(
    names: list[str], classes: list[str], cluster: IntArray, cluster_layer: IntArray, rng: np.random.Generator
) -> pd.DataFrame:
    ids = np.arange(len(cluster_layer))
    return pd.DataFrame(
        {
            "cluster": ids,
            "layer": np.array(names)[cluster_layer],
            "size": np.bincount(cluster[cluster >= 0], minlength=len(ids)),
            "label": [f"{classes[i % len(classes)]} 12/20" for i in ids],
            "evidence": "[]",
            "similarity": rng.uniform(0.3, 0.9, len(ids)),
            "peak_agreement": rng.uniform(0.3, 0.9, len(ids)),
        }
    )


def _importance(classes: list[str], clusters: int, rng: np.random.Generator) -> pd.DataFrame:
    """Every cluster for every class, best first within a class."""
    best_first = np.linspace(0.99, 0.2, clusters, dtype=np.float32)
    q_value = np.where(np.arange(clusters) < clusters * IMPORTANT, 0.01, 0.6).astype(np.float32)
    order = rng.permuted(np.tile(np.arange(clusters, dtype=np.int32), (len(classes), 1)), axis=1)
    return pd.DataFrame(
        {
            "class": pd.Categorical.from_codes(np.arange(len(classes)).repeat(clusters), pd.Index(classes)),
            "cluster": order.ravel(),
            "score": np.tile(best_first, len(classes)) + rng.normal(0, 1e-5, order.size).astype(np.float32),
            "q_value": np.tile(q_value, len(classes)),
            "rank": np.tile(np.arange(clusters, dtype=np.int32), len(classes)),
            "effect": np.float32("nan"),
        }
    )


def _influence(
    size: Size, classes: list[str], importance: pd.DataFrame, cluster_layer: IntArray, rng: np.random.Generator
) -> pd.DataFrame:
    """Edges among each class's most important clusters of successive layers, and from the last layer to its output."""
    order = importance["cluster"].to_numpy().reshape(len(classes), -1)
    parts = []
    for name, ranked in zip((ALL_IMAGES, *classes), (order[0], *order), strict=True):
        ranked_layer = cluster_layer[ranked]
        top = np.stack([ranked[ranked_layer == layer][: size.edges] for layer in range(size.layers)])
        pairs = [np.stack(np.meshgrid(a, b), -1).reshape(-1, 2) for a, b in zip(top[:-1], top[1:], strict=True)]
        if name != ALL_IMAGES:
            pairs.append(np.stack([top[-1], np.full(size.edges, CLASS_OUTPUT)], axis=1))
        parts.append(np.concatenate(pairs))
    edges, names = np.concatenate(parts), (ALL_IMAGES, *classes)
    weight: FloatArray = rng.normal(0, 0.1, len(edges))
    return pd.DataFrame(
        {
            "class": pd.Categorical.from_codes(np.arange(len(names)).repeat([*map(len, parts)]), pd.Index(names)),
            "source": edges[:, 0],
            "target": edges[:, 1],
            "weight": weight,
            "low": weight - 0.05,
            "high": weight + 0.05,
        }
    )


def _picture(rng: np.random.Generator) -> bytes:
    colours = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "webp", quality=75, method=0)
    return buffer.getvalue()
