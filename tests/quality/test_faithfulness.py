"""A network of which we know what hangs on what: red and green, each seen by three neurons of every layer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from synthetic import write_synthetic_run
from torch import Tensor, nn

from neurocarto.engine.local import extract
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.lineage import Lineage, find_lineage
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.quality import faithfulness
from neurocarto.quality.faithfulness import Claims, Faithfulness, measure_faithfulness
from neurocarto.records import MEASURES
from neurocarto.runs.store import Run
from neurocarto.settings import RunSettings
from neurocarto.summarisation.influence import measure_influence
from neurocarto.summarisation.strengths import Pictures

SETTINGS = RunSettings(threads=1, influence_images=6)
CHANNELS = 40


class Colours(nn.Module):
    """Channels 0 to 2 of each layer see red, 3 to 5 green, and feed their like; the others hardly matter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Conv2d(3, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Linear(CHANNELS, 2)
        with torch.no_grad():
            for layer in (self.a, self.b, self.out):
                layer.weight.uniform_(0, 0.02)
                layer.bias.zero_()
            for colour in range(2):
                own = slice(3 * colour, 3 * colour + 3)
                self.a.weight[own, colour] += 1
                self.b.weight[own, own] += 1
                self.out.weight[colour, own] += 1

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x).relu()).relu().mean((2, 3)))


