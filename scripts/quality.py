"""Ways of clustering side by side, on images that did not form the clusters: writes docs/quality.md.

    python -m scripts.quality IMAGES

One extraction of a network over a folder of images (1,000 at least are worth while). Every way clusters the neurons by
one half of the images and is judged on the other, then with the halves swapped. Takes the folder from
NEUROCARTO_SAMPLE_IMAGES when none is given. Other splits into halves come with other seeds.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks.measuring import PeakMemory
from neurocarto.engine.heap import keep_freed_memory
from neurocarto.engine.local import extract
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.quality.halves import half_alone
from neurocarto.quality.intruder import intruder, intruder_distinct
from neurocarto.quality.judge import DEFAULT, Sights, load_judge, look, peak_places
from neurocarto.quality.measures import Draw
from neurocarto.quality.questions import SIZES
from neurocarto.quality.scorecard import both_ways, peak_agreement_table
from neurocarto.records import Extraction, FloatArray, IntArray, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.axes import placed_vectors
from neurocarto.summarisation.clusters import compared_pairs, find_clusters, linked
from neurocarto.summarisation.paper import find_paper_clusters
from neurocarto.summarisation.similarity import Stimuli, find_stimuli

DOCUMENT = Path("docs/quality.md")
HEADING = """\
# How the ways of clustering compare

Written by `make quality`. {model}, {images} images of `{source}`, the later half of its layers ({layers} of them),
seed {seed}. Every way clusters by one half of the images alone and is judged on the other half, then with the halves
swapped; figures are means over layers and both directions, with central 95 % bootstrap intervals.

- *Intruder*: {judge} is shown three neurons of a cluster and one other of its layer, ten patches each, and names the
  one that does not belong; at least {draws} questions for each layer, chance .25. Only clusters of 3 to 40 count.
- *No picture twice*: the same, but no picture comes twice in a question: what the members share has to come again in
  others. Badges rest on it.
- *Peak agreement*: share of the images that excite two members on which both peak within one cell of a 7 × 7 grid.
- *Random groups* of the same sizes and layers are what each figure has to be held against.
- *Coverage*: share of the living neurons in clusters of 3 to 40. *Largest*: share of a layer in one cluster, at worst.
- Seconds and memory above what was held before: of clustering all {neurons} neurons by one half, {threads} thread(s).
  Where a cut is sought, the seconds are those of all the cuts tried.

