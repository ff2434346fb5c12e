"""A report: what a run says, or what it says of one class, as one HTML file that opens anywhere, offline and on paper.

The file asks nobody for anything: styles, drawings and pictures are in it, there is no script, and its own policy
forbids whatever else. Every text from a run is escaped.
"""

from difflib import get_close_matches
from html import escape
from pathlib import Path

from neurocarto.errors import RunError
from neurocarto.files import replace_text
from neurocarto.runs.store import Run
from neurocarto.views import graph_svg
from neurocarto.views.album import Album
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.report_class import class_parts
from neurocarto.views.report_facts import facts_parts
from neurocarto.views.report_run import run_parts

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the file allows itself: its own styles, and pictures that are in it."""
ENDINGS = (".html", ".htm")
_STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def report(lookup: Lookup, patches: Patches, class_: str = "", pixels: bool = True) -> str:
    """Return the report of a run, or of one of its classes, as HTML; the same run gives the same text.

    pixels: whether it may show parts of images and say where they lie. RunError when the run has no such class.
    """
    _refuse_unknown(lookup, class_)
    album = Album(lookup, patches, pixels)
    parts = [*(class_parts(lookup, album, class_) if class_ else run_parts(lookup, album))]
    parts += facts_parts(lookup, patches, pixels)
    model = str(lookup.run.manifest.model.get("name"))
    title = f"{class_ or 'All classes'} in {model}"
    contents = "".join(f'<li><a href="#{part.name}">{escape(part.title)}</a></li>' for part in parts if part.title)
    nav = f'<nav aria-label="Contents"><ul>{contents}</ul></nav>'
    head, *rest = (part.html for part in parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" '
        'content="no-referrer">\n'
        f'<link rel="icon" href="data:,"><title>{escape(title)}: NeuroCartography</title>\n'
        f"<style>\n{_STYLE}{graph_svg.STYLE}</style></head>\n"
        f"<body><main>{head}{nav}{''.join(rest)}</main>"
        f"{album.pictures()}</body></html>\n"
    )


def write_report(run: Path, out: Path, class_: str = "", pixels: bool = True) -> Path:
    """Write the report of the run in a folder to `out`, an .html file, and return it.

    RunError when the run cannot be read, has no such class, or `out` cannot be written.
    """
    if out.suffix.lower() not in ENDINGS or out.is_dir():
        raise RunError(f"the report cannot be written to {out}: name a file that ends in .html")
    lookup = Lookup.with_names(Run(run))
    text = report(lookup, Patches(lookup.run), class_, pixels)
    try:
        replace_text(out, text)
    except OSError as error:
        raise RunError(f"the report cannot be written to {out}: {error.strerror}; name another place") from error
    return out


def _refuse_unknown(lookup: Lookup, class_: str) -> None:
    if not class_ or class_ in lookup.class_kinds:
        return
    near = get_close_matches(class_, lookup.classes, n=3)
    advice = f"did you mean {' or '.join(map(repr, near))}?" if near else "`python -m neurocarto info` lists classes"
    raise RunError(f"the run has no class {class_!r}; {advice}")
