import json
from dataclasses import asdict

import torch
from torch import Tensor, nn

from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.lineage import OUTPUT, Lineage, find_lineage, follow
from neurocarto.extraction.models import Model
from neurocarto.extraction.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(resize=8, size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def _conv(channels: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, wanted, 3, padding=1), nn.ReLU(inplace=True))


def _model(module: nn.Module) -> Model:
    return Model("net", module.eval().requires_grad_(False), (), PREPROCESSING, ("x", "y"), "", "")


def _parents(module: nn.Module, names: str) -> dict[str, tuple[str, ...]]:
    model = _model(module)
    return find_lineage(model, describe_layers(model, names.split())).parents


class Block(nn.Module):
    """Four branches side by side, as in googlenet; two of them are hooked."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.two = _conv(channels, 2), nn.Sequential(_conv(channels, 2), _conv(2, 3))
        self.three, self.pool = nn.Sequential(_conv(channels, 2), _conv(2, 3)), nn.MaxPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.two(x), self.three(x), self.pool(x)], 1)


def test_branches_side_by_side_build_on_the_block_before_and_not_on_each_other():
    net = nn.Sequential(Block(3), Block(11), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(19, 2))
    assert _parents(net, "0.two 0.three 0 1.two 1.three 1") == {
        "0.two": (),
        "0.three": (),
        "0": ("0.two", "0.three"),
        "1.two": ("0",),
        "1.three": ("0",),
        "1": ("1.two", "1.three"),  # and on 0, by the branches between: past later layers
        OUTPUT: ("1",),
    }


def test_the_output_builds_on_every_branch_that_ends_in_it():
    net = nn.Sequential(Block(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(11, 2))
    assert _parents(net, "0.one 0.two.0 0.two") == {
        "0.one": (), "0.two.0": (), "0.two": ("0.two.0",), OUTPUT: ("0.one", "0.two"),
    }  # fmt: skip


class Residual(nn.Module):
    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.dense = dense
        widths = [3, 6, 9, 12] if dense else [3] * 4
        self.blocks = nn.ModuleList([_conv(width, 3) for width in widths])
        self.last = nn.Linear(15 if dense else 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.cat([x, block(x)], 1) if self.dense else x + block(x)
        return self.last(x.mean((2, 3)))


def test_residual_and_dense_connections_leave_a_chain():
    chain = {"blocks.0": (), "blocks.1": ("blocks.0",), "blocks.2": ("blocks.1",), "blocks.3": ("blocks.2",)}
    for dense in (False, True):
        assert _parents(Residual(dense), "blocks.?") == chain | {OUTPUT: ("blocks.3",)}


class Transformer(nn.Module):
    """Tokens of 2 × 2 pixels behind a class token; only the class token is read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attend = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(3)])
        self.mlp = nn.ModuleList([nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(3)])
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        for attend, mlp in zip(self.attend, self.mlp, strict=True):
            normed = self.norm(tokens)
            tokens = tokens + attend(normed, normed, normed, need_weights=False)[0]
            tokens = tokens + mlp(self.norm(tokens))
        return self.out(self.norm(tokens)[:, 0])


def test_the_class_output_does_not_build_on_tokens_that_nothing_reads():
    assert _parents(Transformer(), "mlp.?.1") == {
        "mlp.0.1": (), "mlp.1.1": ("mlp.0.1",), "mlp.2.1": ("mlp.1.1",), OUTPUT: ("mlp.1.1",),
    }  # fmt: skip


def test_fully_connected_layers_build_on_maps():
    net = nn.Sequential(_conv(3, 2), nn.Flatten(), nn.Linear(128, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    assert _parents(net, "0 3") == {"0": (), "3": ("0",), OUTPUT: ("3",)}


def test_a_lineage_is_read_back_from_json():
    lineage = Lineage({"0": (), "1": ("0",), OUTPUT: ("0", "1")}, {"0": 3, "1": 2, OUTPUT: 1})
    assert Lineage.from_json(json.loads(json.dumps(asdict(lineage)))) == lineage


def test_work_counts_the_multiplications_from_the_parents():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1, stride=2), nn.Flatten(), nn.Linear(32, 2))
    model = _model(net)
    work = find_lineage(model, describe_layers(model, ["0", "1"])).work
    assert work == {"0": 8 * 8 * 4 * 3 * 9, "1": 4 * 4 * 2 * 4, OUTPUT: 32 * 2}


def test_what_is_visited_leads_back_to_its_parents_and_no_further():
    model = _model(nn.Sequential(Block(3), Block(11), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(19, 2)))
    layers = describe_layers(model, ["0.two", "0", "1.two", "1"])
    lineage = find_lineage(model, layers)
    seen: dict[str, Tensor] = {}
    batch = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def visit(name, output, sources):
        assert tuple(sources) == lineage.parents[name]
        assert all(source.is_leaf for source in sources.values())
        if sources:
            assert all(g.abs().sum() > 0 for g in torch.autograd.grad(output.sum(), [*sources.values()]))
        seen[name] = output.detach().clone()

    follow(model, layers, lineage, batch, visit)
    assert torch.equal(seen[OUTPUT], model.logits(batch))
    assert [*seen] == [*lineage.parents]
