"""The layers of a network: which there are, what they are like, and which to study where no table says so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from neurocarto.errors import ModelError, one_line
from neurocarto.extraction.hooks import no_such_layer
from neurocarto.extraction.layouts import find_layout, map_shape
from neurocarto.extraction.models import Model
from neurocarto.extraction.tracing import Activation, Call, Trace, Value, trace
from neurocarto.records import Layer, Site

MOST_DISCOVERED = 20
"""Layers that a network without a table is studied at: more would cost time and crowd every view."""
FEWEST_ENDS = 5
"""Ends of blocks that are enough to leave out what lies inside the blocks."""


@dataclass(frozen=True)
class LayerRow:
    """One module of a network, in a list to choose from.

    kind: the module's class; layer: what it is like as a layer, None where it cannot be one, and problem says why
    not; default: whether it is studied unless others are asked for; kept_bytes: what a run keeps for it.
    """

    name: str
    kind: str
    layer: Layer | None
    problem: str
    default: bool
    kept_bytes: int


def describe_layers(model: Model, patterns: Sequence[str] = ()) -> tuple[Layer, ...]:
    """Return the layers to study, in execution order, as a dry pass over seeded noise shows them.

    patterns: module paths and globs over them (`layer?`, `*.bn2`); empty: the model's own sites, or discovered ones. A
    glob takes what can be hooked, and of modules that give the same tensor the first to end, which is the
    innermost, so that no neuron is counted twice. ModelError, before any forward pass, for a pattern that
    matches nothing; after it for a layer that cannot be used: it runs never or several times, or gives no tensor, or
    one whose axes are not known.

    Discovered are the innermost modules that end in an activation. Where a shared or functional activation has no
    module of its own, it is the module in front of it, clamped as the activation clamps; signed if it does not clamp
    (GELU). Left out: gates, the network's output, and single cells in a network that has maps. Without activations:
    convolutions and linear maps. Of more than 20, the ends of blocks if there are enough, thinned evenly, and the last.
    """
    paths = _paths(model)
    matches = {pattern: _matches(model.module, paths, pattern) for pattern in patterns}
    survey = _Survey(model, paths)
    if patterns:
        return survey.select(matches)
    if not survey.defaults:
        raise ModelError(f"no layers could be discovered in {model.name!r}; name those to study")
    return tuple(survey.layer(name) for name in survey.defaults)


def sites_of(model: Model, patterns: Sequence[str]) -> tuple[Site, ...]:
    """Return where a network is hooked to study the layers that patterns mean, as in describe_layers."""
    return tuple(Site(layer.name, layer.clamp, layer.layout) for layer in describe_layers(model, patterns))


def list_layers(model: Model, bytes_per_neuron: int) -> list[LayerRow]:
    """Return every module of a network, in execution order, those that never run last."""
    paths = _paths(model)
    survey = _Survey(model, paths)
    rows = []
    for name in sorted(paths, key=survey.order):
        found = survey.find(survey.site(name))
        layer, problem = (found, "") if isinstance(found, Layer) else (None, found)
        kept = layer.channels * bytes_per_neuron if layer else 0
        rows.append(LayerRow(name, type(paths[name]).__name__, layer, problem, name in survey.defaults, kept))
    return rows


def _paths(model: Model) -> dict[str, nn.Module]:
    """All modules by path, but for the network itself; ModelError when one of the model's own sites is not there."""
    paths = {path: child for path, child in model.module.named_modules(remove_duplicate=False) if path}
    for site in model.sites:
        if site.name not in paths:
            raise no_such_layer(model.module, site.name)
    return paths


def _matches(module: nn.Module, paths: dict[str, nn.Module], pattern: str) -> list[str]:
    """Paths that a pattern means; a path means itself, even where its name reads as a glob."""
    matches = [pattern] if pattern in paths else [path for path in paths if fnmatchcase(path, pattern)]
    if not matches:
        raise no_such_layer(module, pattern)
    return matches


