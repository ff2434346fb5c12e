"""The parts of a report on one class: where its clusters lie, how they build on each other, and each by itself."""

from collections.abc import Mapping
from html import escape

from neurocarto.views.album import Album
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.map_svg import map_svg
from neurocarto.views.pills import pill
from neurocarto.views.report_cards import ClusterCards, importance_text
from neurocarto.views.report_facts import Part, opening

CARDS, PATCHES = 20, 8
"""Clusters that get a card, and patches on each."""
LISTED = 60
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
    badges = bool(lookup.scorecard.badges)
    body = "".join(
        f'<tr><td>{index}</td><th scope="row">{cards.swatch(int(row.cluster))}'
        f"<bdi>{escape(lookup.label(int(row.cluster)))}</bdi></th><td>{cards.where(int(row.cluster))}</td>"
        f"<td>{len(lookup.members(int(row.cluster))):,}</td><td>{row.score:.3f}</td><td>{row.q_value:.2g}</td>"
        f"<td>{_effect(lookup, class_, int(row.cluster))}</td>"
        + (f"<td>{pill(lookup, int(row.cluster))}</td>" if badges else "")
        + "</tr>"
        for index, row in enumerate(table_rows(rows.head(LISTED)), start=1)
    )
    names = ("", "Label", "Cluster", "Neurons", "Importance", "q", "Effect (interval); random", *(["Badge"] * badges))
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rest = len(rows) - LISTED
    more = (
        f'<p class="nc-note">and {rest:,} more; importance.parquet in the run has all of them</p>' if rest > 0 else ""
    )
    how = (
        "Effect: the share of the class's output that is lost without the cluster, and without random neurons instead."
    )
    table = f'<table class="nc-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return Part.of("table", "Important clusters by rank", how, table + more)


def _effect(lookup: Lookup, class_: str, cluster: int) -> str:
    measured = lookup.effect(class_, cluster)
    if "effect" not in measured:
        return '<span class="nc-none">not measured</span>'

    def text(name: str) -> str:
        if name not in measured:
            return ""
        span = [measured[f"{name}_{side}"] for side in ("low", "high") if f"{name}_{side}" in measured]
        between = f" ({' … '.join(f'{bound:.1%}' for bound in span)})" if len(span) == 2 else ""
        return f"{measured[name]:.1%}{between}".replace("-", "−")

    return "; ".join(filter(None, (text("effect"), text("effect_null"))))
