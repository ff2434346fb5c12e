"""What is selected: one value that every page shows and any view may change, and its form in a link."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

LINK_VERSION = "1"
"""Version of the links. Within a version a link never changes its meaning: a key left out means the default below."""
MAX_VERTICES = 32
MAX_CLUSTERS = 200
MAX_EDGES = 10
MAX_BRANCHES = 8
MAX_QUESTIONS = 50
COLOURS = {"layer": "layer", "cluster": "cluster", "importance": "importance", "rate": "firing rate"}
"""What the map can colour by, with its name on the page."""
SHOWN = {"all": "all", "class": "the class's", "clusters": "selected"}
"""Which neurons of the map keep their colour while the rest recedes."""

CHOSEN = ("colour", "show", "min", "edges", "map", "pictures", "branches")
"""Link keys of what is chosen on the views themselves."""

Params = dict[str, list[str]]
Point = tuple[float, float]


@dataclass(frozen=True)
class Selection:
    """One selection, shared by all pages.

    run: the run's name; class_: "" for all images; layers: names, none for all of them; clusters and
    neuron: numbers in the run; lasso: vertices of a closed polygon in map coordinates, at most 32;
    least: importance below which clusters are left out of the graph; colour, show: what the map's colours mean
    (COLOURS) and whose they are (SHOWN); edges: strongest edges kept per node of the graph; snapshot: the map after
    a share of the images, by its number in the run, None for the last one; pictures: whether the map shows patches
    where it is zoomed in; branches: concepts per step of a cascade; other: the class that class_ is compared with;
    confusion: a label and what the network took it for; study: the seed of a study, and questions: how many it has.

    The defaults are part of link version 1: other defaults need another version, with these kept in _DEFAULTS.
    """

    run: str = ""
    class_: str = ""
    layers: tuple[str, ...] = ()
    clusters: tuple[int, ...] = ()
    neuron: int | None = None
    lasso: tuple[Point, ...] = ()
    least: float = 0.0
    colour: str = "layer"
    show: str = "class"
    edges: int = 3
    snapshot: int | None = None
    pictures: bool = True
    branches: int = 3
    other: str = ""
    confusion: tuple[str, str] | None = None
    study: int = 0
    questions: int = 10

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
    snapshots: int
    confusions: Collection[tuple[str, str]]


@dataclass
class Reading:
    """A selection read from a link, and what had to be left out of it, in plain words."""

    selection: Selection
    dropped: list[str] = field(default_factory=list)


def to_params(selection: Selection) -> Params:
    """Return the selection as query parameters, without what is as by default; `from_params` is the inverse."""
    usual = _DEFAULTS[LINK_VERSION]
    values = {name: (getattr(selection, key.field), getattr(usual, key.field), key) for name, key in _KEYS.items()}
    return {"v": [LINK_VERSION]} | {
        name: key.write(value) for name, (value, default, key) in values.items() if value != default
    }


def query_string(selection: Selection) -> str:
    """Return the query string of a link to the selection."""
    return urlencode(to_params(selection), doseq=True)


def from_params(params: Mapping[str, Sequence[str]]) -> Reading:
    """Read query parameters. Never raises: what cannot be read is dropped and named."""
    version = _last(params, "v")
    reading = Reading(_DEFAULTS.get(version or LINK_VERSION, Selection()))
    if version is not None and version not in _DEFAULTS:
        reading.dropped.append(f"The link is of version {version!r}, unknown to this app; it reads what it can.")
    for name, key in _KEYS.items():
        values = [value for value in params.get(name, ()) if value]
        if not values:
            continue
        try:
            reading.selection = replace(reading.selection, **{key.field: key.read(values)})
        except ValueError:
            shown = values[-1] if len(values[-1]) <= 40 else values[-1][:39] + "…"
            reading.dropped.append(f"The link's {name} {shown!r} cannot be read.")
    return reading


def with_choice(selection: Selection, key: str, text: str) -> Selection:
    """Return the selection with one part chosen anew, by its link key; unchanged where that cannot be read.

    An empty text is the default. Only what is chosen on a view can be changed so, not what is selected.
    """
    if key not in CHOSEN:
        return selection
    part = _KEYS[key]
    try:
        value = part.read([text]) if text else getattr(_DEFAULTS[LINK_VERSION], part.field)
    except ValueError:
        return selection
    changed: dict[str, Any] = {part.field: value}
    return replace(selection, **changed)


def restricted(reading: Reading, known: Vocabulary) -> Reading:
    """Return the reading without what the run does not have; each thing left out is named."""
    selection, dropped = reading.selection, list(reading.dropped)
    if selection.class_ and selection.class_ not in known.classes:
        dropped.append(f"The run has no class {selection.class_!r}; it shows all images.")
        selection = replace(selection, class_="")
    if selection.other and selection.other not in known.classes:
        dropped.append(f"The run has no class {selection.other!r} to compare with.")
        selection = replace(selection, other="")
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
    if selection.snapshot is not None and selection.snapshot >= known.snapshots:
        dropped.append(f"The run has no map number {selection.snapshot}; it has {known.snapshots}.")
        selection = replace(selection, snapshot=None)
    if selection.confusion and selection.confusion not in known.confusions:
        label, prediction = selection.confusion
        dropped.append(f"In this run no image of {label!r} is taken for {prediction!r}.")
        selection = replace(selection, confusion=None)
    return Reading(selection, dropped)


def _last(params: Mapping[str, Sequence[str]], key: str) -> str | None:
    values = params.get(key, ())
    return values[-1] if values else None


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(text)
    return int(text)


def _clusters(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_number(part) for part in text.split(".")))[:MAX_CLUSTERS]


def _polygon(text: str) -> tuple[Point, ...]:
    points = []
    for vertex in text.split("_"):
        x, y = _floats(vertex)
        points.append((x, y))
    if not 3 <= len(points) <= MAX_VERTICES:
        raise ValueError(text)
    return tuple(points)


def _floats(text: str) -> tuple[float, ...]:
    values = tuple(_five_digits(float(part)) for part in text.split(","))
    if not all(math.isfinite(value) and abs(value) < 1e9 for value in values):
        raise ValueError(text)
    return values


def _up_to(most: int, least: int = 0) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = _number(text)
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return read


def _one_of(choices: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _share(text: str) -> float:
    (value,) = _floats(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _pair(values: list[str]) -> tuple[str, str]:
    if len(values) != 2:
        raise ValueError(values)
    return values[0], values[1]


def _five_digits(value: float) -> float:
    return float(f"{value:.5g}")


def _joined(values: Sequence[float]) -> str:
    return ",".join(f"{value:.5g}" for value in values)


@dataclass(frozen=True)
class _Key:
    """How a part of the selection is written in a link and read from it (ValueError where it cannot be)."""

    field: str
    read: Callable[[list[str]], Any]
    write: Callable[[Any], list[str]]


def _key(field: str, read: Callable[[str], Any] = str, write: Callable[[Any], str] = str) -> _Key:
    return _Key(field, lambda values: read(values[-1]), lambda value: [write(value)])


_DEFAULTS = {"1": Selection()}
"""What a key left out of a link means, by the link's version."""
_KEYS = {
    "run": _key("run"),
    "class": _key("class_"),
    "layer": _Key("layers", lambda values: tuple(dict.fromkeys(values)), list),
    "clusters": _key("clusters", _clusters, lambda value: ".".join(map(str, value))),
    "neuron": _key("neuron", _number),
    "lasso": _key("lasso", _polygon, lambda value: "_".join(map(_joined, value))),
    "min": _key("least", _share, lambda value: f"{value:.5g}"),
    "colour": _key("colour", _one_of(COLOURS)),
    "show": _key("show", _one_of(SHOWN)),
    "edges": _key("edges", _up_to(MAX_EDGES)),
    "map": _key("snapshot", _number),
    "pictures": _key("pictures", lambda text: _one_of(("on", "off"))(text) == "on", lambda on: "on" if on else "off"),
    "branches": _key("branches", _up_to(MAX_BRANCHES)),
    "with": _key("other"),
    "confusion": _Key("confusion", _pair, list),
    "study": _key("study", _number),
    "questions": _key("questions", _up_to(MAX_QUESTIONS, least=1)),
}
"""The keys of a link, with the part of the selection that each holds."""
