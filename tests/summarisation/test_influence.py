"""Interventions must be what surgery on the weights does; in a linear network gradients must equal them."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from neurocarto.engine.local import extract
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.lineage import find_lineage
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import CLASS_OUTPUT, Extraction, Layer, layer_slices
from neurocarto.settings import RunSettings
from neurocarto.summarisation.influence import Influence, measure_influence

SETTINGS = RunSettings(threads=1, batch_size=5, influence_images=6)
CLUSTERS = {"a": [[0, 1], [2]], "b": [[0], [1, 2]]}
"""Of each layer, the channels of its clusters; clusters are numbered through."""
CLASSES = pd.DataFrame({"class": ["class0", "class1"], "kind": "label", "outputs": [[0], []], "images": [6, 6]})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(12):
        (folder / f"class{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"class{i % 2}" / f"{i}.png")
    return list_images(folder)


@dataclass(frozen=True)
class Study:
    """A network, its layers and clusters, and the influence measured between them."""

    model: Model
    layers: tuple[Layer, ...]
    clusters: Mapping[str, Sequence[Sequence[int]]]
    extraction: Extraction
    inputs: Tensor
    found: Influence

    @property
    def table(self) -> pd.DataFrame:
        return self.found.edges

    @property
    def numbers(self) -> list[tuple[str, Sequence[int]]]:
        """Layer and channels of each cluster."""
        return [(layer, channels) for layer, clusters in self.clusters.items() for channels in clusters]

    def weights(self, name: str = "class0") -> pd.Series:
        return self.table[self.table["class"] == name].set_index(["source", "target"])["weight"]

    def edges(self, name: str = "class0") -> set[tuple[str, str]]:
        """Which layers edges join."""
        layers = {CLASS_OUTPUT: "class"} | {i: layer for i, (layer, _) in enumerate(self.numbers)}
        return {(layers[source], layers[target]) for source, target in self.weights(name).index}

    def run(self, source: str = "", replaced: Mapping[int, Tensor] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Run the network with channels of one layer replaced; returns all maps and the logits."""
        maps = {}

        def visit(name: str, output: Tensor) -> Tensor:
            output = output.clone()
            for channel, value in (replaced or {}).items() if name == source else ():
                output[:, channel] = value
            maps[name] = output
            return output.clone()

        with torch.inference_mode(), layer_outputs(self.model.module, self.layers, visit):
            return maps, self.model.module(self.inputs)

    def measured(self, source: int, target: int, step: float = 1.0, linear: bool = False) -> float:
        """The share of the target's strength on class0 that is lost when the source is replaced by its mean maps.

        step: how far towards the mean maps the source is moved; the loss is extrapolated. linear: what lies above rest
        is looked at where it lies above rest in the undisturbed network.
        """
        (layer, channels), own = self.numbers[source], torch.arange(6)
        maps, logits = self.run()
        seen = self._clamped(layer, maps[layer])
        moved = torch.lerp(seen, seen.mean(0, keepdim=True), step)
        changed, changed_logits = self.run(layer, {channel: moved[:, channel] for channel in channels})
        if target == CLASS_OUTPUT:
            before, after = ((outputs[:, 0] - outputs.mean(1))[own] for outputs in (logits, changed_logits))
            return ((before - after).sum() / before.sum()).item() / step
        layer, channels = self.numbers[target]
        reach = torch.from_numpy(self.extraction.reach[layer_slices(self.layers)[layer]])[list(channels)]
        reach = reach.masked_fill(reach == 0, torch.inf)
        signed = next(described.signed for described in self.layers if described.name == layer)
        rest = self._clamped(layer, maps[layer]).mean(0) if signed else torch.zeros(())
        before, after = (self._clamped(layer, outputs[layer]) for outputs in (maps, changed))
        above = (before - rest).clamp(min=0)
        lost = (before - after) * (before > rest) if linear else above - (after - rest).clamp(min=0)
        above, lost = (part[own][:, channels].mean((2, 3)) / reach for part in (above, lost))
        return (lost.sum() / above.sum()).item() / step

    def _clamped(self, name: str, maps: Tensor) -> Tensor:
        clamp = next(layer.clamp for layer in self.layers if layer.name == name)
        return maps.clamp(*clamp) if clamp else maps


