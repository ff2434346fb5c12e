import gc
import weakref

import numpy as np
import pytest
import torch

from neurocarto.extraction.activity import Activity, Batch
from neurocarto.extraction.topk import EMPTY, decode
from neurocarto.records import Layer

LAYERS = (Layer("a", 2, 2, 2, clamp=(0.0, 6.0)), Layer("b", 3, 4, 4))
CATEGORIES = ("cat", "dog")


def _batches(count: int, size: int, seed: int = 0) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    peaks = torch.rand((count, 5), generator=generator) * 12 - 4
    cells = torch.randint(0, 4, (count, 5), generator=generator, dtype=torch.int32)
    logits = torch.rand((count, 2), generator=generator)
    return [
        Batch(torch.arange(i, min(i + size, count)), peaks[i : i + size], cells[i : i + size], logits[i : i + size])
        for i in range(0, count, size)
    ]


def _stream(batches: list[Batch]) -> Activity:
    activity = Activity(LAYERS, k=7)
    for batch in batches:
        n = len(batch.positions)
        labels = ["even" if position % 3 else None for position in batch.positions.tolist()]
        activity.update(batch, [(10, 20)] * n, labels, CATEGORIES, frozenset({1, 4}))
    return activity


def _same(one: Activity, other: Activity) -> None:
    for half in range(2):
        assert torch.equal(one.halves[half].keys, other.halves[half].keys)
        filled = one.halves[half].keys != EMPTY
        assert torch.equal(one.halves[half].cells[filled], other.halves[half].cells[filled])
    torch.testing.assert_close(one.total, other.total)
    assert torch.equal(one.active, other.active)
    assert one.predictions == other.predictions
    assert one.class_sums.keys() == other.class_sums.keys()
    for key, sums in one.class_sums.items():
        torch.testing.assert_close(sums, other.class_sums[key])


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_merged_shards_are_one_stream(cut: int):
    batches = _batches(60, 8)
    whole, first, second = _stream(batches), _stream(batches[:cut]), _stream(batches[cut:])
    first.merge(second)
    whole.merge(Activity(LAYERS, k=7))  # sorts in what is still pending
    _same(whole, first)
    assert first.profile.keys() == {1, 4}


def test_statistics_against_a_table_worked_out_by_numpy():
    batches = _batches(60, 8)
    activity = _stream(batches)
    activity.merge(Activity(LAYERS, k=7))
    peaks = np.concatenate([batch.peaks for batch in batches])
    activations = peaks.copy()
    activations[:, :2] = activations[:, :2].clip(0, 6)
    assert activity.total.numpy() == pytest.approx(activations.sum(0), rel=1e-6)
    assert activity.active.tolist() == (activations > 0).sum(0).tolist()
    labelled = np.arange(60) % 3 > 0
    assert activity.class_sums["label", "even"].numpy() == pytest.approx(activations[labelled].sum(0), rel=1e-6)
    for half in range(2):
        values, positions = decode(activity.halves[half].keys)
        for neuron in range(5):
            mine = [p for p in range(half, 60, 2) if peaks[p, neuron] > 0]
            expected = sorted(mine, key=lambda p: -peaks[p, neuron])[:7]
            assert positions[neuron].tolist() == expected
            assert values[neuron].tolist() == peaks[expected, neuron].tolist()
    assert activity.profile[4].tolist() == torch.tensor(activations[4]).half().tolist()


def test_an_inactive_neuron_has_no_strongest_images():
    batch = Batch(
        torch.tensor([0, 2]), torch.full((2, 5), -1.0), torch.zeros((2, 5), dtype=torch.int32), torch.ones(2, 2)
    )
    activity = _stream([batch])
    assert (activity.strongest(7).keys == EMPTY).all()
    assert activity.active.tolist() == [0] * 5


def test_memory_does_not_grow_with_the_number_of_images():
    activity = _stream(_batches(600, 8))
    assert all(top.keys.shape == (5, 7) for top in activity.halves)
    assert len(activity.profile) == 2


def test_signed_neurons_keep_their_strongest_images_whatever_their_sign():
    layers = (
        Layer("a", 1, 2, 2, signed=True),
        Layer("b", 1, 2, 2),
        Layer("c", 1, 2, 2, clamp=(-1.0, 1.0), signed=True),
    )
    peaks = torch.tensor([[-3.0, -3.0, -9.0], [-1.0, -1.0, -2.0], [-2.0, 4.0, 0.5], [-4.0, 0.0, 5.0]])
    positions = torch.tensor([0, 2, 4, 6])
    batch = Batch(positions, peaks, torch.zeros((4, 3), dtype=torch.int32), torch.ones(4, 2))
    activity = Activity(layers, k=3)
    activity.update(batch, [(1, 1)] * 4, [None] * 4, CATEGORIES, frozenset({0}))
    activity.merge(Activity(layers, k=3))
    values, found = decode(activity.strongest(7).keys)
    assert found.tolist() == [[2, 4, 0], [4, -1, -1], [6, 4, 2]]
    assert values[0].tolist() == [-1, -2, -3]
    assert activity.total.tolist() == [-10, 0, -1 - 1 + 0.5 + 1]


def test_profiles_stay_finite():
    peaks = torch.full((1, 5), 1e6)
    activity = _stream([Batch(torch.tensor([1]), peaks, torch.zeros((1, 5), dtype=torch.int32), torch.ones(1, 2))])
    assert activity.profile[1].tolist() == [6, 6, *[torch.finfo(torch.float16).max] * 3]


def test_a_stream_is_let_go_without_waiting_for_the_garbage_collector():
    stream = _stream(_batches(8, 4))
    gone = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert gone() is None
    finally:
        gc.enable()
