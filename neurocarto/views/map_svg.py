"""The map of neurons as a small SVG: every neuron a dot, every cluster one path that grows under the mouse.

Every text from a run is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import cos, hypot, pi, sin

import numpy as np
import numpy.typing as npt

from neurocarto.records import FloatArray
from neurocarto.views.lookup import BoolArray, Lookup
from neurocarto.views.palette import ramp_colours

WIDTH = 1000
MARGIN = 14
LONGEST = 28
"""Characters of a name that are written on the map."""
TURNS = [pi * step / 8 for step in range(16)]
Pixels = npt.NDArray[np.int64]


def map_svg(
    lookup: Lookup,
    clusters: set[int] | None = None,
    numbers: Sequence[int] = (),
    names: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Return the map; neurons of one place and cluster are one dot.

    clusters: those that keep their layer's colour, None for all; numbers: clusters that get the numbers 1, 2, …;
    names: what to write where some clusters lie. Names that would lie on others are left out.
    """
    known = ~lookup.silent
    if not known.any():
        return ""
    places, height = _pixels(lookup.places, known)
    light, dark = (ramp_colours(len(lookup.layers), name) for name in ("light", "dark"))
    below, above = [], []
    for layer in range(len(lookup.layers)):
        own = np.flatnonzero(known & (lookup.neuron_layer == layer))
        rest, coloured = _layer(lookup, layer, own, places, clusters)
        below.append(rest)
        above.append(f'<g style="--light:{light[layer]};--dark:{dark[layer]}">{coloured}</g>')
    at = {number: _middle(lookup, [cluster], places, known) for number, cluster in enumerate(numbers, start=1)}
    marks = _numbers({number: place for number, place in at.items() if place})
    words = _names(lookup, names or {}, places, known)
    dot = float(np.clip(11 - 1.6 * np.log10(len(places)), 2.5, 8))
    return (
        f'<svg class="nc-map" viewBox="0 0 {WIDTH} {height}" style="--dot:{dot:.1f}px" role="img" '
        f'aria-label="Map of {int(known.sum()):,} neurons"><g>{"".join(below)}</g>{"".join(above)}{marks}{words}</svg>'
    )


def _pixels(places: FloatArray, known: BoolArray) -> tuple[Pixels, int]:
    """Places in whole pixels from the top left, 0 where there is none, and the height of the map."""
    low, high = places[known].min(axis=0), places[known].max(axis=0)
    scale = (WIDTH - 2 * MARGIN) / max(float(high[0] - low[0]), 1e-6)
    scale = min(scale, (WIDTH - 2 * MARGIN) / max(float(high[1] - low[1]), 1e-6))
    height = round(float(high[1] - low[1]) * scale) + 2 * MARGIN
    free = (WIDTH - float(high[0] - low[0]) * scale) / 2
    x, y = (places[:, 0] - low[0]) * scale + free, (high[1] - places[:, 1]) * scale + MARGIN
    return np.rint(np.where(known[:, None], np.stack([x, y], axis=1), 0)).astype(np.int64), height


def _layer(
    lookup: Lookup, layer: int, own: npt.NDArray[np.int64], places: Pixels, shown: set[int] | None
) -> tuple[str, str]:
    """The paths of a layer's clusters: those that recede, with the neurons in none, and those in the layer's colour."""
    order = own[np.argsort(lookup.neuron_cluster[own], kind="stable")]
    cluster, first = np.unique(lookup.neuron_cluster[order], return_index=True)
    name = escape(lookup.layers[layer])
    rest = coloured = ""
    for number, neurons in zip(cluster.tolist(), np.split(order, first[1:]), strict=True):
        title = "in no cluster" if number < 0 else f"{escape(lookup.label(number))}, cluster {number}"
        path = f'd="{_dots(places[neurons])}"><title>{title} in {name}</title></path>'
        if number < 0 or (shown is not None and number not in shown):
            rest += f'<path class="nc-rest" {path}'
        else:
            coloured += f"<path {path}"
    return rest, coloured


def _dots(places: Pixels) -> str:
    """Dots as a path: steps without length, which round caps make visible."""
    apart = np.unique(places, axis=0)
    steps = np.diff(apart, axis=0, prepend=np.zeros((1, 2), np.int64))
    return "".join(f"m{x} {y}h0" for x, y in steps.tolist())


def _middle(lookup: Lookup, clusters: Sequence[int], places: Pixels, known: BoolArray) -> tuple[int, int] | None:
    """The place of the member that lies nearest to the middle of all; None where none has a place."""
    members = np.flatnonzero(np.isin(lookup.neuron_cluster, np.array(clusters, np.int64)) & known)
    if not len(members):
        return None
    own = places[members]
    x, y = own[np.abs(own - np.median(own, axis=0)).sum(axis=1).argmin()].tolist()
    return x, y


def _numbers(at: Mapping[int, tuple[int, int]]) -> str:
    """Numbers in circles, each where it belongs, or as near as others leave room, and then with a line to its place."""
    taken: list[tuple[float, float]] = []
    lines, circles = [], []
    for number, (x, y) in at.items():
        around = [(x + 11 * ring * cos(turn), y + 11 * ring * sin(turn)) for ring in range(12) for turn in TURNS]
        inside = (place for place in around if 11 <= place[0] <= WIDTH - 11 and place[1] >= 11)
        free = (place for place in inside if all(hypot(place[0] - a, place[1] - b) > 22 for a, b in taken))
        cx, cy = next(free, (x, y))
        taken.append((cx, cy))
        if (cx, cy) != (x, y):
            lines.append(f'<path class="nc-lead" d="M{x} {y}L{cx:.0f} {cy:.0f}"/>')
        circles.append(
            f'<circle cx="{cx:.0f}" cy="{cy:.0f}" r="10"/><text x="{cx:.0f}" y="{cy + 4:.0f}">{number}</text>'
        )
    return "".join(lines + circles)


def _names(lookup: Lookup, names: Mapping[str, Sequence[int]], places: Pixels, known: BoolArray) -> str:
    written: list[tuple[float, int, float, str]] = []
    for name, clusters in names.items():
        text = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        place, half = _middle(lookup, clusters, places, known), 3.9 * len(text)
        if place is None:
            continue
        x, y = min(max(float(place[0]), half), WIDTH - half), place[1]
        if not any(abs(y - other) < 18 and abs(x - beside) < half + reach for beside, other, reach, _ in written):
            written.append((x, y, half, text))
    return "".join(f'<text x="{x:.0f}" y="{y + 4}">{escape(text)}</text>' for x, y, _, text in written)
