"""Finding and opening runs. One open run is shared by all sessions; nobody writes to it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from neurocarto.dashboard import policy
from neurocarto.runs.manifest import FILE_NAME
from neurocarto.runs.names import Names
from neurocarto.runs.store import SCORES, Run, is_run, named_runs
from neurocarto.views.cards import Cards
from neurocarto.views.cascade import Cascade, cascade, flow
from neurocarto.views.colouring import colouring
from neurocarto.views.comparison import Kinship, matrix
from neurocarto.views.comparison_graph import comparison_graph
from neurocarto.views.errors import Confusion, confusions
from neurocarto.views.graph import graph
from neurocarto.views.library import Card, card
from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches
from neurocarto.views.projection import captions, figure
from neurocarto.views.quality import QualityCards
from neurocarto.views.study import Questions

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder: data/, data/runs/ and runs/ in it are searched."""
DEMO = "demo"


@dataclass(frozen=True)
class OpenRun:
    """A run with everything that is indexed once: shared, read only.

    version: of the run, which no name changes: what shows none is keyed by it.
    """

    name: str
    version: str
    lookup: Lookup
    patches: Patches
    cards: Cards

    @property
    def run(self) -> Run:
        """The run itself."""
        return self.lookup.run

    @property
    def named_version(self) -> str:
        """Version of the run with people's names of its clusters: the key of what shows labels."""
        return f"{self.version} {self.lookup.names.version}"

    def named(self, names: Names) -> "OpenRun":
        """Return the same run under other names of clusters; nothing is opened or indexed anew."""
        lookup = self.lookup.named(names)
        return replace(self, lookup=lookup, cards=self.cards.named(lookup))


def run_folders() -> dict[str, Path]:
    """Return every run that can be opened, by name: the demo first, then data/, runs/, NEUROCARTO_RUNS in order."""
    extra = policy.folders("NEUROCARTO_RUNS")
    found = named_runs([ROOT / "data", ROOT / "data" / "runs", ROOT / "runs", *extra])
    return dict(sorted(found.items(), key=lambda item: item[0] != DEMO))


def made_in() -> Path:
    """Return the folder that runs are made in and imported to: the first of NEUROCARTO_RUNS, else runs/."""
    return next((folder.resolve() for folder in policy.folders("NEUROCARTO_RUNS") if not is_run(folder)), ROOT / "runs")


def run_card(folder: Path) -> Card:
    """Return what the library shows of a run, made once. RunError when it is damaged."""
    return _card(str(folder), _changed(folder))


@st.cache_resource(max_entries=200, show_spinner=False)
def _card(folder: str, changed: int) -> Card:
    return card(Run(folder))


def open_run(name: str, folder: Path) -> OpenRun:
    """Open a run, or return the shared one; one that was made again, or scored since, is opened anew.

    RunError when it is damaged.
    """
    return _open(name, str(folder), _changed(folder))


def _changed(folder: Path) -> int:
    """When a run was made or last scored."""
    files = [folder / FILE_NAME, *(folder / SCORES).glob("*.json")]
    return max((path.stat().st_mtime_ns for path in files if path.is_file()), default=0)


@st.cache_resource(max_entries=6, show_spinner=False)
def _open(name: str, folder: str, changed: int) -> OpenRun:
    run = Run(folder)
    lookup, patches = Lookup(run), Patches(run)
    cards = Cards(lookup, patches, policy.folders("NEUROCARTO_IMAGES"))
    return OpenRun(name, f"{run.manifest.run_id}-{changed}", lookup, patches, cards)


def encoded(content: dict[str, Any]) -> bytes:
    """Return what is published to the browser, as JSON."""
    return json.dumps(content).encode()


def projection_data(opened: OpenRun) -> bytes:
    """Return the projection's figure and captions for the browser, made once per run."""
    return _projection(opened.version, opened)


@st.cache_resource(max_entries=6, show_spinner=False)
def _projection(version: str, _opened: OpenRun) -> bytes:
    return encoded({"figure": figure(_opened.lookup), **captions(_opened.lookup)})


def index_data(opened: OpenRun) -> bytes:
    """Return what can be searched for in a run for the browser, made once per run."""
    return _index(opened.version, opened)


@st.cache_resource(max_entries=6, show_spinner=False)
def _index(version: str, _opened: OpenRun) -> bytes:
    lookup = _opened.lookup
    clusters = [
        [cluster, lookup.labels[cluster], layer, lookup.scorecard.badges.get(cluster, "")]
        for cluster, layer in lookup.cluster_layer.items()
    ]
    layers = [[layer.name, layer.channels] for layer in lookup.run.manifest.layers]
    return encoded({"classes": lookup.classes, "clusters": clusters, "layers": layers})


