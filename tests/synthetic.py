"""A small run with planted content, for tests of everything that reads runs."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from neurocarto.records import LATER_SCHEMAS, MEASURES, Layer, layer_slices
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.store import SCORES, write_run
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings

CLASSES = ("birds", "fish", '<b>tools & "signs"</b>')


def write_synthetic_run(
    out: Path,
    *,
    layers: int = 3,
    channels: int = 40,
    images: int = 30,
    classes: tuple[str, ...] = CLASSES,
    cluster_size: int = 4,
    examples: int = 5,
    seed: int = 0,
    quality: bool = True,
    judges: tuple[str, ...] = (),
    halves: bool = False,
) -> Path:
    """Write a run of `layers` × `channels` neurons whose clusters are consecutive channels.

    The last tenth of every layer belongs to no cluster; the very last neuron of a layer never fired,
    so it has no example and no place on the map. quality: whether it holds measures of itself; judges: names of those
    whose scorecards lie beside it, in which every third cluster is solid, tentative, or not above chance; halves:
    whether it keeps the clusters of each half of its images: with every second one, and numbered from the last.
    """
    rng = np.random.default_rng(seed)
    layer_records = tuple(
        Layer(
            f"block{i}",
            channels,
            7,
            7,
            clamp=(0.0, 6.0),
            receptive_field=32 * (i + 1),
            example_box=56.0,
            parents=(f"block{i - 1}",) if i else (),
        )
        for i in range(layers)
    )
    count, per_layer = layers * channels, (channels - max(1, channels // 10)) // cluster_size
    cluster = np.full(count, -1, np.int32)
    for i in range(layers):
        start = i * channels
        cluster[start : start + per_layer * cluster_size] = np.repeat(
            np.arange(per_layer) + i * per_layer, cluster_size
        )
    dead = np.arange(channels - 1, count, channels)
    centres = rng.normal(size=(layers * per_layer + 1, 2)) * 5
    places = (centres[cluster] + rng.normal(size=(count, 2)) * 0.3).astype(np.float32)
    places[dead] = np.nan
    neurons = pd.DataFrame(
        {
            "neuron": np.arange(count),
            "layer": np.concatenate([[layer.name] * channels for layer in layer_records]),
            "channel": np.tile(np.arange(channels), layers),
            "cluster": cluster,
            "x": places[:, 0],
            "y": places[:, 1],
            "max_activation": rng.uniform(3, 6, count),
            "mean_activation": rng.uniform(0.1, 1, count),
            "active_fraction": rng.uniform(0.1, 1, count),
        }
    )
    if halves:
        for half in (0, 1):
            neurons[f"cluster_half{half}"] = np.where(cluster % 2 == half, cluster.max() - cluster, -1).astype(np.int32)
    neurons.loc[dead, ["max_activation", "mean_activation", "active_fraction"]] = 0.0
    alive = np.setdiff1d(np.arange(count), dead)
    pictures = np.stack([rng.permutation(images)[: 2 * examples] for _ in alive])
    corner = rng.uniform(-10, 150, (alive.size, 2 * examples, 2))
    example_table = pd.DataFrame(
        {
            "neuron": np.repeat(alive, 2 * examples),
            "rank": np.tile(np.tile(np.arange(examples), 2), alive.size),
            "half": np.tile(np.repeat([0, 1], examples), alive.size),
            "image": pictures.ravel(),
            "activation": np.tile(np.tile(np.linspace(6, 1, examples), 2), alive.size),
            "x0": corner[..., 0].ravel(),
            "y0": corner[..., 1].ravel(),
            "x1": corner[..., 0].ravel() + 56,
            "y1": corner[..., 1].ravel() + 56,
        }
    )
    labels = [classes[i % len(classes)] for i in range(images)]
    image_table = pd.DataFrame(
        {
            "image": np.arange(images),
            "path": [f"{label}/picture {i}.png" for i, label in enumerate(labels)],
            "label": labels,
            "prediction": [classes[(i + i // 7) % len(classes)] for i in range(images)],
            "confidence": rng.uniform(0.3, 1, images),
            "width": 200,
            "height": 200,
        }
    )
    class_table = pd.DataFrame(
        {
            "class": list(classes),
            "kind": "label",
            "outputs": [[i] if i != 1 else [] for i in range(len(classes))],
            "images": [labels.count(name) for name in classes],
        }
    )
    ids = np.arange(layers * per_layer)
    cluster_layer = ids // per_layer
    cluster_table = pd.DataFrame(
        {
            "cluster": ids,
            "layer": [layer_records[i].name for i in cluster_layer],
            "size": cluster_size,
            "label": [f"{classes[i % len(classes)]} 12/20" for i in ids],
            "evidence": ["[]"] * len(ids),
            "similarity": rng.uniform(0.3, 0.9, len(ids)),
            "peak_agreement": rng.uniform(0.3, 0.9, len(ids)),
        }
    )
    importance = []
    for name in classes:
        score = rng.permutation(np.linspace(0.4, 0.99, len(ids)))
        importance.append(
            pd.DataFrame(
                {
                    "class": name,
                    "cluster": ids,
                    "score": score,
                    "q_value": np.where(score > 0.7, 0.01, 0.6),
                    "rank": (-score).argsort().argsort(),
                }
            ).sort_values("rank")
        )
    edges = []
    for name in ("", *classes):
        for i in range(layers - 1):
            for source in ids[cluster_layer == i]:
                for target in ids[cluster_layer == i + 1]:
                    weight = rng.normal() * 0.1
                    edges.append((name, source, target, weight, weight - 0.05, weight + 0.05))
        if name and name != classes[1]:
            edges += [(name, source, -1, 0.1, 0.05, 0.15) for source in ids[cluster_layer == layers - 1][:4]]
    manifest = Manifest(
        run_id=f"synthetic{seed}",
        created="2026-01-01T00:00:00+00:00",
        version="0",
        settings=RunSettings(seed=seed, threads=1).as_dict(),
        model={"name": "synthetic", "source": "tests", "weights_sha256": "0" * 64, "preprocessing": {"size": 224}},
        images={"source": "nowhere", "fingerprint": "0" * 64, "count": images, "skipped": []},
        layers=layer_records,
        packages={},
        seconds={"extraction": 1.0},
        snapshots=SNAPSHOT_FRACTIONS,
        influence={"method": "gradient"},
    )
    assert layer_slices(layer_records)
    wobble = np.linspace(2, 0, len(SNAPSHOT_FRACTIONS))[:, None, None] * rng.normal(size=(count, 2))
    levels = [layer.name for layer in layer_records]
    later = {"quality": _measures(cluster_table, levels, _OWN, seed)} if quality else {}
    write_run(
        out,
        manifest,
        {
            **later,
            "neurons": neurons,
            "examples": example_table,
            "images": image_table,
            "classes": class_table,
            "clusters": cluster_table,
            "importance": _with_effects(pd.concat(importance), class_table, np.random.default_rng([seed, 2])),
            "influence": pd.DataFrame(edges, columns=["class", "source", "target", "weight", "low", "high"]),
            "confusions": _confusions(image_table, class_table, ids, np.random.default_rng([seed, 1])),
        },
        {
            "embedding": rng.normal(size=(count, 8)).astype(np.float32) + centres[cluster].repeat(4, axis=1),
            "snapshots": (places + wobble).astype(np.float32),
            "class_means": rng.uniform(0, 2, (len(classes), count)).astype(np.float32),
        },
        ((i, _picture(rng)) for i in range(images)),
    )
    for number, judge in enumerate(judges):
        write_scores(out, judge, _measures(cluster_table, levels, _JUDGED, seed + number + 1))
    return out


_OWN = {
    "peak_agreement": (0.5, 0.16), "coverage": (0.6, np.nan), "size": (4, np.nan), "largest": (0.1, np.nan),
    "stability_seeds": (0.93, 0.0), "stability_halves": (0.55, 0.01), "lift@10": (3.6, 1.0),
    "trustworthiness": (0.93, 0.5), "false_discoveries": (0.03, np.nan),
}  # fmt: skip
_JUDGED = {
    "intruder": (0.7, 0.25), "intruder_distinct": (0.6, 0.25), "coherence": (0.6, 0.4), "faithfulness": (0.75, 0.0),
    "strongest_decile": (6.5, 1.0), "five_clusters": (7.2, np.nan), "five_effective": (9.1, np.nan),
}  # fmt: skip
"""Measures with their value and that of random groups."""
_OF_CLUSTERS = {"intruder", "intruder_distinct", "coherence", "peak_agreement"}
_OF_THE_RUN = {"false_discoveries"}


def _measures(
    clusters: pd.DataFrame, layers: list[str], kinds: dict[str, tuple[float, float]], seed: int
) -> pd.DataFrame:
    """Values near the given ones. Clusters take turns: far above chance, the interval reaching to it, at chance."""
    rng = np.random.default_rng([seed, 2])
    rows = []
    for measure, (value, null) in kinds.items():
        places = [("", -1, 1.0), *((layer, -1, 1.0) for layer in layers if measure not in _OF_THE_RUN)]
        if measure in _OF_CLUSTERS:
            places += [
                (layer, cluster, (1.0, 0.2, 0.0)[cluster % 3])
                for cluster, layer in zip(clusters["cluster"], clusters["layer"], strict=True)
            ]
        for layer, cluster, above in places:
            chance = 0.0 if np.isnan(null) else null
            middle = chance + (value - chance) * above * rng.uniform(0.9, 1.1)
            reach = 0.25 * (value - chance)
            rows.append(
                (layer, cluster, measure, middle, middle - reach, middle + reach, null, null - 0.02, null + 0.02, 200)
            )
    return pd.DataFrame(rows, columns=MEASURES.names)


def write_scores(run: Path, judge: str, table: pd.DataFrame) -> None:
    """Write a judge's scorecard beside a run."""
    folder = run / SCORES
    folder.mkdir(exist_ok=True)
    slug = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in judge.lower())[:40]
    table.to_parquet(folder / f"{slug}.parquet", index=False)
    info = {"judge": judge, "model": judge, "images": "the run's halves", "draws": 1000, "seed": 0,
            "created": "2026-01-02T00:00:00+00:00", "seconds": 12.0, "pictures": "previews", "notes": []}  # fmt: skip
    (folder / f"{slug}.json").write_text(json.dumps(info), encoding="utf-8")


