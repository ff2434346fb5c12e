import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from neurocarto.engine.local import extract
from neurocarto.extraction import offsets
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.lineage import find_lineage
from neurocarto.extraction.models import Model
from neurocarto.extraction.offsets import measure_offsets
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.settings import RunSettings

SETTINGS = RunSettings(threads=1, batch_size=4, top_k=5, examples=5)
SHIFTS = {"one": (0, 1), "two": (2, 0)}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    return list_images(folder)


def _taps(channels: int, wanted: int, shift: tuple[int, int]) -> nn.Conv2d:
    """A convolution that looks at a single pixel, (y, x) beside its own cell."""
    conv = nn.Conv2d(channels, wanted, 5, padding=2, bias=False)
    weight = torch.zeros_like(conv.weight)
    weight[:, :, 2 + shift[0], 2 + shift[1]] = torch.rand(wanted, channels, generator=torch.Generator().manual_seed(0))
    conv.weight = nn.Parameter(weight)
    return conv


class Shifted(nn.Module):
    """Two branches that look to different sides; of the three channels behind, one reads each, and one both."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (_taps(3, 6, shift) for shift in SHIFTS.values())
        self.joined, self.full = nn.Conv2d(12, 3, 1, stride=2, bias=False), nn.Linear(3, 4)
        weight = torch.zeros(3, 12)
        weight[0, :6] = weight[1, 6:] = 1
        weight[2] = 1
        self.joined.weight = nn.Parameter(weight[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.joined(torch.cat([self.one(x).relu(), self.two(x).relu()], 1))
        return self.full(x.mean((2, 3)))


def _offsets(module: nn.Module, names: str, images: ImageSet) -> dict[str, np.ndarray]:
    preprocessing = Preprocessing(resize=16, size=16, mean=(0,) * 3, std=(1,) * 3)
    model = Model("net", module.requires_grad_(False), (), preprocessing, tuple(map(str, range(40))), "", "")
    layers = describe_layers(model, names.split())
    extraction = extract(model, layers, images, SETTINGS, lambda _: None)
    done: list[int] = []
    found = measure_offsets(model, extraction, find_lineage(model, layers), images, SETTINGS, done.append)
    assert sum(done) == len(layers)
    ends = np.cumsum([layer.channels for layer in layers])
    return dict(zip(names.split(), np.split(found, ends[:-1]), strict=True))


def test_offsets_add_up_along_the_branches_that_a_neuron_reads(images: ImageSet):
    found = _offsets(Shifted(), "one two joined full", images)
    for name, shift in SHIFTS.items():
        assert (found[name] == shift).all()
    # Cells of two pixels read the upper left one, half a pixel from their centre.
    own = found["joined"] - np.array([SHIFTS["one"], SHIFTS["two"], (1, 0.5)])
    assert (abs(own + 0.5) <= 0.75).all()
    assert (found["full"] == 0).all()


def test_where_not_every_neuron_can_be_looked_at_the_others_have_the_median(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(offsets, "WORK", 0)
    found = _offsets(nn.Sequential(_taps(3, 40, (0, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "0", images)
    assert (found["0"] == (0, 2)).all()


def test_tokens_have_no_offset(images: ImageSet):
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = _taps(3, 4, (2, 2)), nn.LayerNorm(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.embed(x).flatten(2).transpose(1, 2)).mean(1)

    assert (_offsets(Tokens(), "norm", images)["norm"] == 0).all()
    both = _offsets(Tokens(), "embed norm", images)
    assert (both["embed"] == 2).all()
    assert (both["norm"] == 0).all()
