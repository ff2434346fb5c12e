import torch

from neurocarto.engine.memory import resident_bytes
from neurocarto.extraction.lasting import LastingRows, lasting


def test_zeros_of_any_shape_that_can_be_written_to() -> None:
    for shape in ((3, 4), (0, 4), (3, 0), ()):
        made = lasting(shape, torch.int32)
        assert torch.equal(made, torch.zeros(shape, dtype=torch.int32))
        made += 1
        assert torch.equal(made, torch.ones(shape, dtype=torch.int32))


def test_rows_are_zeros_apart_from_each_other() -> None:
    rows = LastingRows(200_000, torch.float64)  # 1.6 MB each: some mappings
    given = [rows() for _ in range(7)]
    for number, row in enumerate(given, 1):
        assert not row.any()
        row += number
    assert [row.unique().tolist() for row in given] == [[number] for number in range(1, 8)]


def test_rows_may_be_wider_than_what_is_mapped_at_once_or_empty() -> None:
    assert LastingRows(2**20, torch.float64)().shape == (2**20,)
    assert LastingRows(0, torch.float16)().shape == (0,)


def test_memory_goes_back_as_soon_as_nobody_holds_it() -> None:
    size = 200_000_000
    before = resident_bytes()
    made = lasting((size,), torch.uint8)
    made += 1
    assert resident_bytes() - before > 0.9 * size
    row = made[:10]
    del made
    assert row.tolist() == [1] * 10
    del row
    assert resident_bytes() - before < 0.1 * size
