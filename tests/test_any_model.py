"""Every family of networks, and networks that no table knows, through a whole run.

What a run says is held against the network itself: a layer is hooked by the name that the manifest gives, its output
is arranged by the stated layout and clamp, and the stored activations have to come out.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL
from PIL import Image
from torch import Tensor, nn

from neurocarto import pipeline
from neurocarto.engine import local
from neurocarto.errors import ModelError
from neurocarto.extraction import offsets, patches
from neurocarto.extraction.images import open_image
from neurocarto.extraction.models import load_model
from neurocarto.quality import measures, scorecard
from neurocarto.quality.embedding import lift, trustworthiness
from neurocarto.records import Layer
from neurocarto.request import ModelRequest
from neurocarto.runs.store import Run, check_run
from neurocarto.summarisation import embedding, projection

DOCS = Path(__file__).resolve().parents[1] / "docs" / "models.md"
DEEP = {"maxvit"}
"""Families whose interventions, in that many layers and at the one size they take, would be minutes."""

SETTINGS = replace(
    SMALL,
    batch_size=1,  # as by hand: attention with random weights multiplies what rounding differs from batch to batch
    top_k=7,
    profile_images=12,
    min_class_images=2,
    stimuli_share=0.5,
    permutations=64,
    axes=8,
    min_similarity=0.6,  # on twelve images of random weights, less would make most pairs of a wide layer similar
)

FAMILIES = {
    "googlenet": ("googlenet", 96),
    "inception_v3": ("inception_v3", 96),
    "alexnet": ("alexnet", 64),
    "vgg": ("vgg11", 64),
    "resnet": ("resnet18", 64),
    "regnet": ("regnet_y_400mf", 64),
    "densenet": ("densenet121", 64),
    "squeezenet": ("squeezenet1_1", 96),
    "shufflenet": ("shufflenet_v2_x0_5", 64),
    "mnasnet": ("mnasnet0_5", 64),
    "mobilenet_v2": ("mobilenet_v2", 64),
    "mobilenet_v3": ("mobilenet_v3_small", 64),
    "efficientnet": ("efficientnet_b0", 64),
    "efficientnet_v2": ("efficientnet_v2_s", 64),
    "efficientnet_lite": ("efficientnet_lite0", 64),
    "convnext": ("convnext_tiny", 64),
    "vit": ("vit_b_32", None),
    "swin": ("swin_t", 64),
    "maxvit": ("maxvit_t", None),
}
"""The smallest member of each family, and a smaller input than its own where it takes one: the test is quicker."""
OTHERS = {"resnext": ("resnext50_32x4d", 64), "swin_v2": ("swin_v2_t", 64)}


@pytest.fixture(autouse=True, scope="module")
def less_of_everything() -> Iterator[None]:
    """Draw one brief map instead of five, judge one embedding, measure boxes on four peaks: networks are large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "PEAKS_PER_LAYER", 4)
        patch.setattr(offsets, "WORK", 2e10)
        patch.setattr(projection, "EPOCHS", 20)
        patch.setattr(embedding, "STEPS", 2)
        patch.setattr(embedding, "AXES", 16)
        patch.setattr(scorecard, "SEEDS", 1)
        patch.setattr(scorecard, "lift", partial(lift, splits=1))
        patch.setattr(scorecard, "trustworthiness", partial(trustworthiness, points=200))
        patch.setattr(measures, "REPLICATES", 40)
        patch.setattr(measures, "REGROUPINGS", 4)
        for module in (local, pipeline):
            patch.setattr(module, "SNAPSHOT_FRACTIONS", (1.0,))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:72, :80]
    for index in range(12):
        waves = np.sin((x * np.cos(index) + y * np.sin(index)) / (2 + index % 5)) * 60 + 120
        colours = waves[..., None] + rng.normal(0, 25, (72, 80, 3)) + rng.uniform(-60, 60, 3)
        path = folder / f"class{index % 2}" / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(path)
    return folder


