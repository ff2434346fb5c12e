"""Reading weights, telling what they are, fitting them to a network, and refusing what does not fit."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from neurocarto.errors import ModelError
from neurocarto.extraction import weights
from neurocarto.extraction.weights import downloaded, fitted, load_weights, official, read_weights, state_sha256

State = dict[str, Tensor]


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Attack:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


def message(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert "\n" not in text
    assert repr(str(path)) in text
    return text


class TestRead:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda state: state,
            lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
            lambda state: {"model_state_dict": state},
            lambda state: {"model": {"state_dict": state}},
            lambda state: {"model_ema": state},
            lambda state: {"model": state, "model_ema": {"other": torch.ones(1)}},
            lambda state: {**state, "epoch": 3},
        ],
    )
    def test_a_checkpoint_with_whatever_is_around_it(self, wrap: Callable[[State], object], tmp_path: Path) -> None:
        state = network().state_dict()
        torch.save(wrap(dict(state)), tmp_path / "w.pth")
        read = read_weights(tmp_path / "w.pth")
        assert read.keys() == state.keys()
        assert all(torch.equal(read[key], state[key]) for key in state)

    def test_safetensors(self, tmp_path: Path) -> None:
        save_file(network().state_dict(), tmp_path / "w.safetensors")
        assert torch.equal(read_weights(tmp_path / "w.safetensors")["0.bias"], network()[0].bias)

    @pytest.mark.parametrize("name", ["zip.pth", "plain.pth"])
    def test_a_pickle_with_code_is_refused_and_does_not_run(self, name: str, tmp_path: Path) -> None:
        target = tmp_path / "ran"
        if name == "zip.pth":
            torch.save({"w": torch.ones(2), "attack": Attack(target)}, tmp_path / name)
        else:
            (tmp_path / name).write_bytes(pickle.dumps(Attack(target)))
        assert "could run code" in message(tmp_path / name)
        assert not target.exists()
        if name == "plain.pth":  # the attack works where it is let in
            pickle.loads((tmp_path / name).read_bytes())
            assert target.exists()

    def test_a_whole_model_is_refused_with_what_to_save(self, tmp_path: Path) -> None:
        torch.save(network(), tmp_path / "whole.pth")
        assert "torch.nn.modules.container.Sequential" in message(tmp_path / "whole.pth")
        assert "save model.state_dict() alone" in message(tmp_path / "whole.pth")

    @pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
    def test_damaged_files(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        path.write_text("no weights\nat all")
        assert "is damaged" in message(path)
        save_file(network().state_dict(), path) if "safe" in name else torch.save(network().state_dict(), path)
        path.write_bytes(path.read_bytes()[:300])
        assert "is damaged" in message(path)

    @pytest.mark.parametrize("held", [[1, 2], torch.ones(3), {"epoch": 3}, {"state_dict": {}}, {0: torch.ones(2)}])
    def test_a_file_without_weights(self, held: object, tmp_path: Path) -> None:
        torch.save(held, tmp_path / "odd\nname.pth")
        assert "holds no weights" in message(tmp_path / "odd\nname.pth")


class TestFitted:
    @pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module.", "net.model.backbone."])
    def test_prefixes_are_taken_off(self, prefix: str) -> None:
        own = network().state_dict()
        assert fitted({prefix + key: value for key, value in own.items()}, own).keys() == own.keys()

    def test_a_prefix_that_only_some_have_is_taken_off_if_everything_then_fits(self) -> None:
        own = network().state_dict()
        state = {f"backbone.{key}": value for key, value in own.items()} | {"loss.weight": torch.ones(2)}
        assert fitted(state, own).keys() == own.keys()
        del state["backbone.3.weight"]
        assert fitted(state, own).keys() == state.keys()

    def test_a_prefix_that_the_network_has_itself_stays(self) -> None:
        own = nn.ModuleDict({"model": nn.Linear(2, 2)}).state_dict()
        assert fitted(dict(own), own).keys() == own.keys()

    def test_old_densenet_names(self) -> None:
        old = {"features.denseblock1.denselayer2.norm.1.weight": torch.ones(2)}
        assert list(fitted(old, {})) == ["features.denseblock1.denselayer2.norm1.weight"]


class TestLoad:
    def test_weights_arrive_in_single_precision(self) -> None:
        own, other = network(), network()
        nn.init.zeros_(other[3].weight)
        load_weights(other, {key: value.half() for key, value in own.state_dict().items()}, Path("w"), "net")
        assert other[3].weight.dtype == torch.float32
        assert torch.equal(other[3].weight, own[3].weight.half().float())

    def test_counters_and_auxiliary_heads_may_be_missing_or_too_many(self) -> None:
        state = {key: value for key, value in network().state_dict().items() if "num_batches" not in key}
        extra = {"aux1.fc.weight": torch.ones(2), "AuxLogits.fc.bias": torch.ones(1), "n_averaged": torch.ones(())}
        load_weights(network(), state | extra, Path("w"), "net")

    def test_mismatches_are_counted_and_named_in_one_line(self) -> None:
        state = network().state_dict()
        state["3.weight"] = torch.ones(5, 4)
        state |= {f"extra{i}\n": torch.ones(1) for i in range(4)}
        del state["0.bias"]
        with pytest.raises(ModelError) as caught:
            load_weights(network(), state, Path("w.pth"), "net")
        assert str(caught.value) == (
            "the weights file 'w.pth' does not fit 'net' (9 keys): 1 missing (0.bias); "
            r"4 unexpected ('extra0\n', 'extra1\n', 'extra2\n', …); "
            "1 of another shape (3.weight (5, 4) instead of (2, 4))"
        )


class TestOfficial:
    def test_files_are_known_by_their_hash(self) -> None:
        entry = official("googlenet", "1378be20" + "0" * 56)
        assert entry is models.GoogLeNet_Weights.IMAGENET1K_V1
        assert official("googlenet", "1378be21" + "0" * 56) is None
        assert official("mnasnet0_5", "3ffadce67e" + "0" * 54) is models.MNASNet0_5_Weights.IMAGENET1K_V1

    def test_every_entry_has_a_hash(self) -> None:
        entries = [entry for name in models.list_models(module=models) for entry in models.get_model_weights(name)]
        assert all(re.fullmatch(r"[0-9a-f]{8,}", weights._hash_in(entry.url)) for entry in entries)

    def test_without_a_network_it_says_how_to_pass_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreachable(*_arguments: object, **_options: object) -> None:
            raise OSError("<urlopen error [Errno -2] Name or service not known>")

        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
        with pytest.raises(ModelError) as caught:
            downloaded(models.ResNet18_Weights.DEFAULT)
        assert str(caught.value) == (
            "cannot download https://download.pytorch.org/models/resnet18-f37072fd.pth (<urlopen error [Errno -2] "
            "Name or service not known>); fetch it elsewhere and pass it with --weights FILE, or put it at "
            f"'{tmp_path}/checkpoints/resnet18-f37072fd.pth'"
        )

    def test_a_file_that_is_there_is_not_downloaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
        path.parent.mkdir()
        path.touch()
        assert downloaded(models.ResNet18_Weights.DEFAULT) == path


def test_the_hash_of_a_network_hangs_on_its_weights_alone() -> None:
    first = state_sha256(network())
    assert first == state_sha256(network().to(memory_format=torch.channels_last))
    changed = network()
    with torch.no_grad():
        changed[1].running_mean[2] += 1e-6
    assert state_sha256(changed) != first
