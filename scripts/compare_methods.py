"""The paper's method beside the default: the figures of docs/decisions.md.

    python -m scripts.compare_methods IMAGES

One extraction of EfficientNet-Lite0 over a folder of images (1,000 at least are worth while), then for each
clustering and layer: how many clusters, how large the largest, what share of the living neurons lies in clusters of
3 to 40, and how often the members of clusters peak at the same place on images that did not form them. For each
embedding the lift@10: how many more of its top 10 unseen images a neuron shares with its 10 nearest neighbours than
with any neuron. Prints Markdown.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from neurocarto.engine.local import extract
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.quality.embedding import lift
from neurocarto.quality.questions import SIZES
from neurocarto.records import Extraction, TopActivations, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.clusters import find_clusters
from neurocarto.summarisation.embedding import embed
from neurocarto.summarisation.paper import find_paper_clusters
from neurocarto.summarisation.similarity import Stimuli, find_stimuli, peak_agreement
from neurocarto.summarisation.skipgram import embed_skipgram

PAIRS = 3000

Clusters = tuple[npt.NDArray[np.int32], pd.DataFrame]
Cluster = Callable[[Extraction], Clusters]
Vectors = npt.NDArray[np.float32]
Method = Callable[[Stimuli, int, int, int], Vectors]


def compare_clusterings(model: Model, images: ImageSet, extraction: Extraction, settings: RunSettings) -> pd.DataFrame:
    """Return one row per layer and one for all: the figures of both clusterings."""

    def default(studied: Extraction) -> Clusters:
        stimuli = find_stimuli(studied.whole, len(studied.images), settings.stimuli_share)
        return find_clusters(stimuli, studied.layers, settings)

    def paper(studied: Extraction) -> Clusters:
        return find_paper_clusters(model, images, studied, settings, lambda _: None)

    return pd.concat({"default": _judge(default, extraction), "paper": _judge(paper, extraction)}, axis=1)


def _judge(cluster: Cluster, extraction: Extraction) -> pd.DataFrame:
    unseen = find_stimuli(extraction.halves[1], len(extraction.images) // 2, 0.1)
    start = time.perf_counter()
    found, table = cluster(extraction)
    print(f"{time.perf_counter() - start:.1f} s", flush=True)
    held_out, _ = cluster(_half(extraction))
    alive = find_stimuli(extraction.whole, len(extraction.images), 0.1).alive
    rows: dict[str, dict[str, float]] = {}
    for layer, neurons in {**layer_slices(extraction.layers), "all": slice(0, len(found))}.items():
        sizes = np.bincount(found[neurons][found[neurons] >= 0], minlength=len(table))
        counted = np.isin(found[neurons], np.flatnonzero(np.isin(sizes, SIZES)))
        rows[layer] = {
            "clusters": (sizes > 0).sum(),
            "largest": sizes.max(),
            "in any": (found[neurons] >= 0)[alive[neurons]].mean(),
            "coverage": counted[alive[neurons]].mean(),
            "agreement, 3-40": _agreement(held_out[neurons], unseen[neurons], SIZES),
            "agreement, all": _agreement(held_out[neurons], unseen[neurons], range(2, len(found))),
        }
    return pd.DataFrame(rows).T


def _half(extraction: Extraction) -> Extraction:
    """Keep the first half of the images alone, with the same share of strongest images."""
    half = extraction.halves[0]
    k = half.images.shape[1] // 2
    top = TopActivations(*(getattr(half, name)[:, :k] for name in TopActivations.__dataclass_fields__))
    return replace(extraction, whole=top)


def _agreement(cluster: npt.NDArray[np.int32], stimuli: Stimuli, sizes: range) -> float:
    """Share of the common stimuli of pairs in a cluster on which both peak within one cell."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(cluster == number) for number in np.unique(cluster[cluster >= 0])]
    pairs = [own[np.stack(np.triu_indices(len(own), 1), axis=1)] for own in members if len(own) in sizes]
    if not pairs:
        return np.nan
    shared, agreeing = peak_agreement(stimuli, rng.permutation(np.concatenate(pairs))[:PAIRS])
    return float(agreeing.sum() / max(1, shared.sum()))


def compare_embeddings(extraction: Extraction, settings: RunSettings) -> pd.DataFrame:
    """Return the lift@10 of each embedding with its interval, and the mean seconds that one took."""
    profile = extraction.profile.astype(np.float32) - extraction.rest
    rows = {}
    for name, method in (("svd", embed), ("skipgram", embed_skipgram)):
        seconds: list[float] = []

        def timed(stimuli: Stimuli, count: int, method: Method = method, took: list[float] = seconds) -> Vectors:
            start = time.perf_counter()
            vectors = method(stimuli, count, settings.dimensions, settings.seed)
            took.append(time.perf_counter() - start)
            return vectors

        judged = lift(profile, timed, seed=settings.seed, share=settings.stimuli_share, top_k=settings.top_k)
        rows[name] = dict(zip(("lift@10", "low", "high"), judged, strict=True)) | {"s": float(np.mean(seconds))}
    return pd.DataFrame(rows).T


def _print(table: pd.DataFrame) -> None:
    columns = [" ".join(name) if isinstance(name, tuple) else str(name) for name in table.columns]
    rows = [[str(name), *(f"{value:.4g}" for value in values)] for name, *values in table.itertuples()]
    for cells in (["", *columns], ["---"] * (len(columns) + 1), *rows):
        print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="the folder of images")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    options = parser.parse_args()
    settings = RunSettings(threads=options.threads)
    with threadpool_limits(options.threads):
        model, images = load_model("efficientnet_lite0"), list_images(options.images)
        extraction = extract(model, describe_layers(model), images, settings, lambda _: None)
        _print(compare_clusterings(model, images, extraction, settings))
        _print(compare_embeddings(extraction, settings))


if __name__ == "__main__":
    main()
