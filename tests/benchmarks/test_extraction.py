from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from benchmarks.extraction import UNIT, bare_pass, folded, measure, table
from neurocarto.extraction.images import list_images
from neurocarto.settings import RunSettings

if TYPE_CHECKING:
    from neurocarto.extraction.models import Model


class Mixed(nn.Module):
    """One BatchNorm after a convolution, and one after something else."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        out: Tensor = self.other(self.norm(self.first(x)).relu())
        return out


@pytest.fixture
def mixed() -> Mixed:
    torch.manual_seed(0)
    module = Mixed().eval()
    for norm in (module.norm, module.other):
        for values in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            assert values is not None
            values.data.uniform_(0.5, 2)
    return module.requires_grad_(False)


def test_a_folded_network_gives_the_same_and_only_what_follows_a_convolution_is_folded(mixed: Mixed) -> None:
    inputs = torch.rand(2, 3, 9, 9)
    twin = folded(mixed, inputs)
    torch.testing.assert_close(twin(inputs), mixed(inputs))
    assert isinstance(twin.norm, nn.Identity)
    assert isinstance(twin.other, nn.BatchNorm2d)
    assert isinstance(mixed.norm, nn.BatchNorm2d)


def test_a_bare_pass_runs_every_image_once(mixed: Mixed) -> None:
    bare_pass(mixed, torch.rand(8, 3, 9, 9), count=21, batch_size=4)
    assert mixed.seen == [4] * 5 + [1]


def test_every_way_is_timed_in_every_round(network: "Model", photos: Path) -> None:
    listed = list_images(photos)
    images = replace(listed, paths=listed.paths[:-1], labels=listed.labels[:-1])  # the last is no picture
    results = measure(network, images, RunSettings(threads=1, top_k=9, examples=5), rounds=2)
    memory, batch = results.pop("memory"), results.pop("batch")
    assert len(memory) == len(batch) == 1
    assert all(len(taken) == 2 and min(taken) > 0 for taken in results.values())
    assert UNIT in results


def test_the_table_tells_each_ways_ratio_to_the_unit_of_its_round() -> None:
    lines = table({UNIT: [1.0, 2.0], "extraction": [1.5, 2.0]}, 100).splitlines()
    assert lines[2] == f"| {UNIT} | 1.5 (1.0 to 2.0) | 75 (50 to 100) | 1.00 |"
    assert lines[3] == "| extraction | 1.8 (1.5 to 2.0) | 58 (50 to 67) | 1.25 (1.00 to 1.50) |"
