"""A cascade in words and patches, as HTML: every step's concepts, and the way to a class's output.

Every text from a run is escaped. Buttons carry data-cluster or data-class for whoever listens, and data-page where they
lead to another page.
"""

from html import escape
from typing import Any

import pandas as pd

from neurocarto.records import CLASS_OUTPUT
from neurocarto.views.cascade import Cascade, Step, edges_towards_start
from neurocarto.views.inspector import cluster_button, weight
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.palette import ramp_colours
from neurocarto.views.patches import Patches
from neurocarto.views.pills import pill
from neurocarto.views.strips import PATCH, Strips

SIDE = 44
PATCHES, ALONE = 3, 14


class CascadeCards:
    """Draws the concepts of one cascade. class_: whose output the ways lead to."""

    def __init__(self, lookup: Lookup, patches: Patches, class_: str) -> None:
        self._lookup, self._class = lookup, class_
        self._strips = Strips(lookup, patches)
        self._light, self._dark = (ramp_colours(len(lookup.layers), theme) for theme in ("light", "dark"))

    def steps(self, found: Cascade, direction: int) -> str:
        """Return a card for each step in one direction (1: fed, -1: built from), the nearest to the start first."""
        steps = sorted((step for step in found.steps if step.number * direction > 0), key=lambda s: abs(s.number))
        return f'<div class="nc-steps">{"".join(self._step(found, step) for step in steps)}</div>'

    def way(self, start: int, edges: pd.DataFrame) -> str:
        """Return the concepts along a way as a row of cards, with the influence of each on the next between them."""
        stops = [self._card(start, self._start(start)), *(self._stop(int(row.target)) for row in table_rows(edges))]
        arrows = [*(self._arrow(row) for row in table_rows(edges)), ""]
        items = "".join(f"<li>{stop}{arrow}</li>" for stop, arrow in zip(stops, arrows, strict=True))
        return f'<ol class="nc-way">{items}</ol>'

    def alone(self, start: int) -> str:
        """Return the card of a start from which nothing leads anywhere."""
        return self._card(start, self._start(start), self._strips.cluster(start, ALONE, PATCH))

    def _start(self, cluster: int) -> str:
        # Not a button: a click on what is selected would clear the selection.
        badge = pill(self._lookup, cluster)
        return f"<strong>{escape(self._lookup.label(cluster))}</strong> <small>the start</small> {badge}"

    def _step(self, found: Cascade, step: Step) -> str:
        away = abs(step.number)
        title = f"{away} step{'s' * (away > 1)} {'after' if step.number > 0 else 'before'} the start"
        rows = "".join(self._concept(found, cluster, step.number) for cluster in step.clusters)
        if step.clusters == (CLASS_OUTPUT,):
            layer, swatch, count = "the network's output", "", ""
        else:
            layer, count = escape(self._lookup.layers[step.layer]), f"{len(step.clusters)} of {step.available}"
            look = f"--light:{self._light[step.layer]};--dark:{self._dark[step.layer]}"
            swatch = f'<span class="nc-swatch" style="{look}"></span>'
        return (
            f'<section class="nc-card" data-step="{step.number}"><header>{swatch or "<span></span>"}<h4>{title}</h4>'
            f'<small>{count}</small><span class="nc-meta">{layer}</span></header>{rows}</section>'
        )

    def _concept(self, found: Cascade, cluster: int, number: int) -> str:
        edges = edges_towards_start(found, cluster, number)
        lines = "".join(f"<span>{self._link(found, row, number)}</span>" for row in table_rows(edges))
        if cluster == CLASS_OUTPUT:
            return f'<div class="nc-row"><span></span><div><strong>{escape(self._class)}</strong>{lines}</div></div>'
        return (
            f'<div class="nc-row"><div class="nc-strip">{self._strips.cluster(cluster, PATCHES, SIDE)}</div>'
            f"<div>{self._name(cluster)}{lines}</div>{self._explore(cluster)}</div>"
        )

    def _link(self, found: Cascade, row: Any, number: int) -> str:
        other = int(row.source if number > 0 else row.target)
        name = "the start" if other == found.start else escape(self._lookup.label(other))
        return f"{weight(row)} <small>{row.share:.0%}, {'from' if number > 0 else 'on'} {name}</small>"

    def _stop(self, cluster: int) -> str:
        if cluster == CLASS_OUTPUT:
            return f'<div class="nc-card"><strong>output of {escape(self._class)}</strong></div>'
        return self._card(cluster, cluster_button(self._lookup, cluster))

    def _card(self, cluster: int, name: str, strip: str = "") -> str:
        strip = strip or self._strips.cluster(cluster, PATCHES, SIDE)
        return (
            f'<div class="nc-card" data-card-cluster="{cluster}"><div class="nc-strip">{strip}</div>'
            f"{name}{self._explore(cluster)}</div>"
        )

    def _arrow(self, row: Any) -> str:
        return f'<div class="nc-arrow"><b aria-hidden="true">→</b>{weight(row)}<small>{row.share:.0%}</small></div>'

    def _name(self, cluster: int) -> str:
        label = escape(self._lookup.label(cluster))
        return (
            f'<button type="button" class="nc-link" data-cluster="{cluster}" aria-label="Start at {label}">{label} '
            f"<small>{cluster}</small> {pill(self._lookup, cluster)}</button>"
        )

    def _explore(self, cluster: int) -> str:
        label = escape(self._lookup.label(cluster))
        return (
            f'<button type="button" class="nc-link" data-cluster="{cluster}" data-page="explore" '
            f'aria-label="Open {label} in Explore">Explore</button>'
        )
