"""The parts of a report on one class: where its clusters lie, how they build on each other, and each by itself."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from neurocarto.views.album import Album
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.map_svg import map_svg
from neurocarto.views.pills import pill
from neurocarto.views.report_cards import ClusterCards, importance_text
from neurocarto.views.report_facts import Part, opening

CARDS, PATCHES = 20, 8
"""Clusters that get a card, and patches on each."""
LISTED = 40
"""Clusters in the table."""


def class_parts(lookup: Lookup, album: Album, class_: str) -> list[Part]:
    """Return the parts of the report that are about a class of the run."""
    rows = lookup.important(class_)
    cards, best = ClusterCards(lookup, album, class_), rows.head(CARDS)
    name, rate = escape(class_), float(lookup.run.manifest.settings.get("false_discovery_rate", 0.05))
    found = lookup.run.classes[lookup.run.classes["class"] == class_].iloc[0]
    kind = "label of" if found["kind"] == "label" else "prediction for"
    lead = (
        f"<b><bdi>{name}</bdi></b> is the {kind} {int(found['images']):,} of the run's images. "
        f"<b>{len(rows):,}</b> of {len(lookup.clusters):,} clusters of neurons are important for it: their activation "
        f"tells its images from all others, at a false discovery rate of {rate:.0%}."
    )
    head = opening(lookup, f"What the network relies on for <bdi>{name}</bdi>", lead)
    if not len(rows):
        return [head, _map(lookup, {}), Part.of("clusters", "Clusters", "", '<p class="nc-note">None to show.</p>')]
    graph = cards.graph(
        "What it builds on what", "The most important clusters of every layer, by the picture that most members share."
    )
    numbers = {cluster: index for index, cluster in enumerate(best["cluster"].tolist(), start=1)}
    shown = "".join(
        cards.card(int(row.cluster), PATCHES, importance_text(row.score, row.q_value), numbers[int(row.cluster)])
        for row in table_rows(best)
    )
    how = (
        "The clusters that tell its images apart best. Importance: 0.5 is chance, 1 perfect; q: false discovery rate. "
        "Below the patches: what the badge rests on, and what the class's output loses without the cluster."
    )
    return [
        head,
        _map(lookup, numbers, set(rows["cluster"].tolist())),
        *([graph] if graph else []),
        Part.of("clusters", "Most important clusters", how, f'<div class="nc-cards">{shown}</div>'),
        _all(lookup, cards, class_),
    ]


def _map(lookup: Lookup, numbers: Mapping[int, int], clusters: set[int] | None = None) -> Part:
    how = (
        "A dot is a neuron; near ones fire on the same images. In colour, from early (dark) to late (bright) layers: "
        "neurons of clusters that are important for the class. Numbers: where the clusters below lie."
    )
    return Part.of("map", "Where its clusters lie", how, map_svg(lookup, clusters or set(), list(numbers)))


def _all(lookup: Lookup, cards: ClusterCards, class_: str) -> Part:
    rows = lookup.important(class_)
    effects = {cluster: lookup.effect(class_, cluster) for cluster in rows["cluster"].head(LISTED).tolist()}
    columns: dict[str, Callable[[Any], str]] = {
        "Neurons": lambda row: f"{len(lookup.members(row.cluster)):,}",
        "Importance": lambda row: f"{row.score:.3f}",
        "q": lambda row: f"{row.q_value:.2g}",
    }
    how = f"The best {LISTED}." if len(rows) > LISTED else "All of them."
    if any("effect" in measured for measured in effects.values()):
        columns["Effect; of random neurons"] = lambda row: _effect(effects[row.cluster])
        how += " Effect: the share of the class's output that is lost without the cluster."
    if lookup.scorecard.badges:
        columns["Badge"] = lambda row: pill(lookup, row.cluster)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("", "Label", "Cluster", *columns))
    body = ""
    for index, row in enumerate(table_rows(rows.head(LISTED)), start=1):
        label = f"{cards.swatch(row.cluster)}<bdi>{escape(lookup.label(row.cluster))}</bdi>"
        cells = "".join(f"<td>{cell(row)}</td>" for cell in columns.values())
        where = f"<td>{cards.where(row.cluster)}</td>"
        body += f'<tr><td class="nc-bare">{index}</td><th scope="row">{label}</th>{where}{cells}</tr>'
    rest = len(rows) - LISTED
    more = (
        f'<p class="nc-note">and {rest:,} more; importance.parquet in the run has all of them</p>' if rest > 0 else ""
    )
    table = f'<table class="nc-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return Part.of("table", "Important clusters by rank", how, table + more)


def _effect(measured: Mapping[str, float]) -> str:
    def text(name: str) -> str:
        span = [measured[f"{name}_{side}"] for side in ("low", "high") if f"{name}_{side}" in measured]
        between = f" ({' … '.join(f'{bound:.1%}' for bound in span)})" if len(span) == 2 else ""
        return f"{measured[name]:.1%}{between}".replace("-", "−")

    shown = [text(name) for name in ("effect", "effect_null") if name in measured]
    return "; ".join(shown) or '<span class="nc-none">not measured</span>'
