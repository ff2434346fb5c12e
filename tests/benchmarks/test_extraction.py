from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from benchmarks.extraction import UNIT, bare_pass, measure, table
from neurocarto.extraction.images import list_images
from neurocarto.settings import RunSettings

if TYPE_CHECKING:
    from neurocarto.extraction.models import Model


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x


def test_a_bare_pass_runs_every_image_once() -> None:
    module = Counting()
    bare_pass(module, torch.rand(8, 3, 9, 9), count=21, batch_size=4)
    assert module.seen == [4] * 5 + [1]


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
