"""Example patches of one document: each picture is embedded once, however often it shows.

Every text from a run is escaped. Pictures are data URIs in one hidden drawing at the end of the document, which every
place refers to.
"""

from html import escape

import pandas as pd

from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.strips import PATCH, describe


class Album:
    """Collects the patches that a document shows. pixels: whether it shows any at all."""

    def __init__(self, lookup: Lookup, patches: Patches, pixels: bool = True) -> None:
        self._lookup, self._patches, self._pixels = lookup, patches, pixels
        self._numbers: dict[str, int] = {}

    def strip(self, cluster: int, count: int) -> str:
        """Return the patches that speak best for a cluster, nothing where none may be shown."""
        if not self._pixels:
            return ""
        rows = table_rows(self._lookup.cluster_examples(cluster, count))
        shown = "".join(
            f'<svg class="nc-patch" viewBox="0 0 {PATCH} {PATCH}" role="img"><title>'
            f'{escape(describe(self._lookup, int(row.image), float(row.activation)))}</title><use href="{name}"/></svg>'
            for row in rows
            if (name := self._name(int(row.image), (row.x0, row.y0, row.x1, row.y1)))
        )
        return f'<div class="nc-strip">{shown}</div>' if shown else ""

    def picture(self, cluster: int) -> str | None:
        """Return a reference to the one picture that stands for a cluster, None where there is none."""
        examples: pd.DataFrame = self._lookup.cluster_examples(cluster, 1 if self._pixels else 0)
        for row in table_rows(examples):
            return self._name(int(row.image), (row.x0, row.y0, row.x1, row.y1))
        return None

    def pictures(self) -> str:
        """Return the drawing that holds every picture referred to so far."""
        held = "".join(
            f'<image id="p{number}" width="{PATCH}" height="{PATCH}" href="{uri}"/>'
            for uri, number in self._numbers.items()
        )
        return f'<svg class="nc-album" width="0" height="0" aria-hidden="true"><defs>{held}</defs></svg>'

    def _name(self, image: int, box: tuple[float, float, float, float]) -> str | None:
        uri = self._patches.uri(image, box, PATCH)
        return None if uri is None else f"#p{self._numbers.setdefault(uri, len(self._numbers))}"
