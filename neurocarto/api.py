"""The Python API: make a run or open one, and look at it in a notebook or a script. docs/api.md shows it in use."""

import difflib
import itertools
import webbrowser
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from neurocarto.errors import RunError, SettingsError
from neurocarto.records import ALL_IMAGES
from neurocarto.request import ModelRequest
from neurocarto.runs.archive import plain_name
from neurocarto.runs.cache import default_folder
from neurocarto.runs.store import Run, holds_run
from neurocarto.settings import RunSettings

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from torch import nn

    from neurocarto.extraction.images import Dataset, ImageSet
    from neurocarto.extraction.models import Model
    from neurocarto.served import App
    from neurocarto.views.lookup import Lookup
    from neurocarto.views.patches import Patches

COLOURS = ("layer", "cluster", "importance", "rate")
"""What the colours of the map may mean."""
DOCTYPE = "<!doctype html>"


def summarise(
    model: "nn.Module | ModelRequest | Model | str",
    dataset: "ImageSet | Dataset | Path | str",
    *,
    layers: str | Sequence[str] = (),
    out: Path | str | None = None,
    transform: object = None,
    class_names: Sequence[str] | None = None,
    name: str = "",
    cache: Path | str | bool = True,
    quiet: bool = False,
    **settings: Any,
) -> "OpenedRun":
    """Summarise what a network has learnt, as `python -m neurocarto run` does, and return the run.

    model: a torch module, of which a copy is studied; a network's name, or a ModelRequest with weights and more.
    dataset: a folder, .zip, tar shards or address of images, or a map-style data set without its transform. layers:
    module paths and globs, by default the network's own. out: the run's folder; by default a new one in ./runs, or the
    one there that holds this very run. transform, class_names, name: of a torch module (docs/models.md). cache: the
    folder that keeps finished stages, True for the usual one; False keeps nothing. settings: of RunSettings, by their
    names; device is `auto` unless given.
    NeurocartoError, in one line, when something cannot be used.
    """
    from neurocarto.extraction.images import list_images
    from neurocarto.pipeline import identify, run
    from neurocarto.progress import Progress

    chosen = _settings(settings)
    studied = _model(model, (layers,) if isinstance(layers, str) else tuple(layers), transform, class_names, name)
    images = list_images(dataset)
    if out is None:
        called = plain_name(f"{studied.name.rpartition(':')[2]}-{Path(images.source).stem}")
        place = _default_place(Path("runs"), called, identify(studied, images, chosen))
    else:
        place = Path(out)
    kept = default_folder() if cache is True else Path(cache) if cache else None
    return OpenedRun(run(studied, images, place, chosen, Progress(quiet), kept))


def open(folder: Path | str) -> "OpenedRun":  # noqa: A001 - as neurocarto.open
    """Open a finished run. RunError when the folder is none."""
    return OpenedRun(folder)


def _settings(chosen: dict[str, Any]) -> RunSettings:
    from neurocarto.extraction.devices import with_device

    known = [knob.name for knob in fields(RunSettings)]
    for name in chosen:
        if name not in known:
            raise SettingsError(f"there is no setting {name!r}; {_nearest(name, known)}")
    return with_device(chosen)


def _model(
    model: object, layers: tuple[str, ...], transform: object, class_names: Sequence[str] | None, name: str
) -> "ModelRequest | Model":
    if isinstance(model, str | ModelRequest):
        if transform is not None or class_names is not None or name:
            raise SettingsError(
                "transform, class_names and name are of a torch module; a ModelRequest has preprocess and class_names"
            )
        request = ModelRequest(model) if isinstance(model, str) else model
        return replace(request, layers=layers) if layers else request
    from neurocarto.extraction.layers import sites_of
    from neurocarto.extraction.models import Model, model_of

    if isinstance(model, Model) and (transform is not None or class_names is not None or name):
        raise SettingsError("a Model has a preprocessing, categories and a name already; replace them in it")
    described = model if isinstance(model, Model) else model_of(model, transform, class_names, name)  # type: ignore[arg-type]
    return replace(described, sites=sites_of(described, layers)) if layers else described


def _default_place(runs: Path, name: str, run_id: str) -> Path:
    """The folder of that name that holds the run, or the first free one."""
    for number in itertools.count(1):
        place = runs / (name if number == 1 else f"{name}-{number}")
        if holds_run(place, run_id) or not place.exists():
            return place
    raise AssertionError


