"""Scoring a finished run: a judge looks at the patches of images that did not form its clusters.

Either the run's own halves, where the clusters of each are judged on the other and stand for the final ones that
they resemble, or images that the run has not seen, on which the final clusters themselves are judged.
"""

import io
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from neurocarto.engine.local import extract
from neurocarto.errors import ImagesError, RunError
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.lineage import find_lineage
from neurocarto.extraction.studied import load_studied
from neurocarto.progress import Progress
from neurocarto.quality.agreement import agreement
from neurocarto.quality.faithfulness import CLASSES, Claims, measure_faithfulness
from neurocarto.quality.groups import find_groups
from neurocarto.quality.intruder import coherence, intruder, intruder_distinct
from neurocarto.quality.judge import DEPTH, Judge, Open, Sights, load_judge, look, peak_places
from neurocarto.quality.measures import Draw, measure, tabulate
from neurocarto.quality.scorecard import both_ways
from neurocarto.records import MEASURES, layer_slices
from neurocarto.runs.store import SCORES, Run
from neurocarto.settings import RunSettings, available_threads
from neurocarto.summarisation.similarity import find_stimuli
from neurocarto.summarisation.strengths import Pictures

HALVES = "the run's halves"
_KINDS: dict[str, Callable[[Sights], Draw]] = {
    "intruder": lambda sights: intruder(sights.means),
    "intruder_distinct": intruder_distinct,
    "coherence": lambda sights: coherence(sights.means),
}
_ENDS = ["x0", "x1"], ["y0", "y1"]


@dataclass(frozen=True)
class _Found:
    """What a judge has found: the measures, which pictures it looked at, and what else is to be said."""

    table: pd.DataFrame
    pictures: str
    notes: tuple[str, ...] = ()


