"""The same bytes from a cluster of two machines, simulated on this one, whatever dies in between."""

import builtins
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import BuiltinFunctionType

import pytest
import torch
from conftest import SMALL, files
from torch.utils.data import TensorDataset

from neurocarto.__main__ import main
from neurocarto.engine.local import Advance, Engine, Pass, Shard, extract
from neurocarto.errors import EngineError, ModelError
from neurocarto.extraction.activity import Activity
from neurocarto.extraction.images import ImageSet, list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.pipeline import run
from neurocarto.records import Extraction
from neurocarto.request import ModelRequest
from neurocarto.runs.parts import Chunks
from neurocarto.runs.shared import SharedFolder
from neurocarto.settings import RunSettings

ray = pytest.importorskip("ray")

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = replace(SMALL, shard_size=4)
MACHINE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
FACTORY = """
import os
import signal
import torch
from pathlib import Path
from torch import nn
import beside

class Mortal(nn.Module):
    # Kills a worker's process once when it has run `after` batches, every time where there is no `grave`.
    grave, after, ill = None, None, False
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 5, 2), nn.Conv2d(12, 4, 3, 2)
        self.batches, self.home = 0, os.getpid()
    def forward(self, x):
        self.batches += 1
        dies = self.after is not None and self.batches > self.after and os.getpid() != self.home
        if dies and not (self.grave and os.path.exists(self.grave)):
            if self.grave:
                Path(self.grave).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.b(beside.rectified(self.a(x / (0 if self.ill else 1)))).mean((2, 3))

def make():
    torch.manual_seed(0)
    return Mortal()
"""


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A network whose code lies in a folder that no worker imports from."""
    folder = tmp_path_factory.mktemp("factory")
    (folder / "mortal.py").write_text(FACTORY)
    (folder / "beside.py").write_text("def rectified(x):\n    return x.relu()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield load_model(ModelRequest("mortal:make", preprocess="resize=48,size=48,mean=0.5,std=0.5"))


@pytest.fixture(scope="module")
def cluster() -> Iterator["ray.cluster_utils.Cluster"]:
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={**MACHINE, "include_dashboard": False})
    yield machines
    machines.shutdown()


@pytest.fixture(scope="module")
def second(cluster: "ray.cluster_utils.Cluster") -> object:
    return cluster.add_node(**MACHINE)


@pytest.fixture(scope="module")
def engine(cluster: "ray.cluster_utils.Cluster", second: object) -> Iterator[Engine]:
    from neurocarto.engine.ray import connected

    with connected(cluster.address) as joined:
        yield joined


@pytest.fixture(scope="module")
def images(photos: Path) -> ImageSet:
    return list_images(photos)


@pytest.fixture(scope="module")
def expected(mortal: Model, images: ImageSet) -> bytes:
    return content(extract(mortal, describe_layers(mortal), images, SETTINGS, lambda _: None))


def content(extraction: Extraction) -> bytes:
    return b"".join(Chunks(extraction.parts()))


def extracted(
    model: Model, images: ImageSet, engine: Engine, advance: Callable[[int], object] = lambda _: None, **state: object
) -> Extraction:
    """What the cluster extracts with the network in a state that only what is sent to it has."""
    layers = describe_layers(model)
    vars(model.module).update(state, batches=0)
    try:
        return extract(model, layers, images, SETTINGS, advance, engine=engine)
    finally:
        for name in state:
            del vars(model.module)[name]


def test_two_machines_give_the_bytes_of_one(mortal: Model, images: ImageSet, expected: bytes, engine: Engine):
    done: list[int] = []
    extraction = extracted(mortal, images, engine, done.append)
    assert content(extraction) == expected
    assert sum(done) == len(images)
    assert len(extraction.skipped) == 1


def test_the_whole_run_is_the_same(network: Model, photos: Path, engine: Engine, tmp_path: Path):
    here = run(network, photos, tmp_path / "here", SETTINGS)
    there = run(network, photos, tmp_path / "there", SETTINGS, engine=engine)
    assert files(there) == files(here)


def test_killed_workers_change_nothing(
    mortal: Model, images: ImageSet, expected: bytes, engine: Engine, tmp_path: Path
):
    grave = tmp_path / "grave"
    assert content(extracted(mortal, images, engine, grave=str(grave), after=1)) == expected
    assert grave.exists()


def test_a_part_that_always_kills_its_worker_is_one_line(
    mortal: Model, images: ImageSet, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("neurocarto.engine.ray.RETRIES", 0)
    with pytest.raises(EngineError, match=r"^a part of the images failed on Ray 1 times: [^\n]*$"):
        extracted(mortal, images, engine, after=0)


def test_what_a_worker_complains_of_is_said_as_it_is_here(mortal: Model, images: ImageSet, engine: Engine):
    with pytest.raises(ModelError, match=r"^mortal:make gives activations that are not finite"):
        extracted(mortal, images, engine, ill=True)


def test_a_data_set_is_sent_along(network: Model, engine: Engine):
    pixels = torch.rand(12, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    images = list_images(TensorDataset(pixels, torch.arange(12)))
    layers = describe_layers(network)
    here = extract(network, layers, images, SETTINGS, lambda _: None)
    assert content(extract(network, layers, images, SETTINGS, lambda _: None, engine=engine)) == content(here)


def test_shards_that_lie_in_a_shared_folder_are_not_run_again(
    mortal: Model, images: ImageSet, expected: bytes, engine: Engine, tmp_path: Path
):
    from neurocarto.engine.ray import run_shards

    def keeping(work: Pass, shards: Iterator[Shard], advance: Advance) -> Generator[Activity]:
        return run_shards(work, shards, advance, folder=SharedFolder.at(str(tmp_path / "shards")))

    def stop(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extracted(mortal, images, keeping, stop)
    assert (tmp_path / "shards" / "0-1").is_file()
    assert content(extracted(mortal, images, keeping)) == expected
    assert content(extracted(mortal, images, keeping, after=0)) == expected  # which dies when it has to run


def test_workers_that_fit_on_no_machine_are_refused(network: Model, images: ImageSet, engine: Engine):
    settings = RunSettings(threads=3)
    with pytest.raises(EngineError, match="no machine of the Ray cluster has the 3 CPUs"):
        extract(network, describe_layers(network), images, settings, lambda _: None, engine=engine)


def test_a_lost_machine_changes_nothing(
    mortal: Model, images: ImageSet, expected: bytes, engine: Engine, cluster: "ray.cluster_utils.Cluster", second
):
    def lose(count: int) -> None:
        if count and second in cluster.worker_nodes:
            cluster.remove_node(second, allow_graceful=False)

    assert content(extracted(mortal, images, engine, lose)) == expected
    assert second not in cluster.worker_nodes


TINY = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 12, 5), nn.ReLU(), nn.Conv2d(12, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
"""


