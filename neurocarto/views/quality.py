"""The scorecard of a run as HTML: what it says in plain words, by layer, and cluster by cluster.

Every text from a run is escaped. Buttons carry data-cluster and data-page for whoever listens.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from neurocarto.views.lookup import Lookup
from neurocarto.views.measures import MEASURES, SECTIONS, Row, null_written, span, top_of, written
from neurocarto.views.palette import ramp_colours
from neurocarto.views.patches import Patches
from neurocarto.views.pills import SIGNS, pill_of
from neurocarto.views.scorecard import MEANINGS
from neurocarto.views.strips import Strips

RANKED, LISTED = 8, 100
"""Clusters of each badge that are shown with patches, and by name behind them."""
SIDE = 44
BY_LAYER = (
    "intruder", "intruder_distinct", "peak_agreement", "coverage", "size", "largest", "stability_seeds",
    "stability_halves",
)  # fmt: skip


class QualityCards:
    """Draws the scorecard of one run. layers: those that are looked at, none for all."""

    def __init__(self, lookup: Lookup, patches: Patches, layers: Sequence[str] = ()) -> None:
        self._lookup, self._card = lookup, lookup.scorecard
        self._layers = [name for name in lookup.layers if not layers or name in layers]
        self._few = len(self._layers) < len(lookup.layers)
        self._strips = Strips(lookup, patches)
        wanted = {lookup.layers.index(name) for name in self._layers}
        self._clusters = [cluster for cluster, layer in lookup.cluster_layer.items() if layer in wanted]

    def verdict(self, provenance: bool = True) -> str:
        """Return in plain words what the badges come to, and a bar of them; nothing where nobody has scored the run.

        provenance: whether to say how the run was scored, which may name the judge's images.
        """
        if not self._card.badges or not self._clusters:
            return ""
        counts, all_ = self._card.counts(self._clusters), len(self._clusters)
        where, over = (" in the chosen layers", "Over the whole run, ") if self._few else ("", "")
        said = ", ".join(
            f"<b>{counts[word]:,}</b> ({counts[word] / all_:.0%}) {pill_of(word, MEANINGS[word])}" for word in counts
        )
        distinct = self._card.measured("intruder_distinct")
        named = ""
        for judge, row in self._card.measured("intruder").items():
            named += f" {over}{escape(judge)} names the odd one out in <b>{written('intruder', row)}</b> of its tests"
            if judge in distinct:
                named += f", in <b>{written('intruder_distinct', distinct[judge])}</b> where no picture comes twice"
            named += f"; in {null}." if (null := null_written("intruder", row)) else "."
        return (
            f'<section class="nc-verdict"><p>Of {all_:,} clusters{where}, {said}.{named}</p>{self._bar(counts)}'
            f"{self._provenance() if provenance else ''}</section>"
        )

    def figures(self) -> str:
        """Return what was measured over the whole run, each with its interval, its null and what it means."""
        parts = []
        for title, measures in SECTIONS.items():
            cards = "".join(self._figure(measure) for measure in measures)
            if cards:
                parts.append(f'<h4>{title}</h4><div class="nc-figures">{cards}</div>')
        return "".join(parts)

    def by_layer(self) -> str:
        """Return a table of the layers, from the image up to the class; nothing where none was measured."""
        columns = [
            (measure, name)
            for measure in BY_LAYER
            for name in self._card.sources
            if any(name in self._card.measured(measure, layer) for layer in self._layers)
        ]
        if not columns:
            return ""
        rows = {column: [self._at(column, layer) for layer in self._layers] for column in columns}
        tops = {column: top_of(column[0], [row for row in rows[column] if row is not None]) for column in columns}
        heads = "".join(
            f'<th scope="col" title="{MEASURES[m].meaning}">{MEASURES[m].title}{_by(n)}</th>' for m, n in columns
        )
        badges = '<th scope="col">Badges</th>' if self._card.badges else ""
        body = "".join(
            f'<tr><th scope="row">{self._swatch(layer)}{escape(layer)}</th><td>{len(self._of(layer)):,}</td>'
            f"{self._badges(layer)}{''.join(_cell(m, rows[m, n][i], tops[m, n]) for m, n in columns)}</tr>"
            for i, layer in enumerate(self._layers)
        )
        return (
            '<div class="nc-scroll-x" tabindex="0" role="group" aria-label="Quality by layer"><table class="nc-table">'
            f'<thead><tr><th scope="col">Layer</th><th scope="col">Clusters</th>{badges}{heads}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def ranking(self) -> str:
        """Return the clusters by badge, the best of each first; each opens in Explore."""
        if not self._card.badges:
            return ""
        best = self._card.distinct["value"].to_dict()
        ranked = sorted(self._clusters, key=lambda cluster: (-best.get(cluster, -1.0), cluster))
        groups = {word: [c for c in ranked if self._card.badges[c] == word] for word in self._card.counts(ranked)}
        return f'<div class="nc-trio">{"".join(self._group(word, group) for word, group in groups.items())}</div>'

    def _figure(self, measure: str) -> str:
        found = self._card.measured(measure)
        if measure == "false_discoveries":  # nothing random to compare with, but the rate that it must keep to
            rate = float(self._lookup.run.manifest.settings.get("false_discovery_rate", 0.05))
            found = {name: {**row, "null": rate} for name, row in found.items()}
        if not found:
            return ""
        kind, top = MEASURES[measure], top_of(measure, [*found.values()])
        values = "".join(
            f'<div class="nc-number"><b>{written(measure, row).partition(" ")[0]}</b>'
            f"<small>{written(measure, row).partition(' ')[2].strip('()')}</small>{_by(name)}</div>"
            f'{span(measure, row, top)}<p class="nc-note">{null_written(measure, row)}</p>'
            for name, row in found.items()
        )
        meaning = f'<p class="nc-meaning">{kind.meaning}</p>'
        return f'<section class="nc-figure"><h5>{kind.title}</h5>{values}{meaning}</section>'

    def _at(self, column: tuple[str, str], layer: str) -> Row | None:
        measure, name = column
        return self._card.measured(measure, layer).get(name)

    def _of(self, layer: str) -> list[int]:
        index = self._lookup.layers.index(layer)
        return [cluster for cluster in self._clusters if self._lookup.cluster_layer[cluster] == index]

    def _badges(self, layer: str) -> str:
        if not self._card.badges:
            return ""
        return f"<td>{self._bar(self._card.counts(self._of(layer)))}</td>"

    def _bar(self, counts: dict[str, int]) -> str:
        text = ", ".join(f"{count:,} {word}" for word, count in counts.items())
        parts = "".join(
            f'<i class="nc-part-{SIGNS[word][0]}" style="flex-grow:{count}">{count:,}</i>'
            for word, count in counts.items()
            if count
        )
        return f'<span class="nc-stack" role="img" aria-label="{text}" title="{text}">{parts}</span>'

    def _swatch(self, layer: str) -> str:
        index = self._lookup.layers.index(layer)
        light, dark = (ramp_colours(len(self._lookup.layers), theme)[index] for theme in ("light", "dark"))
        return f'<span class="nc-swatch" style="--light:{light};--dark:{dark}"></span>'

    def _group(self, word: str, clusters: Sequence[int]) -> str:
        rows = "".join(self._row(cluster) for cluster in clusters[:RANKED])
        names = "".join(f"<li>{self._open(cluster)}</li>" for cluster in clusters[RANKED:LISTED])
        rest = len(clusters) - LISTED
        unnamed = f'<p class="nc-note">and {rest:,} more: choose layers above</p>' if rest > 0 else ""
        more = f"<details><summary>{len(clusters) - RANKED:,} more</summary><ol>{names}</ol>{unnamed}</details>"
        body = f'<ol class="nc-ranked">{rows}</ol>{more if names else ""}' if rows else '<p class="nc-note">None.</p>'
        return (
            f'<section class="nc-part"><h4>{pill_of(word, "")} {len(clusters):,}</h4>'
            f'<p class="nc-note">{MEANINGS[word]}</p>{body}</section>'
        )

    def _row(self, cluster: int) -> str:
        tests = self._card.distinct
        value = '<span class="nc-value"><small>not tested</small></span>'
        if cluster in tests.index:
            row: Any = tests.loc[cluster]
            value = f'<span class="nc-value">{row["value"]:.0%} {span("intruder_distinct", row)}</span>'
        return (
            f'<li data-card-cluster="{cluster}"><div class="nc-strip">{self._strips.cluster(cluster, 3, SIDE)}</div>'
            f"<div>{self._open(cluster)}</div>{value}</li>"
        )

    def _open(self, cluster: int) -> str:
        label, layer = self._lookup.label(cluster), self._lookup.layers[self._lookup.cluster_layer[cluster]]
        return (
            f'<button type="button" class="nc-link" data-cluster="{cluster}" data-page="explore" '
            f'title="{escape(self._card.explanation(cluster))}">{escape(label)} '
            f"<small>{cluster} in {escape(layer)}</small></button>"
        )

    def _provenance(self) -> str:
        """Who scored the run, on what, and what there is to know about it."""
        lines = [_made(judge.name, judge.info) for judge in self._card.judges]
        return "".join(f'<p class="nc-note">{line}</p>' for line in lines)


def _made(name: str, info: Any) -> str:
    """How a scorecard was made. Its file lies beside the run: whatever it holds is shown as text."""
    draws = info.get("draws")
    facts = [
        f"{draws:,} draws" if isinstance(draws, int) else "",
        f"on {info['images']}" if info.get("images") else "",
        f"patches cut from {info['pictures']}" if info.get("pictures") else "",
        f"on {str(info['created'])[:10]}" if info.get("created") else "",
    ]
    notes = info.get("notes")
    said = " ".join(map(str, notes)) if isinstance(notes, list) else ""
    return escape(f"Scored by {name}: {', '.join(filter(None, facts))}. {said}".strip())


def _by(name: str) -> str:
    return f" <small>{escape(name)}</small>" if name else ""


def _cell(measure: str, row: Row | None, top: float) -> str:
    if row is None:
        return '<td class="nc-none">–</td>'
    return f"<td>{written(measure, row).partition(' ')[0]}{span(measure, row, top)}</td>"
