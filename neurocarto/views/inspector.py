"""What is known of one neuron or cluster beyond its patches, as HTML: relations that one can walk along."""

from collections.abc import Mapping, Sequence
from html import escape
from math import nan
from typing import Any

import pandas as pd

from neurocarto.records import ALL_IMAGES, CLASS_OUTPUT
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.pills import pill
from neurocarto.views.strips import Strips, listed

SHOWN = 6
SIDE = 44


class Inspector:
    """Draws relations. Buttons carry data-neuron, data-cluster or data-class for whoever listens."""

    def __init__(self, lookup: Lookup, patches: Patches, class_: str = ALL_IMAGES) -> None:
        self._lookup, self._class = lookup, class_
        self._strips = Strips(lookup, patches)

    def neuron(self, neuron: int) -> str:
        """Return the classes that drive a neuron and the neurons most related to it."""
        overall = self._lookup.mean_activation(neuron)
        classes = [
            f"{class_button(name)} <span>mean activation {mean:.3g}</span>"
            for name, mean in self._lookup.driving_classes(neuron)
        ]
        driven = _part(
            "Classes that drive it",
            f"On their images it fires more than on all ({overall:.3g} on average).",
            listed(classes) if classes else _none("On no class does it fire more than on average."),
        )
        related = [self._related(*entry) for entry in self._lookup.related(neuron)]
        near = _part(
            "Most related neurons",
            "Nearest in the embedding (cosine): they fire on the same images, in any layer.",
            "".join(related) or _none("It has no place in the embedding."),
        )
        return f'<div class="nc-parts">{driven}{near}</div>'

    def cluster(self, cluster: int) -> str:
        """Return what the class loses without a cluster, its influences in and out, and the classes that need it."""
        edges, where = self._edges(cluster)
        into, out = edges[edges["target"] == cluster], edges[edges["source"] == cluster]
        parts = [
            self._matters(cluster),
            _part(f"Built from ({len(into):,})", f"Clusters that drive it, {where}.", self._flows(into, "source")),
            _part(f"Feeds ({len(out):,})", f"What it drives, {where}.", self._flows(out, "target")),
            self._needed(cluster),
        ]
        return f'<div class="nc-parts">{"".join(parts)}</div>'

    def _related(self, neuron: int, closeness: float) -> str:
        lookup = self._lookup
        name = escape(lookup.neuron_name(neuron))
        return (
            f'<div class="nc-row"><button type="button" class="nc-link" data-neuron="{neuron}">{name}</button>'
            f'<span class="nc-value">{closeness:.2f}</span>'
            f'<div class="nc-strip">{self._strips.neuron(neuron, 5, SIDE)}</div></div>'
        )

    def _edges(self, cluster: int) -> tuple[pd.DataFrame, str]:
        """A cluster's edges for the class, or over all images where the class has none, the strongest first."""
        for class_ in dict.fromkeys((self._class, ALL_IMAGES)):
            edges = self._lookup.edges(class_)
            edges = edges[(edges["source"] == cluster) | (edges["target"] == cluster)]
            if len(edges):
                break
        where = f"on images of {escape(class_)}" if class_ else "over all images"
        return edges.loc[edges["weight"].abs().sort_values(ascending=False, kind="stable").index], where

    def _matters(self, cluster: int) -> str:
        """What the selected class's output loses without a cluster, beside random sets of neurons."""
        measured = self._lookup.effect(self._class, cluster) if self._class else {}
        how = "Its neurons were switched off (held at their mean maps) on images of the class, and the network run on."
        body = (
            f"<p>{loss(self._lookup, self._class, cluster, measured)}</p>"
            if "effect" in measured
            else _none(escape(self._unmeasured()))
        )
        return _part("Does it matter?", how, body)

    def _unmeasured(self) -> str:
        if not self._class:
            return "Choose a class to see what its output loses without this cluster."
        if not self._lookup.outputs.get(self._class):
            return f"Not measured: the network has no output that means {self._class}."
        if self._lookup.run.manifest.influence.get("method") == "gradient":
            return "Not measured: in this run influence was estimated from gradients."
        return f"Not measured: only the most important clusters of {self._class} were switched off."

    def _flows(self, edges: pd.DataFrame, end: str) -> str:
        if not len(edges):
            return _none("No influence was measured: it is measured between the most important clusters of each class.")
        rows = [self._flow(row, int(getattr(row, end))) for row in table_rows(edges.head(SHOWN))]
        rest = len(edges) - SHOWN
        return "".join(rows) + (f'<p class="nc-note">and {rest:,} weaker</p>' if rest > 0 else "")

    def _flow(self, row: Any, other: int) -> str:
        if other == CLASS_OUTPUT:
            name, strip = f"<strong>output of {escape(self._class)}</strong>", ""
        else:
            name, strip = cluster_button(self._lookup, other), self._strips.cluster(other, 3, SIDE)
        return f'<div class="nc-row">{name}{weight(row)}<div class="nc-strip">{strip}</div></div>'

    def _needed(self, cluster: int) -> str:
        rows = self._lookup.needed_by(cluster)
        lines = [f"{class_button(row[1])} <span>{_score(row)}</span>" for row in rows.head(SHOWN).itertuples()]
        rest = len(rows) - SHOWN
        more = f'<p class="nc-note">and {rest:,} more</p>' if rest > 0 else ""
        return _part(
            f"Classes that need it ({len(rows):,})",
            "Its activation tells their images from all others: 0.5 is chance, 1 perfect; q: false discovery rate.",
            listed(lines) + more if lines else _none("It tells no class from the others."),
        )