"""
DRAWS = 1000
COVERAGES = (0.3, 0.5)
CUTS = 80
"""Heights at which a tree is tried."""
PER_CLUSTER = 8
"""Neurons for each cluster that k-means is asked for."""

Way = Callable[[Extraction], IntArray]
"""Clusters all neurons (N,) by an extraction whose strongest images are those of one half."""


@dataclass(frozen=True)
class Subject:
    """What is clustered: a network's extraction over images, and where the layers that count begin."""

    model: Model
    images: ImageSet
    extraction: Extraction
    settings: RunSettings
    sights: Sequence[Sights]

    @property
    def later(self) -> dict[str, slice]:
        """The later half of the layers."""
        slices = [*layer_slices(self.extraction.layers).items()]
        return dict(slices[len(slices) // 2 :])


def prepare(model: Model, judge_name: str, images: ImageSet, settings: RunSettings) -> Subject:
    """Run the network over the images, and the judge over the patches of either half."""
    extraction = extract(model, describe_layers(model), images, settings, lambda _: None)
    judge = load_judge(judge_name, model.weights_sha256)
    files = images.indices(extraction.images["path"]).tolist()
    begin = [*layer_slices(extraction.layers).values()][len(extraction.layers) // 2].start
    sights = []
    for half in extraction.halves:
        places = peak_places(half, extraction.images, model.preprocessing)
        places = places[places["neuron"] >= begin]
        sights.append(
            look(judge, places, extraction.images, len(half), lambda image: images.open(files[image]), lambda _: None)
        )
    return Subject(model, images, extraction, settings, sights)


def ways(subject: Subject) -> dict[str, Way]:
    """Return the ways to be compared."""
    settings = subject.settings

    def default(studied: Extraction) -> IntArray:
        stimuli = find_stimuli(studied.whole, len(studied.images), settings.cluster_share)
        return find_clusters(stimuli, studied.layers, settings)[0]

    def cut(coverage: float) -> Way:
        def way(studied: Extraction) -> IntArray:
            stimuli = find_stimuli(studied.whole, len(studied.images), settings.cluster_share)
            vectors = placed_vectors(stimuli, settings.axes, settings.place_width, settings.seed)
            return _by_layer(
                studied, stimuli.alive, lambda own: _cut_default(stimuli[own], vectors[own], coverage, settings)
            )

        return way

    def paper(studied: Extraction) -> IntArray:
        return find_paper_clusters(subject.model, subject.images, studied, settings, lambda _: None)[0]

    def single(studied: Extraction) -> IntArray:
        stimuli = find_stimuli(studied.whole, len(studied.images), settings.stimuli_share)
        return _by_layer(
            studied, stimuli.alive, lambda own: _tree(_jaccard(stimuli.images[own]), "single", COVERAGES[0])
        )

    def k_means(studied: Extraction) -> IntArray:
        profiles = _profiles(studied)
        alive = np.asarray(profiles.any(axis=1))
        return _by_layer(studied, alive, lambda own: _k_means(profiles[own], settings.seed))

    def correlation(coverage: float) -> Way:
        def way(studied: Extraction) -> IntArray:
            profiles = _profiles(studied)
            alive = np.asarray(profiles.any(axis=1))
            return _by_layer(studied, alive, lambda own: _tree(profiles[own] @ profiles[own].T, "complete", coverage))

        return way

    return {
        "default": default,
        **{f"default, cut at {share:.0%}": cut(share) for share in COVERAGES},
        "`--clustering paper`": paper,
        f"Jaccard, single linkage, cut nearest to {COVERAGES[0]:.0%}": single,
        "k-means on profiles": k_means,
        **{f"correlation, complete linkage, cut at {share:.0%}": correlation(share) for share in COVERAGES},
    }


def _by_layer(
    extraction: Extraction, alive: npt.NDArray[np.bool_], group: Callable[[IntArray], IntArray]
) -> npt.NDArray[np.int32]:
    """Number the groups of each layer's living neurons, those of one neuron as none."""
    cluster = np.full(len(alive), -1, np.int32)
    count = 0
    for neurons in layer_slices(extraction.layers).values():
        own = neurons.start + np.flatnonzero(alive[neurons])
        if len(own) < 2:
            continue
        _, number, size = np.unique(group(own), return_inverse=True, return_counts=True)
        cluster[own] = np.where(size[number] > 1, count + number, -1)
        count += len(size)
    return cluster


def _profiles(extraction: Extraction) -> npt.NDArray[np.float32]:
    """Activations on the sampled images of the half, centred and of unit length, (N, P)."""
    shown = np.unique(extraction.whole.images)
    rows = extraction.images["half"].to_numpy()[extraction.profile_images]
    half = extraction.images["half"].to_numpy()[shown[shown >= 0][0]]
    profile = extraction.profile[rows == half].T.astype(np.float32)
    profile -= profile.mean(axis=1, keepdims=True)
    length = np.linalg.norm(profile, axis=1, keepdims=True)
    return np.where(length > 1e-3, profile / np.maximum(length, 1e-3), 0).astype(np.float32)


def _jaccard(images: npt.NDArray[np.int32]) -> FloatArray:
    """Jaccard similarity of all pairs of rows (n, n); -1 does not count."""
    row, place = (images >= 0).nonzero()
    fires = sparse.csr_array(
        (np.ones(len(row), np.float32), (row, images[row, place])), (len(images), images.max() + 1)
    )
    shared: FloatArray = (fires @ fires.T).toarray()
    sizes = np.diag(shared)
    return np.asarray(shared / (sizes[:, None] + sizes[None, :] - shared))


def _tree(similarity: FloatArray, method: Literal["single", "complete"], coverage: float) -> IntArray:
    """Cut the tree over all pairs where the share of neurons in groups of 3 to 40 is nearest to the coverage."""
    distance = np.maximum(1 - similarity.astype(np.float64), 0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform((distance + distance.T) / 2, checks=False), method)
    cuts = [fcluster(tree, height, "distance") for height in np.quantile(tree[:, 2], np.linspace(0.01, 0.99, CUTS))]

    def covered(groups: IntArray) -> float:
        return float(np.isin(np.bincount(groups)[groups], SIZES).mean())

    return min(cuts, key=lambda groups: abs(covered(groups) - coverage))


def _cut_default(
    stimuli: Stimuli, vectors: npt.NDArray[np.float32], coverage: float, settings: RunSettings
) -> IntArray:
    """The default's groups of one layer at the least similarity where their coverage is nearest to that asked for."""
    pairs, similarity = compared_pairs(stimuli, vectors, settings)
    best = np.arange(len(stimuli))
    nearest = np.inf
    for least in np.quantile(similarity[similarity > 0], np.linspace(0.02, 0.995, CUTS)):
        groups = linked(pairs, similarity, least)
        found = np.arange(len(stimuli)) + len(groups)
        for number, members in enumerate(groups):
            found[members] = number
        off = abs(np.isin(np.bincount(found)[found], SIZES).mean() - coverage)
        if off < nearest:
            best, nearest = found, off
    return best


def _k_means(profiles: npt.NDArray[np.float32], seed: int) -> IntArray:
    count = max(1, len(profiles) // PER_CLUSTER)
    return np.asarray(KMeans(count, n_init=1, random_state=seed).fit_predict(profiles))


def compare(subject: Subject, chosen: Mapping[str, Way]) -> pd.DataFrame:
    """Return a row of figures, as text, for each way."""
    rows = {}
    for name, way in chosen.items():
        seconds, peaks, halves = [], [], []
        for half in (0, 1):
            alone = half_alone(subject.extraction, half, subject.settings.cluster_share)
            start = time.perf_counter()
            with PeakMemory() as memory:
                halves.append(np.asarray(way(alone)))
            seconds.append(time.perf_counter() - start)
            peaks.append(memory.peak)
        rows[name] = _figures(subject, halves) | {
            "seconds": f"{np.mean(seconds):.1f}",
            "memory": f"{max(peaks) / 1e6:.0f} MB",
        }
        print(name, rows[name], flush=True)
    return pd.DataFrame(rows).T


def _figures(subject: Subject, halves: Sequence[IntArray]) -> dict[str, str]:
    extraction, sights = subject.extraction, subject.sights
    later = np.zeros(len(extraction.maximum), bool)
    for neurons in subject.later.values():
        later[neurons] = True
    counted = [np.where(later, cluster, -1) for cluster in halves]

    def asked(kind: Callable[[Sights], Draw]) -> pd.DataFrame:
        return both_ways(
            "intruder",
            counted,
            counted[0],
            extraction.layers,
            [own.seen for own in sights],
            lambda half, neurons: kind(sights[half][neurons]),
            DRAWS,
            subject.settings.seed,
        )

    repeated, distinct = asked(lambda sights: intruder(sights.means)), asked(intruder_distinct)
    agreement = peak_agreement_table(counted, counted[0], extraction, subject.settings)
    alive = [np.asarray((half.images[:, 0] >= 0) & later) for half in extraction.halves]
    return {
        "intruder": _written(repeated),
        "random": _null(repeated),
        "no picture twice": _written(distinct),
        "random ": _null(distinct),
        "peak agreement": _written(agreement),
        "random  ": _null(agreement),
        "coverage": f"{np.mean([_coverage(c, a, subject.later) for c, a in zip(halves, alive, strict=True)]):.0%}",
        "largest": f"{max(_largest(cluster, subject.later) for cluster in halves):.0%}",
    }


def _written(table: pd.DataFrame) -> str:
    whole = table[(table["layer"] == "") & (table["cluster"] < 0)]
    return "–" if whole.empty else "{value:.3f} ({low:.3f} to {high:.3f})".format(**whole.iloc[0])


def _null(table: pd.DataFrame) -> str:
    whole = table[(table["layer"] == "") & (table["cluster"] < 0)]
    return "–" if whole.empty else f"{whole.iloc[0]['null']:.3f}"


def _coverage(cluster: IntArray, alive: npt.NDArray[np.bool_], layers: Mapping[str, slice]) -> float:
    sizes = np.bincount(cluster[cluster >= 0], minlength=1)
    counted = (cluster >= 0) & np.isin(sizes[cluster], SIZES)
    return float(np.mean([counted[own][alive[own]].mean() for own in layers.values()]))


def _largest(cluster: IntArray, layers: Mapping[str, slice]) -> float:
    sizes = [np.bincount(cluster[own][cluster[own] >= 0], minlength=1).max() for own in layers.values()]
    return float(max(size / (own.stop - own.start) for size, own in zip(sizes, layers.values(), strict=True)))


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown."""
    lines = [["", *table.columns], ["---"] * (1 + len(table.columns)), *([str(n), *r] for n, *r in table.itertuples())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def main() -> None:
    """Measure everything and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("NEUROCARTO_SAMPLE_IMAGES")
    parser.add_argument("images", type=Path, nargs="?" if given else None, default=given, help="the folder of images")
    parser.add_argument("--model", default="efficientnet_lite0", help="whose neurons (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the halves and all else (default: %(default)s)")
    parser.add_argument("--default-only", action="store_true", help="leave the other ways out")
    parser.add_argument("--judge", default=DEFAULT, metavar="MODEL", help="any other network (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="what is written (default: %(default)s)")
    options = parser.parse_args()
    settings = RunSettings(threads=options.threads, seed=options.seed)
    keep_freed_memory()
    with threadpool_limits(options.threads):
        model, images = load_model(options.model), list_images(options.images)
        subject = prepare(model, options.judge, images, settings)
        chosen = ways(subject)
        if options.default_only:
            chosen = {name: way for name, way in chosen.items() if name.startswith("default")}
        table = compare(subject, chosen)
    heading = HEADING.format(
        model=model.name,
        images=len(subject.extraction.images),
        source=Path(options.images).name,
        layers=len(subject.later),
        seed=settings.seed,
        judge=options.judge,
        draws=f"{DRAWS:,}",
        neurons=f"{len(subject.extraction.maximum):,}",
        threads=options.threads,
    )
    options.out.write_text(heading + markdown(table), encoding="utf-8")


if __name__ == "__main__":
    main()