def _with_effects(importance: pd.DataFrame, classes: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """What each class with an output loses without its important clusters: more than without random sets."""
    with_output = classes.loc[classes["outputs"].str.len() > 0, "class"]
    measured = ((importance["score"] > 0.7) & importance["class"].isin(with_output)).to_numpy()
    for name, size in {"effect": 0.2, "effect_null": 0.01}.items():
        value = np.where(measured, rng.uniform(0.5, 1, len(importance)) * size, np.nan)
        importance = importance.assign(**{name: value, f"{name}_low": value * 0.9, f"{name}_high": value * 1.1})
    return importance


def _confusions(
    images: pd.DataFrame, classes: pd.DataFrame, clusters: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """Five clusters for each confusion of three images and more, two of them below any rate."""
    tables = [pd.DataFrame(columns=LATER_SCHEMAS["confusions"].names)]
    outputs = dict(zip(classes["class"], classes["outputs"], strict=True))
    for (label, prediction), count in images.groupby(["label", "prediction"]).size().items():
        own = images[images["label"] == label]
        against = "right" if outputs[label] else "others"
        others = (own["prediction"] == label) if outputs[label] else (own["prediction"] != prediction)
        if label != prediction and count >= 3 and len(clusters):
            chosen = rng.permutation(clusters)[:5]
            table = pd.DataFrame({"cluster": chosen, "score": np.linspace(0.98, 0.6, 5)[: len(chosen)]})
            table = table.assign(q_value=np.where(table["score"] > 0.8, 0.01, 0.3), rank=table.index)
            names = {"label": label, "prediction": prediction, "against": against}
            tables.append(table.assign(**names, sampled=count, others=others.sum()))
    return pd.concat(tables[1:] or tables)


def _picture(rng: np.random.Generator) -> bytes:
    colours = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "webp", quality=60)
    return buffer.getvalue()
