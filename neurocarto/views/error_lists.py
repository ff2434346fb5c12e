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
SIDE, WHOLE = 56, 104


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
        title = f"What goes with {chosen.label} {'taken for' if wrong else 'seen as'} {chosen.prediction}"
        shown = f"{IMAGES} of {len(images):,}" if len(images) > IMAGES else f"{len(images):,}"
        pictures = "".join(self._picture(row) for row in table_rows(images.head(IMAGES)))
        how = '<p class="nc-note">Those of which the network is most sure first.</p>'
        return _section(escape(title), self._clusters(chosen, images)) + _section(
            f"The {'wrong ' if wrong else ''}images ({shown})", f'{how}<div class="nc-pictures">{pictures}</div>'
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
        heads = "".join(f"<small>{text}</small>" for text in ("Cluster, score", "On these images", "As a rule"))
        return (
            f'<p class="nc-note">{escape(self._read(chosen, table))}</p><div class="nc-wide"><div>{heads}</div>'
            f'<ol class="nc-ranked">{rows}</ol></div>'
        )

    def _read(self, chosen: Confusion, table: pd.DataFrame) -> str:
        """How the clusters were found and what they are worth."""
        others, rate = f"{chosen.others:,}", f"the false discovery rate of {self._rate:.0%}"
        if chosen.against == "right":
            against = f"Compared with the {others} images of the label that the network got right."
        else:
            against = (
                "The label names no output of the network, so nothing is right or wrong here: compared with the "
                f"label's {others} other images."
            )
        found = int((table["q_value"] <= self._rate).sum())
        worth = f"{found} of the best {len(table)} pass {rate}." if found else f"None passes {rate}: all may be chance."
        return (
            f"{against} Score: how often the cluster fires more on one of these {chosen.sampled:,} than one of those "
            f"{others}; 0.5 is chance. {worth}"
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
        count = f"{len(found)} of {len(images)} are among its strongest" if found else "none is among its strongest"
        chance = "" if row.q_value <= self._rate else ", may be chance"
        return (
            f'<li data-card-cluster="{row.cluster}"><div>{cluster_button(self._lookup, row.cluster)}'
            f'<span class="nc-value">{row.score:.2f} <small>q {row.q_value:.2g}{chance}</small></span>'
            f'<small>{count}</small></div><div class="nc-strip">{here}</div>'
            f'<div class="nc-strip">{self._strips.cluster(row.cluster, USUAL, SIDE)}</div></li>'
        )

    def _picture(self, row: Any) -> str:
        uri = self._patches.whole(int(row.image), WHOLE)
        sure = f"{row.confidence:.0%} sure" if row.confidence == row.confidence else ""
        text = escape(f"{row.path}: label {row.label}, predicted {row.prediction} {sure}")
        missing = '<span class="nc-missing">no picture</span>'
        picture = f'<img src="{uri}" alt="{text}" loading="lazy">' if uri else missing
        return (
            f'<button type="button" class="nc-patch" data-image="{row.image}" title="{text}">{picture}'
            f"<small>{sure}</small></button>"
        )


def _section(title: str, body: str) -> str:
    return f'<section class="nc-part"><h4>{title}</h4>{body}</section>'