def loss(lookup: Lookup, class_: str, cluster: int, measured: Mapping[str, float]) -> str:
    """Return in words what a class's output loses without a cluster, beside random neurons.

    measured: what Lookup.effect returns of it, with an effect.
    """
    size, layer = len(lookup.members(cluster)), escape(lookup.layers[lookup.cluster_layer[cluster]])
    text = f"Without it, the output of <strong>{escape(class_)}</strong> {_falls(measured, 'effect')}"
    if "effect_null" not in measured:
        return f"{text}. Random neurons were not measured beside it."
    text += f"; without {size:,} random neurons of {layer}, it {_falls(measured, 'effect_null')}."
    low, high = measured.get("effect_low", nan), measured.get("effect_high", nan)
    if low > measured.get("effect_null_high", nan):
        return f"{text} More than chance."
    against = high < measured.get("effect_null_low", nan)
    return f"{text} {'It holds the class back.' if against and high < 0 else 'No more than chance.'}"


def _falls(measured: Mapping[str, float], name: str) -> str:
    """A share that is lost, in words, with its interval where there is one."""
    value = measured[name]
    text = f"{'rises' if value < 0 else 'falls'} by {abs(value):.1%}"
    if f"{name}_low" not in measured or f"{name}_high" not in measured:
        return text
    bounds = sorted((-1 if value < 0 else 1) * measured[f"{name}_{side}"] for side in ("low", "high"))
    return f"{text} <small>({' … '.join(f'{bound:.1%}' for bound in bounds)})</small>".replace("-", "−")


def weight(row: Any) -> str:
    """Return an influence with its sign in words and shape, and its interval."""
    sign, word = ("−", "inhibits") if row.weight < 0 else ("+", "excites")
    kind = "minus" if row.weight < 0 else "plus"
    span = f"{row.low:.2g} … {row.high:.2g}".replace("-", "−")
    sure = "" if row.low * row.high > 0 else "; uncertain, since its interval includes 0"
    return (
        f'<span class="nc-value{" nc-unsure" if sure else ""}" title="{word}; interval {span}{sure}">'
        f'<i class="nc-edge nc-edge-{kind}"></i>'
        f"{sign}{abs(row.weight):.2g} <small>({span})</small></span>"
    )


def class_button(name: str) -> str:
    """Return a button that selects a class."""
    return f'<button type="button" class="nc-link" data-class="{escape(name)}">{escape(name)}</button>'


def cluster_button(lookup: Lookup, cluster: int) -> str:
    """Return a button that selects a cluster: its label, number and layer, and its badge."""
    label, layer = escape(lookup.label(cluster)), escape(lookup.layers[lookup.cluster_layer[cluster]])
    return (
        f'<button type="button" class="nc-link" data-cluster="{cluster}">{label} '
        f"<small>{cluster} in {layer}</small> {pill(lookup, cluster)}</button>"
    )


def _score(row: Sequence[Any]) -> str:
    _, _, _, score, q_value, effect = row
    measured = "" if effect is None or effect != effect else f", effect {effect:.2f}"
    return f"importance {score:.2f} (q {q_value:.2g}){measured}"


def _part(title: str, how: str, body: str) -> str:
    return f'<section class="nc-part"><h5>{title}</h5><p class="nc-note">{how}</p>{body}</section>'


def _none(text: str) -> str:
    return f'<p class="nc-note">{text}</p>'
