"""Every knob of a run: its default, its range, its unit and the reason for it."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from neurocarto.errors import SettingsError


def available_threads() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _knob(default: Any, low: float, high: float, text: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "help": text})


def _choice(choices: tuple[str, ...], text: str) -> Any:
    return field(default=choices[0], metadata={"choices": choices, "help": text})


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run. All of them are part of its identity and are written to its manifest.

    Raises SettingsError at construction when a value lies outside its range.
    """

    seed: int = _knob(0, 0, 2**31 - 1, "seed of everything random: the same seed gives the same run")

    # Where and how the network runs. These change float sums, so they are recorded, never tuned during a run.
    batch_size: int = _knob(8, 1, 4096, "images per forward pass; on a CPU 8 is faster than 32 (page faults)")
    shard_size: int = _knob(256, 1, 2**20, "images per shard, the unit in which results are merged")
    threads: int = field(
        default_factory=available_threads,
        metadata={"low": 1, "high": 1024, "help": "CPU threads of the forward pass (default: all cores)"},
    )
    device: str = _choice(("cpu", "cuda", "mps"), "what the network runs on; cuda means all cards of this machine")
    precision: str = _choice(("full", "mixed"), "mixed: half precision where torch's autocast holds it to be enough")

    # What the pass keeps of every neuron. Bytes per neuron: 12 x top_k x (2 + 5 snapshots) + 2 x profile_images
    # + 8 x classes, whether labels or predictions.
    top_k: int = _knob(100, 5, 10_000, "strongest images kept for each neuron and half of the images")
    examples: int = _knob(20, 1, 1000, "example patches saved for each neuron and half of the images")
    profile_images: int = _knob(2000, 10, 10**6, "images whose activations are kept whole, to judge importance")
    box_share: float = _knob(0.65, 0.05, 0.95, "share of the input-gradient mass that an example box holds")

    # Clusters: which neurons of a layer detect the same concept.
    clustering: str = _choice(("verified", "paper"), "verified candidates, or the two MinHash stages of the paper")
    stimuli_share: float = _knob(0.1, 0.001, 0.5, "share of the images that are a neuron's stimuli (top_k - 1 at most)")
    permutations: int = _knob(1024, 16, 4096, "hash functions of a MinHash signature")
    band_rows: int = _knob(2, 1, 16, "signature rows per LSH band; fewer find weaker candidates")
    cluster_share: float = _knob(
        0.2, 0.001, 0.5, "share of the images that clusters compare neurons on (twice top_k - 1 at most)"
    )
    axes: int = _knob(120, 2, 1024, "axes of common variation on which the similarity of neurons is smoothed")
    place_width: float = _knob(1.0, 0.25, 7.0, "how far apart two peaks still match, in cells of a 7 x 7 grid")
    min_agreement: float = _knob(0.3, 0.0, 1.0, "least share of common stimuli with peaks at the same place")
    min_similarity: float = _knob(0.24, 0.0, 1.0, "least similarity of any two neurons in a cluster")
    min_cluster_size: int = _knob(2, 2, 1000, "neurons in the smallest cluster")

    # Embedding and map.
    embedding: str = _choice(("svd", "skipgram"), "factorised co-activation, or the paper's sampled pairs")
    dimensions: int = _knob(30, 2, 512, "dimensions of the embedding (the paper's 30)")
    neighbours: int = _knob(15, 2, 200, "neighbours that UMAP keeps together")
    min_distance: float = _knob(0.1, 0.0, 0.99, "how tightly UMAP packs points")

    # Importance of clusters for classes.
    min_class_images: int = _knob(5, 2, 10**6, "images below which a class is not judged")
    label_permutations: int = _knob(200, 20, 10_000, "shufflings of the class labels behind a q-value")
    false_discovery_rate: float = _knob(0.05, 0.0001, 0.5, "share of false finds allowed among important clusters")

    # Influence of clusters on each other, and their effect on a class's output.
    influence: str = _choice(("intervention", "gradient"), "clusters switched off, or estimated from gradients: faster")
    influence_images: int = _knob(8, 2, 10_000, "images per class that influence and effect are measured on")
    influence_clusters: int = _knob(8, 1, 1000, "most important clusters per class and layer that edges connect")

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check(knob.name, getattr(self, knob.name), knob.metadata, whole=knob.type is int)
        if self.permutations % self.band_rows:
            raise SettingsError(
                f"permutations is {self.permutations}; it must be a multiple of band_rows ({self.band_rows})"
            )
        if self.examples > self.top_k:
            raise SettingsError(f"examples is {self.examples}; it must be at most top_k ({self.top_k})")

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON-ready dictionary."""
        return asdict(self)


def _check(name: str, value: Any, allowed: Mapping[str, Any], whole: bool) -> None:
    if "choices" in allowed:
        if value not in allowed["choices"]:
            raise SettingsError(f"{name} is {value!r}; it must be one of: {', '.join(allowed['choices'])}")
        return
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise SettingsError(f"{name} is {value!r}; it must be a {'whole number' if whole else 'number'}")
    if not allowed["low"] <= value <= allowed["high"]:
        raise SettingsError(f"{name} is {value}; it must be between {allowed['low']} and {allowed['high']}")


BATCH_ON_CARDS = 128
"""What the command line makes of batch_size, unless told otherwise, where the network runs on a graphics card."""

SNAPSHOT_FRACTIONS = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the images after which the map is drawn."""