def by_hand(output: Tensor, layer: Layer) -> Tensor:
    """Activation maps (B, C, cells) of an output, as docs/models.md and the manifest say, clamped."""
    if layer.layout == "BCHW":
        maps = output.flatten(2)
    elif layer.layout == "BHWC":
        maps = output.flatten(1, 2).transpose(1, 2)
    elif layer.layout == "BC":
        maps = output[:, :, None]
    elif layer.layout in {"B(HW)(hw)C", "B(hw)(HW)C"}:
        maps = output.flatten(1, 2).transpose(1, 2)  # in another order of places, which a maximum does not mind
    else:
        places = layer.map_height * layer.map_width
        maps = output[:, -places:].transpose(1, 2)
    assert maps.shape[1:] == (layer.channels, layer.map_height * layer.map_width)
    low, high = layer.clamp or (None, None)
    return maps if layer.clamp is None else maps.clamp(low, high)


def activations(run: Run, module: nn.Module, request: ModelRequest, pictures: Path) -> np.ndarray:
    """Activation (images, N) of every neuron, found by hooking the manifest's layers by hand."""
    layers = run.manifest.layers
    found: list[dict[str, Tensor]] = []
    handles = [
        module.get_submodule(layer.name).register_forward_hook(
            lambda _m, _i, output, layer=layer: found[-1].update({layer.name: by_hand(output, layer).amax(2)[0]})
        )
        for layer in layers
    ]
    preprocessing = load_model(request).preprocessing
    with torch.inference_mode():
        for path in run.images["path"]:
            found.append({})
            module(preprocessing.normalise(preprocessing.pixels(open_image(pictures / path))[None]))
    for handle in handles:
        handle.remove()
    return np.stack([torch.cat([image[layer.name] for layer in layers]).numpy() for image in found])


def hold_to_the_network(run: Run, module: nn.Module, request: ModelRequest, pictures: Path) -> None:
    """Assert that stored activations are what a hook finds, and that no stronger image was left out."""
    found = activations(run, module, request, pictures)
    channels = [layer.channels for layer in run.manifest.layers]
    strong = [abs(part).max() for part in np.split(found, np.cumsum(channels)[:-1], axis=1)]
    tolerance = 1e-3 * np.repeat(strong, channels)
    examples, neurons = run.examples, run.neurons
    stored = found[examples["image"], examples["neuron"]]
    assert (abs(stored - examples["activation"]) <= tolerance[examples["neuron"]] + 1e-6).all()
    shown = examples.groupby("neuron")["activation"].max()
    signed = np.repeat([layer.signed for layer in run.manifest.layers], channels)
    strongest = np.maximum(found.max(0), np.where(signed, -np.inf, 0))  # GELU dips below the rest of a silent neuron
    assert (abs(strongest - neurons["max_activation"]) <= tolerance + 1e-6).all()
    assert (strongest[shown.index] - shown <= tolerance[shown.index] + 1e-6).all()
    assert (abs(found.mean(0) - neurons["mean_activation"]) <= tolerance + 1e-6).all()
    assert len(shown) > 0.2 * len(neurons)


