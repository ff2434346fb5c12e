import numpy as np
import pytest
from PIL import Image

from scripts.scenes import LONG_SIDE, SCENES, compose, fractal, paint


def cutout(width: int = 80, height: int = 60) -> Image.Image:
    """A magenta block, a colour that no place has, with an invisible rim."""
    image = Image.new("RGBA", (width + 20, height + 20))
    image.paste((255, 0, 255, 255), (10, 10, width + 10, height + 10))
    return image


def magenta(picture: Image.Image) -> np.ndarray:
    red, green, blue = np.moveaxis(np.asarray(picture).astype(int), -1, 0)
    return (red > 150) & (blue > 150) & (green < 90)


@pytest.mark.parametrize("slope", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(64, 64), (33, 50)])
def test_fractal_noise_stays_in_its_range(slope: float, shape: tuple[int, int]) -> None:
    field = fractal(np.random.default_rng(0), *shape, slope)
    assert field.shape == shape
    assert field.min() >= 0
    assert field.max() <= 1
    assert field.std() == pytest.approx(0.2, abs=0.05)


def test_a_steeper_slope_is_smoother() -> None:
    rough, smooth = (fractal(np.random.default_rng(0), 64, 64, slope) for slope in (0.2, 2.0))
    assert np.abs(np.diff(rough)).mean() > 3 * np.abs(np.diff(smooth)).mean()


def test_paint_runs_through_the_palette() -> None:
    colours = paint(np.array([[0.0, 0.5, 1.0, 0.25]]), "000000", "ff0000", "ffff00")
    np.testing.assert_allclose(colours[0], [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0.5, 0, 0]])


@pytest.mark.parametrize("name", SCENES)
def test_the_cut_out_is_whole_and_near_the_middle_of_every_place(name: str) -> None:
    picture = compose(cutout(), SCENES[name], np.random.default_rng(1), mirror=False, heap=False)
    seen = magenta(picture)
    rows, columns = np.nonzero(seen)
    assert picture.mode == "RGB"
    assert LONG_SIDE[0] <= max(picture.size) <= LONG_SIDE[1]
    assert 0.15 < seen.mean() < 0.8
    assert rows.min() > 0
    assert rows.max() < picture.height - 1
    assert columns.min() > 0
    assert columns.max() < picture.width - 1
    assert abs(columns.mean() / picture.width - 0.5) < 0.1


def test_a_mirrored_picture_shows_the_cut_out_the_other_way_round() -> None:
    two = cutout()
    two.paste((255, 255, 255, 255), (10, 10, 40, 70))
    sides = []
    for mirror in (False, True):
        picture = compose(two, SCENES["space"], np.random.default_rng(2), mirror=mirror, heap=False)
        white = np.asarray(picture).min(-1) > 200
        sides.append(np.nonzero(magenta(picture))[1].mean() > np.nonzero(white)[1].mean())
    assert sides == [True, False]


def test_a_heap_shows_small_cut_outs_several_times() -> None:
    shown = [
        magenta(compose(cutout(20, 20), SCENES["space"], np.random.default_rng(3), mirror=False, heap=heap)).mean()
        for heap in (False, True)
    ]
    large = [
        magenta(compose(cutout(200, 200), SCENES["space"], np.random.default_rng(3), mirror=False, heap=heap)).mean()
        for heap in (False, True)
    ]
    assert shown[0] != shown[1]
    assert large[0] == large[1]
