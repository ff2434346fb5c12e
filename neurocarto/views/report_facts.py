"""The parts of a report that are about the whole run: what it is worth, how it was made, and how to cite it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from neurocarto import __version__
from neurocarto.runs.manifest import Manifest
from neurocarto.views import method
from neurocarto.views.facts import LAYER_HEAD, layer_rows, run_rows, text_of
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.prose import prose
from neurocarto.views.quality import QualityCards

APP_ONLY = ("### ", "**Cascade", "**Comparing")
"""How paragraphs on the method begin that tell of what no report shows."""
UNSCORED = (
    "No judge has scored this run, so its clusters have no badges. <code>python -m neurocarto score</code> lets "
    "another network test them."
)
QUALITY_HOW = (
    "What clusters, map and edges are worth beside chance. Clusters are judged on images that did not form them. "
    "Dot: measured; bar: its 95% interval; grey band: random groups of the same sizes and layers."
)
NO_PIXELS = "This report was made without images: it shows no part of one, and does not say where they lie."


@dataclass(frozen=True)
class Part:
    """One part of a report. name: its anchor; title: what the contents call it, "" for the opening; html: all of it."""

    name: str
    title: str
    html: str

    @classmethod
    def of(cls, name: str, title: str, how: str, body: str) -> "Part":
        """Return a part with a heading. how: in one line, as HTML, what it shows and how to read it."""
        lead = f'<p class="nc-how">{how}</p>' if how else ""
        return cls(name, title, f'<section id="{name}"><h2>{escape(title)}</h2>{lead}{body}</section>')


def opening(lookup: Lookup, title: str, lead: str) -> Part:
    """Return the head of a report. title, lead: HTML."""
    manifest = lookup.run.manifest
    facts = {
        "Model": str(manifest.model.get("name")),
        "Images": f"{manifest.images.get('count'):,}",
        "Layers": f"{len(lookup.layers):,}",
        "Neurons": f"{len(lookup.neuron_cluster):,}",
        "Clusters": f"{len(lookup.clusters):,}",
        "Classes": f"{len(lookup.classes):,}",
        "Made": manifest.created[:10],
        "Run": manifest.run_id,
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return Part(
        "top",
        "",
        f'<header><p class="nc-kicker">NeuroCartography report</p><h1>{title}</h1><p class="nc-lead">{lead}</p>'
        f'<dl class="nc-facts">{listed}</dl></header>',
    )


def facts_parts(lookup: Lookup, patches: Patches, pixels: bool) -> list[Part]:
    """Return the parts on quality, making, method, limits and sources. pixels: whether to say where images lie."""
    manifest = lookup.run.manifest
    return [
        _quality(lookup, patches, pixels),
        Part.of("made", "How it was made", "" if pixels else NO_PIXELS, _made(manifest, pixels)),
        Part.of("method", "Method", "", f'<div class="nc-prose">{_method(manifest)}</div>'),
        Part.of("limits", "What it cannot tell", "", prose(_body(method.LIMITS))),
        Part.of("sources", "Sources and citation", "", prose(_body(method.SOURCES)) + _citation(manifest)),
    ]


def _quality(lookup: Lookup, patches: Patches, pixels: bool) -> Part:
    cards, card = QualityCards(lookup, patches), lookup.scorecard
    verdict = cards.verdict(provenance=pixels) or f'<p class="nc-note">{UNSCORED}</p>'
    if card.problem:
        why = f": {escape(card.problem)}" if pixels else ""  # it may name a folder
        verdict = f'<p class="nc-note">Its scorecards cannot be shown{why}.</p>'
    return Part.of("quality", "What it is worth", QUALITY_HOW, verdict + cards.figures() + cards.by_layer())


def _made(manifest: Manifest, pixels: bool) -> str:
    packages = [("neurocarto", manifest.version), *manifest.packages.items()]
    return (
        table((), run_rows(manifest, paths=pixels), "nc-made")
        + f"<h3>Layers</h3>{table(LAYER_HEAD, layer_rows(manifest))}"
        + f"<h3>Settings</h3>{_pairs(manifest.settings.items())}"
        + f"<h3>Versions</h3>{_pairs(packages)}"
    )


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text_of(value))}</dd></div>" for name, value in pairs)
    return f'<dl class="nc-pairs">{listed}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table of plain texts, which are escaped; the first of each row names it."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<table class="nc-table {kind}">{f"<thead><tr>{top}</tr></thead>" if top else ""}<tbody>{body}</tbody></table>'
    )


def _method(manifest: Manifest) -> str:
    told = [part for part in method.METHOD.split("\n\n") if not part.strip().startswith(APP_ONLY)]
    return prose("\n\n".join([*told, method.influence(manifest)]))


def _body(text: str) -> str:
    """A text without its heading."""
    return text.strip().partition("\n")[2]


def citation(manifest: Manifest) -> str:
    """Return the line by which a run is cited, as plain text."""
    model = manifest.model
    return (
        f"NeuroCartography {manifest.version}, run {manifest.run_id}: {model.get('name')} (weights sha256 "
        f"{str(model.get('weights_sha256'))[:16]}) on {manifest.images.get('count'):,} images, {manifest.created[:10]}."
    )


def _citation(manifest: Manifest) -> str:
    return (
        f'<h3>To cite this report</h3><p class="nc-cite">{escape(citation(manifest))}</p><p class="nc-note">'
        f"Written by neurocarto {__version__} with <code>python -m neurocarto report</code>.</p>"
    )
