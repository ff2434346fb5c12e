"""What shows under the mouse and behind a patch, as HTML: answers to what the views ask for one at a time."""

import base64
import io
from collections.abc import Callable, Container, Sequence
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import Any

import pandas as pd
from PIL import Image, ImageOps

from neurocarto.views.comparison import BOTH, FIRST, GROUPS, SECOND, compared
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.pills import pill
from neurocarto.views.projection import maps
from neurocarto.views.strips import Strips

HOVERED, MEMBERS, MEMBER_PATCHES = 56, 4, 5
NODE, THUMB, STRIP = 72, 40, 6
NOTED = 160
"""Characters of a note on the card under the mouse."""
LARGEST = 1024
"""Longest side of an original as it is shown, in pixels."""


class Cards:
    """Answers the questions of the views about one run.

    `n:7` and `c:7`: the card of neuron or cluster 7; `t:7`: a thumbnail of neuron 7, as a data URI; `g:7`: the
    picture of cluster 7 in a graph; `s:7`: the strip of patches on its card; `f:7`: its name, note and computed label,
    for the form that changes them; `i:5:7`: the whole
    image 5 with the box of neuron 7; `w:5`: image 5 alone; `p:1:2`: classes 1 and 2 side by side; `maps`: the maps
    after a part of the images.
    """

    def __init__(self, lookup: Lookup, patches: Patches, originals: Sequence[Path] = ()) -> None:
        self._lookup, self._patches, self._originals = lookup, patches, originals
        self._strips, self._openable = Strips(lookup, patches, openable=False), Strips(lookup, patches)

    def named(self, lookup: Lookup) -> "Cards":
        """Return the answers under other names of clusters. lookup: of the same run."""
        return Cards(lookup, self._patches, self._originals)

    def answer(self, question: str) -> Any:
        """Return the answer, None where there is none: questions come from browsers, so they may be anything."""
        kind, *rest = question.split(":")
        numbers = [int(part) if part.isascii() and part.isdigit() and len(part) < 10 else -1 for part in rest]
        neurons, clusters = range(len(self._lookup.neuron_cluster)), self._lookup.cluster_layer
        classes = range(len(self._lookup.classes))
        known: dict[str, tuple[Callable[..., Any], list[Container[int]]]] = {
            "n": (self._neuron, [neurons]),
            "t": (self._thumb, [neurons]),
            "c": (self._cluster, [clusters]),
            "g": (self._node, [clusters]),
            "s": (lambda cluster: self._openable.cluster(cluster, STRIP), [clusters]),
            "f": (self._form, [clusters]),
            "i": (self._image, [self._lookup.images.index, neurons]),
            "w": (self._image, [self._lookup.images.index]),
            "p": (self._pair, [classes, classes]),
            "maps": (lambda: maps(self._lookup), []),
        }
        reply, there = known.get(kind, (None, []))
        valid = len(numbers) == len(there) and all(n in held for n, held in zip(numbers, there, strict=True))
        return reply(*numbers) if reply and valid else None

    def _neuron(self, neuron: int) -> str:
        lookup = self._lookup
        cluster = int(lookup.neuron_cluster[neuron])
        home = f"{lookup.label(cluster)} (cluster {cluster})" if cluster >= 0 else "in no cluster"
        strip = self._strips.neuron(neuron, MEMBER_PATCHES, HOVERED) or "never fired on these images"
        return _card(lookup.neuron_name(neuron), [home], [strip], pill(lookup, cluster))

    def _cluster(self, cluster: int) -> str:
        lookup = self._lookup
        members = lookup.members(cluster)
        rows = [self._strips.neuron(int(neuron), MEMBER_PATCHES, HOVERED) for neuron in members[:MEMBERS]]
        shown = f", {MEMBERS} of them shown" if len(members) > MEMBERS else ""
        layer = lookup.layers[lookup.cluster_layer[cluster]]
        lines = [f"cluster {cluster} in {layer}", f"{len(members)} neurons, one in each row{shown}"]
        if note := lookup.names.noted.get(cluster):
            lines.append(shorten(note, NOTED, placeholder="…"))
        return _card(lookup.label(cluster), lines, rows, pill(lookup, cluster))

    def _form(self, cluster: int) -> dict[str, str]:
        names, label = self._lookup.names, self._lookup.labels[cluster]
        return {"name": names.given.get(cluster, ""), "note": names.noted.get(cluster, ""), "label": label}

    def _thumb(self, neuron: int) -> str | None:
        return self._first(self._lookup.examples(neuron, 1), THUMB)

    def _node(self, cluster: int) -> str | None:
        return self._first(self._lookup.cluster_examples(cluster, 1), NODE)

    def _first(self, examples: pd.DataFrame, side: int) -> str | None:
        for row in table_rows(examples):
            return self._patches.uri(int(row.image), (row.x0, row.y0, row.x1, row.y1), side)
        return None

    def _pair(self, first: int, second: int) -> str:
        names = self._lookup.classes[first], self._lookup.classes[second]
        groups = compared(self._lookup, *names)
        counts = {name: f"{len(groups[name]):,}" for name in GROUPS}
        lines = [
            f"{counts[BOTH]} clusters shared",
            *(f"{counts[group]} only of {name}" for group, name in zip((FIRST, SECOND), names, strict=True)),
        ]
        best = groups[BOTH]["cluster"].tolist()[:MEMBER_PATCHES]
        return _card(" · ".join(names), lines, ["".join(self._strips.cluster(c, 1, HOVERED) for c in best)])

    def _image(self, image: int, neuron: int | None = None) -> str:
        lookup = self._lookup
        row: Any = lookup.images.loc[image]
        example = None if neuron is None else self._example(image, neuron)
        frame = "" if example is None else _frame(example, int(row["width"]), int(row["height"]))
        uri = self._original(str(row["path"])) or self._preview(image)
        picture = (
            f'<img src="{uri}" alt="">' if uri else '<p class="nc-note">The run keeps no picture of this image.</p>'
        )
        sure = f" ({row['confidence']:.0%} sure)" if row["confidence"] == row["confidence"] else ""
        facts = {
            "Label": row["label"] if isinstance(row["label"], str) else "none",
            "Network says": f"{row['prediction']}{sure}" if isinstance(row["prediction"], str) else "nothing",
        }
        if neuron is not None:
            fires = f"{example.activation:.3g}, strongest in the box" if example else "not among its strongest"
            facts |= {"Neuron": lookup.neuron_name(neuron), "Activation": fires}
        facts["File"] = f"{row['path']}, {row['width']} × {row['height']} px"
        listed = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
        return (
            f'<figure><div class="nc-whole">{picture}{frame}</div><figcaption><dl>{listed}</dl></figcaption></figure>'
        )

    def _example(self, image: int, neuron: int) -> Any:
        """Where a neuron fires on an image, None where that is no example of it."""
        found = self._lookup.examples(neuron, len(self._lookup.images))
        return next(table_rows(found[found["image"] == image]), None)

    def _preview(self, image: int) -> str | None:
        data = self._lookup.run.preview(image)
        return f"data:image/webp;base64,{base64.b64encode(data).decode()}" if data else None

    def _original(self, path: str) -> str | None:
        """The image itself, where it lies in a folder that the app may show images from."""
        try:
            file = (Path(str(self._lookup.run.manifest.images.get("source"))) / path).resolve()
            if not any(file.is_relative_to(folder.resolve()) for folder in self._originals):
                return None
            with Image.open(file) as opened:
                opened.draft("RGB", (LARGEST, LARGEST))
                whole = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            return None
        whole.thumbnail((LARGEST, LARGEST))
        buffer = io.BytesIO()
        whole.save(buffer, "webp", quality=82)
        return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _card(title: str, lines: Sequence[str], strips: Sequence[str], badge: str = "") -> str:
    text = "".join(f"<span>{escape(line)}</span>" for line in lines)
    return f"<strong>{escape(title)}</strong>{text}{badge}" + "".join(
        f'<div class="nc-strip">{s}</div>' for s in strips
    )


def _frame(example: Any, width: int, height: int) -> str:
    """The part of an example box that lies in the image, as a rectangle over it."""
    x0, x1 = (min(max(float(x) / width, 0.0), 1.0) for x in (example.x0, example.x1))
    y0, y1 = (min(max(float(y) / height, 0.0), 1.0) for y in (example.y0, example.y1))
    place = f"left:{x0:.2%};top:{y0:.2%};width:{x1 - x0:.2%};height:{y1 - y0:.2%}"
    return f'<div class="nc-box" style="{place}"></div>'
