import numpy as np
import pytest
import torch

from neurocarto.extraction.peaks import spatial_peaks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_peaks_are_the_maxima_and_their_first_cells(memory: torch.memory_format, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(-3, 4, (3, 5, 6, 7), generator=generator).to(dtype).contiguous(memory_format=memory)
    values, cells = spatial_peaks(maps)
    assert (values.dtype, cells.dtype) == (torch.float32, torch.int32)
    flat = maps.float().flatten(2).numpy()
    assert np.array_equal(values, flat.max(axis=2))
    assert np.array_equal(cells, flat.argmax(axis=2))  # numpy's is the first


def test_maps_may_be_any_view() -> None:
    tokens = torch.rand((2, 10, 4), generator=torch.Generator().manual_seed(0))
    maps = tokens[:, 1:].transpose(1, 2).unflatten(2, (3, 3))  # as a transformer's are folded
    values, cells = spatial_peaks(maps)
    assert torch.equal(values, maps.amax((2, 3)))
    assert torch.equal(cells.long(), maps.flatten(2).argmax(2))


def test_a_map_of_one_cell_peaks_there() -> None:
    maps = torch.tensor([[-1.5, 0.0, 2.0]])[:, :, None, None]
    values, cells = spatial_peaks(maps)
    assert values.tolist() == [[-1.5, 0, 2]]
    assert cells.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("cell", [0, 4, 8])
def test_what_is_not_a_number_is_never_lost(cell: int) -> None:
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 1].view(-1)[cell] = torch.nan
    values, cells = spatial_peaks(maps)
    assert values[0, 0] == 0
    assert values[0, 1].isnan()
    assert cells[0, 1] == cell


def test_infinities_are_peaks() -> None:
    maps = torch.full((1, 1, 2, 2), -torch.inf)
    assert spatial_peaks(maps)[0].item() == -torch.inf
    maps[0, 0, 1, 0] = torch.inf
    assert [found.item() for found in spatial_peaks(maps)] == [torch.inf, 2]
