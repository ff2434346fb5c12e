import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo  # now: it looks for cards when it is imported, which may be patched then
from conftest import SMALL, files
from elsewhere import DEVICE, Elsewhere

from neurocarto.engine import local
from neurocarto.errors import ModelError, SettingsError
from neurocarto.extraction import devices
from neurocarto.extraction.activity import run_batch
from neurocarto.extraction.devices import best_device, devices_of, with_device
from neurocarto.extraction.images import list_images
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.pipeline import run
from neurocarto.progress import Progress
from neurocarto.records import Extraction
from neurocarto.request import ModelRequest
from neurocarto.runs.store import Run, check_run
from neurocarto.settings import BATCH_ON_CARDS, RunSettings
from neurocarto.stages import run_id, stage_keys
from neurocarto.summarisation.paper import find_paper_clusters

LAYERS = ("_blocks.2._bn1", "_blocks.8._bn1", "_blocks.11._bn1")
NETWORK = ModelRequest("efficientnet_lite0", layers=LAYERS)
UNCHANGED = ("neurons", "examples", "clusters", "importance", "influence", "images", "confusions", "quality")


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(NETWORK)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """A device of another kind than the processor, which every module finds that asks for cuda."""
    for module in (devices, local):
        monkeypatch.setattr(module, "devices_of", lambda device: {"cpu": ["cpu"], "cuda": [DEVICE]}[device])
    return Elsewhere()


def extract(model: Model, photos: Path, **knobs: object) -> Extraction:
    images, layers = list_images(photos), describe_layers(model, LAYERS)
    return local.extract(model, layers, images, replace(SMALL, **knobs), lambda _: None)  # type: ignore[arg-type]


def assert_equal(one: Extraction, other: Extraction) -> None:
    one_parts, other_parts = one.parts(), other.parts()
    assert files_like(one_parts) == files_like(other_parts)


def files_like(parts: dict[str, object]) -> dict[str, object]:
    return {name: part.tobytes() if hasattr(part, "tobytes") else str(part) for name, part in parts.items()}