def score(
    folder: Path,
    judge_name: str,
    images: str | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Judge the clusters of a run and write what was found beside it; returns the table's path.

    images: a source of images that the run has not seen; None: the run's own halves. draws: questions about each layer
    at least. The run itself is not touched. Raises ModelError for a judge that there is not, or that is the network
    under study; RunError for a run that cannot be judged, or a place that cannot be written; ImagesError.
    """
    begin = time.perf_counter()
    progress = progress or Progress(quiet=True)
    run = Run(folder)
    sizes = run.clusters["size"]
    if not (sizes >= 3).any():
        raise RunError(f"{folder} has no cluster of three neurons or more: there is nothing to ask a judge about")
    place = _writable(run.folder / SCORES)
    torch.set_num_threads(available_threads())
    judge = load_judge(judge_name, run.manifest.model["weights_sha256"])
    found = (
        _on_unseen(run, judge, images, draws, seed, progress)
        if images
        else _on_halves(run, judge, draws, seed, progress)
    )
    if not len(found.table):
        raise RunError(f"{folder} has no cluster of 3 to 40 neurons with patches to ask a judge about")
    info = {
        "judge": judge.name,
        "model": run.manifest.model["name"],
        "images": images or HALVES,
        "draws": draws,
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - begin, 1),
        "pictures": found.pictures,
        "notes": list(found.notes),
    }
    name = judge.name if images is None else f"{judge.name} on {Path(images).name or images}"
    return _write(place, _slug(name), found.table, info)


def _on_halves(run: Run, judge: Judge, draws: int, seed: int, progress: Progress) -> _Found:
    if "cluster_half0" not in run.neurons:
        raise RunError(
            f"{run.folder} was made before clusters of its halves were kept: make it again, or name unseen images with "
            "--images"
        )
    halves = [run.neurons[f"cluster_half{half}"].to_numpy() for half in (0, 1)]
    examples = run.examples[run.examples["rank"] < DEPTH].sort_values(["neuron", "half", "rank"])
    places = pd.DataFrame(
        {name: examples[name].to_numpy() for name in ("neuron", "image", "half")}
        | {axis: examples[ends].mean(axis=1).to_numpy() for axis, ends in zip("xy", _ENDS, strict=True)}
    )
    picture, pictures = _pictures(run)
    with progress.stage("judge", places["image"].nunique(), "image") as advance:
        sights = [
            look(judge, places[places["half"] == half], run.images, len(run.neurons), picture, advance)
            for half in (0, 1)
        ]
    final, layers = run.neurons["cluster"].to_numpy(), run.manifest.layers
    seen = [own.seen for own in sights]

    def table(name: str) -> pd.DataFrame:
        def drawing(half: int, neurons: slice) -> Draw:
            return _KINDS[name](sights[half][neurons])

        return both_ways(name, halves, final, layers, seen, drawing, draws, seed)

    found = pd.concat([table(name) for name in _KINDS], ignore_index=True)
    judged = found.loc[(found["measure"] == "intruder") & (found["cluster"] >= 0), "cluster"].nunique()
    note = (
        f"clusters of each half of the images were judged on the other; {judged} of {len(run.clusters)} final clusters "
        "share half of their members with one that was"
    )
    return _Found(found, pictures, (note,))


def _pictures(run: Run) -> tuple[Open, str]:
    """How an image of the run is opened, and whether that is the original or its preview."""
    paths, sizes = run.images["path"], run.images[["width", "height"]].to_numpy()
    listed = _originals(run)

    def small(image: int) -> Image.Image:
        content = run.preview(image)
        if content is None:
            raise RunError(f"{run.folder} has no preview of {paths[image]!r}; `check` says what is damaged")
        return Image.open(io.BytesIO(content)).convert("RGB")

    if listed is None:
        return small, "previews"
    files = listed.indices(paths).tolist()

    def original(image: int) -> Image.Image:
        opened = listed.open(files[image])
        if opened.size != tuple(sizes[image]):
            raise RunError(f"{paths[image]!r} in {listed.source} has changed since the run was made of it")
        return opened

    return original, "originals"


def _originals(run: Run) -> ImageSet | None:
    """The run's images, where its source lies on this machine and still has all of them."""
    source = run.manifest.images["source"]
    if "://" in source:
        return None
    try:
        listed = list_images(source, fingerprint=run.manifest.images["fingerprint"])
    except ImagesError:
        return None
    return listed if set(listed.paths).issuperset(run.images["path"]) else None


def _on_unseen(run: Run, judge: Judge, source: str, draws: int, seed: int, progress: Progress) -> _Found:
    images = list_images(source)
    advice = ", which --images needs; without --images the run's halves are judged"
    model, settings, layers = load_studied(run.manifest, advice), _settings(run), run.manifest.layers
    with progress.stage("extraction", len(images), "image") as advance:
        extraction = extract(model, layers, images, settings, advance)
    files = images.indices(extraction.images["path"])
    places = peak_places(extraction.whole, extraction.images, model.preprocessing)
    with progress.stage("judge", places["image"].nunique(), "image") as advance:
        sights = look(
            judge,
            places,
            extraction.images,
            len(extraction.whole),
            lambda image: images.open(int(files[image])),
            advance,
        )
    stimuli = find_stimuli(extraction.whole, len(extraction.images), settings.stimuli_share)
    cluster = run.neurons["cluster"].to_numpy()

    def table(name: str, drawing: Callable[[slice], Draw], seen: npt.NDArray[np.bool_]) -> pd.DataFrame:
        measured = {}
        for layer, neurons in layer_slices(layers).items():
            groups = find_groups(cluster[neurons], np.flatnonzero(seen[neurons]))
            found = measure(groups, drawing(neurons), draws, seed)
            if found:
                measured[layer] = [(found, {number: number for number in found.cluster.tolist()})]
        return tabulate(name, measured)

    def judged(name: str) -> pd.DataFrame:
        return table(name, lambda neurons: _KINDS[name](sights[neurons]), sights.seen)

    tables = [
        *map(judged, _KINDS),
        table("peak_agreement", lambda neurons: agreement(stimuli[neurons]), stimuli.alive),
    ]
    if len(run.influence):
        with progress.stage("edges", min(CLASSES + 1, run.influence["class"].nunique()), "class") as advance:
            held = measure_faithfulness(
                Pictures(model, images, files, settings.batch_size),
                extraction.images,
                Claims.of_run(run),
                find_lineage(model, layers),
                seed,
                settings.influence_images,
                advance,
            )
        tables.append(held.measures(seed))
    same = images.fingerprint == run.manifest.images["fingerprint"]
    notes = ("these are the images that the clusters were formed on, which flatters them",) if same else ()
    return _Found(pd.concat(tables, ignore_index=True), "originals", notes)


def _settings(run: Run) -> RunSettings:
    known = {knob.name for knob in fields(RunSettings)}
    return RunSettings(**{name: value for name, value in run.manifest.settings.items() if name in known})


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "judge"


def _writable(place: Path) -> Path:
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"the scores cannot be written to {place}: {error.strerror}") from error
    if not os.access(place, os.W_OK):
        raise RunError(f"the scores cannot be written to {place}: it is not yours to write to")
    return place


def _write(place: Path, slug: str, table: pd.DataFrame, info: dict[str, Any]) -> Path:
    """Write the table, then what says how it was made: readers look for the latter."""
    contents = pa.Table.from_pandas(table[MEASURES.names], schema=MEASURES, preserve_index=False)
    out, temporary = place / f"{slug}.parquet", place / f".{slug}.{os.getpid()}.partial"
    try:
        pq.write_table(contents.replace_schema_metadata(None), temporary, compression="zstd")
        temporary.replace(out)
        temporary.write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(out.with_suffix(".json"))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"the scores cannot be written to {place}: {error.strerror}") from error
    return out


def table_lines(table: pd.DataFrame, layers: Sequence[str]) -> list[str]:
    """Return a table of measures as lines to read: a row for each layer, the whole run last."""
    of_layers = table[table["cluster"] < 0].set_index(["layer", "measure"])
    measures = list(dict.fromkeys(table["measure"]))
    width = max(len("whole run"), *(len(layer) for layer in layers))
    lines = [f"{'layer':<{width}}" + "".join(f"  {f'{m} (95 %), random':<32}" for m in measures)]
    for layer in [*layers, ""]:
        cells = [_cell(of_layers.loc[layer, m]) if (layer, m) in of_layers.index else "-" for m in measures]
        if any(cell != "-" for cell in cells):
            lines.append(f"{layer or 'whole run':<{width}}" + "".join(f"  {cell:<32}" for cell in cells))
    return [line.rstrip() for line in lines]


def _cell(row: pd.Series) -> str:
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}), {row['null']:.3f}"
