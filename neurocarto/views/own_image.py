"""What an image of one's own excites, as HTML: the image, what the network says, and cards of clusters.

Every text from a run is escaped. Nothing here is cached: the image belongs to one visitor alone.
"""

import base64
import binascii
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

from PIL import Image

from neurocarto.views.gallery import Gallery
from neurocarto.views.inspector import cluster_button
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Box, Patches, cut
from neurocarto.views.strips import PATCH

FIRES = 0.9
"""A cluster fires on the image where it is weaker on so large a share of the images compared with."""
PATCHES = 2
RESTS_ON = 3
APART = 0.3
"""Boxes are told apart that lie so far from each other, as a share of their side."""


@dataclass(frozen=True)
class OwnImage:
    """What was found out about one image (neurocarto.look). ValueError when it is of another run or damaged."""

    content: Mapping[str, Any]
    lookup: Lookup

    def __post_init__(self) -> None:
        known = self.lookup.cluster_layer
        try:
            numbers = {int(entry["cluster"]) for name in ("clusters", "closely") for entry in self.content[name]}
            if self.content["run"] != self.lookup.run.manifest.run_id or not numbers <= known.keys():
                raise ValueError("it is of another run")
            self._whole.load()
        except (KeyError, TypeError, OSError, binascii.Error) as error:
            raise ValueError(f"what was found is damaged: {error!r}") from error

    @cached_property
    def fires(self) -> dict[int, float]:
        """The clusters that fire, with their strength in 0…1, the most unusual first."""
        return {
            int(entry["cluster"]): min(1.0, float(entry["strength"]))
            for entry in self.content["clusters"]
            if entry["weaker"] >= FIRES and entry["strength"] > 0
        }

    @property
    def answer(self) -> str:
        """What the network says first."""
        return str(self.content["answers"][0]["name"])

    @cached_property
    def class_(self) -> str | None:
        """The run's class that the first answer means, None where there is none; one of labels before others."""
        output, table = self.content["answers"][0]["output"], self.lookup.run.classes
        found = [name for name, own in zip(table["class"], table["outputs"], strict=True) if output in [*own]]
        return min(found, key=lambda name: self.lookup.class_kinds[name] != "label", default=None)

    @cached_property
    def _whole(self) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(self.content["picture"], validate=True)))

    def html(self, patches: Patches, selected: Collection[int] = (), layers: Sequence[str] = ()) -> str:
        """Return the image with its boxes, the answers, and a card for each cluster looked at closely.

        layers: those whose clusters are shown, none for all. The browser asks for the strips of the clusters' own
        examples, and shows a cluster's boxes while its card is under the mouse or it is selected.
        """
        shown = [entry for entry in self.content["closely"] if not layers or self._layer(entry) in layers]
        draw = Gallery(self.lookup, patches)
        cards = "".join(self._card(entry, draw, entry["cluster"] in selected) for entry in shown)
        return (
            f'<div class="nc-look"><div class="nc-seen">{self._picture(shown)}{self._answers()}</div>'
            f'<div>{self._summary(len(shown))}<div class="nc-cards">{cards}</div></div></div>'
        )

    def _layer(self, entry: Mapping[str, Any]) -> str:
        return self.lookup.layers[self.lookup.cluster_layer[entry["cluster"]]]

    def _picture(self, shown: Sequence[Mapping[str, Any]]) -> str:
        boxes = "".join(self._frame(entry["cluster"], box) for entry in shown for box in _apart(entry["neurons"]))
        uri = f"data:image/webp;base64,{self.content['picture']}"
        return f'<div class="nc-whole"><img src="{uri}" alt="Your image">{boxes}</div>'

    def _frame(self, cluster: int, box: Box) -> str:
        width, height = self.content["width"], self.content["height"]
        left, right = (min(max(at / width, 0.0), 1.0) for at in (box[0], box[2]))
        top, bottom = (min(max(at / height, 0.0), 1.0) for at in (box[1], box[3]))
        place = f"left:{left:.2%};top:{top:.2%};width:{right - left:.2%};height:{bottom - top:.2%}"
        return f'<div class="nc-box" data-boxed="{cluster}" style="{place}" hidden></div>'

    def _answers(self) -> str:
        rows = "".join(
            f'<li style="--share:{answer["confidence"]:.3f}"><span>{escape(str(answer["name"]))}</span>'
            f"<i></i><small>{answer['confidence']:.1%}</small></li>"
            for answer in self.content["answers"]
        )
        return f'<h5>The network says</h5><ol class="nc-says">{rows}</ol>'

    def _summary(self, count: int) -> str:
        compared, fires = self.content["compared"], len(self.fires)
        where = f"{count} of them" if count < fires else "all of them"
        text = (
            f"{fires:,} clusters fire here more strongly than on {FIRES:.0%} of {compared} images drawn from the run. "
            f"Below, the most unusual ones first: {where}."
        )
        rests = "".join(f"<li>{line}</li>" for line in self._rests_on())
        on = (
            f'<div class="nc-rests"><h5>“{escape(self.answer)}” rests most on</h5><ul>{rests}</ul></div>'
            if rests
            else ""
        )
        return f'<p class="nc-note">{text}</p>{on}'

    def _rests_on(self) -> Iterator[str]:
        """The clusters without which the answer loses most, and more than chance."""
        certain = [entry for entry in self.content["closely"] if _beyond_chance(entry)]
        for entry in sorted(certain, key=lambda entry: -entry["drop"])[:RESTS_ON]:
            yield f"{cluster_button(self.lookup, entry['cluster'])} <span>−{entry['drop']:.1%}</span>"

    def _card(self, entry: Mapping[str, Any], draw: Gallery, selected: bool) -> str:
        cluster = int(entry["cluster"])
        size = self.content["width"], self.content["height"]
        cuts = [cut(self._whole, size, box, PATCH) for box in _apart(entry["neurons"])[:PATCHES]]
        own = "".join(f'<img src="{uri}" width="{PATCH}" height="{PATCH}" alt="A patch of your image">' for uri in cuts)
        return (
            f'<section class="nc-card{" nc-selected" if selected else ""}" data-card-cluster="{cluster}">'
            f'{draw.heading(cluster)}<div class="nc-beside"><div class="nc-strip nc-mine">{own}</div>'
            f'<div class="nc-strip" data-strip="{cluster}"></div></div>'
            f'<p class="nc-note">{self._strength(entry)}<br>{self._loss(entry)}</p></section>'
        )

    def _strength(self, entry: Mapping[str, Any]) -> str:
        return (
            f"<strong>Stronger than on {entry['weaker']:.0%}</strong> of {self.content['compared']} images; "
            f"{entry['strength']:.0%} of its highest in the run"
        )

    def _loss(self, entry: Mapping[str, Any]) -> str:
        if entry["drop"] is None:
            return "What the answer loses without it cannot be said: the answer is no stronger than the rest."
        beside = f"random neurons: {_signed(-entry['random_low'])} … {_signed(-entry['random_high'])}"
        verdict = "" if _beyond_chance(entry) else "; no more than chance"
        return f"Without it “{escape(self.answer)}” {_signed(-entry['drop'])} ({beside}){verdict}"


def _beyond_chance(entry: Mapping[str, Any]) -> bool:
    return entry["drop"] is not None and entry["drop"] > max(entry["random_high"], 0)


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("-", "−")


def _apart(neurons: Sequence[Mapping[str, Any]]) -> list[Box]:
    """The boxes of some neurons, without those that lie where an earlier one does."""
    kept: list[Box] = []
    for neuron in neurons:
        x0, y0, x1, y1 = (float(side) for side in neuron["box"])
        least = APART * (x1 - x0)
        if all(abs(x0 - other[0]) > least or abs(y0 - other[1]) > least for other in kept):
            kept.append((x0, y0, x1, y1))
    return kept
