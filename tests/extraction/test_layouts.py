import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocarto.extraction.layouts import find_layout, fold, map_shape, unfold

LAYOUTS = ["BCHW", "BHWC", "BTC", "B(1+T)C", "B(5+T)C", "TBC", "(1+T)BC", "B(HW)(hw)C", "B(hw)(HW)C", "BC"]


def _output(layout: str, batch: int, channels: int, side: int, window: int) -> torch.Tensor:
    """An output whose every number is another one; its maps are of side × window cells."""
    places = (side * window) ** 2
    if layout in {"B(HW)(hw)C", "B(hw)(HW)C"}:
        windows = [side**2, window**2]
        shape = [batch, *(windows if layout == "B(HW)(hw)C" else windows[::-1]), channels]
    elif "T" in layout:
        tokens = places + (int(layout.split("+")[0].strip("B(")) if "+" in layout else 0)
        shape = [batch, tokens, channels] if layout.startswith("B") else [tokens, batch, channels]
    else:
        sides = {"B": batch, "C": channels, "H": side * window, "W": side * window}
        shape = [sides[axis] for axis in layout]
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_what_is_folded_unfolds_to_what_it_was(layout: str, batch: int, channels: int, side: int, window: int):
    output = _output(layout, batch, channels, side, window)
    shape = map_shape(output.shape, layout)
    maps = fold(output, layout, *shape[1:])
    assert maps.shape == (batch, *shape)
    assert shape[0] == channels
    assert torch.equal(unfold(maps, output, layout), output)
    if "+" not in layout:
        assert torch.equal(maps.flatten().sort().values, torch.arange(output.numel()))


def test_tokens_lie_row_by_row_behind_the_class_token():
    output = torch.tensor([[9, 1, 2, 3, 4]])[..., None]  # (1, 1 + 4, 1)
    assert fold(output, "B(1+T)C", 2, 2).tolist() == [[[[1, 2], [3, 4]]]]
    assert fold(output.transpose(0, 1), "(1+T)BC", 2, 2).tolist() == [[[[1, 2], [3, 4]]]]


def test_new_maps_leave_the_class_token_as_it_was():
    output = torch.tensor([[9, 1, 2, 3, 4]])[..., None]
    assert unfold(torch.zeros(1, 1, 2, 2, dtype=torch.int64), output, "B(1+T)C").flatten().tolist() == [9, 0, 0, 0, 0]


@pytest.mark.parametrize("layout", ["B(HW)(hw)C", "B(hw)(HW)C"])
def test_windows_lie_where_they_were_cut(layout: str):
    maps = torch.arange(16).reshape(1, 1, 4, 4)
    windows = torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])[None, ..., None]
    output = windows if layout == "B(HW)(hw)C" else windows.transpose(1, 2)
    assert torch.equal(fold(output, layout, 4, 4), maps)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 6, 8), "BTC"),
        ((2, 16, 8), "B(1+T)C"),
        ((2, 3, 4), "BCHW"),
        ((2, 8, 49, 3), "B(HW)(hw)C"),
        ((2, 0, 3), "BTC"),
    ],
)
def test_an_output_that_holds_no_map_of_that_layout_is_refused(shape: tuple[int, ...], layout: str):
    with pytest.raises(ValueError, match="an output of shape"):
        map_shape(shape, layout)


def test_an_unknown_layout_is_refused():
    for layout in ("BCT", "TC", "BTBC"):
        with pytest.raises(ValueError, match="layout"):
            fold(torch.zeros(2, 4, 3), layout, 2, 2)


@pytest.mark.parametrize(
    ("axes", "shape", "layout"),
    [
        ("BCHW", (2, 8, 7, 7), "BCHW"),
        ("BHWC", (2, 7, 7, 7), "BHWC"),
        ("B1HW", (2, 1, 7, 7), "BCHW"),
        ("BC11", (2, 8, 1, 1), "BCHW"),
        ("BTC", (2, 196, 8), "BTC"),
        ("BTC", (2, 197, 8), "B(1+T)C"),
        ("BTC", (2, 198, 8), "B(2+T)C"),
        ("BTC", (2, 201, 8), "B(5+T)C"),
        ("TBC", (50, 2, 8), "(1+T)BC"),
        ("BTtC", (2, 64, 49, 8), "B(HW)(hw)C"),
        ("BtTC", (2, 49, 64, 8), "B(hw)(HW)C"),
        ("BC", (2, 10), "BC"),
        ("BCT", (2, 8, 49), None),  # channels first: not a layout
        ("BTC", (2, 215, 8), None),  # 14 × 14 and 19 more
        ("BCHW", (4, 8, 7, 7), None),  # not the batch's length: windows are in it
        ("BCHHW", (2, 8, 2, 7, 7), None),
        ("?HWC", (2, 7, 7, 8), "BHWC"),
        ("????", (2, 8, 7, 7), "BCHW"),
        ("????", (2, 7, 7, 7), None),
        ("????", (2, 64, 49, 8), None),
        ("???", (2, 17, 8), "B(1+T)C"),
        ("???", (17, 2, 8), "(1+T)BC"),
        ("???", (2, 2, 8), None),
        ("???", (5, 7, 8), None),
        ("??", (2, 8), "BC"),
    ],
)
def test_a_layout_is_found_from_axes_or_else_from_lengths(axes: str, shape: tuple[int, ...], layout: str | None):
    assert find_layout(axes, shape, 2) == layout
