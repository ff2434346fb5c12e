"""Confusions as HTML: which there are, and of one the clusters that go with it and its images."""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from neurocarto.views.comparison_lists import asks
from neurocarto.views.errors import Confusion, firing, misleading, wrong_images
from neurocarto.views.inspector import cluster_button
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.strips import Strips

LISTED, CLUSTERS, IMAGES = 60, 8, 24
FIRING, USUAL = 6, 4
SIDE, WHOLE = 56, 96


class ErrorLists:
    """Draws the confusions of one run. Buttons carry data-event, data-cluster or data-image for whoever listens."""

    def __init__(self, lookup: Lookup, patches: Patches) -> None:
        self._lookup, self._patches = lookup, patches
        self._strips = Strips(lookup, patches)
        self._rate = float(lookup.run.manifest.settings.get("false_discovery_rate", 0.05))

    def listed(self, found: Sequence[Confusion], chosen: Confusion) -> str:
        """Return the first confusions, each a button that chooses it."""
        rows = "".join(self._choice(confusion, confusion == chosen) for confusion in found[:LISTED])
        rest = len(found) - LISTED
        more = f'<p class="nc-note">and {rest:,} more in the box above</p>' if rest > 0 else ""
        return f'<div class="nc-scroll" tabindex="0" role="group" aria-label="Confusions">{rows}{more}</div>'

    def confusion(self, chosen: Confusion) -> str:
        """Return what is known of a confusion: the clusters that go with it, and its images."""
        images = wrong_images(self._lookup, chosen.label, chosen.prediction)
        wrong = chosen.against == "right"
        title = f"{chosen.label} {'taken for' if wrong else 'seen as'} {chosen.prediction}"
        pictures = "".join(self._picture(row) for row in table_rows(images.head(IMAGES)))
        shown = f"{IMAGES} of {len(images):,}" if len(images) > IMAGES else f"{len(images):,}"
        return (
            f'<section class="nc-part"><h4>What goes with {escape(title)}</h4>{self._clusters(chosen, images)}</section>'
            f'<section class="nc-part"><h4>The {"wrong " if wrong else ""}images ({shown})</h4><p class="nc-note">'
            "The most confident first. Click one to see it whole.</p>"
            f'<div class="nc-pictures">{pictures}</div></section>'
        )

    def _choice(self, confusion: Confusion, chosen: bool) -> str:
        label, prediction = escape(confusion.label), escape(confusion.prediction)
        event = {"kind": "confusion", "label": confusion.label, "prediction": confusion.prediction}
        return (
            f'<button type="button" class="nc-choice" aria-pressed="{"true" if chosen else "false"}" {asks(event)} '
            f'title="{label} → {prediction}"><span>{label} → {prediction}</span>'
            f"<small>{confusion.images:,}</small></button>"
        )

    def _clusters(self, chosen: Confusion, images: pd.DataFrame) -> str:
        if not chosen.judged:
            return f'<p class="nc-note">{escape(self._unjudged(chosen))}</p>'
        table = misleading(self._lookup, chosen.label, chosen.prediction)
        rows = "".join(self._cluster(row, images["image"].tolist()) for row in table_rows(table.head(CLUSTERS)))
        return f'<p class="nc-note">{escape(self._read(chosen, table))}</p><ol class="nc-ranked nc-wide">{rows}</ol>'

    def _read(self, chosen: Confusion, table: pd.DataFrame) -> str:
        """How the clusters were found and what they are worth."""
        those = "that the network got right" if chosen.against == "right" else "that it sees as something else"
        found = int((table["q_value"] <= self._rate).sum())
        worth = (
            f"{found} pass the false discovery rate of {self._rate:.0%}."
            if found
            else f"None passes the false discovery rate of {self._rate:.0%}: these may be chance."
        )
        return (
            f"Clusters that fire more on these images ({chosen.sampled} sampled) than on those of {chosen.label} {those} "
            f"({chosen.others}). Score: how often it fires more on one of these than on one of those. {worth}"
        )

    def _unjudged(self, chosen: Confusion) -> str:
        if self._lookup.run.confusions is None:
            return (
                "This run was made before clusters behind confusions were looked for. Make it again to see which "
                "clusters fire more on these images."
            )
        return (
            f"Too few images to tell: {chosen.images:,} in all. Clusters are looked for where at least three sampled "
            "images stand against enough others. Choose a confusion with more images."
        )

    def _cluster(self, row: Any, images: Sequence[int]) -> str:
        found = [example for example in firing(self._lookup, row.cluster, images).values() if example is not None]
        here = self._strips.of(pd.DataFrame(found[:FIRING]), SIDE)
        count = (
            f"among the strongest of {len(found)} of {len(images)}" if found else "among the strongest of none of them"
        )
        passes = "" if row.q_value <= self._rate else ' class="nc-weak"'
        return (
            f'<li{passes} data-card-cluster="{row.cluster}"><div>{cluster_button(self._lookup, row.cluster)}'
            f'<span class="nc-value">{row.score:.2f} <small>q {row.q_value:.2g}</small></span></div>'
            f'<figure><figcaption>on these images</figcaption><div class="nc-strip">{here}</div>'
            f"<small>{count}</small></figure><figure><figcaption>as a rule</figcaption>"
            f'<div class="nc-strip">{self._strips.cluster(row.cluster, USUAL, SIDE)}</div></figure></li>'
        )

    def _picture(self, row: Any) -> str:
        uri = self._patches.whole(int(row.image), WHOLE)
        sure = f"{row.confidence:.0%} sure" if row.confidence == row.confidence else ""
        text = escape(f"{row.path}: label {row.label}, predicted {row.prediction}, {sure}")
        picture = (
            f'<img src="{uri}" alt="{text}" loading="lazy">' if uri else '<span class="nc-missing">no picture</span>'
        )
        return (
            f'<button type="button" class="nc-patch" data-image="{row.image}" title="{text}">{picture}'
            f"<small>{sure}</small></button>"
        )
