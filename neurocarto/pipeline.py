"""The whole computation: from a model and images to a run folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from neurocarto import __version__
from neurocarto.errors import RunError
from neurocarto.extraction.images import Dataset, ImageSet, list_images, preview
from neurocarto.progress import Progress
from neurocarto.records import Extraction, Layer, joined, with_counts
from neurocarto.request import ModelRequest
from neurocarto.runs.cache import Cache
from neurocarto.runs.manifest import Manifest
from neurocarto.runs.parts import Parts
from neurocarto.runs.store import holds_run, is_run, refuse_occupied, write_run
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings
from neurocarto.stages import PACKAGES, STAGES, run_id, settings_of, stage_keys

if TYPE_CHECKING:  # nothing that computes is imported before it is needed: what is cached is served at once
    from neurocarto.engine.local import Engine
    from neurocarto.extraction.models import Model
    from neurocarto.quality.embedding import Embed
    from neurocarto.summarisation.similarity import Stimuli

PREVIEWS_PER_ENTRY = 512

Advance = Callable[[int], object]
Compute = Callable[[RunSettings, Advance], Parts]


def run(
    model: "ModelRequest | Model | str",
    images: ImageSet | Dataset | Path | str,
    out: Path,
    settings: RunSettings,
    progress: Progress | None = None,
    cache: Path | None = None,
    engine: "Engine | None" = None,
) -> Path:
    """Summarise a model on images and write the run to `out`.

    cache: the folder that keeps what each stage has computed; what it holds is not computed again, so an
    interrupted run goes on where it was. Without one nothing is kept. engine: where images are passed through the
    network (engine/ray.py), in this process unless another is given; the run is the same. Where `out` holds this very
    run already, nothing is done. Raises ModelError, ImagesError, EngineError or RunError when one of them cannot be
    used; nothing is left half-written.
    """
    request = ModelRequest(model) if isinstance(model, str) else model
    try:
        refuse_occupied(out)  # before every image is read for its fingerprint
    except RunError:
        if not is_run(out):
            raise
    listed = list_images(images)
    with _folder(cache) as folder, Cache(Path(folder)) as kept:
        work = _Work(request, listed, settings, kept, progress or Progress(quiet=True), engine)
        made = run_id(work.keys)
        if not holds_run(out, made):
            refuse_occupied(out, made)
            kept.note_run(made, f"{work.request.name} on {listed.source}", work.keys.values())
            _write(work, out)
        return out


def identify(model: "ModelRequest | Model", images: ImageSet, settings: RunSettings) -> str:
    """Return the id of the run that these make: a folder that holds it need not be made again."""
    return run_id(_keys(model, lambda: _loaded(model, settings), images, settings))


def _keys(
    request: "ModelRequest | Model", network: "Callable[[], Model]", images: ImageSet, settings: RunSettings
) -> dict[str, str]:
    """The key of every stage's result. network: loads it."""
    key = request.key() if isinstance(request, ModelRequest) else {"sites": [asdict(site) for site in request.sites]}
    if not isinstance(request, ModelRequest) or request.is_factory:  # only the loaded network knows its weights
        key = {**key, **network().describe()}
    return stage_keys({"model": key, "images": images.fingerprint}, settings)


def _loaded(request: "ModelRequest | Model", settings: RunSettings) -> "Model":
    from neurocarto.extraction.models import load_model

    return load_model(request, settings.seed) if isinstance(request, ModelRequest) else request


def _folder(cache: Path | None) -> AbstractContextManager[str]:
    return nullcontext(str(cache)) if cache else TemporaryDirectory(prefix="neurocarto-", ignore_cleanup_errors=True)


def _limited(threads: int) -> AbstractContextManager[object]:
    """Limit the threads of linear algebra, on whose number sums depend; loads it first, later would be too late."""
    import torch

    import_module("sklearn.utils.extmath")
    torch.set_num_threads(threads)
    limits: AbstractContextManager[object] = threadpool_limits(threads)
    return limits