def _study(
    module: nn.Module,
    images: ImageSet,
    clusters: Mapping[str, Sequence[Sequence[int]]] = CLUSTERS,
    signed: bool | None = None,
    method: str = "intervention",
) -> Study:
    preprocessing = Preprocessing(resize=8, size=8, mean=(0, 0, 0), std=(1, 1, 1))
    model = Model("net", module.eval().requires_grad_(False), (), preprocessing, ("class0", "other"), "here", "")
    layers = describe_layers(model, [*clusters])
    layers = tuple(replace(layer, signed=layer.signed if signed is None else signed) for layer in layers)
    assert [layer.name for layer in layers] == [*clusters]
    extraction = extract(model, layers, images, SETTINGS, lambda _: None)
    cluster = np.full(len(extraction.maximum), -1, np.int32)
    numbers = [(layer, channels) for layer, groups in clusters.items() for channels in groups]
    for number, (layer, channels) in enumerate(numbers):
        cluster[layer_slices(layers)[layer].start + np.array(channels)] = number
    table = pd.DataFrame(
        [(i, layer, len(channels)) for i, (layer, channels) in enumerate(numbers)],
        columns=["cluster", "layer", "size"],
    )
    importance = pd.DataFrame(
        [(name, number, 0.9, 0.001) for name in CLASSES["class"] for number in range(len(numbers))],
        columns=["class", "cluster", "score", "q_value"],
    )
    settings = replace(SETTINGS, influence=method)
    found = measure_influence(
        model, images, extraction, find_lineage(model, layers), cluster, table, CLASSES, importance, settings,
        lambda _: None,
    )  # fmt: skip
    inputs = model.inputs([images.open(i) for i in images.indices(extraction.images["path"])])
    assert extraction.images["label"].tolist() == ["class0"] * 6 + ["class1"] * 6
    return Study(model, layers, clusters, extraction, inputs, found)


class Linear(nn.Module):
    """Two convolutions and a pooled read-out, all positive but for one inhibiting channel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1), nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.abs_()
            self.b.weight[0, 2].neg_().mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x)).mean((2, 3)))


@pytest.fixture(scope="module", params=[False, True], ids=["unsigned", "signed"])
def signed(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module", params=["intervention", "gradient"])
def linear(request: pytest.FixtureRequest, signed: bool, images: ImageSet) -> Study:
    return _study(Linear(), images, signed=signed, method=request.param)


def _check(study: Study, **tolerance: float) -> None:
    weights = study.weights()
    for source, target in weights.index:
        whole = study.measured(source, target, linear=study.found.method == "gradient")
        assert weights[source, target] == pytest.approx(whole, **tolerance)


def test_weights_are_the_drops_that_interventions_cause(linear: Study):
    assert len(linear.weights()) == 6
    _check(linear, abs=1e-5)


def test_an_inhibiting_source_has_a_weight_of_its_own_sign(linear: Study):
    weights = linear.weights()
    # Channel 2 feeds all targets positively but for cluster 2, which it inhibits.
    assert np.sign(weights[1, 2]) == -np.sign(weights[1, 3])


def test_what_lies_above_the_mean_maps_is_all_lost_when_everything_is_replaced(images: ImageSet):
    groups = {"a": [[0, 1], [2, 3]], "b": [[0], [1, 2]]}
    study = _study(Linear(), images, groups, signed=True, method="gradient")
    weights = study.weights("")
    assert [weights[0, target] + weights[1, target] for target in (2, 3)] == pytest.approx([1, 1], abs=1e-4)


def test_edges_join_successive_layers_and_only_outputs_that_mean_the_class(linear: Study):
    edges = {name: set(zip(t["source"], t["target"], strict=True)) for name, t in linear.table.groupby("class")}
    between = {(0, 2), (0, 3), (1, 2), (1, 3)}
    assert edges == {"": between, "class0": between | {(2, CLASS_OUTPUT), (3, CLASS_OUTPUT)}, "class1": between}


def test_intervals_hold_their_weights(linear: Study):
    table = linear.table
    assert (table["low"] <= table["weight"]).all()
    assert (table["weight"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()


def test_no_clusters_no_edges(images: ImageSet):
    study = _study(Linear(), images)
    clusters = pd.DataFrame({"cluster": [], "layer": [], "size": []}).astype({"cluster": int, "layer": str})
    importance = pd.DataFrame({"class": [], "cluster": [], "score": [], "q_value": []}).astype({"cluster": int})
    found = measure_influence(
        study.model, images, study.extraction, find_lineage(study.model, study.layers), np.full(7, -1, np.int32),
        clusters, CLASSES, importance, SETTINGS, lambda _: None,
    )  # fmt: skip
    assert found.edges.empty
    assert found.effects.empty
    assert found.agreement is None


class Branches(nn.Module):
    """A stem, two branches side by side, a block that joins them, and a bypass; no bend anywhere."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 3, padding=1)
        self.joined, self.flat, self.out = nn.Conv2d(7, 4, 1), nn.Linear(4, 3), nn.Linear(3, 2)
        self.out.bias.data = torch.tensor([1.0, -1.0])  # the class has some output to lose

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.joined(torch.cat([x, self.one(x), self.two(x)], 1))
        return self.out(self.flat(x.mean((2, 3))))


