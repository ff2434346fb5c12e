"""The command line: python -m neurocarto COMMAND; --help lists the commands."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from neurocarto import __version__
from neurocarto.errors import ImagesError, NeurocartoError, RunError, SettingsError
from neurocarto.files import written_size
from neurocarto.request import ModelRequest
from neurocarto.runs.cache import FOLDER_VARIABLE, Cache, default_folder
from neurocarto.settings import BATCH_ON_CARDS, RunSettings

if TYPE_CHECKING:
    from neurocarto.engine.local import Engine
    from neurocarto.extraction.images import ImageSet
    from neurocarto.extraction.layers import LayerRow

DESCRIPTION = """\
Show what a vision network has learnt: group the neurons that detect the same concept, lay them out on a
map, and trace how concepts build on one another up to a class.

A first run, with the packaged model and no network:
  python -m neurocarto run --images my_photos --out runs/my_photos
  streamlit run app.py
"""
RUN_EPILOG = """\
IMAGES is a folder, a .zip, tar shards ('train-{000..012}.tar') or an address that fsspec opens (s3://…). One subfolder
per class: its name becomes the label; or just images. The run is written to OUT when it is whole; the app finds
runs in runs/ and in the folders named in NEUROCARTO_RUNS. The same images, settings and seed give the same run,
bit for bit on one machine. Interrupted, it goes on where it was when the same command is given again.
docs/models.md says which networks, weights and layers there are, docs/sources.md which images.
"""
_DEFAULTS = {
    "threads": "",  # its help says it
    "device": "; auto (default): a card if there is one",
    "batch_size": f" (default: {RunSettings.batch_size}, on a card {BATCH_ON_CARDS})",
}
SKIPPED_SHOWN = 5
MOST_DRAWS = 100_000
BACKGROUND = 15
"""By how much `look --background` lowers its priority (nice)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 with one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except NeurocartoError as error:
        print(f"neurocarto: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("neurocarto: stopped", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option as every other problem is reported: in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"neurocarto: {message}; {self.prog} --help lists the options\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m neurocarto", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="make a run from a model and images",
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--images", required=True, metavar="IMAGES", help="a folder, .zip, tar shards or address")
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the run goes; must not exist yet")
    _add_model(run, "--model", default=ModelRequest.name)
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    run.add_argument("--status", type=Path, metavar="FILE", help="write progress to this file, as JSON for programs")
    run.add_argument("--called", metavar="NAME", help="what the run says of where the images come from")
    run.add_argument("--most-images", type=int, metavar="N", help="refuse to run on more images")
    run.add_argument("--most-minutes", type=float, metavar="X", help="stop after so many; what is finished is kept")
    _add_cache(run).add_argument("--no-cache", action="store_true", help="keep nothing and use nothing that is kept")
    engine = run.add_argument_group("engine", "docs/scale.md describes them; the run is the same")
    engine.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="where the images are passed through the network (default: %(default)s)",
    )
    engine.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="a Ray cluster that this machine is part of, or auto (default: one on this machine)",
    )
    engine.add_argument(
        "--ray-gpus",
        type=float,
        metavar="X",
        help="GPUs that Ray reserves for each worker (default: 1 with --device cuda, else 0)",
    )
    engine.add_argument(
        "--ray-shards",
        metavar="FOLDER",
        help="a folder or address that all machines reach, to keep finished shards in until the run is made",
    )
    knobs = run.add_argument_group("settings", "their defaults are argued in docs/decisions.md")
    for knob in fields(RunSettings):
        knobs.add_argument(
            f"--{knob.name.replace('_', '-')}",
            type=knob.type,
            default=argparse.SUPPRESS,
            choices=("auto",) * (knob.name == "device") + knob.metadata.get("choices", ()) or None,
            metavar=None if "choices" in knob.metadata else "X" if knob.type is float else "N",
            help=knob.metadata["help"] + _DEFAULTS.get(knob.name, f" (default: {knob.default})"),
        )
    run.set_defaults(command=_run, device="auto")

    score = commands.add_parser(
        "score", help="let a second network judge a run's clusters on images that did not form them"
    )
    score.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    score.add_argument("--images", metavar="IMAGES", help="unseen images (default: the halves of the run's own)")
    score.add_argument(
        "--judge",
        default="efficientnet_lite2",
        metavar="MODEL",
        help="any network but the run's (default: %(default)s)",
    )
    score.add_argument("--draws", type=int, default=1000, metavar="N", help="questions a layer (default: %(default)s)")
    score.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the questions (default: %(default)s)")
    score.add_argument("--quiet", action="store_true", help="no progress bars")
    score.set_defaults(command=_score)

    look = commands.add_parser(
        "look", help="see which clusters of a run an image excites, and what the answer rests on"
    )
    look.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    look.add_argument("image", metavar="IMAGE", help="a file, or - for standard input; nothing of it is kept")
    look.add_argument("--json", metavar="FILE", help="write all that is found as JSON; - is standard output")
    look.add_argument("--model", metavar="M", help="where the run's network is, if not where its name says")
    look.add_argument("--weights", metavar="FILE", help="where its weights are, if they came from a file")
    look.add_argument("--background", action="store_true", help="let everything else on this machine go first")
    look.set_defaults(command=_look)

    layers = commands.add_parser("layers", help="list the layers of a network: channels, maps, fields, cost")
    _add_model(layers, "model")
    layers.add_argument("--json", action="store_true", help="as JSON, with what a run would take, for programs")
    layers.add_argument("--images", type=int, default=1000, metavar="N", help="of how many images, for --json")
    layers.add_argument("--labels", type=int, default=0, metavar="N", help="of how many labels, for --json")
    layers.set_defaults(command=_layers)

    check = commands.add_parser("check", help="verify a run's checksums, tables and references")
    check.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    check.set_defaults(command=_check)

    info = commands.add_parser("info", help="say what a run was made from and what it holds")
    info.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    info.set_defaults(command=_info)

    export = commands.add_parser("export", help="write a run to one .zip file, to hand to somebody else")
    export.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    export.add_argument("out", type=Path, metavar="OUT.zip", help="the file; must not exist yet")
    export.set_defaults(command=_export)

    bring = commands.add_parser("import", help="verify an exported run and unpack it")
    bring.add_argument("archive", type=Path, metavar="FILE.zip", help="what export wrote, here or elsewhere")
    bring.add_argument(
        "--into",
        type=Path,
        default=Path("runs"),
        metavar="FOLDER",
        help="where the run's folder goes (default: %(default)s)",
    )
    bring.add_argument("--name", default="", metavar="NAME", help="the folder's name (default: as it was exported)")
    bring.set_defaults(command=_import)

    report = commands.add_parser("report", help="write what a run says, or says of one class, as one HTML file")
    report.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    report.add_argument("out", type=Path, metavar="OUT.html", help="the file; it opens offline and prints well")
    report.add_argument("--class", dest="class_", default="", metavar="NAME", help="one class (default: the whole run)")
    report.add_argument("--no-images", action="store_true", help="show no part of any image, nor where images lie")
    report.set_defaults(command=_report)

    publish = commands.add_parser("publish", help="copy a run, small enough for a git repository and a free host")
    publish.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    publish.add_argument("--name", default="", metavar="NAME", help="name of the copy (default: the run's)")
    publish.add_argument(
        "--into", type=Path, default=Path("data/runs"), metavar="FOLDER", help="where it goes (default: %(default)s)"
    )
    publish.add_argument(
        "--examples",
        type=int,
        metavar="N",
        help="patches kept of each neuron and half of the images (default: all, or as many as GitHub takes)",
    )
    publish.set_defaults(command=_publish)

    cache = commands.add_parser("cache", help="show what is kept of runs, and clear it")
    _add_cache(cache)
    cache.add_argument("--clear", nargs="+", default=[], metavar="RUN", help="forget these runs, by their ids")
    cache.add_argument("--older-than", type=float, metavar="DAYS", help="forget runs not asked for in so many days")
    cache.add_argument("--all", action="store_true", help="forget all runs")
    cache.set_defaults(command=_cache)
    return parser


