from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neurocarto.errors import ModelError
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.extraction.replay import Replay
from neurocarto.records import Layer


class Block(nn.Module):
    """A residual connection, added in place, and an activation that it shares with all other blocks."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x)).add_(x)


class Parts(nn.Module):
    """Gives a dictionary, which is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"one": self.one(x), "two": self.two(x)}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.act = nn.ReLU(inplace=True)
        self.stem, self.parts = nn.Conv2d(3, 4, 3, padding=1), Parts()
        self.blocks = nn.ModuleList([Block(self.act) for _ in range(3)])
        self.late, self.out = nn.Conv2d(4, 4, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        early = self.act(self.stem(x))
        parts = self.parts(early)
        x = parts["one"].mul_(2) + parts["two"]
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x, self.late(early)], 1)  # early is read again, far behind
        return self.out(x.mean((2, 3)))


LAYERS = [Layer(name, 4, 6, 6) for name in ("stem", "parts.two", "blocks.0.conv", "blocks.1", "blocks.2.conv", "late")]


@pytest.fixture
def model() -> Model:
    module = Network().eval().requires_grad_(False)
    return Model("net", module, (), Preprocessing(6, 6, (0,) * 3, (1,) * 3), ("a", "b"), "", "")


def _half(at: str, seen: dict[str, Tensor]) -> Callable[[str, Tensor], Tensor | None]:
    def visit(name: str, maps: Tensor) -> Tensor | None:
        seen[name] = maps.clone()
        return maps / 2 if name == at else None

    return visit


def test_a_run_from_a_layer_on_is_the_run_from_the_beginning(model: Model) -> None:
    batch = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    replay = Replay(model, batch)
    for i, layer in enumerate(LAYERS):
        replay.advance(layer.name)
        for _ in range(2):  # what is kept outlives a run
            whole: dict[str, Tensor] = {}
            with torch.inference_mode(), layer_outputs(model.module, LAYERS, _half(layer.name, whole)):
                expected = model.logits(batch)
            seen: dict[str, Tensor] = {}
            logits = replay.run(LAYERS[i:], _half(layer.name, seen))
            assert logits is not None
            assert torch.equal(logits, expected)
            assert [*seen] == [entry.name for entry in LAYERS[i:]]
            assert all(torch.equal(seen[name], whole[name]) for name in seen)


def test_what_is_kept_outlives_a_run_that_goes_further_than_those_before(model: Model) -> None:
    batch = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    replay = Replay(model, batch)
    replay.advance("parts.two")
    for _ in range(2):  # stops before parts.one's output is written into
        replay.run(LAYERS[1:2], lambda *_: None, until="parts.two")
    logits = [replay.run(LAYERS[2:], lambda *_: None) for _ in range(3)]
    assert all(torch.equal(each, model.logits(batch)) for each in logits if each is not None)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The tensors that are copied, in their order."""
    copied: list[Tensor] = []
    plain = Tensor.clone

    def counted(self: Tensor) -> Tensor:
        copied.append(self)
        return plain(self)

    monkeypatch.setattr(Tensor, "clone", counted)
    return copied


def test_what_nothing_writes_into_is_copied_but_once(model: Model, copies: list[Tensor]) -> None:
    replay = Replay(model, torch.zeros(1, 3, 6, 6))
    replay.advance("late")
    counts = []
    for _ in range(3):
        copies.clear()
        replay.run(LAYERS[-1:], lambda *_: None)
        counts.append(len(copies))
    assert counts[0] > counts[1] == counts[2] == 1, "parts.one alone is written into"


def test_going_on_to_a_further_layer_copies_only_what_is_new(model: Model, copies: list[Tensor]) -> None:
    replay = Replay(model, torch.zeros(1, 3, 6, 6))
    replay.advance("blocks.2.conv")
    for _ in range(2):  # shows what is written into
        replay.run(LAYERS[-1:], lambda *_: None, until="late")
    copies.clear()
    replay.advance("late")
    new = ["blocks.2.act", "blocks.2", "late"]
    assert len(copies) == len(new) + 2, "parts.one and blocks.2.conv are written into"


def test_what_lies_before_the_layer_is_not_computed_again(model: Model) -> None:
    computed: list[str] = []
    for name, module in model.module.named_modules():
        if isinstance(module, nn.Conv2d):
            plain = module.forward
            module.forward = lambda x, name=name, plain=plain: (computed.append(name), plain(x))[1]
    replay = Replay(model, torch.zeros(1, 3, 6, 6))
    replay.advance("blocks.1")
    computed.clear()
    replay.run(LAYERS[3:], lambda *_: None)
    assert computed == ["blocks.2.conv", "late"]
    computed.clear()
    assert replay.run(LAYERS[3:5], lambda *_: None, until="blocks.2.conv") is None
    assert computed == ["blocks.2.conv"]
    model.logits(torch.zeros(1, 3, 6, 6))
    assert len(computed) == 8, "the network is as it was"


def test_modules_are_left_as_they_were(model: Model) -> None:
    before = {name: {*vars(module)} for name, module in model.module.named_modules()}
    replay = Replay(model, torch.zeros(1, 3, 6, 6))
    replay.advance("late")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replay.run(LAYERS[-1:], fail)
    assert {name: {*vars(module)} for name, module in model.module.named_modules()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.module.modules())


def test_a_network_that_does_something_else_each_time_is_refused(model: Model) -> None:
    replay = Replay(model, torch.zeros(1, 3, 6, 6))
    replay.advance("blocks.1")
    model.module.blocks[0] = nn.Identity()
    with pytest.raises(ModelError, match="influence=gradient"):
        replay.run(LAYERS[-1:], lambda *_: None)
