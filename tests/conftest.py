"""One real run, made once a session: loading the network and compiling UMAP take most of its time."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from neurocarto.records import Site
from neurocarto.settings import RunSettings

if TYPE_CHECKING:
    from neurocarto.extraction.models import Model

SMALL = RunSettings(
    threads=1,  # two threads that share busy cores with other processes wait for each other most of the time
    shard_size=10,
    top_k=8,
    examples=4,
    profile_images=20,
    dimensions=8,
    neighbours=5,
    label_permutations=20,
    influence_images=2,
    influence_clusters=2,
)
"""Settings for few images; every stage still does its work. shard_size does not divide the images."""

BROKEN = "stripes/broken.png"


LONGEST = "test_any_model.py"
# As SMALL's threads, for what a test computes by itself; read when torch is loaded, also by what a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long one example takes says nothing beside another process; pytest-timeout finds what hangs.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest file: the other worker does everything else meanwhile."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROCARTO_CACHE", str(tmp_path_factory.mktemp("own") / "cache"))
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures of two classes and various sizes, and one file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(24):
        label = ("discs", "stripes")[index % 2]
        width, height = rng.integers(80, 240, 2)
        y, x = np.mgrid[:height, :width]
        if label == "discs":
            shape = (x - rng.integers(width)) ** 2 + (y - rng.integers(height)) ** 2 < rng.integers(20, 80) ** 2
        else:
            shape = (x * np.cos(index) + y * np.sin(index)) % 24 < rng.integers(6, 18)
        noise = rng.integers(0, 60, (height, width, 3))
        pixels = np.where(shape[..., None], rng.integers(100, 255, 3), rng.integers(0, 100, 3)) // 2 + noise
        path = folder / label / f"{index:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / BROKEN).write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is kept of the real run."""
    return tmp_path_factory.mktemp("kept") / "cache"


@pytest.fixture(scope="session")
def real_run(photos: Path, real_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the packaged network over the photos: read it, never write to it."""
    # Imported here: only the tests that ask for a real run should wait for torch.
    from neurocarto.pipeline import run

    return run("efficientnet_lite0", photos, tmp_path_factory.mktemp("real") / "run", SMALL, cache=real_cache)


@pytest.fixture(scope="session")
def network() -> "Model":
    """A network so small that what matters around it takes the time."""
    import torch
    from torch import nn

    from neurocarto.extraction.models import Model
    from neurocarto.extraction.preprocessing import Preprocessing

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4)).requires_grad_(False)
    preprocessing = Preprocessing(resize=48, size=48, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Model("tiny", module, (Site("1"), Site("3")), preprocessing, tuple("wxyz"), "here", "")


def files(folder: Path) -> dict[str, bytes]:
    """The bytes of all files of a run but the manifest, which holds times."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