def _add_model(parser: argparse.ArgumentParser, flag: str, **options: Any) -> None:
    group = parser.add_argument_group("model", "docs/models.md describes them")
    about = "a packaged or torchvision network, or package.module:factory"
    group.add_argument(flag, help=about + (" (default: %(default)s)" if options else ""), **options)
    group.add_argument("--weights", default="DEFAULT", metavar="W", help="DEFAULT, none (random) or a file")
    group.add_argument(
        "--layers",
        nargs="+",
        default=[],
        metavar="LAYER",
        help="names and globs of layers (default: the network's own)",
    )
    group.add_argument(
        "--preprocess", metavar="P", help="key=value pairs (resize=256,size=224,mean=0.5,…) or a .json file"
    )
    group.add_argument("--class-names", type=Path, metavar="FILE", help="names of the outputs, one a line, or .json")


def _add_cache(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("cache").add_mutually_exclusive_group()
    group.add_argument(
        "--cache",
        type=Path,
        default=default_folder(),
        metavar="FOLDER",
        help=f"where stages are kept (default: {FOLDER_VARIABLE}, or %(default)s)",
    )
    return group


def _request(options: argparse.Namespace) -> ModelRequest:
    layers = tuple(name for argument in options.layers for name in argument.split(","))
    return ModelRequest(options.model, options.weights, layers, options.preprocess, options.class_names)


def _run(options: argparse.Namespace) -> int:
    from neurocarto.extraction.devices import with_device

    names = {knob.name for knob in fields(RunSettings)}
    settings = with_device({name: value for name, value in vars(options).items() if name in names})
    from neurocarto.progress import Progress, StatusFile

    with StatusFile(options.status) if options.status else Progress(options.quiet) as progress, _stoppable(options):
        from neurocarto.engine.heap import keep_freed_memory
        from neurocarto.extraction.images import list_images
        from neurocarto.pipeline import run

        keep_freed_memory()
        cache = None if options.no_cache else options.cache
        images = options.images
        if options.called or options.most_images is not None:
            images = _at_most(list_images(images), options)
        with _engine(options, settings) as engine:
            out = run(_request(options), images, options.out, settings, progress, cache, engine)
    _print_skipped(out)
    print(f"{out} is ready: `streamlit run app.py` shows it (NEUROCARTO_RUNS={out} if it lies outside runs/)")
    return 0


def _at_most(images: "ImageSet", options: argparse.Namespace) -> "ImageSet":
    images = replace(images, source=options.called or images.source)
    if options.most_images is not None and len(images) > options.most_images:
        raise ImagesError(
            f"there are {len(images):,} images in {images.source}; at most {options.most_images:,} are allowed here"
        )
    return images


@contextmanager
def _stoppable(options: argparse.Namespace) -> Iterator[None]:
    """Let whoever watches this process stop it as Ctrl-C does, and a limit of time end it with a line that says so."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    def late(*_: object) -> NoReturn:
        raise SettingsError(
            f"the run took longer than {options.most_minutes:g} minutes, the most that is allowed here; what is "
            "finished is kept, and the same run goes on from there"
        )

    if options.status:
        signal.signal(signal.SIGTERM, stop)
    if options.most_minutes is not None:
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, options.most_minutes * 60, 5)  # again, where something swallowed it
    try:
        yield
    finally:
        if options.most_minutes is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _engine(options: argparse.Namespace, settings: RunSettings) -> "AbstractContextManager[Engine | None]":
    if options.engine == "ray":
        from neurocarto.engine.ray import connected

        gpus = float(settings.device == "cuda") if options.ray_gpus is None else options.ray_gpus
        return connected(options.ray_address, gpus, options.ray_shards)
    if options.ray_address or options.ray_gpus is not None or options.ray_shards:
        raise SettingsError("--ray-address, --ray-gpus and --ray-shards need --engine ray")
    return nullcontext()


def _print_skipped(out: Path) -> None:
    from neurocarto.extraction.decoding import shown
    from neurocarto.runs.store import Run

    images = Run(out).manifest.images
    skipped = images["skipped"]
    if skipped:
        print(f"{images['count']} images were used and {len(skipped)} skipped:")
        for entry in skipped[:SKIPPED_SHOWN]:
            print(f"  {shown(entry['path'])}: {entry['reason']}")
        if len(skipped) > SKIPPED_SHOWN:
            print(f"  … and {len(skipped) - SKIPPED_SHOWN} more: `python -m neurocarto info {out}` lists them")


def _score(options: argparse.Namespace) -> int:
    if not 1 <= options.draws <= MOST_DRAWS:
        raise SettingsError(f"--draws is {options.draws}; it must be between 1 and {MOST_DRAWS}")
    if options.seed < 0:
        raise SettingsError(f"--seed is {options.seed}; it must not be below 0")
    from neurocarto.engine.heap import keep_freed_memory
    from neurocarto.progress import Progress
    from neurocarto.quality.score import score, table_lines
    from neurocarto.runs.store import Run

    keep_freed_memory()
    progress = Progress(options.quiet)
    path = score(options.run, options.judge, options.images, options.draws, options.seed, progress)
    run = Run(options.run)
    info, table = run.scores()[path.stem]
    print(f"{info['judge']} judged {info['images']} ({info['pictures']}) in {info['seconds']} s")
    print("\n".join(table_lines(table, [layer.name for layer in run.manifest.layers])))
    for note in info["notes"]:
        print(note)
    print(f"{path} holds it, for every cluster; the app shows it on the Quality page")
    return 0


def _look(options: argparse.Namespace) -> int:
    if options.background and hasattr(os, "nice"):
        os.nice(BACKGROUND)
    name = "the image" if options.image == "-" else options.image
    try:
        content = sys.stdin.buffer.read() if options.image == "-" else Path(options.image).read_bytes()
    except OSError as error:
        raise ImagesError(f"cannot read the image {options.image!r}: {error.strerror}") from error
    from neurocarto.extraction.decoding import decode_alone
    from neurocarto.runs.store import Run

    run, image = Run(options.run), decode_alone(content, name)
    # torch takes seconds to import: what is no image, or no run, is said before.
    from neurocarto.engine.heap import keep_freed_memory
    from neurocarto.look import lines, look, write

    keep_freed_memory()
    with redirect_stdout(sys.stderr):  # what a network's own code prints is none of the answer
        found = look(run, image, options.model, options.weights)
    if options.json and options.json != "-":
        write(found, Path(options.json))
    print(json.dumps(found) if options.json == "-" else "\n".join(lines(run, found)))
    return 0


def _layers(options: argparse.Namespace) -> int:
    from neurocarto.engine.memory import kept_per_neuron
    from neurocarto.extraction.layers import describe_layers, list_layers
    from neurocarto.extraction.models import load_model

    request = _request(options)
    model = load_model(request)
    if options.json:
        from neurocarto.engine.estimate import describe

        print(json.dumps(describe(model, options.images, options.labels, RunSettings())))
        return 0
    chosen = {layer.name for layer in describe_layers(model, request.layers)} if request.layers else None
    rows = list_layers(model, kept_per_neuron(RunSettings()))
    width = max(len(row.name) for row in rows)
    print(f"  {'layer':<{width}}  {'module':<22} {'channels':>8} {'map':>9} {'layout':>11} {'field':>5} {'memory':>8}")
    for row in rows:
        studied = row.default if chosen is None else row.name in chosen
        print(f"{'*' if studied else ' '} {row.name:<{width}}  {row.kind:<22} {_layer_facts(row)}")
    layers = [row for row in rows if (row.default if chosen is None else row.name in chosen)]
    neurons, kept = sum(row.layer.channels for row in layers if row.layer), sum(row.kept_bytes for row in layers)
    how = "by default" if chosen is None else "with these --layers"
    print(f"* studied {how}: {len(layers)} layers, {neurons:,} neurons, {written_size(kept)} of memory")
    return 0


def _layer_facts(row: "LayerRow") -> str:
    layer = row.layer
    if layer is None:
        return row.problem
    size, field = f"{layer.map_height} x {layer.map_width}", layer.receptive_field or "-"
    signs = "  signed" if layer.signed else ""
    return f"{layer.channels:>8} {size:>9} {layer.layout:>11} {field:>5} {written_size(row.kept_bytes):>8}{signs}"


def _cache(options: argparse.Namespace) -> int:
    with Cache(options.cache) as cache:
        kept = cache.runs()
        chosen = _chosen(options, [run.run for run in kept], {run.run: run.used for run in kept})
        if options.clear or options.all or options.older_than is not None:
            freed = written_size(cache.forget(chosen))
            print(
                f"{freed} freed, {len(chosen)} run{'s' * (len(chosen) != 1)} forgotten"
                if chosen
                else "nothing to clear"
            )
            return 0
        for run in kept:
            days = (time.time() - run.used) / 86_400
            state = "whole" if run.stages == run.of else f"{run.stages} of {run.of} stages"
            print(f"{run.run}  {written_size(run.bytes):>8}  {days:4.0f} days ago  {state}  {run.about}")
        print(f"{options.cache}: {written_size(cache.bytes)}, {len(kept)} runs")
    return 0


def _chosen(options: argparse.Namespace, runs: Sequence[str], used: Mapping[str, float]) -> list[str]:
    """The runs to forget."""
    unknown = [run for run in options.clear if run not in runs]
    if unknown:
        raise RunError(f"nothing is kept of run {unknown[0]!r}; `python -m neurocarto cache` lists what is")
    if options.older_than is None:
        return list(runs if options.all else options.clear)
    oldest = time.time() - options.older_than * 86_400
    return [run for run in runs if run in options.clear or options.all or used[run] < oldest]


def _check(options: argparse.Namespace) -> int:
    from neurocarto.runs.store import check_run

    problems = check_run(options.run)
    for problem in problems:
        print(f"neurocarto: {problem}", file=sys.stderr)
    if not problems:
        print(f"{options.run}: the run is whole")
    return 2 if problems else 0


def _export(options: argparse.Namespace) -> int:
    from neurocarto.runs.archive import export_run

    out = export_run(options.run, options.out)
    print(f"{out} holds the run, {written_size(out.stat().st_size)}: `python -m neurocarto import {out}` unpacks it")
    return 0


def _import(options: argparse.Namespace) -> int:
    from neurocarto.runs.archive import import_run

    folder = import_run(options.archive, options.into, options.name)
    print(f"{folder} is ready: `streamlit run app.py` shows it (NEUROCARTO_RUNS={folder} if it lies outside runs/)")
    return 0


def _report(options: argparse.Namespace) -> int:
    from neurocarto.views.report import write_report

    out = write_report(options.run, options.out, options.class_, pixels=not options.no_images)
    print(f"{out}: {written_size(out.stat().st_size)}, opens in any browser, offline and on paper")
    return 0


def _info(options: argparse.Namespace) -> int:
    from neurocarto.extraction.decoding import shown
    from neurocarto.runs.store import Run

    run = Run(options.run)
    manifest, images = run.manifest, run.manifest.images
    clustered = int((run.neurons["cluster"] >= 0).sum())
    print(f"run {manifest.run_id}, made {manifest.created} by neurocarto {manifest.version}")
    print(f"model     {manifest.model['name']} ({manifest.model['source']})")
    print(f"images    {images['count']} from {images['source']}, {len(images['skipped'])} skipped")
    for skipped in images["skipped"]:
        print(f"          skipped {shown(skipped['path'])}: {skipped['reason']}")
    print(f"layers    {len(manifest.layers)}: {', '.join(layer.name for layer in manifest.layers)}")
    print(f"neurons   {len(run.neurons)}, {clustered} of them in {len(run.clusters)} clusters")
    print(f"classes   {len(run.classes)}: {', '.join(run.classes['class'].head(20))}")
    print(f"influence {len(run.influence)} edges, by {manifest.influence['method']}")
    print(f"settings  {', '.join(f'{name} {value}' for name, value in manifest.settings.items())}")
    print(f"seconds   {', '.join(f'{stage} {seconds:.1f}' for stage, seconds in manifest.seconds.items())}")
    return 0


def _publish(options: argparse.Namespace) -> int:
    from neurocarto.runs.publish import describe, publish

    print("\n".join(describe(publish(options.run, options.into, options.name, options.examples))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