def names_data(opened: OpenRun) -> bytes:
    """Return people's names of clusters for the browser, which lays them over what is made once per run."""
    return _names(opened.named_version, opened)


@st.cache_resource(max_entries=6, show_spinner=False)
def _names(version: str, _opened: OpenRun) -> bytes:
    return encoded({str(cluster): name for cluster, name in _opened.lookup.names.given.items()})


def colour_data(opened: OpenRun, colour: str, class_: str) -> tuple[str, bytes]:
    """Return a name for exactly these colours of the map, and what they are and mean for the browser, made once."""
    relevant = class_ if colour == "importance" else ""
    return f"{opened.version} {colour} {relevant}", _colours(opened.version, colour, relevant, opened)


@st.cache_resource(max_entries=32, show_spinner=False)
def _colours(version: str, colour: str, class_: str, _opened: OpenRun) -> bytes:
    return encoded(colouring(_opened.lookup, colour, class_))


def graph_data(opened: OpenRun, class_: str, layers: tuple[str, ...], least: float, edges: int) -> dict[str, Any]:
    """Return the cluster graph of a class over some layers, computed once."""
    return _graph(opened.named_version, class_, layers, least, edges, opened)


@st.cache_resource(max_entries=64, show_spinner=False)
def _graph(
    version: str, class_: str, layers: tuple[str, ...], least: float, edges: int, _opened: OpenRun
) -> dict[str, Any]:
    return graph(_opened.lookup, class_=class_, layers=layers, least=least, per_node=edges)


def cascade_data(opened: OpenRun, start: int, class_: str, count: int) -> tuple[Cascade, dict[str, Any]]:
    """Return the cascade of a cluster and what the component draws of it, computed once."""
    return _cascade(opened.named_version, start, class_, count, opened)


@st.cache_resource(max_entries=64, show_spinner=False)
def _cascade(version: str, start: int, class_: str, count: int, _opened: OpenRun) -> tuple[Cascade, dict[str, Any]]:
    found = cascade(_opened.lookup, start, class_, count)
    return found, flow(_opened.lookup, found)


def quality_html(opened: OpenRun, layers: tuple[str, ...]) -> dict[str, str]:
    """Return the parts of the scorecard of some layers, none for all: verdict, layers, ranking; drawn once."""
    return _quality(opened.named_version, layers, opened)


@st.cache_resource(max_entries=16, show_spinner=False)
def _quality(version: str, layers: tuple[str, ...], _opened: OpenRun) -> dict[str, str]:
    cards = QualityCards(_opened.lookup, _opened.patches, layers)
    return {"verdict": cards.verdict() + cards.figures(), "layers": cards.by_layer(), "ranking": cards.ranking()}


def study_questions(opened: OpenRun, seed: int, count: int) -> Questions:
    """Return the questions of a study, drawn once."""
    return _questions(opened.version, seed, count, opened)


@st.cache_resource(max_entries=32, show_spinner=False)
def _questions(version: str, seed: int, count: int, _opened: OpenRun) -> Questions:
    return Questions(_opened.lookup, _opened.patches, seed, count)


def kinship(opened: OpenRun) -> Kinship:
    """Return how alike a run's classes are, computed once per run."""
    return _kinship(opened.version, opened)


@st.cache_resource(max_entries=6, show_spinner=False)
def _kinship(version: str, _opened: OpenRun) -> Kinship:
    return Kinship.of(_opened.lookup)


def matrix_data(opened: OpenRun) -> bytes:
    """Return the matrix of a run's classes for the browser, made once per run."""
    return _matrix(opened.version, opened)


@st.cache_resource(max_entries=6, show_spinner=False)
def _matrix(version: str, _opened: OpenRun) -> bytes:
    return encoded(matrix(_opened.lookup, kinship(_opened)))


def comparison_data(
    opened: OpenRun, first: str, second: str, layers: tuple[str, ...], least: float, edges: int
) -> dict[str, Any]:
    """Return the graph of two classes over some layers, computed once."""
    return _comparison(opened.named_version, first, second, layers, least, edges, opened)


@st.cache_resource(max_entries=32, show_spinner=False)
def _comparison(
    version: str, first: str, second: str, layers: tuple[str, ...], least: float, edges: int, _opened: OpenRun
) -> dict[str, Any]:
    return comparison_graph(_opened.lookup, first, second, layers=layers, least=least, per_node=edges)


def confusion_data(opened: OpenRun) -> list[Confusion]:
    """Return a run's confusions, counted once per run."""
    return _confusions(opened.version, opened)


@st.cache_resource(max_entries=6, show_spinner=False)
def _confusions(version: str, _opened: OpenRun) -> list[Confusion]:
    return confusions(_opened.lookup)