class TestARunOnAnotherDevice:
    """The device is pretended and computes as the processor does: placed rightly, everything comes out the same."""

    @pytest.fixture(scope="class")
    @staticmethod
    def usual(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
        return Run(run(NETWORK, photos, tmp_path_factory.mktemp("usual") / "run", SMALL))

    def test_it_is_the_same_run(self, usual: Run, photos: Path, tmp_path: Path, elsewhere: Elsewhere) -> None:
        with elsewhere:
            made = Run(run(NETWORK, photos, tmp_path / "run", replace(SMALL, device="cuda")))
        assert elsewhere.operations > 10_000
        assert check_run(made.folder) == []
        assert made.manifest.settings["device"] == "cuda"
        assert made.manifest.run_id != usual.manifest.run_id
        for name in UNCHANGED:
            assert getattr(made, name).equals(getattr(usual, name)), name
        assert len(made.influence) > 0
        assert made.manifest.influence["agreement"], "gradients were compared there too"

    def test_the_clusters_of_the_paper_are_found_there_too(
        self, model: Model, photos: Path, elsewhere: Elsewhere
    ) -> None:
        extraction, images = extract(model, photos), list_images(photos)
        settings = replace(SMALL, clustering="paper")
        usual, table = find_paper_clusters(model, images, extraction, settings, lambda _: None)
        with elsewhere:
            found, _ = find_paper_clusters(model.on(DEVICE), images, extraction, settings, lambda _: None)
        assert np.array_equal(found, usual)
        assert len(table) > 0

    def test_mixing_devices_is_noticed(self, elsewhere: Elsewhere) -> None:
        with elsewhere, pytest.raises(RuntimeError, match="same device"):
            torch.ones(3).to(DEVICE) + torch.ones(3)


class TestSeveralCards:
    def test_they_share_the_shards_and_make_the_same(
        self, model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = extract(model, photos)
        seen: list[str] = []
        modules: dict[str, torch.nn.Module] = {}
        own = local.Pass.run

        def watched(self: local.Pass, shard: local.Shard, advance: local.Advance, device: str = "") -> object:
            seen.append(device)
            moved = replace(self.model, module=modules.setdefault(device, copy.deepcopy(self.model.module)))
            return own(local.Pass(moved, self.layers, self.settings), shard, advance, "cpu")

        monkeypatch.setattr(local, "devices_of", lambda _: ["cuda:0", "cuda:1", "cuda:2"])
        monkeypatch.setattr(local.Pass, "run", watched)
        assert_equal(extract(model, photos), usual)
        assert {device: seen.count(device) >= len(seen) // 3 for device in seen} == dict.fromkeys(
            ["cuda:0", "cuda:1", "cuda:2"], True
        )

    def test_what_goes_wrong_on_one_is_said(self, model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(self: local.Pass, shard: local.Shard, advance: local.Advance, device: str = "") -> object:
            raise ModelError("this card is broken")

        monkeypatch.setattr(local, "devices_of", lambda _: ["cuda:0", "cuda:1"])
        monkeypatch.setattr(local.Pass, "run", broken)
        with pytest.raises(ModelError, match="this card is broken"):
            extract(model, photos)


class TestPrecision:
    def test_half_precision_is_near_and_recorded(self, model: Model, photos: Path) -> None:
        full, mixed = extract(model, photos), extract(model, photos, precision="mixed")
        differences = abs(full.maximum - mixed.maximum)
        assert 0 < differences.max() < 0.1 * full.maximum.max()
        assert differences.mean() < 0.01 * full.maximum.max()
        assert (full.images["output"] == mixed.images["output"]).mean() > 0.8

    def test_overflow_names_it(self, model: Model) -> None:
        huge = replace(model, module=load_model(NETWORK).module)
        huge.module.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 3e38 * 10,))
        with pytest.raises(ModelError, match="not finite numbers; check its weights, or choose precision=full"):
            run_batch(huge, describe_layers(model, LAYERS), model.blank(2) + 1, torch.arange(2), "mixed")

    def test_too_little_memory_names_the_batch(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

        layers = describe_layers(model, LAYERS)
        monkeypatch.setattr(model.module, "forward", full)
        with pytest.raises(ModelError, match=r"cpu has too little memory for batches of 2 images; choose a smaller"):
            run_batch(model, layers, model.blank(2), torch.arange(2))


class TestAuto:
    def test_without_a_card_it_is_the_processor_and_torch_is_not_asked(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(devices, "PATHS_OF_CARDS", (str(tmp_path / "none"),))
        monkeypatch.setitem(sys.modules, "torch", None)
        assert best_device() == "cpu"

    @pytest.mark.parametrize(
        ("platform", "cuda", "mps", "expected"),
        [("linux", True, False, "cuda"), ("darwin", False, True, "mps"), ("win32", False, False, "cpu")],
    )
    def test_with_one_torch_decides(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, cuda: bool, mps: bool, expected: str
    ) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(devices, "PATHS_OF_CARDS", (str(tmp_path),))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        assert best_device() == expected

    def test_a_card_gets_its_own_batch_size_unless_told_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "best_device", lambda: "cuda")
        assert with_device({"seed": 3}) == RunSettings(seed=3, device="cuda", batch_size=BATCH_ON_CARDS)
        assert with_device({"device": "auto", "batch_size": 4}) == RunSettings(device="cuda", batch_size=4)
        assert with_device({"device": "cpu"}) == RunSettings()


class TestWhatACardIs:
    def test_all_of_them_by_number_and_their_sums_in_one_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
        cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
        before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32
        try:
            assert devices_of("cuda") == ["cuda:0", "cuda:1"]
            assert (cudnn.deterministic, cudnn.benchmark) == (True, False)
            assert (cudnn.allow_tf32, products.allow_tf32) == (False, False)
        finally:
            cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = before
            monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")

    @pytest.mark.parametrize("device", ["cuda", "mps"])
    def test_where_there_is_none_that_is_said(
        self, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, device: str
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        with pytest.raises(SettingsError, match=rf"device is '{device}', but torch .* can use none here; choose auto"):
            run(NETWORK, photos, tmp_path / "run", replace(SMALL, device=device), Progress(quiet=True))
        assert files(tmp_path) == {}


class TestTheKeysOfEarlierRuns:
    def test_on_the_processor_in_full_precision_they_stay_what_they_were(self) -> None:
        keys = stage_keys({"model": {}, "images": ""}, SMALL)
        assert keys == stage_keys({"model": {}, "images": ""}, replace(SMALL, device="cpu", precision="full"))
        for knob in ({"device": "cuda"}, {"precision": "mixed"}):
            others = stage_keys({"model": {}, "images": ""}, replace(SMALL, **knob))  # type: ignore[arg-type]
            assert others["extraction"] != keys["extraction"]
            assert others["lineage"] == keys["lineage"]
            assert run_id(others) != run_id(keys)
