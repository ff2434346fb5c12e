"""What is selected: one value that every page shows and any view may change, and its form in a link."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import urlencode

LINK_VERSION = "1"
"""Version of the links. Within a version a link never changes its meaning; here a key left out means: nothing."""
MAX_VERTICES = 32
MAX_CLUSTERS = 200

Params = dict[str, list[str]]
Point = tuple[float, float]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Selection:
    """One selection.

    run: the run's name; class_: "" for all images; layers: names, none for all of them; clusters and
    neuron: numbers in the run; lasso: vertices of a closed polygon in map coordinates, at most 32.
    """

    run: str = ""
    class_: str = ""
    layers: tuple[str, ...] = ()
    clusters: tuple[int, ...] = ()
    neuron: int | None = None
    lasso: tuple[Point, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected on the map or in the graph; run, class and layers are filters."""
        return not self.clusters and self.neuron is None and not self.lasso

    def cleared(self) -> "Selection":
        """Return the same run, class and layers with nothing selected."""
        return replace(self, clusters=(), neuron=None, lasso=())

    def with_cluster(self, cluster: int, add: bool) -> "Selection":
        """Toggle a cluster: alone, or beside the ones that are selected."""
        if add:
            others = tuple(c for c in self.clusters if c != cluster)
            joined = others if cluster in self.clusters else (*others, cluster)
            return replace(self.cleared(), clusters=joined[-MAX_CLUSTERS:])
        alone = self.clusters == (cluster,) and self.neuron is None and not self.lasso
        return replace(self.cleared(), clusters=() if alone else (cluster,))

    def with_neuron(self, neuron: int, cluster: int, add: bool) -> "Selection":
        """Toggle a neuron; when adding, its cluster joins those that are selected. cluster: -1 for none."""
        if add:
            joined = self.clusters if cluster < 0 or cluster in self.clusters else (*self.clusters, cluster)
            return replace(self.cleared(), clusters=joined[-MAX_CLUSTERS:], neuron=neuron)
        return replace(self.cleared(), neuron=None if self.neuron == neuron and not self.clusters else neuron)

    def with_lasso(self, polygon: Sequence[Point]) -> "Selection":
        """Select what lies in a polygon of at most 32 vertices; coordinates keep five digits, as in the link."""
        points = tuple((_five_digits(x), _five_digits(y)) for x, y in polygon[:MAX_VERTICES])
        return replace(self.cleared(), lasso=points)


@dataclass(frozen=True)
class Vocabulary:
    """What exists in a run, so that links to what is gone can be told from others."""

    classes: Collection[str]
    layers: Sequence[str]
    clusters: Collection[int]
    neurons: int


@dataclass
class Reading:
    """A selection read from a link, and what had to be left out of it, in plain words."""

    selection: Selection
    dropped: list[str] = field(default_factory=list)


def to_params(selection: Selection) -> Params:
    """Return the selection as query parameters. Empty parts are left out; `from_params` is the inverse."""
    params: Params = {"v": [LINK_VERSION]}
    if selection.run:
        params["run"] = [selection.run]
    if selection.class_:
        params["class"] = [selection.class_]
    if selection.layers:
        params["layer"] = list(selection.layers)
    if selection.clusters:
        params["clusters"] = [".".join(map(str, selection.clusters))]
    if selection.neuron is not None:
        params["neuron"] = [str(selection.neuron)]
    if selection.lasso:
        params["lasso"] = ["_".join(f"{x:.5g},{y:.5g}" for x, y in selection.lasso)]
    return params


def query_string(selection: Selection) -> str:
    """Return the query string of a link to the selection."""
    return urlencode(to_params(selection), doseq=True)


def from_params(params: Mapping[str, Sequence[str]]) -> Reading:
    """Read query parameters. Never raises: what cannot be read is dropped and named."""
    reading = Reading(Selection())
    version = _last(params, "v")
    if version not in (None, LINK_VERSION):
        reading.dropped.append(f"The link is of version {version!r}, unknown to this app; it reads what it can.")
    clusters = _read(reading, params, "clusters", _clusters) or ()
    neuron = _read(reading, params, "neuron", _number)
    lasso = _read(reading, params, "lasso", _polygon) or ()
    reading.selection = Selection(
        run=_last(params, "run") or "",
        class_=_last(params, "class") or "",
        layers=tuple(dict.fromkeys(params.get("layer", ()))),
        clusters=clusters,
        neuron=neuron,
        lasso=lasso,
    )
    return reading


def restricted(reading: Reading, known: Vocabulary) -> Reading:
    """Return the reading without what the run does not have; each thing left out is named."""
    selection, dropped = reading.selection, list(reading.dropped)
    if selection.class_ and selection.class_ not in known.classes:
        dropped.append(f"The run has no class {selection.class_!r}; it shows all images.")
        selection = replace(selection, class_="")
    unknown = [name for name in selection.layers if name not in known.layers]
    if unknown:
        dropped.append(f"The run has no layer {', '.join(map(repr, unknown))}.")
    order = [name for name in known.layers if name in selection.layers]
    selection = replace(selection, layers=tuple(order))
    gone = [cluster for cluster in selection.clusters if cluster not in known.clusters]
    if gone:
        dropped.append(f"The run has no cluster {', '.join(map(str, gone))}.")
        selection = replace(selection, clusters=tuple(c for c in selection.clusters if c not in gone))
    if selection.neuron is not None and selection.neuron >= known.neurons:
        dropped.append(f"The run has no neuron {selection.neuron}; it has {known.neurons:,}.")
        selection = replace(selection, neuron=None)
    return Reading(selection, dropped)


def _last(params: Mapping[str, Sequence[str]], key: str) -> str | None:
    values = params.get(key, ())
    return values[-1] if values else None


def _read(reading: Reading, params: Mapping[str, Sequence[str]], key: str, parse: Callable[[str], _T]) -> _T | None:
    text = _last(params, key)
    if not text:
        return None
    try:
        return parse(text)
    except ValueError:
        shown = text if len(text) <= 40 else text[:39] + "…"
        reading.dropped.append(f"The link's {key} {shown!r} cannot be read.")
        return None


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(text)
    return int(text)


def _clusters(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_number(part) for part in text.split(".")))[:MAX_CLUSTERS]


def _polygon(text: str) -> tuple[Point, ...]:
    points = []
    for vertex in text.split("_"):
        x, y = (float(part) for part in vertex.split(","))
        if not (math.isfinite(x) and math.isfinite(y) and abs(x) < 1e9 and abs(y) < 1e9):
            raise ValueError(vertex)
        points.append((_five_digits(x), _five_digits(y)))
    if not 3 <= len(points) <= MAX_VERTICES:
        raise ValueError(text)
    return tuple(points)


def _five_digits(value: float) -> float:
    return float(f"{value:.5g}")
