"""The whole computation: from a model and a folder of images to a run folder."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from neurocarto import __version__
from neurocarto.engine import local
from neurocarto.extraction import offsets, patches
from neurocarto.extraction.images import ImageSet, list_images, preview
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.progress import Progress
from neurocarto.records import Extraction, Layer
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.store import refuse_occupied, write_run
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings
from neurocarto.summarisation import clusters, embedding, importance, influence, labels, projection, similarity

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "datasketch", "umap-learn", "numba", "pillow")
STAGES = (local, patches, offsets, similarity, clusters, embedding, importance, influence, labels, projection)
ALGORITHMS = {stage.__name__.rpartition(".")[2]: stage.VERSION for stage in STAGES}


def run(
    model_name: str, image_folder: Path, out: Path, settings: RunSettings, progress: Progress | None = None
) -> Path:
    """Summarise a model on a folder of images and write the run to `out`.

    Raises ModelError, ImagesError or RunError when one of the three cannot be used; nothing is left
    half-written.
    """
    refuse_occupied(out)
    with threadpool_limits(settings.threads):  # numpy's products too depend on the number of threads
        return _run(load_model(model_name), list_images(image_folder), out, settings, progress or Progress(quiet=True))


def _run(model: Model, images: ImageSet, out: Path, settings: RunSettings, progress: Progress) -> Path:
    layers = hooked = describe_layers(model)
    with progress.stage("extraction", len(images), "image") as advance:
        extraction = local.extract(model, layers, images, settings, advance)
    with progress.stage("boxes", len(layers), "layer") as advance:
        layers = patches.measure_boxes(model, extraction, images, settings, advance)
    with progress.stage("offsets", len(layers), "layer") as advance:
        aside = offsets.measure_offsets(model, extraction, images, settings, advance)
    count = len(extraction.images)
    stimuli = similarity.find_stimuli(extraction.whole, count, settings.stimuli_share)

    with progress.stage("clusters"):
        cluster, cluster_table = clusters.find_clusters(stimuli, layers, settings)
    with progress.stage("embedding"):
        vectors = [
            embedding.embed(
                similarity.find_stimuli(top, seen, settings.stimuli_share), count, settings.dimensions, settings.seed
            )
            for seen, top in extraction.snapshots
        ]
    with progress.stage("projection", len(vectors), "map") as advance:
        maps = projection.snapshots(vectors, settings, advance)
    with progress.stage("importance"):
        classes = importance.find_classes(extraction, model.categories, settings)
        members = {
            row["class"]: np.isin(
                extraction.profile_images,
                importance.class_images(extraction.images, row["class"], row["kind"], model.categories),
            )
            for row in classes.to_dict("records")
        }
        activations = importance.cluster_activations(extraction, cluster, len(cluster_table))
        scores = importance.judge_importance(activations, members, settings)
    with progress.stage("labels"):
        predicted = extraction.images["output"].map(lambda output: model.categories[output])
        names = {"label": extraction.images["label"], "prediction": predicted}
        named = labels.label_clusters(cluster, len(cluster_table), extraction.whole.images, names)
    with progress.stage("influence", len(classes) + 1, "class") as advance:
        edges = influence.measure_influence(
            model, images, extraction, cluster, cluster_table, classes, scores, settings, advance
        )

    examples = patches.example_table(extraction, layers, aside, model.preprocessing, settings.examples)
    return write_run(
        out,
        _manifest(model, images, extraction, hooked, layers, settings, progress),
        {
            "neurons": _neuron_table(extraction, cluster, maps[-1]),
            "examples": examples,
            "images": extraction.images.assign(prediction=predicted).drop(columns=["output", "half"]),
            "classes": classes,
            "clusters": cluster_table.join(named),
            "importance": scores,
            "influence": edges,
        },
        {"embedding": vectors[-1], "snapshots": maps, "class_means": _class_means(extraction, classes)},
        _previews(images, extraction, np.unique(examples["image"]), progress),
    )


def _manifest(
    model: Model,
    images: ImageSet,
    extraction: Extraction,
    hooked: Sequence[Layer],
    layers: tuple[Layer, ...],
    settings: RunSettings,
    progress: Progress,
) -> Manifest:
    """Say what the run was made from; hooked are the layers before their boxes were measured."""
    return Manifest(
        run_id=run_id(model, images, hooked, settings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        settings=settings.as_dict(),
        model=model.describe(),
        images={
            "source": str(images.source),
            "fingerprint": images.fingerprint,
            "count": len(extraction.images),
            "skipped": [{"path": s.path, "reason": s.reason} for s in extraction.skipped],
        },
        layers=layers,
        packages={name: version(name) for name in PACKAGES},
        seconds=progress.seconds,
        snapshots=SNAPSHOT_FRACTIONS,
        influence={"method": influence.METHOD, "note": influence.NOTE},
        extra={"algorithms": ALGORITHMS},
    )


def run_id(model: Model, images: ImageSet, layers: Sequence[Layer], settings: RunSettings) -> str:
    """Name what the run was made from: the same model, layers, images, settings and algorithms, the same id."""
    key: dict[str, Any] = {
        "model": model.describe(),
        "layers": [asdict(layer) for layer in layers],
        "images": images.fingerprint,
        "settings": settings.as_dict(),
        "algorithms": ALGORITHMS,
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _neuron_table(
    extraction: Extraction, cluster: npt.NDArray[np.int32], places: npt.NDArray[np.float32]
) -> pd.DataFrame:
    channels = [layer.channels for layer in extraction.layers]
    return pd.DataFrame(
        {
            "neuron": np.arange(sum(channels)),
            "layer": np.repeat([layer.name for layer in extraction.layers], channels),
            "channel": np.concatenate([np.arange(n) for n in channels]),
            "cluster": cluster,
            "x": places[:, 0],
            "y": places[:, 1],
            "max_activation": extraction.maximum,
            "mean_activation": extraction.mean,
            "active_fraction": extraction.active_fraction,
        }
    )


def _class_means(extraction: Extraction, classes: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Mean activation of every neuron on each class's images, (classes, N)."""
    means = [extraction.class_means[kind, name] for name, kind in zip(classes["class"], classes["kind"], strict=True)]
    return np.stack(means) if means else np.zeros((0, len(extraction.maximum)), np.float32)


def _previews(
    images: ImageSet, extraction: Extraction, shown: npt.NDArray[np.int32], progress: Progress
) -> Iterator[tuple[int, bytes]]:
    files = images.indices(extraction.images["path"])
    with progress.stage("previews", len(shown), "image") as advance:
        for image in shown.tolist():
            yield image, preview(images.open(files[image]))
            advance(1)