class OpenedRun(Run):
    """A finished run to look at: its tables as DataFrames, its views as what a notebook shows.

    Tables are shared: copy one before changing it.
    """

    def map(self, color: str = "layer", class_: str = ALL_IMAGES) -> "go.Figure":
        """Return the map of neurons as a Plotly figure.

        color: layer, cluster, importance (of a neuron's cluster for the class, or for all images), or rate (the share
        of images on which it is active).
        """
        from neurocarto.views.notebook import map_figure

        if color not in COLOURS:
            raise RunError(f"the map has no color {color!r}; choose one of: {', '.join(COLOURS)}")
        return map_figure(self._lookup, color, self._class(class_))

    def graph(
        self,
        class_: str = ALL_IMAGES,
        *,
        layers: Sequence[str] = (),
        least: float = 0.0,
        per_layer: int = 6,
        per_node: int = 3,
    ) -> "Graph":
        """Return the graph of the clusters that a class relies on, by default of those that matter for all images.

        layers: those shown, by default all; least: importance below which clusters are left out; per_layer: clusters
        of each layer at most; per_node: edges of each cluster at most.
        """
        from neurocarto.views.graph import graph
        from neurocarto.views.notebook import graph_page, graph_pictures

        for layer in layers:
            _known("layer", layer, self._lookup.layers)
        content = graph(
            self._lookup,
            class_=self._class(class_),
            layers=tuple(layers),
            least=least,
            per_layer=per_layer,
            per_node=per_node,
        )
        return Graph(
            graph_page(content, graph_pictures(self._lookup, self._patches, content)),
            pd.DataFrame(content["nodes"], columns=["id", "name", "layer", "neurons", "strength", "x", "y"]),
            pd.DataFrame(content["edges"], columns=["from", "to", "weight"]),
        )

    def patches(self, cluster: int | None = None, *, neuron: int | None = None, count: int = 20) -> "Html":
        """Return the example patches of a cluster or of a neuron, those that speak best for it first."""
        from neurocarto.views.notebook import strip

        if (cluster is None) == (neuron is None):
            raise RunError("patches are of a cluster or of a neuron; give one of them by its number")
        if cluster is not None:
            _known("cluster", int(cluster), self._lookup.cluster_layer)
        else:
            _known("neuron", int(neuron or 0), range(len(self.neurons)))
        return Html(strip(self._lookup, self._patches, cluster=cluster, neuron=neuron, count=count))

    def show(self, browser: bool = True) -> "App":
        """Start the app on this run as a child process, print its link and return it; `stop()` ends it.

        browser: whether to open the link. A second call returns the same app while it runs.
        """
        if self._app is None or not self._app.running:
            from neurocarto.served import App

            self._app = App(self.folder)
        print(f"{self.name} is shown at {self._app.url}")
        if browser:
            webbrowser.open(self._app.url)
        return self._app

    _app: "App | None" = None

    @cached_property
    def _lookup(self) -> "Lookup":
        from neurocarto.views.lookup import Lookup

        return Lookup.with_names(self)

    @cached_property
    def _patches(self) -> "Patches":
        from neurocarto.views.patches import Patches

        return Patches(self)

    def _class(self, name: str) -> str:
        return name if name == ALL_IMAGES else str(_known("class", name, self._lookup.classes))

    def _facts(self) -> dict[str, str]:
        manifest, images = self.manifest, self.manifest.images
        return {
            "model": str(manifest.model["name"]),
            "images": f"{images['count']:,} from {images['source']}",
            "layers": f"{len(manifest.layers)}",
            "neurons": f"{len(self.neurons):,}, {int((self.neurons['cluster'] >= 0).sum()):,} of them in clusters",
            "clusters": f"{len(self.clusters):,}",
            "classes": f"{len(self.classes):,}",
        }

    def __repr__(self) -> str:
        return f"<run {self.name}: {', '.join(f'{name} {value}' for name, value in self._facts().items())}>"

    def _repr_html_(self) -> str:
        cell = '<t{0} style="text-align:left">{1}</t{0}>'
        rows = "".join(
            f"<tr>{cell.format('h', name)}{cell.format('d', escape(value))}</tr>"
            for name, value in self._facts().items()
        )
        return f"<strong>{escape(self.name)}</strong><table>{rows}</table>"


@dataclass(frozen=True)
class Html:
    """HTML that a notebook shows, and that can be written to a file. It asks nothing of other hosts."""

    html: str

    def save(self, path: Path | str) -> Path:
        """Write it to a file that opens from disk."""
        page = self.html if self.html.startswith(DOCTYPE) else f'{DOCTYPE}<meta charset="utf-8">{self.html}'
        Path(path).write_text(page, encoding="utf-8")
        return Path(path)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self.html):,} characters; a notebook shows it, save() writes it>"


@dataclass(frozen=True, repr=False)
class Graph(Html):
    """A graph of clusters as a page of its own. nodes: clusters, and the class as -1; edges: their influences."""

    nodes: pd.DataFrame
    edges: pd.DataFrame

    def _repr_html_(self) -> str:
        from neurocarto.views.notebook import framed

        return framed(self.html)


def _known(what: str, value: Any, among: Iterable[Any]) -> Any:
    if value not in among:
        raise RunError(f"the run has no {what} {value!r}; {_nearest(str(value), list(map(str, among)))}")
    return value


def _nearest(name: str, among: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, among, n=3, cutoff=0.4)
    return f"nearest: {', '.join(near)}" if near else f"there are {', '.join([*among[:3], '…'])}"