def documented(family: str, module: nn.Module) -> set[str]:
    """The layers of a network that the table in docs/models.md names."""
    rows = re.findall(r"^\| (\w+) \| `([^`]+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE)
    rules = [(pattern.split("."), kind) for name, pattern, kind in rows if name == family]
    assert rules
    return {
        path
        for path, child in module.named_modules()
        for parts, kind in rules
        if len(parts) == len(path.split("."))
        and all(fnmatchcase(part, pattern) for part, pattern in zip(path.split("."), parts, strict=True))
        and kind in {"any", type(child).__name__}
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_a_family_goes_through_a_whole_run(family: str, pictures: Path, tmp_path: Path) -> None:
    name, size = {**FAMILIES, **OTHERS}[family]
    preprocess = f"resize={size},size={size}" if size else None
    request = ModelRequest(name, weights="none", preprocess=preprocess)
    influence = "gradient" if family in DEEP else "intervention"
    run = Run(pipeline.run(request, pictures, tmp_path / "run", replace(SETTINGS, influence=influence)))
    assert check_run(run.folder) == []
    module = load_model(request, SETTINGS.seed).module
    if family in FAMILIES:
        assert {layer.name for layer in run.manifest.layers} == documented(family, module)
    hold_to_the_network(run, module, request, pictures)
    assert set(run.classes["class"]) >= {"class0", "class1"}
    assert run.manifest.model["name"] == name


NETWORKS = textwrap.dedent("""
    import torch
    from torch import nn

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1, stride=2)
            self.norm, self.relu, self.head = nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.Linear(16, 3)

        def forward(self, x):
            x = self.relu(self.first(x))
            return self.head(self.relu(self.norm(self.second(x))).mean((2, 3)))

    def shared_relu():
        return Shared()

    def nested():
        def block(i, o):
            return nn.Sequential(nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)), nn.SiLU())
        stem = nn.Sequential(block(3, 8), nn.MaxPool2d(2))
        return nn.Sequential(stem, nn.Sequential(block(8, 12), block(12, 16)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                             nn.Linear(16, 4))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 24, 8, 8)
            self.token = nn.Parameter(torch.randn(1, 1, 24))
            layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True, activation="gelu", norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(24, 5)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = self.encoder(torch.cat([self.token.expand(len(x), -1, -1), x], 1))
            return self.head(x[:, 0])

    def transformer():
        return Transformer(), None, list("abcde")
""")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of networks in the current folder."""
    (tmp_path / "own_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own")
class TestOwnNetworks:
    """Networks that no table knows: their layers are found."""

    LAYERS: Mapping[str, dict[str, tuple[object, ...]]] = {
        "shared_relu": {"first": (12, "BCHW", (0.0, None), False), "norm": (16, "BCHW", (0.0, None), False)},
        "nested": {
            "0.0.1": (8, "BCHW", None, False), "1.0.1": (12, "BCHW", None, False), "1.1.1": (16, "BCHW", None, False),
        },
        "transformer": {
            "encoder.layers.0.linear1": (40, "B(1+T)C", None, True),
            "encoder.layers.1.linear1": (40, "B(1+T)C", None, True),
        },
    }  # fmt: skip

    @pytest.mark.parametrize("factory", LAYERS)
    def test_a_whole_run(self, factory: str, pictures: Path, tmp_path: Path) -> None:
        request = ModelRequest(f"own_networks:{factory}", preprocess="resize=48,size=48")
        run = Run(pipeline.run(request, pictures, tmp_path / "run", SETTINGS))
        assert check_run(run.folder) == []
        assert {
            layer.name: (layer.channels, layer.layout, layer.clamp, layer.signed) for layer in run.manifest.layers
        } == self.LAYERS[factory]
        hold_to_the_network(run, load_model(request, SETTINGS.seed).module, request, pictures)

    def test_a_shared_activation_is_refused_by_name(self, pictures: Path, tmp_path: Path) -> None:
        request = ModelRequest("own_networks:shared_relu", layers=("relu",), preprocess="resize=48,size=48")
        with pytest.raises(ModelError, match="more than once"):
            pipeline.run(request, pictures, tmp_path / "run", SETTINGS)

    def test_signed_neurons_are_active_above_their_own_mean(self, pictures: Path, tmp_path: Path) -> None:
        request = ModelRequest("own_networks:transformer", preprocess="resize=48,size=48")
        run = Run(pipeline.run(request, pictures, tmp_path / "run", SETTINGS))
        means = run.neurons["mean_activation"].to_numpy()
        assert (run.examples["activation"] > means[run.examples["neuron"]]).all()
        found = activations(run, load_model(request, SETTINGS.seed).module, request, pictures)
        assert np.allclose(run.neurons["active_fraction"], (found > means).mean(0), atol=1 / 12 + 1e-6)
