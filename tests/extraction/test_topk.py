import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neurocarto.extraction.topk import EMPTY, TopK, decode, encode

VALUES = hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.floats(-8, 8, width=32))


def _entries(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    keys = encode(torch.from_numpy(values), torch.arange(values.shape[1]))
    return keys, torch.arange(values.size, dtype=torch.int32).reshape(values.shape)


@given(VALUES)
def test_decoding_undoes_encoding(values: np.ndarray):
    back, positions = decode(_entries(values)[0])
    assert np.array_equal(back.numpy(), values)
    assert np.array_equal(positions.numpy(), np.broadcast_to(np.arange(values.shape[1]), values.shape))


@given(VALUES, st.integers(1, 8))
def test_keeps_the_strongest_and_of_equals_the_earliest(values: np.ndarray, k: int):
    top = TopK(len(values), k)
    top.update(_entries(values))
    kept, positions = decode(top.keys)
    assert kept.shape[1] == min(k, values.shape[1])
    for row in range(len(values)):
        expected = sorted(range(values.shape[1]), key=lambda i: (-values[row, i], i))[:k]
        assert positions[row, : len(expected)].tolist() == expected
        assert (positions[row, len(expected) :] == -1).all()
        assert kept[row, : len(expected)].tolist() == values[row, expected].tolist()
        assert top.cells[row, : len(expected)].tolist() == [row * values.shape[1] + i for i in expected]


@given(VALUES, st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_order_of_batches_never_matters(values: np.ndarray, k: int, random):
    keys, cells = _entries(values)
    order = list(range(values.shape[1]))
    random.shuffle(order)
    one, other = TopK(len(values), k), TopK(len(values), k)
    one.update((keys, cells))
    for begin in range(0, len(order), 3):
        chosen = order[begin : begin + 3]
        other.update((keys[:, chosen], cells[:, chosen]))
    assert torch.equal(one.keys, other.keys)
    assert torch.equal(one.cells[one.keys != EMPTY], other.cells[other.keys != EMPTY])


@given(VALUES, st.integers(1, 8), st.integers(0, 30), st.integers(0, 30))
def test_merging_is_associative(values: np.ndarray, k: int, first: int, second: int):
    keys, cells = _entries(values)
    bounds = sorted((min(first, values.shape[1]), min(second, values.shape[1])))

    def streams() -> list[TopK]:
        parts = [TopK(len(values), k) for _ in range(3)]
        for part, begin, end in zip(parts, (0, *bounds), (*bounds, values.shape[1]), strict=True):
            part.update((keys[:, begin:end], cells[:, begin:end]))
        return parts

    a, b, c = streams()
    a.merge(b)
    a.merge(c)
    x, y, z = streams()
    y.merge(z)
    x.merge(y)
    assert torch.equal(a.keys, x.keys)


def test_many_rows_are_sorted_part_by_part():
    values = np.random.default_rng(0).normal(size=(2500, 12)).astype(np.float32)
    keys, cells = _entries(values)
    top = TopK(2500, 5)
    top.update((keys[:, :4], cells[:, :4]), (keys[:, 4:5], cells[:, 4:5]))
    top.update((keys[:, 5:], cells[:, 5:]))
    order = np.argsort(-values, axis=1)[:, :5]
    assert np.array_equal(decode(top.keys)[1].numpy(), order)
    assert np.array_equal(top.cells.numpy(), np.take_along_axis(cells.numpy(), order, axis=1))


def test_negative_activations_outrank_padding():
    top = TopK(1, 3)
    keys = torch.cat([torch.full((1, 2), EMPTY), encode(torch.tensor([[-5.0]]), torch.tensor([7]))], dim=1)
    top.update((keys, torch.tensor([[0, 0, 2]], dtype=torch.int32)))
    values, positions = decode(top.keys)
    assert values[0].tolist() == [-5.0, -torch.inf, -torch.inf]
    assert positions[0].tolist() == [7, -1, -1]


def test_a_copy_does_not_follow():
    top = TopK(1, 2)
    top.update((torch.full((1, 2), EMPTY), torch.zeros((1, 2), dtype=torch.int32)))
    copy = top.copy()
    top.update((encode(torch.tensor([[1.0]]), torch.tensor([0])), torch.zeros((1, 1), dtype=torch.int32)))
    assert copy.keys.tolist() == [[EMPTY, EMPTY]]
    assert top.keys[0, 0] != EMPTY
