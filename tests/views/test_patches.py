import base64
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from neurocarto.views.lookup import Lookup
from neurocarto.views.patches import Patches, inside

place = st.floats(-500, 500)


@given(place, place, st.floats(2, 600), st.integers(5, 400), st.integers(5, 400))
def test_a_box_is_shifted_inside_and_stays_square(x: float, y: float, s: float, width: int, height: int) -> None:
    x0, y0, x1, y1 = inside((x, y, x + s, y + s), width, height)
    assert -1e-6 <= x0 <= x1 <= width + 1e-6
    assert -1e-6 <= y0 <= y1 <= height + 1e-6
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert x1 - x0 == pytest.approx(min(s, width, height), abs=1e-3)


def test_a_box_inside_the_image_stays_where_it_is() -> None:
    assert inside((10, 20, 30, 40), 100, 100) == pytest.approx((10, 20, 30, 40))


def test_a_patch_is_cut_at_its_place_in_the_preview(lookup: Lookup, patches: Patches) -> None:
    data = lookup.run.preview(0)
    assert data is not None
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    uri = patches.uri(0, (100.0, 100.0, 150.0, 150.0), 56)
    assert uri is not None
    patch = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    expected = whole.crop((112, 112, 168, 168))
    assert patch.size == (56, 56)
    difference = sum(abs(a - b) for a, b in zip(patch.getpixel((28, 28)), expected.getpixel((28, 28)), strict=True))
    assert difference < 60


def test_an_image_that_is_not_at_hand_gives_no_patch(patches: Patches) -> None:
    assert patches.uri(10_000, (0.0, 0.0, 5.0, 5.0), 32) is None
