"""In a linear network the first-order estimate is the truth: it must equal the intervention."""

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
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.records import CLASS_OUTPUT, Extraction, Layer, Site
from neurocarto.settings import RunSettings
from neurocarto.summarisation.influence import measure_influence

SETTINGS = RunSettings(threads=1, batch_size=5, influence_images=6)
CLUSTER = np.array([0, 0, 1, -1, 2, 3, 3], np.int32)  # layer a: {0, 1}, {2}, 3 alone; layer b: {0}, {1, 2}


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


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, ImageSet, Extraction, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(12):
        (folder / f"class{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"class{i % 2}" / f"{i}.png")
    preprocessing = Preprocessing(resize=8, size=8, mean=(0, 0, 0), std=(1, 1, 1))
    module = Linear().requires_grad_(False)
    model = Model("linear", module, (Site("a"), Site("b")), preprocessing, ("class0", "other"), "here", "")
    images = list_images(folder)
    extraction = extract(model, describe_layers(model), images, SETTINGS, lambda _: None)
    clusters = pd.DataFrame({"cluster": range(4), "layer": ["a", "a", "b", "b"], "size": [2, 1, 1, 2]})
    classes = pd.DataFrame(
        {"class": ["class0", "class1"], "kind": "label", "outputs": [[0], []], "images": [6, 6]},
    )
    importance = pd.DataFrame(
        [(name, cluster, 0.9, 0.001) for name in ("class0", "class1") for cluster in range(4)],
        columns=["class", "cluster", "score", "q_value"],
    )
    table = measure_influence(
        model, images, extraction, CLUSTER, clusters, classes, importance, SETTINGS, lambda _: None
    )
    return model, images, extraction, table


LAYERS = (Layer("a", 4, 8, 8), Layer("b", 3, 8, 8))


def _run(model: Model, inputs: Tensor, replaced: dict[int, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Run the network with channels of layer a replaced; returns all maps and the logits."""
    maps = {}

    def visit(name: str, output: Tensor) -> Tensor:
        output = output.clone()
        for channel, value in replaced.items() if name == "a" else ():
            output[:, channel] = value
        maps[name] = output
        return output

    with torch.inference_mode(), layer_outputs(model.module, LAYERS, visit):
        return maps, model.module(inputs)


def test_weights_are_the_drops_that_interventions_cause(studied):
    model, images, extraction, table = studied
    pixels = np.stack([model.preprocessing.pixels(images.open(i)) for i in range(len(images))])
    inputs = model.preprocessing.normalise(pixels)
    maps, logits = _run(model, inputs, {})
    means = maps["a"].mean(0)  # every class contributes all its images, so these are all twelve
    maxima = torch.from_numpy(extraction.maximum)
    own = torch.from_numpy(np.flatnonzero(extraction.images["label"] == "class0"))
    row = table[table["class"] == "class0"].set_index(["source", "target"])["weight"]
    for source, channels in {0: [0, 1], 1: [2]}.items():
        changed, _ = _run(model, inputs, {c: means[c] for c in channels})
        for target, members in {2: [0], 3: [1, 2]}.items():
            before, after = (
                (m["b"][own][:, members].mean((2, 3)) / maxima[[4 + c for c in members]]).mean(1)
                for m in (maps, changed)
            )
            expected = ((before - after).sum() / before.sum()).item()
            assert row[source, target] == pytest.approx(expected, abs=1e-5)
    # The class's own output: its logit above the mean of all.
    evidence = logits[own, 0] - logits[own].mean(1)
    _, replaced = _run_last(model, inputs, maps["b"])
    drop = evidence - (replaced[own, 0] - replaced[own].mean(1))
    assert row[2, CLASS_OUTPUT] == pytest.approx((drop.sum() / evidence.sum()).item(), abs=1e-5)


def _run_last(model: Model, inputs: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Replace channel 0 of layer b by its mean map."""
    changed = maps.clone()
    changed[:, 0] = maps[:, 0].mean(0)
    return changed, model.module.out(changed.mean((2, 3)))


def test_an_inhibiting_source_has_a_weight_of_its_own_sign(studied):
    *_, table = studied
    images_above_mean = table[(table["class"] == "class1") & (table["source"] == 1)].set_index("target")["weight"]
    # Channel 2 feeds all targets positively but for cluster 2, which it inhibits.
    assert np.sign(images_above_mean[2]) == -np.sign(images_above_mean[3])


def test_edges_join_successive_layers_and_only_outputs_that_mean_the_class(studied):
    *_, table = studied
    edges = {name: set(zip(t["source"], t["target"], strict=True)) for name, t in table.groupby("class")}
    between = {(0, 2), (0, 3), (1, 2), (1, 3)}
    assert edges == {"": between, "class0": between | {(2, CLASS_OUTPUT), (3, CLASS_OUTPUT)}, "class1": between}


def test_intervals_hold_their_weights(studied):
    *_, table = studied
    assert (table["low"] <= table["weight"]).all()
    assert (table["weight"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()


def test_no_clusters_no_edges(studied):
    model, images, extraction, _ = studied
    clusters = pd.DataFrame({"cluster": [], "layer": [], "size": []}).astype({"cluster": int, "layer": str})
    classes = pd.DataFrame({"class": ["class0"], "kind": ["label"], "outputs": [[0]], "images": [6]})
    importance = pd.DataFrame({"class": [], "cluster": [], "score": [], "q_value": []}).astype({"cluster": int})
    nothing = np.full(7, -1, np.int32)
    table = measure_influence(
        model, images, extraction, nothing, clusters, classes, importance, SETTINGS, lambda _: None
    )
    assert table.empty