def _images(folder: Path, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    for i in range(24):
        pixels = rng.integers(0, 60, (8, 8, 3), dtype=np.uint8)
        pixels[..., i % 2] += rng.integers(60, 190, (8, 8), dtype=np.uint8)
        name = ("red", "green")[i % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return list_images(folder)


def _shown(network: Model, images: ImageSet) -> tuple[Pictures, pd.DataFrame]:
    """Images as they are looked at, with their labels and the network's outputs."""
    pictures = Pictures(network, images, np.arange(len(images)), 8)
    outputs = torch.cat([network.logits(batch).argmax(1) for batch in pictures.batches(pictures.files)])
    return pictures, pd.DataFrame({"label": images.labels, "output": outputs.numpy()})


@pytest.fixture(scope="module")
def network() -> Model:
    preprocessing = Preprocessing(resize=8, size=8, mean=(0, 0, 0), std=(1, 1, 1))
    return Model("net", Colours().eval().requires_grad_(False), (), preprocessing, ("red", "green"), "here", "")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return _images(tmp_path_factory.mktemp("seen"), 0)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return _images(tmp_path_factory.mktemp("unseen"), 1)


@pytest.fixture(scope="module")
def lineage(network: Model) -> Lineage:
    return find_lineage(network, describe_layers(network, ["a", "b"]))


@pytest.fixture(scope="module")
def claims(network: Model, seen: ImageSet, lineage: Lineage) -> Claims:
    layers = describe_layers(network, ["a", "b"])
    extraction = extract(network, layers, seen, SETTINGS, lambda _: None)
    cluster = np.tile(np.repeat(np.arange(CHANNELS // 2), 3)[:CHANNELS], 2).astype(np.int32)
    cluster[CHANNELS:] += cluster.max() + 1
    numbers = np.unique(cluster)
    first = numbers[len(numbers) // 2]
    layer = np.where(numbers < first, "a", "b")
    table = pd.DataFrame({"cluster": numbers, "layer": layer, "size": np.bincount(cluster)})
    names = ["green", "red"]
    classes = pd.DataFrame({"class": names, "kind": "label", "outputs": [[1], [0]], "images": 12})
    own = {"red": [0, first], "green": [1, first + 1]}  # and two that hardly matter, so that there is something to rank
    importance = pd.concat(
        pd.DataFrame({"class": name, "cluster": [*own[name], 5, 6], "score": 0.9, "q_value": 0.0, "rank": range(4)})
        for name in names
    ).assign(effect_low=lambda table: table["rank"] / 10)
    found = measure_influence(
        network, seen, extraction, lineage, cluster, table, classes, importance.query("rank < 2"), SETTINGS,
        lambda _: None,
    )  # fmt: skip
    return Claims(layers, extraction.reach, cluster, classes, importance.query("rank < 2"), found.edges, 0.05)


@pytest.fixture(scope="module")
def found(network: Model, unseen: ImageSet, claims: Claims, lineage: Lineage) -> Faithfulness:
    return measure_faithfulness(*_shown(network, unseen), claims, lineage)


def test_weights_hold_on_unseen_images(claims: Claims, found: Faithfulness) -> None:
    assert len(found.edges) == len(claims.edges)
    assert (found.edges["weight"] - found.edges["drop"]).abs().max() < 0.2
    row = found.measures().set_index(["layer", "measure"]).loc[("", "faithfulness")]
    assert row["value"] > 0.8
    assert row["count"] == len(found.edges)


def test_wrong_weights_are_found_out(network: Model, unseen: ImageSet, claims: Claims, lineage: Lineage) -> None:
    wrong = replace(claims, edges=claims.edges.assign(weight=-claims.edges["weight"]))
    rows = measure_faithfulness(*_shown(network, unseen), wrong, lineage).measures().set_index(["layer", "measure"])
    assert rows.loc[("", "faithfulness"), "value"] < -0.8
    assert rows.loc[("", "strongest_decile"), "value"] < 0


def test_random_neurons_matter_less(found: Faithfulness) -> None:
    rows = found.measures().set_index(["layer", "measure"]).loc[""]
    for ratio, drop in (("strongest_decile", "strongest_drop"), ("five_clusters", "five_clusters_drop")):
        assert rows.loc[drop, "value"] > 2 * rows.loc[drop, "null"] > 0
        assert rows.loc[ratio, "value"] == pytest.approx(rows.loc[drop, "value"] / rows.loc[drop, "null"])
    assert found.ablations["class"].tolist() == ["green", "green", "red", "red"]
    assert set(rows.columns) | {"layer", "measure"} == set(MEASURES.names)


def test_the_most_effective_stand_beside_the_most_important(
    network: Model, unseen: ImageSet, claims: Claims, lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faithfulness, "IMPORTANT", 1)
    turned = replace(claims, importance=claims.importance.assign(rank=1 - claims.importance["rank"]))
    ablated, opposite = (
        measure_faithfulness(*_shown(network, unseen), own, lineage).ablations.set_index(["measure", "class"])["drop"]
        for own in (claims, turned)
    )
    assert ablated["five_clusters"].to_dict() != ablated["five_effective"].to_dict()
    assert ablated["five_effective"].to_dict() == pytest.approx(opposite["five_clusters"].to_dict())


def test_only_so_many_classes_are_looked_at(
    network: Model, unseen: ImageSet, claims: Claims, lineage: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faithfulness, "CLASSES", 1)
    seen = [
        set(measure_faithfulness(*_shown(network, unseen), claims, lineage, seed).edges["class"]) for seed in range(8)
    ]
    assert all(len(classes) == 2 and "" in classes for classes in seen)
    assert {"red", "green"} <= set().union(*seen)


def test_classes_without_unseen_images_are_left_out(
    network: Model, seen: ImageSet, claims: Claims, lineage: Lineage
) -> None:
    reds = replace(seen, labels=tuple(label if label == "red" else None for label in seen.labels))
    found = measure_faithfulness(*_shown(network, reds), claims, lineage)
    assert set(found.edges["class"]) == {"", "red"}
    assert found.ablations["class"].tolist() == ["red", "red"]


def test_classes_by_prediction_are_those_of_the_unseen_images(
    network: Model, unseen: ImageSet, claims: Claims, lineage: Lineage
) -> None:
    unlabelled = replace(unseen, labels=(None,) * len(unseen))
    predicted = replace(claims, classes=claims.classes.assign(kind="prediction"))
    found = measure_faithfulness(*_shown(network, unlabelled), predicted, lineage)
    assert set(found.edges["class"]) == {"", "green", "red"}


def test_a_run_without_edges_has_no_measures(
    network: Model, unseen: ImageSet, claims: Claims, lineage: Lineage
) -> None:
    nothing = replace(claims, edges=claims.edges[:0], importance=claims.importance[:0])
    assert measure_faithfulness(*_shown(network, unseen), nothing, lineage).measures().empty


def test_a_runs_claims_are_read_from_its_folder(tmp_path: Path) -> None:
    run = Run(write_synthetic_run(tmp_path / "run"))
    claims = Claims.of_run(run)
    assert claims.channels(12) == ("block1", pytest.approx(np.arange(12, 16)))
    assert claims.reach == pytest.approx(run.neurons["max_activation"].to_numpy())
    assert len(claims.edges) == len(run.influence)
