"""What a report shows of single clusters: cards with patches and numbers, and the graph in which they stand."""

from html import escape
from typing import Any

from neurocarto.views.album import Album
from neurocarto.views.gallery import evidence_text, parse_evidence
from neurocarto.views.graph import graph
from neurocarto.views.graph_svg import draw
from neurocarto.views.inspector import loss
from neurocarto.views.lookup import Lookup
from neurocarto.views.palette import ramp_colours
from neurocarto.views.pills import pill
from neurocarto.views.report_facts import Part
from neurocarto.views.scorecard import AGREEMENT, DISTINCT, beside

ROWS_ON_PAPER = 9
"""Rows of the graph that fit onto a page and can still be read."""
LEGEND = (
    "A row is a layer, from the image (bottom) up to the class. A wider line: stronger in its layer; "
    '<i class="nc-edge"></i> excites, <i class="nc-edge nc-edge-minus"></i> inhibits; a larger picture: more important.'
)


class ClusterCards:
    """Draws clusters for a report. class_: the class whose numbers they show, "" for none."""

    def __init__(self, lookup: Lookup, album: Album, class_: str = "") -> None:
        self._lookup, self._album, self._class = lookup, album, class_
        self._swatches = list(zip(*(ramp_colours(len(lookup.layers), t) for t in ("light", "dark")), strict=True))

    def card(self, cluster: int, patches: int, importance: str = "", number: int | None = None) -> str:
        """Return a cluster's card: label with evidence, badge with its numbers, effect, patches.

        importance: what to say of it among its facts; number: by which the map names it.
        """
        lookup = self._lookup
        marked = f'<b class="nc-number">{number}</b> ' if number else ""
        facts = " · ".join(filter(None, [self.where(cluster), self._size(cluster), importance]))
        notes = "".join(
            f'<p class="nc-note">{note}</p>'
            for note in (self._evidence(cluster), self._tests(cluster), self._effect(cluster))
            if note
        )
        return (
            f'<article class="nc-card" id="c{cluster}"><h3>{marked}{self.swatch(cluster)}'
            f"<bdi>{escape(lookup.label(cluster))}</bdi> {pill(lookup, cluster)}</h3>"
            f'<p class="nc-meta">{facts}</p>{self._album.strip(cluster, patches)}{notes}</article>'
        )

    def where(self, cluster: int) -> str:
        """Return number and layer of a cluster."""
        return f"cluster {cluster} in {escape(self._lookup.layers[self._lookup.cluster_layer[cluster]])}"

    def swatch(self, cluster: int) -> str:
        """Return a mark in the colour of a cluster's layer."""
        light, dark = self._swatches[self._lookup.cluster_layer[cluster]]
        return f'<i class="nc-swatch" style="--light:{light};--dark:{dark}"></i>'

    def graph(self, title: str, how: str) -> Part | None:
        """Return the part with the class's cluster graph, None where there is nothing to draw."""
        data = graph(self._lookup, class_=self._class)
        if not data["nodes"]:
            return None
        name = f"{title}: {len(data['nodes'])} nodes in {len(data['rows'])} layers"
        drawing = draw(data, self._album.picture).slices(name, ROWS_ON_PAPER)
        return Part.of("graph", title, how, f'{drawing}<p class="nc-note">{LEGEND}</p>')

    def _size(self, cluster: int) -> str:
        size = int(self._lookup.clusters["size"][cluster])
        return f"{size:,} neuron{'s' * (size != 1)}"

    def _evidence(self, cluster: int) -> str:
        frame = self._lookup.clusters
        entries = parse_evidence(frame["evidence"][cluster]) if "evidence" in frame else []
        found = escape("; ".join(evidence_text(entry) for entry in entries[:2]))
        return f"Over-represented among its patches: {found}." if found else ""

    def _tests(self, cluster: int) -> str:
        card = self._lookup.scorecard
        tests = {"odd one out named in": (DISTINCT, card.distinct), "same place in": (AGREEMENT, card.agreement)}
        found = []
        for what, (measure, table) in tests.items():
            if cluster in table.index:
                row: Any = table.loc[cluster]
                found.append(f"{what} {beside(measure, row)}")
        return "; ".join(found).capitalize()

    def _effect(self, cluster: int) -> str:
        measured = self._lookup.effect(self._class, cluster) if self._class else {}
        return loss(self._lookup, self._class, cluster, measured) if "effect" in measured else ""


def importance_text(score: float, q_value: float) -> str:
    """Return an importance with its q-value, as HTML."""
    return f'<span class="nc-whole">importance {score:.2f} (q {q_value:.2g})</span>'