class _Survey:
    """What a dry pass says about a network's modules. defaults: the layers studied unless others are asked for."""

    def __init__(self, model: Model, paths: dict[str, nn.Module]) -> None:
        self._model = model
        self._paths = paths
        self._trace = _dry_pass(model)
        self._calls: dict[nn.Module, list[Call]] = {}
        for call in self._trace.calls:
            self._calls.setdefault(call.module, []).append(call)
        self._order = {call.module: place for place, call in enumerate(self._trace.calls)}
        self._applied_to: dict[nn.Module, list[str]] = {}  # by a shared activation
        self._clamped: dict[str, Value] = {}  # outputs after an activation's clamp
        found = self._discover()
        self._sites = {site.name: site for site in model.sites or found}
        self.defaults = sorted((site.name for site in model.sites or _thinned(found, paths)), key=self.order)

    def order(self, name: str) -> int:
        """Place of a layer in the order of execution; behind all others when it never runs."""
        return self._order.get(self._paths[name], len(self._order))

    def site(self, name: str) -> Site:
        """Return what is known of a layer beforehand."""
        return self._sites.get(name, Site(name))

    def layer(self, name: str) -> Layer:
        """Return a layer; ModelError when it cannot be used."""
        found = self.find(self.site(name))
        if isinstance(found, str):
            raise ModelError(f"layer {name!r} {found}")
        return found

    def find(self, site: Site) -> Layer | str:
        """Return what a place is like as a layer, or why it cannot be one."""
        module = self._paths[site.name]
        calls = self._calls.get(module, [])
        if not calls:
            return "never runs in a forward pass; choose one that does"
        if len(calls) > 1:
            others = [repr(name) for name in self._applied_to.get(module, [])[:3]]
            offer = f"what it is applied to: {', '.join(others)}" if others else "one that runs once"
            return f"runs more than once in a forward pass, which would mix its outputs; choose {offer}"
        (call,) = calls
        if call.value is None:
            return f"returns a {call.kind}, not a tensor; choose a module inside it or behind it"
        layout = site.layout or find_layout(call.value.axes, call.shape, self._trace.batch)
        if layout is None:
            return f"gives an output of shape {call.shape} with axes that are not known; choose another"
        try:
            return _layer(site, layout, call, call.value)
        except ValueError as error:
            return f"cannot be read: {error}"

    def select(self, matches: Mapping[str, Sequence[str]]) -> tuple[Layer, ...]:
        """Return the layers that patterns match (pattern: paths), each neuron once."""
        named = sorted((pattern for pattern, paths in matches.items() if paths == [pattern]), key=self.order)
        chosen: dict[Value | None, Layer] = {}
        for name in named:
            layer = self.layer(name)
            twin = chosen.setdefault(self._value(name), layer)
            if twin is not layer:
                raise ModelError(f"layers {twin.name!r} and {name!r} have the same output; choose one of them")
        globbed = {name for pattern in matches.keys() - named for name in self._usable(pattern, matches[pattern])}
        for name in sorted(globbed, key=lambda name: (self.order(name), name)):
            chosen.setdefault(self._value(name), self.layer(name))
        return tuple(sorted(chosen.values(), key=lambda layer: self.order(layer.name)))

    def _usable(self, pattern: str, paths: Sequence[str]) -> list[str]:
        problems = {name: self.find(self.site(name)) for name in paths}
        usable = [name for name, found in problems.items() if isinstance(found, Layer)]
        if not usable:
            raise ModelError(
                f"{pattern!r} matches no layer that can be used; for example, {paths[0]!r} {problems[paths[0]]}"
            )
        return usable

    def _value(self, name: str) -> Value | None:
        """A layer's output, after its clamp where an activation clamps it."""
        value = self._calls[self._paths[name]][0].value
        return self._clamped.get(name, value) if self.site(name).clamp else value

    def _discover(self) -> list[Site]:
        """Places worth studying, in execution order; notes on the way what shared activations are applied to."""
        names = {module: name for name, module in reversed(self._paths.items())}
        once: dict[Value, str] = {}
        for call in self._trace.calls:
            if call.value and call.module in names and len(self._calls[call.module]) == 1:
                once.setdefault(call.value, names[call.module])
        sites: dict[str, Site] = {}
        for result, activation in self._trace.activations.items():
            site = self._ends_in(result, activation, names) or self._in_front(result, activation, once)
            if site is not None:
                self._applied_to.setdefault(activation.running[-1], []).append(site.name)
                if result.depth < self._trace.depth:
                    sites.setdefault(site.name, site)
        return self._with_maps(sites.values() or self._weights(once))

    def _ends_in(self, result: Value, activation: Activation, names: Mapping[nn.Module, str]) -> Site | None:
        """The innermost module around an activation that gives its output."""
        for module in reversed(activation.running):
            calls = self._calls[module]
            if module in names and len(calls) == 1 and calls[0].value is result:
                return Site(names[module])
        return None

    def _in_front(self, result: Value, activation: Activation, once: Mapping[Value, str]) -> Site | None:
        """The module whose output an activation is applied to, clamped alike unless that output also goes elsewhere."""
        source, alone = activation.source, self._trace.uses[activation.source] == 1
        while source not in once and source.behind is not None:
            source = source.behind
            alone &= self._trace.uses[source] == 1
        if source not in once:
            return None
        if activation.clamp and alone:
            self._clamped[once[source]] = result
            return Site(once[source], activation.clamp)
        return Site(once[source])

    def _weights(self, once: Mapping[Value, str]) -> list[Site]:
        """Modules with weights of their own, such as convolutions and linear maps, but for the last."""
        inner = [name for value, name in once.items() if value.depth < self._trace.depth]
        return [Site(name) for name in inner if any(p.ndim > 1 for p in self._paths[name].parameters(recurse=False))]

    def _with_maps(self, sites: Iterable[Site]) -> list[Site]:
        """Those that can be used; those with a map where there are any."""
        found = {site: layer for site in sites if isinstance(layer := self.find(site), Layer)}
        maps = [site for site, layer in found.items() if layer.map_height * layer.map_width > 1]
        return sorted(maps or found, key=lambda site: self.order(site.name))


