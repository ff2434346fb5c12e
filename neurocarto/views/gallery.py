"""Galleries of example patches as HTML: cards of clusters and neurons. Every text from a run is escaped."""

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.palette import ramp_colours
from neurocarto.views.patches import Patches
from neurocarto.views.pills import pill
from neurocarto.views.strips import Strips

QUALITY = {
    "similarity": ("similarity", "mean similarity of two members on the images that formed it", ".2f"),
    "peak_agreement": (
        "peak agreement",
        "share of common images in which two members fire at the same place, of the images that formed it",
        ".2f",
    ),
    "shared_images": ("shared images", "images among the strongest of two members, on average", ".0f"),
}


class Gallery:
    """Draws cards of clusters and neurons. Buttons carry data-cluster or data-neuron for whoever listens."""

    def __init__(self, lookup: Lookup, patches: Patches, class_: str = "") -> None:
        self._lookup, self._class = lookup, class_
        self._strips = Strips(lookup, patches)
        self._light, self._dark = (ramp_colours(len(lookup.layers), theme) for theme in ("light", "dark"))
        self._scores = {int(row.cluster): row for row in table_rows(lookup.important(class_))} if class_ else {}

    def clusters(self, clusters: Sequence[int], selected: Iterable[int] = ()) -> str:
        """Return compact cards; the browser asks for a card's strip of patches (`Cards`) when it comes in sight."""
        chosen = set(selected)
        cards = [self._compact(cluster, cluster in chosen) for cluster in clusters]
        return f'<div class="nc-cards">{"".join(cards)}</div>'

    def cluster(self, cluster: int, members: int = 12, patches: int = 10) -> str:
        """Return a cluster's card: members × patches, label with its evidence, people's note, size and quality."""
        found = self._lookup.members(cluster)
        rows = [self._member(int(neuron), patches) for neuron in found[:members]]
        rest = len(found) - members
        more = f'<p class="nc-note">and {rest:,} more neurons</p>' if rest > 0 else ""
        return (
            f'<section class="nc-card nc-full" data-card-cluster="{cluster}">{self.heading(cluster, True)}'
            f"{self._note(cluster)}{self._evidence(cluster)}{self._tests(cluster)}"
            f'<div class="nc-rows">{"".join(rows)}</div>{more}</section>'
        )

    def neuron(self, neuron: int, patches: int = 14) -> str:
        """Return a neuron's card: statistics, the way to its cluster, and its strongest patches."""
        row, cluster = self._lookup.run.neurons.iloc[neuron], int(self._lookup.neuron_cluster[neuron])
        strip = self._strips.neuron(neuron, patches)
        if strip:
            body = f'<div class="nc-strip">{strip}</div>'
        else:
            body = '<p class="nc-note">This neuron never fired on these images, so it has no example patches.</p>'
        if strip and self._lookup.silent[neuron]:
            body = '<p class="nc-note">This neuron fires alike on all images, so its patches say little.</p>' + body
        facts = (
            f"highest activation {row.max_activation:.3g} · mean {row.mean_activation:.3g} · "
            f"active on {row.active_fraction:.0%} of the images"
        )
        home = (
            f'<button type="button" class="nc-link" data-cluster="{cluster}">'
            f"its cluster: {escape(self._lookup.label(cluster))} ({self._size(cluster)}) {pill(self._lookup, cluster)}"
            "</button>"
            if cluster >= 0
            else '<span class="nc-note">in no cluster: no other neuron of its layer detects the same</span>'
        )
        return (
            f'<section class="nc-card nc-full" data-card-neuron="{neuron}"><header>{self._swatch(neuron=neuron)}'
            f'<h4>Neuron {escape(self._lookup.neuron_name(neuron))}</h4><span class="nc-meta">{facts}</span>{home}'
            f"</header>{body}</section>"
        )

    def neurons(self, neurons: Sequence[int], patches: int = 5) -> str:
        """Return one row of patches for each neuron."""
        rows = "".join(self._member(int(neuron), patches) for neuron in neurons)
        return f'<div class="nc-rows nc-columns">{rows}</div>'

    def _compact(self, cluster: int, selected: bool) -> str:
        state = " nc-selected" if selected else ""
        return (
            f'<section class="nc-card{state}" data-card-cluster="{cluster}">{self.heading(cluster)}'
            f'<div class="nc-strip" data-strip="{cluster}"></div></section>'
        )

    def heading(self, cluster: int, full: bool = False) -> str:
        """Return what a cluster's card begins with: its label, badge, layer and size; full: with its quality."""
        facts = [f"cluster {cluster}", escape(str(self._lookup.clusters["layer"][cluster])), self._size(cluster)]
        if cluster in self._scores:
            score = self._scores[cluster]
            facts.append(f"importance {score.score:.2f}" + (f" (q {score.q_value:.2g})" if full else ""))
        if full:
            facts += self._quality(cluster)
        label, badge = escape(self._lookup.label(cluster)), pill(self._lookup, cluster)
        return (
            f'<header>{self._swatch(cluster=cluster)}<button type="button" class="nc-title" data-cluster="{cluster}" '
            f'title="{label}">{label}</button><span class="nc-meta">{badge} {" · ".join(facts)}</span></header>'
        )

    def _quality(self, cluster: int) -> list[str]:
        frame = self._lookup.clusters
        values = [(column, frame[column][cluster]) for column in QUALITY if column in frame]
        return [
            f'<span title="{escape(QUALITY[column][1])}">{QUALITY[column][0]} {value:{QUALITY[column][2]}}</span>'
            for column, value in values
            if value is not None and not math.isnan(value)
        ]

    def _note(self, cluster: int) -> str:
        text = self._lookup.names.noted.get(cluster)
        return f'<p class="nc-remark">{escape(text)}</p>' if text else ""

    def _evidence(self, cluster: int) -> str:
        frame = self._lookup.clusters
        entries = parse_evidence(frame["evidence"][cluster]) if "evidence" in frame else []
        found = escape("; ".join(evidence_text(entry) for entry in entries))
        return f'<p class="nc-note">Over-represented among its patches: {found}</p>' if found else ""

    def _tests(self, cluster: int) -> str:
        card = self._lookup.scorecard
        return f'<p class="nc-note">{escape(card.explanation(cluster))}</p>' if cluster in card.badges else ""

    def _member(self, neuron: int, patches: int) -> str:
        strip = self._strips.neuron(neuron, patches) or '<span class="nc-note">never fired on these images</span>'
        return (
            f'<div class="nc-row"><button type="button" class="nc-link" data-neuron="{neuron}">'
            f'{escape(self._lookup.neuron_name(neuron))}</button><div class="nc-strip">{strip}</div></div>'
        )

    def _size(self, cluster: int) -> str:
        size = int(self._lookup.clusters["size"][cluster])
        return f"{size:,} neuron{'s' * (size != 1)}"

    def _swatch(self, *, cluster: int | None = None, neuron: int | None = None) -> str:
        layer = self._lookup.cluster_layer[cluster] if cluster is not None else self._lookup.neuron_layer[neuron]
        return f'<span class="nc-swatch" style="--light:{self._light[layer]};--dark:{self._dark[layer]}"></span>'


def parse_evidence(text: object) -> list[dict[str, Any]]:
    """Return the entries of an evidence column; none where it is absent or not what it should be."""
    try:
        entries = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return []
    listed = entries if isinstance(entries, list) else []
    return [entry for entry in listed if isinstance(entry, dict) and "name" in entry]


def evidence_text(entry: dict[str, Any]) -> str:
    """Return one entry as words: what, how often, and how often it would be by chance."""
    text = f"{entry['name']} {entry.get('count', '?')} of {entry.get('of', '?')}"
    if isinstance(entry.get("base"), int | float):
        text += f" ({entry['base']:.0%} of all images)"
    return text + (" as predicted" if entry.get("kind") == "prediction" else "")