@pytest.mark.parametrize("method", ["intervention", "gradient"])
def test_edges_lead_through_branches_to_fully_connected_layers(images: ImageSet, method: str):
    clusters = {"stem": [[0, 1]], "one": [[0, 1]], "two": [[0], [1]], "joined": [[0, 2], [1, 3]], "flat": [[0, 1], [2]]}
    study = _study(Branches(), images, clusters, method=method)
    assert all(layer.signed for layer in study.layers)
    joins = {("stem", "one"), ("stem", "two"), ("one", "joined"), ("two", "joined"), ("joined", "flat")}
    assert study.edges() == joins | {("flat", "class")}
    assert study.edges("class1") == joins
    _check(study, abs=1e-4)


class Transformer(nn.Module):
    """16 tokens behind a class token, mixed by attention, past which residual connections lead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attend = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(3)])
        self.mlp = nn.ModuleList([nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)) for _ in range(3)])
        self.norm = nn.LayerNorm(8)
        self.out.bias.data = torch.tensor([1.0, -1.0])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        for attend, mlp in zip(self.attend, self.mlp, strict=True):
            normed = self.norm(tokens)
            tokens = tokens + attend(normed, normed, normed, need_weights=False)[0]
            tokens = tokens + mlp(self.norm(tokens))
        return self.out(self.norm(tokens)[:, 0])


@pytest.mark.parametrize("part", [0, 1], ids=["signed", "unsigned"])
@pytest.mark.parametrize("method", ["intervention", "gradient"])
def test_weights_behind_attention(images: ImageSet, part: int, method: str):
    clusters = {f"mlp.{i}.{part}": [[0, 1, 2], [3, 4, 5], [6, 7]] for i in range(3)}
    study = _study(Transformer(), images, clusters, method=method)
    assert {(layer.layout, layer.signed) for layer in study.layers} == {("B(1+T)C", part == 0)}
    names = [layer.name for layer in study.layers]
    # Behind the last of them only the class token is read, and it has no place on the map.
    assert study.edges() == {(names[0], names[1]), (names[1], names[2]), (names[1], "class")}
    weights = study.weights()
    if method == "intervention":
        _check(study, abs=1e-5)
        return
    # First order only: GELU, normalisation and attention bend.
    whole = pd.Series({edge: study.measured(*edge, linear=True) for edge in weights.index})
    assert np.corrcoef(weights, whole)[0, 1] > 0.95
    assert abs(weights - whole).max() < 0.4 * abs(whole).max()
    first = pd.Series({edge: study.measured(*edge, step=0.01, linear=True) for edge in weights.index})
    assert abs(weights - first).max() < 0.01 * abs(first).max()


class Bent(nn.Module):
    """Clamped in place behind BatchNorm, with a shared activation and a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.last, self.act, self.out = nn.Conv2d(4, 5, 1), nn.ReLU6(inplace=True), nn.Linear(5, 2)
        self.norm.bias.data += 1
        self.norm.weight.data *= 8
        self.out.bias.data = torch.tensor([3.0, -3.0])

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x)))
        x = self.act(self.block(x)).add_(x)
        return self.out(self.act(self.last(x)).mean((2, 3)))