@dataclass(frozen=True)
class _Work:
    """The stages of one run, each computed when it is first asked for, or taken from the cache."""

    request: "ModelRequest | Model"
    images: ImageSet
    settings: RunSettings
    cache: Cache
    progress: Progress
    engine: "Engine | None"

    @cached_property
    def keys(self) -> dict[str, str]:
        """The key of every stage's result."""
        return _keys(self.request, lambda: self.network, self.images, self.settings)

    def stage(self, name: str, compute: Compute, total: int = 1, unit: str = "step") -> Parts:
        """Return a stage's result, computed from its own settings where the cache does not hold it."""
        key = self.keys[name]
        parts = self.cache.get(key)
        if parts is None:
            begin = time.perf_counter()
            with self.progress.stage(name, total, unit) as advance, _limited(self.settings.threads):
                computed = compute(settings_of(name, self.settings), advance)
            seconds = round(time.perf_counter() - begin, 3)
            self.cache.put(key, {**computed, "seconds": seconds})
            # As it will be read when it is served again, to the last type of a column.
            parts = self.cache.get(key) or {**computed, "seconds": seconds}
        self.progress.seconds[name] = parts["seconds"]
        return parts

    @cached_property
    def network(self) -> "Model":
        """The network, loaded when something has to be computed with it."""
        return _loaded(self.request, self.settings)

    @cached_property
    def placed(self) -> "Model":
        """The network on the device of the run, or the first of its graphics cards."""
        from neurocarto.extraction.devices import devices_of

        return self.network.on(devices_of(self.settings.device)[0])

    @cached_property
    def model(self) -> Parts:
        """What is to be known of the network without loading it: model, categories, layers."""

        def compute(_: RunSettings, advance: Advance) -> Parts:
            from neurocarto.extraction.layers import describe_layers

            patterns = self.request.layers if isinstance(self.request, ModelRequest) else ()
            layers = describe_layers(self.network, patterns)
            return {
                "model": self.network.describe(),
                "categories": list(self.network.categories),
                "layers": [asdict(layer) for layer in layers],
            }

        return self.stage("model", compute)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        return tuple(self.model["categories"])

    @cached_property
    def hooked(self) -> tuple[Layer, ...]:
        """The layers, before their boxes are measured."""
        return tuple(Layer.from_json(entry) for entry in self.model["layers"])

    @cached_property
    def lineage(self) -> Parts:
        """parents, work: which layers build directly on which (extraction/lineage.py), as JSON."""

        def compute(_: RunSettings, __: Advance) -> Parts:
            from neurocarto.extraction.lineage import find_lineage

            return asdict(find_lineage(self.network, self.hooked))

        return self.stage("lineage", compute)

    @cached_property
    def extraction(self) -> Extraction:
        """What one pass over the images keeps; an interrupted one goes on where it was."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.engine import local, memory

            layers, labels = self.hooked, len({*self.images.labels} - {None})
            peak = memory.expected_peak(self.network, layers, len(self.images), labels, settings)
            neurons = sum(layer.channels for layer in layers)
            self.progress.say(
                f"{neurons:,} neurons in {len(layers)} layers, {len(self.images):,} images; "
                f"extraction will take about {peak / 1e9:.1f} GB of memory"
            )
            engine, key = self.engine or local.in_turn, self.keys["extraction"]
            return local.extract(self.network, layers, self.images, settings, advance, checkpoint, engine, key).parts()

        checkpoint = _Checkpoint(self.cache, f"{self.keys['extraction']}/unfinished")
        parts = self.stage("extraction", compute, len(self.images), "image")
        self.cache.remove(checkpoint.key)
        return Extraction.from_parts(parts)

    @cached_property
    def boxes(self) -> tuple[Layer, ...]:
        """The layers with their example boxes."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.extraction.patches import measure_boxes

            layers = measure_boxes(self.placed, self.extraction, self.images, settings, advance)
            return {"layers": [asdict(layer) for layer in layers]}

        parts = self.stage("boxes", compute, len(self.hooked), "layer")
        return tuple(Layer.from_json(entry) for entry in parts["layers"])

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers with all that is known of them."""
        parents = self.lineage["parents"]
        return tuple(replace(layer, parents=tuple(parents[layer.name])) for layer in self.boxes)

    @cached_property
    def offsets(self) -> npt.NDArray[np.float32]:
        """How far from its peak's cell every neuron looks, (N, 2)."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.extraction.lineage import Lineage
            from neurocarto.extraction.offsets import measure_offsets

            lineage = Lineage.from_json(self.lineage)
            return {"offsets": measure_offsets(self.placed, self.extraction, lineage, self.images, settings, advance)}

        offsets: npt.NDArray[np.float32] = self.stage("offsets", compute, len(self.hooked), "layer")["offsets"]
        return offsets

    @cached_property
    def examples(self) -> pd.DataFrame:
        """The table of example patches."""

        def compute(settings: RunSettings, _: Advance) -> Parts:
            from neurocarto.extraction.patches import example_table
            from neurocarto.extraction.preprocessing import Preprocessing

            preprocessing = Preprocessing(**self.model["model"]["preprocessing"])
            args = (self.extraction, self.boxes, self.offsets, preprocessing, settings.examples)
            return {"examples": example_table(*args)}

        table: pd.DataFrame = self.stage("examples", compute)["examples"]
        return table

    @cached_property
    def clusters(self) -> Parts:
        """Cluster (N,): every neuron's cluster; table: one row per cluster."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            cluster, table = self._find_clusters(self._reaching, settings, advance)
            return {"cluster": cluster, "table": table}

        of_images = self.settings.clustering == "paper"
        total, unit = (len(self.images), "image") if of_images else (len(self.hooked), "layer")
        return self.stage("clusters", compute, total, unit)

    @cached_property
    def _reaching(self) -> Extraction:
        """The extraction, its strongest images joined of the halves: together these reach further down."""
        return replace(self.extraction, whole=joined(self.extraction.halves))

    def _find_clusters(
        self, extraction: Extraction, settings: RunSettings, advance: Advance
    ) -> tuple[npt.NDArray[np.int32], pd.DataFrame]:
        """Cluster the neurons by their strongest images."""
        if settings.clustering == "paper":
            from neurocarto.summarisation.paper import find_paper_clusters

            return find_paper_clusters(self.placed, self.images, extraction, settings, advance)
        from neurocarto.summarisation.clusters import find_clusters

        if extraction is self._reaching:
            return find_clusters(self._reaching_stimuli, self.hooked, settings, self._on_axes)
        return find_clusters(_stimuli(extraction, settings), self.hooked, settings)

    @cached_property
    def _reaching_stimuli(self) -> "Stimuli":
        return _stimuli(self._reaching, settings_of("clusters", self.settings))

    @cached_property
    def _on_axes(self) -> npt.NDArray[np.float32] | None:
        """All neurons on the common axes; None where these rest on a sample, so that each seed has its own."""
        from neurocarto.summarisation.axes import SAMPLE, placed_vectors

        settings, stimuli = settings_of("clusters", self.settings), self._reaching_stimuli
        if len(stimuli) > SAMPLE:
            return None
        return placed_vectors(stimuli, settings.axes, settings.place_width, settings.seed, settings.threads)

    @cached_property
    def embedding(self) -> list[npt.NDArray[np.float32]]:
        """The embedding after each snapshot of the images, (N, d)."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.summarisation.similarity import find_stimuli

            embed, count, vectors = _embedder(settings), len(self.extraction.images), {}
            for i, (seen, top) in enumerate(self.extraction.snapshots):
                stimuli = find_stimuli(top, seen, settings.stimuli_share)
                vectors[str(i)] = embed(stimuli, count)
                advance(1)
            return vectors

        parts = self.stage("embedding", compute, len(SNAPSHOT_FRACTIONS), "map")
        return [parts[str(i)] for i in range(len(SNAPSHOT_FRACTIONS))]

    @cached_property
    def projection(self) -> npt.NDArray[np.float32]:
        """The aligned maps, (S, N, 2)."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.summarisation import projection

            return {"maps": projection.snapshots(self.embedding, settings, advance)}

        maps: npt.NDArray[np.float32] = self.stage("projection", compute, len(SNAPSHOT_FRACTIONS), "map")["maps"]
        return maps

    @cached_property
    def importance(self) -> Parts:
        """classes: the classes; scores: how important every cluster is for them."""

        def compute(settings: RunSettings, _: Advance) -> Parts:
            from neurocarto.summarisation import importance

            classes = importance.find_classes(self.extraction, self.categories, settings)
            scores = importance.judge_importance(self._cluster_activations(), self._members(classes), settings)
            return {"classes": classes, "scores": scores.astype({"effect": np.float32})}

        return self.stage("importance", compute)

    def _members(self, classes: pd.DataFrame) -> dict[str, npt.NDArray[np.bool_]]:
        """Which of the sampled images belong to each class."""
        from neurocarto.summarisation.importance import class_images

        extraction = self.extraction
        return {
            row["class"]: np.isin(
                extraction.profile_images, class_images(extraction.images, row["class"], row["kind"], self.categories)
            )
            for row in classes.to_dict("records")
        }

    def _cluster_activations(self) -> npt.NDArray[np.float32]:
        """How active each cluster is on the sampled images, (clusters, P)."""
        from neurocarto.summarisation.importance import cluster_activations

        return cluster_activations(self.extraction, self.clusters["cluster"], len(self.clusters["table"]))

    @cached_property
    def confusions(self) -> pd.DataFrame:
        """The table of clusters that go with predictions other than the label."""

        def compute(settings: RunSettings, _: Advance) -> Parts:
            from neurocarto.summarisation.confusions import judge_confusions

            images = self.extraction.images.assign(prediction=self.predictions).iloc[self.extraction.profile_images]
            activations, classes = self._cluster_activations(), self.importance["classes"]
            return {"confusions": judge_confusions(activations, images.reset_index(drop=True), classes, settings)}

        table: pd.DataFrame = self.stage("confusions", compute)["confusions"]
        return table

    @cached_property
    def predictions(self) -> pd.Series:
        """What the network says of every image."""
        return self.extraction.images["output"].map(lambda output: self.categories[output])

    @cached_property
    def labels(self) -> pd.DataFrame:
        """A label for every cluster, with its evidence."""

        def compute(_: RunSettings, __: Advance) -> Parts:
            from neurocarto.summarisation.labels import label_clusters

            names = {"label": self.extraction.images["label"], "prediction": self.predictions}
            clusters = self.clusters
            top = self.extraction.whole.images
            return {"labels": label_clusters(clusters["cluster"], len(clusters["table"]), top, names)}

        table: pd.DataFrame = self.stage("labels", compute)["labels"]
        return table

    @cached_property
    def influence(self) -> Parts:
        """edges: the influence of clusters on each other; effects: what classes lose without them; how it was found."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.extraction.lineage import Lineage
            from neurocarto.summarisation import influence

            found = influence.measure_influence(
                self.placed,
                self.images,
                self.extraction,
                Lineage.from_json(self.lineage),
                self.clusters["cluster"],
                self.clusters["table"],
                self.importance["classes"],
                self.importance["scores"],
                settings,
                advance,
                self.progress.say,
            )
            return vars(found)

        return self.stage("influence", compute, len(self.importance["classes"]) + 1, "class")

    @cached_property
    def quality(self) -> Parts:
        """half0, half1: clusters (N,) on each half of the images alone; table: the measures (records.MEASURES)."""

        def compute(settings: RunSettings, advance: Advance) -> Parts:
            from neurocarto.quality import scorecard
            from neurocarto.quality.halves import half_alone

            def find(extraction: Extraction, further: int = 0) -> npt.NDArray[np.int32]:
                seed = (self.settings.seed + further) % 2**31
                asked = settings_of("clusters", replace(self.settings, seed=seed))
                cluster, _ = self._find_clusters(extraction, asked, lambda _: None)
                advance(1)
                return cluster

            extraction, clusters = self.extraction, self.clusters["cluster"]
            share = settings.stimuli_share if of_images else settings.cluster_share
            halves = [find(half_alone(extraction, half, share)) for half in (0, 1)]
            # The paper's clusters take passes of the network: too many to find them five times.
            seeds = range(1, 1 if of_images else scorecard.SEEDS)
            others = [find(self._reaching, seed) for seed in seeds]
            table = scorecard.own_table(extraction, clusters, halves, others, settings)
            members = self._members(self.importance["classes"])
            shuffled = scorecard.false_discoveries(self._cluster_activations(), members, settings)
            embed = _embedder(settings_of("embedding", self.settings))
            mapped = scorecard.map_table(extraction, embed, self.embedding[-1], self.projection[-1], settings)
            table = pd.concat([part for part in (table, mapped, shuffled) if len(part)], ignore_index=True)
            return {"half0": halves[0], "half1": halves[1], "table": table}

        of_images = self.settings.clustering == "paper"
        return self.stage("quality", compute, 2 if of_images else 6, "clustering")

    def previews(self) -> Iterator[tuple[int, bytes]]:
        """Yield small copies (webp) of the images that examples come from, in their order."""
        shown = np.unique(self.examples["image"])
        files = self.images.indices(self.extraction.images["path"])[shown]
        with self.progress.stage("previews", len(shown), "image") as advance:
            for begin in range(0, len(shown), PREVIEWS_PER_ENTRY):
                chosen = slice(begin, begin + PREVIEWS_PER_ENTRY)
                key = f"{self.keys['previews']}/{begin}"
                parts = self.cache.get(key)
                if parts is None:
                    pictures = [preview(self.images.open(file)) for file in files[chosen].tolist()]
                    parts = {"bytes": np.frombuffer(b"".join(pictures), np.uint8), "sizes": [*map(len, pictures)]}
                    self.cache.put(key, parts)
                stored = np.split(parts["bytes"], np.cumsum(parts["sizes"])[:-1])
                yield from zip(shown[chosen].tolist(), (picture.tobytes() for picture in stored), strict=True)
                advance(len(stored))

    def manifest(self) -> Manifest:
        """Say what the run was made from."""
        return Manifest(
            run_id=run_id(self.keys),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            settings=self.settings.as_dict(),
            model=self.model["model"],
            images={
                "source": self.images.source,
                "fingerprint": self.images.fingerprint,
                "count": len(self.extraction.images),
                "skipped": [asdict(entry) for entry in (*self.images.skipped, *self.extraction.skipped)],
            },
            layers=self.layers,
            packages={name: version(name) for name in PACKAGES},
            seconds=self.progress.seconds,
            snapshots=SNAPSHOT_FRACTIONS,
            influence={name: self.influence[name] for name in ("method", "note", "agreement")},
            extra={"algorithms": {name: stage.version for name, stage in STAGES.items()}},
        )