def _layer(site: Site, layout: str, call: Call, value: Value) -> Layer:
    channels, height, width = map_shape(call.shape, layout)
    rests = value.rests or call.lowest >= 0
    if site.clamp is not None and site.clamp[0] is not None:
        rests |= site.clamp[0] >= 0
    field = None if value.field is None else max(value.field)
    return Layer(site.name, channels, height, width, layout, site.clamp, signed=not rests, receptive_field=field)


def _thinned(sites: Sequence[Site], paths: Mapping[str, nn.Module]) -> list[Site]:
    """At most 20 of the sites, evenly, with the last; ends of blocks, which are modules with children, go first."""
    if len(sites) <= MOST_DISCOVERED:
        return list(sites)
    ends = [site for site in sites[:-1] if any(paths[site.name].children())]
    pool = [*(ends if len(ends) >= FEWEST_ENDS else sites[:-1]), sites[-1]]
    count = min(len(pool), MOST_DISCOVERED)
    return [pool[round(place * (len(pool) - 1) / (count - 1))] for place in range(count)]


def _dry_pass(model: Model) -> Trace:
    """Follow a pass over two noise images; over three where a side of length two could be taken for the batch."""
    traced = _follow(model, 2)
    unclear = any(call.value and "?" in call.value.axes and call.shape[:2] == (2, 2) for call in traced.calls)
    return _follow(model, 3) if unclear else traced


def _follow(model: Model, count: int) -> Trace:
    shape = model.blank(count).shape
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    try:
        return trace(model.module, noise)
    except Exception as error:  # a network's own code may raise anything
        raise ModelError(
            f"{model.name!r} does not run on an input of shape {tuple(shape)}: {one_line(error)}"
        ) from error
