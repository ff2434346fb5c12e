"""The command line: python -m neurocarto run | check | info."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from neurocarto import __version__
from neurocarto.errors import NeurocartoError
from neurocarto.settings import RunSettings

DESCRIPTION = """\
Show what a vision network has learnt: group the neurons that detect the same concept, lay them out on a
map, and trace how concepts build on one another up to a class.

A first run, with the packaged model and no network:
  python -m neurocarto run --images my_photos --out runs/my_photos
  streamlit run app.py
"""
RUN_EPILOG = """\
IMAGES holds one subfolder per class (its name becomes the label), or just images. The run is written to OUT
when it is whole; the app finds runs in runs/ and in the folders named in NEUROCARTO_RUNS.
The same images, settings and seed give the same run, bit for bit on one machine.
"""


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
    commands = parser.add_subparsers(title="commands", required=True, metavar="run | check | info")

    run = commands.add_parser(
        "run",
        help="make a run from a model and a folder of images",
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="folder with the images")
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the run goes; must not exist yet")
    run.add_argument("--model", default="efficientnet_lite0", help="the network (default: %(default)s, packaged)")
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    knobs = run.add_argument_group("settings", "their defaults are argued in docs/decisions.md")
    for knob in fields(RunSettings):
        knobs.add_argument(
            f"--{knob.name.replace('_', '-')}",
            type=knob.type,
            default=argparse.SUPPRESS,
            choices=knob.metadata.get("choices"),
            metavar=None if "choices" in knob.metadata else "X" if knob.type is float else "N",
            help=knob.metadata["help"] + ("" if knob.name == "threads" else f" (default: {knob.default})"),
        )
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="verify a run's checksums, tables and references")
    check.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    check.set_defaults(command=_check)

    info = commands.add_parser("info", help="say what a run was made from and what it holds")
    info.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    info.set_defaults(command=_info)
    return parser


def _run(options: argparse.Namespace) -> int:
    names = {knob.name for knob in fields(RunSettings)}
    settings = RunSettings(**{name: value for name, value in vars(options).items() if name in names})
    # torch takes seconds to import, and only this command needs it.
    from neurocarto.pipeline import run
    from neurocarto.progress import Progress

    out = run(options.model, options.images, options.out, settings, Progress(options.quiet))
    print(f"{out} is ready: `streamlit run app.py` shows it (NEUROCARTO_RUNS={out} if it lies outside runs/)")
    return 0


def _check(options: argparse.Namespace) -> int:
    from neurocarto.runs.store import check_run

    problems = check_run(options.run)
    for problem in problems:
        print(f"neurocarto: {problem}", file=sys.stderr)
    if not problems:
        print(f"{options.run}: the run is whole")
    return 2 if problems else 0


def _info(options: argparse.Namespace) -> int:
    from neurocarto.runs.store import Run

    run = Run(options.run)
    manifest, images = run.manifest, run.manifest.images
    clustered = int((run.neurons["cluster"] >= 0).sum())
    print(f"run {manifest.run_id}, made {manifest.created} by neurocarto {manifest.version}")
    print(f"model     {manifest.model['name']} ({manifest.model['source']})")
    print(f"images    {images['count']} from {images['source']}, {len(images['skipped'])} skipped")
    for skipped in images["skipped"]:
        print(f"          skipped {skipped['path']}: {skipped['reason']}")
    print(f"layers    {len(manifest.layers)}: {', '.join(layer.name for layer in manifest.layers)}")
    print(f"neurons   {len(run.neurons)}, {clustered} of them in {len(run.clusters)} clusters")
    print(f"classes   {len(run.classes)}: {', '.join(run.classes['class'].head(20))}")
    print(f"influence {len(run.influence)} edges, by {manifest.influence['method']}")
    print(f"settings  {', '.join(f'{name} {value}' for name, value in manifest.settings.items())}")
    print(f"seconds   {', '.join(f'{stage} {seconds:.1f}' for stage, seconds in manifest.seconds.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