def test_clamps_in_place_work_and_residual_connections_are_as_the_network_has_them(images: ImageSet):
    clusters = {"norm": [[0, 1], [2]], "block.1": [[0], [1, 3]], "last": [[0, 1], [2, 3, 4]]}
    study = _study(Bent(), images, clusters)
    assert study.layers[0].clamp == (0, 6)
    assert study.edges() == {("norm", "block.1"), ("block.1", "last"), ("last", "class")}
    _check(study, abs=1e-5)


class Flat(nn.Module):
    """Fully connected layers: a channel's mean map is one number, which a bias can be set to."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.out = nn.Linear(192, 6), nn.Linear(6, 5), nn.Linear(5, 2)
        self.out.bias.data = torch.tensor([2.0, -2.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x.flatten(1)).relu()).relu())


def _without(flat: Flat, channels: Sequence[int], means: Tensor) -> Flat:
    """Surgery: these neurons of the first layer give their means, whatever they see."""
    cut = copy.deepcopy(flat)
    cut.a.weight.data[channels] = 0
    cut.a.bias.data[channels] = means[channels]
    return cut


def test_an_ablation_is_what_surgery_on_the_weights_does(images: ImageSet):
    flat = Flat()
    study = _study(flat, images, {"a": [[0, 1], [2, 4]], "b": [[0, 1], [2, 3, 4]]}, signed=False)
    with torch.inference_mode():
        a = flat.a(study.inputs.flatten(1))
        rest = a.relu().mean(0)
        own, reach = slice(6), torch.from_numpy(study.extraction.reach)[6:]

        def strengths(network: Flat) -> tuple[Tensor, Tensor]:
            b, logits = network.b(network.a(study.inputs.flatten(1)).relu()), network(study.inputs)
            relative = (b.clamp(min=0) / reach.masked_fill(reach == 0, torch.inf))[own]
            groups = torch.stack([relative[:, [0, 1]].mean(1), relative[:, [2, 3, 4]].mean(1)])
            return groups.sum(1), (logits[:, 0] - logits.mean(1))[own].sum()

        before, output = strengths(flat)
        effects = study.found.effects.query("`class` == 'class0'").set_index("cluster")["effect"]
        for source, channels in enumerate([[0, 1], [2, 4]]):
            after, left = strengths(_without(flat, channels, rest))
            for target in (2, 3):
                assert study.weights()[source, target] == pytest.approx(
                    float(1 - after[target - 2] / before[target - 2]), abs=1e-5
                )
            assert effects[source] == pytest.approx(float(1 - left / output), abs=1e-5)


def test_the_effect_is_measured_beside_random_sets_where_the_class_has_an_output(linear: Study):
    effects = linear.found.effects
    if linear.found.method == "gradient":
        assert effects.empty
        return
    assert set(zip(effects["class"], effects["cluster"], strict=True)) == {("class0", i) for i in range(4)}
    for name in ("effect", "effect_null"):
        assert (effects[f"{name}_low"] <= effects[name]).all()
        assert (effects[name] <= effects[f"{name}_high"]).all()
    direct = linear.weights()[:, CLASS_OUTPUT]
    assert effects.set_index("cluster")["effect"][[2, 3]].tolist() == direct[[2, 3]].tolist()


def test_random_sets_as_large_as_the_layer_lose_what_it_loses_as_a_whole(images: ImageSet):
    """The one cluster of layer b is the whole of it, and so is every random set."""
    study = _study(Linear(), images, {"a": [[0, 1]], "b": [[0, 1, 2]]})
    whole = study.found.effects.set_index("cluster").loc[1]
    assert whole["effect_null"] == pytest.approx(whole["effect"], abs=1e-6)
    assert whole["effect"] == pytest.approx(study.measured(1, CLASS_OUTPUT), abs=1e-5)


def test_gradients_agree_with_interventions_wholly_where_nothing_bends(linear: Study):
    found = linear.found
    if found.method == "gradient":
        assert found.agreement is None
    else:
        assert found.agreement is not None
        assert found.agreement["spearman"] > 0.97
        assert found.agreement["classes"] == ["", "class0", "class1"]
