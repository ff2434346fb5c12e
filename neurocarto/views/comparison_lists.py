"""Two classes side by side as HTML: ranked lists of what they share and what only one relies on."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from neurocarto.views.comparison import BOTH, FIRST, GROUPS, SECOND, Kin, compared
from neurocarto.views.inspector import cluster_button
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.strips import Strips

SHOWN = 8
OFFERED = 8
SIDE = 44


class ComparisonLists:
    """Draws the lists of one run. Buttons carry data-cluster or data-event for whoever listens."""

    def __init__(self, lookup: Lookup, patches: Patches) -> None:
        self._lookup = lookup
        self._strips = Strips(lookup, patches)
        self._pictures = Strips(lookup, patches, openable=False)

    def groups(self, first: str, second: str, groups: Mapping[str, pd.DataFrame], selected: Sequence[int] = ()) -> str:
        """Return the three lists, the best of each first."""
        titles = {FIRST: f"Only {first}", BOTH: "Both", SECOND: f"Only {second}"}
        how = {
            FIRST: "By importance: how well the cluster tells the class from all others.",
            BOTH: f"By the lower of two importances: {first}, then {second}.",
            SECOND: "By importance: how well the cluster tells the class from all others.",
        }
        parts = [self._group(titles[name], how[name], groups[name], selected) for name in GROUPS]
        return f'<div class="nc-trio">{"".join(parts)}</div>'

    def selected(self, first: str, second: str, clusters: Sequence[int]) -> str:
        """Return what two classes make of some clusters, whether or not they are important."""
        tables = [self._lookup.important(name).set_index("cluster") for name in (first, second)]
        return "".join(self._selected(cluster, {first: tables[0], second: tables[1]}) for cluster in clusters)

    def nearest(self, class_: str, nearest: Sequence[Kin], count: int, other: str = "") -> str:
        """Return the classes most similar to one of `count` others, each a button that compares the two."""
        rows = "".join(self._kin(class_, kin, kin.name == other) for kin in nearest)
        title = f"Most similar to {class_}: {len(nearest)} of {count:,}"
        return f'<section class="nc-kin" aria-label="Most similar classes"><h4>{escape(title)}</h4>{rows}</section>'

    def offer(self, title: str, advice: str, class_: str, nearest: Sequence[Kin]) -> str:
        """Return why no two classes are shown, and some to compare one with: what they share, each a button."""
        cards = "".join(self._offered(class_, kin) for kin in nearest)
        return (
            f'<div class="nc-offer" role="status"><strong>{escape(title)}</strong><span>{escape(advice)}</span>'
            f'<div class="nc-offers">{cards}</div></div>'
        )

    def _offered(self, class_: str, kin: Kin) -> str:
        best = compared(self._lookup, class_, kin.name)[BOTH]["cluster"].tolist()[:OFFERED]
        strip = "".join(self._pictures.cluster(cluster, 1, SIDE) for cluster in best)
        event = asks({"kind": "compare", "first": class_, "second": kin.name})
        return (
            f'<button type="button" class="nc-card" {event}><b>{escape(class_)} and {escape(kin.name)}</b>'
            f'<span class="nc-note">similarity {kin.similarity:.2f}, {kin.shared:,} clusters shared</span>'
            f'<span class="nc-strip">{strip}</span></button>'
        )

    def _group(self, title: str, how: str, table: pd.DataFrame, selected: Sequence[int]) -> str:
        rows = [self._row(row, row.cluster in selected) for row in table_rows(table.head(SHOWN))]
        rest = len(table) - SHOWN
        more = f'<p class="nc-note">and {rest:,} more</p>' if rest > 0 else ""
        body = f'<ol class="nc-ranked">{"".join(rows)}</ol>{more}' if rows else '<p class="nc-note">None.</p>'
        return (
            f'<section class="nc-part"><h4>{escape(title)} ({len(table):,})</h4><p class="nc-note">{escape(how)}</p>'
            f"{body}</section>"
        )

    def _row(self, row: Any, selected: bool) -> str:
        scores = [(row.first, row.first_q), (row.second, row.second_q)]
        known = [(score, q_value) for score, q_value in scores if score == score]
        values = " · ".join(f"{score:.2f}" for score, _ in known)
        rates = " · ".join(f"{q_value:.1g}" for _, q_value in known)
        state = ' class="nc-selected"' if selected else ""
        return (
            f'<li{state} data-card-cluster="{row.cluster}"><div class="nc-strip">'
            f"{self._strips.cluster(row.cluster, 3, SIDE)}</div><div>{cluster_button(self._lookup, row.cluster)}</div>"
            f'<span class="nc-value" title="q-value {rates}: the false discovery rate at which it still counts">'
            f"{values} <small>q {rates}</small></span></li>"
        )

    def _selected(self, cluster: int, tables: Mapping[str, pd.DataFrame]) -> str:
        scores = [f"{escape(name)}: {_found(table, cluster)}" for name, table in tables.items()]
        explore = asks({"kind": "select", "cluster": cluster, "page": "explore"})
        return (
            f'<section class="nc-card nc-selected nc-chosen" data-card-cluster="{cluster}"><div>'
            f'{cluster_button(self._lookup, cluster)}<p class="nc-note">{" · ".join(scores)}</p>'
            f'<button type="button" class="nc-link" {explore}>Open in Explore</button></div>'
            f'<div class="nc-strip">{self._strips.cluster(cluster, 10, 72)}</div></section>'
        )

    def _kin(self, class_: str, kin: Kin, chosen: bool) -> str:
        name, event = escape(kin.name), asks({"kind": "compare", "first": class_, "second": kin.name})
        return (
            f'<button type="button" class="nc-kin-row" aria-pressed="{"true" if chosen else "false"}" title="{name}" '
            f'{event}><span>{name}</span><i style="--share:{kin.similarity:.2f}"></i>'
            f"<small>{kin.similarity:.2f} · {kin.shared:,} shared</small></button>"
        )


def asks(event: Mapping[str, Any]) -> str:
    """Return the attribute that makes a button send an event."""
    return f'data-event="{escape(json.dumps(event))}"'


def _found(table: pd.DataFrame, cluster: int) -> str:
    if cluster not in table.index:
        return "not important"
    row: Any = table.loc[cluster]
    return f"importance {row['score']:.2f} (q {row['q_value']:.2g})"
