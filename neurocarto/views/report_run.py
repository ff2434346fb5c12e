"""The parts of a report on a whole run: map, graph over all images, every layer and every class."""

from html import escape
from typing import Any

import pandas as pd

from neurocarto.records import ALL_IMAGES
from neurocarto.views.album import Album
from neurocarto.views.graph_layout import choose_clusters
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.map_svg import map_svg
from neurocarto.views.pills import pill
from neurocarto.views.report_cards import ClusterCards, importance_text
from neurocarto.views.report_facts import Part, opening

OF_LAYER, PATCHES = 4, 8
"""Clusters of each layer that get a card, and patches on each."""
OF_CLASS = 3
"""Clusters of each class in the table; where these lie on the map, its name stands."""
PICTURED = 100
"""Classes up to which the table shows a patch of each cluster."""


def run_parts(lookup: Lookup, album: Album) -> list[Part]:
    """Return the parts of the report that are about the run as a whole."""
    manifest = lookup.run.manifest
    model, images = escape(str(manifest.model.get("name"))), f"{manifest.images.get('count'):,}"
    lead = (
        f"{len(lookup.neuron_cluster):,} neurons of <b>{model}</b> in {len(lookup.layers):,} layers, seen on {images} "
        f"images: <b>{len(lookup.clusters):,}</b> clusters of neurons that detect the same, and which of them "
        f"{len(lookup.classes):,} classes rely on."
    )
    cards = ClusterCards(lookup, album)
    graph = cards.graph("What it builds on what", "The clusters with most influence in every layer, over all images.")
    best = _best(lookup)
    return [
        opening(lookup, f"What {model} has learnt", lead),
        _map(lookup, best),
        *([graph] if graph else []),
        _classes(lookup, album, cards, best),
        _layers(lookup, cards),
    ]


def _best(lookup: Lookup) -> dict[str, pd.DataFrame]:
    """The most important clusters of each class that has any, the class with most of them first."""
    table = lookup.all_important.sort_values("score", ascending=False, kind="stable")
    groups = {str(name): rows.head(OF_CLASS) for name, rows in table.groupby("class", sort=False, observed=True)}
    return dict(sorted(groups.items(), key=lambda item: -lookup.important_counts[item[0]]))


def _map(lookup: Lookup, best: dict[str, pd.DataFrame]) -> Part:
    how = (
        "A dot is a neuron; near ones fire on the same images. Colour: its layer, from early (dark) to late (bright). "
        "A name stands where the three most important clusters of a class lie; names that would cover others are left "
        "out. Under the mouse, a cluster's neurons grow."
    )
    names = {name: rows["cluster"].tolist() for name, rows in best.items()}
    return Part.of("map", "Map of neurons", how, map_svg(lookup, names=names))


def _classes(lookup: Lookup, album: Album, cards: ClusterCards, best: dict[str, pd.DataFrame]) -> Part:
    counts = dict(zip(lookup.run.classes["class"], lookup.run.classes["images"].tolist(), strict=True))
    pictured = len(lookup.classes) <= PICTURED

    def cluster(row: Any) -> str:
        number = int(row.cluster)
        picture = album.strip(number, 1) if pictured else ""
        return (
            f'<td><div class="nc-brief">{picture}<span><bdi>{escape(lookup.label(number))}</bdi> '
            f"{pill(lookup, number)}<small>{cards.where(number)}, {importance_text(row.score, row.q_value)}</small>"
            "</span></div></td>"
        )

    def line(name: str) -> str:
        found = [cluster(row) for row in table_rows(best[name])] if name in best else ['<td class="nc-none">none</td>']
        shown = "".join([*found, *["<td></td>"] * (OF_CLASS - len(found))])
        return (
            f'<tr><th scope="row"><bdi>{escape(name)}</bdi><small>{escape(lookup.class_kinds[name])}, '
            f"{counts[name]:,} images</small></th><td>{lookup.important_counts[name]:,}</td>{shown}</tr>"
        )

    how = (
        "The three clusters that tell the images of each class from all others best, and how many are important for "
        "it. Importance: 0.5 is chance, 1 perfect; q: false discovery rate."
    )
    head = (
        '<th scope="col">Class</th><th scope="col">Important</th>'
        f'<th scope="col" colspan="{OF_CLASS}">Most important clusters</th>'
    )
    body = "".join(map(line, lookup.classes))
    table = f'<table class="nc-table nc-classes"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return Part.of("classes", "Every class", how, table)


def _layers(lookup: Lookup, cards: ClusterCards) -> Part:
    """The strongest clusters of each layer; where influence is unknown, its largest ones."""
    sizes = lookup.clusters["size"].sort_values(ascending=False, kind="stable")
    ordered = dict.fromkeys([*lookup.strengths(ALL_IMAGES), *sizes.index.tolist()], 0.0)
    rows = choose_clusters(lookup, ordered, (), OF_LAYER)
    parts = []
    for row in rows:
        shown = "".join(cards.card(cluster, PATCHES) for cluster in row.clusters)
        name = f"{escape(lookup.layers[row.layer])} <small>{row.available:,} clusters</small>"
        parts.append(f'<section class="nc-layer"><h3>{name}</h3><div class="nc-cards">{shown}</div></section>')
    how = "The clusters with most influence in each layer, from the image up; where it was not measured, the largest."
    return Part.of("layers", "Every layer", how, "".join(parts))
