"""The stages of a run: what each builds on, which settings it reads, the version of its algorithm.

These decide the keys under which results are kept: a stage is computed again when, and only when, something changed
that it depends on. Known without importing what the stages are made of.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, cast

from neurocarto.settings import RunSettings

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "datasketch",
    "umap-learn",
    "pynndescent",
    "numba",
    "pillow",
)
"""What computes: another version may give other bytes."""

EVERYWHERE = ("seed", "threads")
"""Settings of every stage; products of matrices depend on the number of threads."""

LATER = {"device": "cpu", "precision": "full"}
"""Settings that came later, and the values that stand for how it was before: these leave the keys as they were."""


@dataclass(frozen=True)
class Stage:
    """One step of the computation.

    version: raised whenever its algorithm gives other results; settings: those it reads besides EVERYWHERE;
    after: the stages whose results it uses.
    """

    version: int
    settings: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


STAGES = {
    "model": Stage(1),
    "lineage": Stage(1, after=("model",)),
    "extraction": Stage(
        4, ("device", "precision", "batch_size", "shard_size", "top_k", "profile_images", "min_class_images"),
        after=("model",),
    ),
    "boxes": Stage(2, ("device", "batch_size", "box_share"), after=("extraction",)),
    "offsets": Stage(3, ("device", "batch_size"), after=("lineage", "extraction")),
    "examples": Stage(1, ("examples",), after=("boxes", "offsets")),
    "clusters": Stage(
        4,
        (
            "clustering", "stimuli_share", "permutations", "band_rows", "cluster_share", "axes", "place_width",
            "min_agreement", "min_similarity", "min_cluster_size", "device", "batch_size",
        ),
        after=("extraction",),
    ),
    "embedding": Stage(4, ("embedding", "stimuli_share", "dimensions"), after=("extraction",)),
    "projection": Stage(3, ("neighbours", "min_distance"), after=("embedding",)),
    "importance": Stage(
        2, ("min_class_images", "label_permutations", "false_discovery_rate"), after=("extraction", "clusters")
    ),
    "confusions": Stage(1, ("label_permutations",), after=("importance",)),
    "labels": Stage(1, after=("extraction", "clusters")),
    "influence": Stage(
        4,
        ("device", "batch_size", "false_discovery_rate", "influence", "influence_images", "influence_clusters"),
        after=("lineage", "importance"),
    ),
    "quality": Stage(
        2,
        ("stimuli_share", "cluster_share", "min_class_images", "label_permutations", "false_discovery_rate"),
        after=("clusters", "projection", "importance"),
    ),
    "previews": Stage(1, after=("examples",)),
}  # fmt: skip


def stage_keys(source: Mapping[str, Any], settings: RunSettings) -> dict[str, str]:
    """Return the key of every stage's result. source: what decides the network and the images."""
    base = {**source, "packages": {name: version(name) for name in PACKAGES}}
    keys: dict[str, str] = {}
    for name, stage in STAGES.items():
        content = {
            "stage": name,
            "version": stage.version,
            "settings": {
                knob: value for knob, value in vars(settings_of(name, settings)).items() if LATER.get(knob) != value
            },
            "after": [keys[before] for before in stage.after] or base,
        }
        keys[name] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return keys


def settings_of(stage: str, settings: RunSettings) -> RunSettings:
    """Return only those settings that a stage declares, so that none can matter without being in its key."""
    names = EVERYWHERE + STAGES[stage].settings
    return cast(RunSettings, SimpleNamespace(**{name: getattr(settings, name) for name in names}))


def run_id(keys: Mapping[str, str]) -> str:
    """Name what a run was made from: the same model, layers, images, settings and algorithms, the same id."""
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:12]
