"""Strips of example patches as HTML: what every card shows of a neuron, a cluster or an image.

Every text from a run is escaped; patches are data URIs. A patch that can be opened is a button with data-image
and data-of (the neuron), for whoever listens.
"""

from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches

PATCH = 72


class Strips:
    """Draws patches of one run. openable: whether a patch is a button that leads to its whole image."""

    def __init__(self, lookup: Lookup, patches: Patches, openable: bool = True) -> None:
        self._lookup, self._patches, self._openable = lookup, patches, openable

    def neuron(self, neuron: int, count: int, side: int = PATCH) -> str:
        """Return a neuron's strongest patches; nothing where it never fired."""
        return self.of(self._lookup.examples(neuron, count), side)

    def cluster(self, cluster: int, count: int, side: int = PATCH) -> str:
        """Return the patches that speak best for a cluster."""
        return self.of(self._lookup.cluster_examples(cluster, count), side)

    def of(self, examples: pd.DataFrame, side: int = PATCH) -> str:
        """Return the patches of some rows of the examples' table. Only the first is a stop of the tab key."""
        return "".join(self._patch(row, side, "-1" if index else "0") for index, row in enumerate(table_rows(examples)))

    def _patch(self, row: Any, side: int, stop: str) -> str:
        uri = self._patches.uri(int(row.image), (float(row.x0), float(row.y0), float(row.x1), float(row.y1)), side)
        text = escape(describe(self._lookup, int(row.image), float(row.activation)))
        if uri is None:
            return f'<span class="nc-missing" title="{text}">no picture</span>'
        picture = f'<img src="{uri}" width="{side}" height="{side}" alt="{text}" loading="lazy">'
        if not self._openable:
            return picture
        return (
            f'<button type="button" class="nc-patch" data-image="{int(row.image)}" data-of="{int(row.neuron)}" '
            f'tabindex="{stop}" title="{text}">{picture}</button>'
        )


def describe(lookup: Lookup, image: int, activation: float) -> str:
    """Return in words what an image shows and how strongly a neuron fires on it."""
    row = lookup.images.loc[image]
    label = row["label"] if isinstance(row["label"], str) else "no label"
    predicted = f", predicted {row['prediction']}" if isinstance(row["prediction"], str) else ""
    return f"{label}{predicted}; activation {activation:.3g}; {row['path']}"


def listed(items: Iterable[str], numbered: bool = True) -> str:
    """Return lines of HTML as a list."""
    tag = "ol" if numbered else "ul"
    return f'<{tag} class="nc-list">{"".join(f"<li>{item}</li>" for item in items)}</{tag}>'