def test_it_starts_on_this_machine(photos: Path, tmp_path: Path):
    """In a process of its own, from whose folder images, code and shards are named."""
    (tmp_path / "images").symlink_to(photos)
    (tmp_path / "tiny.py").write_text(TINY)
    code = """
from neurocarto.engine.local import extract
from neurocarto.engine.ray import connected
from neurocarto.extraction.images import list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import load_model
from neurocarto.request import ModelRequest
from neurocarto.runs.parts import Chunks
from neurocarto.settings import RunSettings

def content(**options):
    settings = RunSettings(threads=1, shard_size=10, profile_images=20)
    made = extract(model, describe_layers(model), list_images("images"), settings, lambda _: None, **options)
    return b"".join(Chunks(made.parts()))

model = load_model(ModelRequest("tiny:make", preprocess="resize=48,size=48,mean=0.5,std=0.5"))
with connected(shards="kept") as engine:
    assert content(engine=engine, key="key") == content()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("wrong", ["--ray-address=nowhere", "--ray-address=127.0.0.1:99999", "--ray-gpus=1.5"])
def test_what_cannot_be_is_one_line(wrong: str, capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--images=.", "--out=run", "--engine=ray", wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_port_that_nobody_listens_on_is_one_line(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["run", "--images=.", "--out=run", "--engine=ray", f"--ray-address={address}"]) == 2
    assert f"no Ray cluster can be reached at {address}: Connection refused" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "neurocarto.engine.ray", raising=False)
    assert main(["run", "--images=.", "--out=run", "--engine=ray"]) == 2
    assert capsys.readouterr().err == "neurocarto: Ray is not installed: pip install -r requirements-ray.txt\n"


def test_print_stays_what_numba_can_compile():
    import_module("neurocarto.engine.ray")
    import_module("ray.experimental.tqdm_ray").instance()  # as Ray does for what a worker prints
    assert isinstance(builtins.print, BuiltinFunctionType)