def _stimuli(extraction: Extraction, settings: RunSettings) -> "Stimuli":
    """What clusters compare the neurons on."""
    from neurocarto.summarisation.similarity import find_stimuli

    return find_stimuli(extraction.whole, len(extraction.images), settings.cluster_share)


def _embedder(settings: RunSettings) -> "Embed":
    """How an embedding is made of stimuli and a number of images."""
    if settings.embedding == "skipgram":
        from neurocarto.summarisation.skipgram import embed_skipgram as embed
    else:
        from neurocarto.summarisation.embedding import embed
    return lambda stimuli, count: embed(stimuli, count, settings.dimensions, settings.seed)


@dataclass(frozen=True)
class _Checkpoint:
    """What an interrupted pass has finished, kept in the cache until the pass is over."""

    cache: Cache
    key: str

    def get(self, name: str) -> Parts | None:
        return self.cache.get(f"{self.key}/{name}")

    def put(self, name: str, parts: Parts) -> None:
        self.cache.put(f"{self.key}/{name}", parts, replace=True)


def _write(work: _Work, out: Path) -> None:
    for stage in STAGES:
        getattr(work, stage)
    extraction, clusters, importance = work.extraction, work.clusters, work.importance
    images = extraction.images.assign(prediction=work.predictions)
    tables = {
        "images": images.drop(columns=["output", "half"]),
        "examples": work.examples,
        "clusters": clusters["table"].join(work.labels),
        "neurons": _neuron_table(extraction, clusters["cluster"], work.projection[-1]).assign(
            cluster_half0=work.quality["half0"], cluster_half1=work.quality["half1"]
        ),
        "classes": with_counts(importance["classes"], importance["scores"], work.settings.false_discovery_rate),
        "importance": _with_effects(importance["scores"], work.influence["effects"]),
        "influence": work.influence["edges"],
        "confusions": work.confusions,
        "quality": work.quality["table"],
    }
    arrays = {
        "embedding": work.embedding[-1],
        "snapshots": work.projection,
        "class_means": _class_means(extraction, importance["classes"]),
    }
    write_run(out, work.manifest(), tables, arrays, work.previews())


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


def _with_effects(scores: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Importance with the effects that were measured; they are missing elsewhere."""
    measured = effects.astype({name: np.float32 for name in effects.columns[2:]})
    return scores.drop(columns="effect").merge(measured, on=["class", "cluster"], how="left", validate="1:1")


def _class_means(extraction: Extraction, classes: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Mean activation of every neuron on each class's images, (classes, N)."""
    means = [extraction.class_means[kind, name] for name, kind in zip(classes["class"], classes["kind"], strict=True)]
    return np.stack(means) if means else np.zeros((0, len(extraction.maximum)), np.float32)
