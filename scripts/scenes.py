"""Photographs made of a cut-out and a painted place: the pictures of the demo.

A cut-out alone on white would teach a map little: every neuron that likes edges on white would fire
for everything. So each cut-out is put into a place where its like is found. The places are painted
from seeded 1/f noise, whose power falls with frequency as it does in photographs of nature.

Colours are floats in 0…1; arrays are (height, width, 3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Array = npt.NDArray[np.floating[Any]]
Surface = Callable[[np.random.Generator, int, int], Array]

LONG_SIDE = (200, 384)
"""Least and greatest long side of a picture, px."""
GREATEST_ENLARGEMENT = 1.5
"""Small cut-outs get small pictures, so that none is enlarged into a blur."""
HEAP_SIDE = 90
"""Cut-outs of fruit and the like with a smaller long side (px) are shown several at a time."""


def fractal(rng: np.random.Generator, height: int, width: int, slope: float, stretch: float = 1.0) -> Array:
    """Return noise in 0…1 whose amplitude falls as 1 / frequency ** slope.

    stretch > 1 draws the pattern out along x (wood grain, waves), < 1 along y (blades of grass).
    """
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None, :] * height * stretch
    frequency = np.maximum(np.hypot(fy, fx), 1.0)
    waves = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**slope
    waves[0, 0] = 0
    field = np.fft.irfft2(waves, s=(height, width))
    clipped: Array = np.clip(0.5 + field / (5 * field.std()), 0, 1)
    return clipped


def paint(field: Array, *colours: str) -> Array:
    """Colour a field in 0…1 (H, W) along a palette of hex colours: (H, W, 3)."""
    stops = np.array([[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in colours])
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(field, at, stops[:, i]) for i in range(3)], axis=-1)


def _pick(rng: np.random.Generator, *options: tuple[str, ...]) -> tuple[str, ...]:
    return options[int(rng.integers(len(options)))]


def _down(height: int, width: int) -> Array:
    """0 at the top, 1 at the bottom."""
    return np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))


def _softened(picture: Array, radius: float) -> Array:
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image) / 255


def grass(rng: np.random.Generator, height: int, width: int) -> Array:
    """A lawn or meadow: fine upright blades over broad lighter and darker patches."""
    field = 0.55 * fractal(rng, height, width, 0.55, 0.4) + 0.45 * fractal(rng, height, width, 1.6)
    return paint(field, *_pick(rng, ("1f3a12", "4f7a2a", "94b255"), ("2b3a16", "66803a", "b5b96a")))


def dry_grass(rng: np.random.Generator, height: int, width: int) -> Array:
    """Savanna: straw over sandy soil."""
    field = 0.5 * fractal(rng, height, width, 0.6, 0.5) + 0.5 * fractal(rng, height, width, 1.6)
    return paint(field, "5f4a2a", "a88a55", "dcc792")


def foliage(rng: np.random.Generator, height: int, width: int) -> Array:
    """Leaves and light far out of focus."""
    leaves = paint(
        fractal(rng, height, width, 1.25),
        *_pick(rng, ("16240f", "3f6325", "86a74e", "dfe8b4"), ("202a1c", "4e6a45", "8fa67f", "e3ead6")),
    )
    return _softened(leaves, max(height, width) / 60)


def sand(rng: np.random.Generator, height: int, width: int) -> Array:
    """A beach: grain, and ripples a hand wide."""
    field = 0.4 * fractal(rng, height, width, 0.3) + 0.6 * fractal(rng, height, width, 1.5, 2.0)
    return paint(field, "a98f66", "cdb588", "ead9b4")


def soil(rng: np.random.Generator, height: int, width: int) -> Array:
    """Forest floor: dark earth with litter."""
    field = 0.6 * fractal(rng, height, width, 0.8) + 0.4 * fractal(rng, height, width, 1.6)
    return paint(field, "1d150e", "54402b", "8a6d49", "b59a6a")


def snow(rng: np.random.Generator, height: int, width: int) -> Array:
    """Snow with blue shades."""
    return paint(fractal(rng, height, width, 1.4, 1.5), "aebfd2", "dfe7ef", "fbfcfd")


def water(rng: np.random.Generator, height: int, width: int) -> Array:
    """The surface of a lake or the sea."""
    field = 0.7 * fractal(rng, height, width, 1.1, 3.0) + 0.3 * fractal(rng, height, width, 1.8)
    return paint(field, *_pick(rng, ("12354a", "2f6d8c", "9cc3d3"), ("1d3b3c", "4b7f7c", "b7d2c8")))


def deep_water(rng: np.random.Generator, height: int, width: int) -> Array:
    """Under water: light from above, fading downwards, over a dim reef."""
    light = 1 - _down(height, width)
    field = 0.6 * light + 0.25 * fractal(rng, height, width, 1.7) + 0.15 * fractal(rng, height, width, 1.0, 1.5)
    return _softened(paint(field, *_pick(rng, ("04192b", "0d4a6e", "3f9cc0"), ("06231f", "14605f", "58b0a0"))), 1.5)


def sky(rng: np.random.Generator, height: int, width: int) -> Array:
    """Blue sky, paler towards the horizon, with some clouds."""
    blue = paint(_down(height, width), *_pick(rng, ("3f7fc4", "b9d8ef"), ("6e9ccb", "dfe9f0"), ("8aa0b4", "dde2e5")))
    clouds = np.clip((fractal(rng, height, width, 1.7, 0.6) - rng.uniform(0.45, 0.65)) * 3.5, 0, 0.9)[..., None]
    cloudy: Array = blue * (1 - clouds) + clouds * 0.97
    return cloudy


def wood(rng: np.random.Generator, height: int, width: int) -> Array:
    """A table top of planks, the grain along x."""
    grain = 0.65 * fractal(rng, height, width, 0.9, 14.0) + 0.35 * fractal(rng, height, width, 1.6, 4.0)
    colours = _pick(rng, ("3c2413", "7a4f2c", "b07f4f"), ("7d5c3a", "b28c5f", "dcbd90"), ("4a443d", "8a8175", "bdb4a6"))
    planks = paint(grain, *colours)
    plank = max(24, height // int(rng.integers(2, 5)))
    seam = (np.arange(height) + int(rng.integers(plank))) % plank < 2
    planks[seam] *= 0.55
    return planks


def cloth(rng: np.random.Generator, height: int, width: int) -> Array:
    """A table cloth with soft folds."""
    field = 0.75 * fractal(rng, height, width, 2.0, 0.7) + 0.25 * fractal(rng, height, width, 0.1)
    return paint(
        field,
        *_pick(rng, ("9c9488", "d9d3c8", "f3efe8"), ("27405e", "486b94", "7d9cc0"), ("6d2f2c", "9f4c45", "c47c70")),
    )


def wall(rng: np.random.Generator, height: int, width: int) -> Array:
    """A plastered wall in the light of a window."""
    left, right = rng.permutation([0.2, 0.8])
    light = np.linspace(float(left), float(right), width)[None, :]
    field = 0.6 * light + 0.4 * fractal(rng, height, width, 1.3)
    return paint(
        field, *_pick(rng, ("8f8778", "e6dfd0"), ("7c8b94", "d5dee2"), ("8c7a64", "ddccb0"), ("6f7f6d", "cdd8c5"))
    )


def studio(rng: np.random.Generator, height: int, width: int) -> Array:
    """A photographer's grey paper, lit from above the middle."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    field = 0.85 * np.exp(-0.7 * (x**2 + (y + 0.3) ** 2)) + 0.15 * fractal(rng, height, width, 1.5)
    return paint(field, *_pick(rng, ("4c4f53", "e2e4e6"), ("7b7772", "f4f1ec"), ("22262b", "9aa3ab")))


def asphalt(rng: np.random.Generator, height: int, width: int) -> Array:
    """A road."""
    field = 0.5 * fractal(rng, height, width, 0.2) + 0.5 * fractal(rng, height, width, 1.6)
    return paint(field, "3b3d40", "6c6e70", "9c9d9c")


def stars(rng: np.random.Generator, height: int, width: int) -> Array:
    """Black sky, a faint nebula and stars."""
    night = paint(fractal(rng, height, width, 2.0), "000003", "04050c", "141a2c")
    bright = rng.random((height, width)) > 0.9985
    night[bright] = rng.uniform(0.4, 1.0, (int(bright.sum()), 1))
    return _softened(night, 0.5)


@dataclass(frozen=True)
class Scene:
    """A place: what is behind the cut-out and, where it stands on something, what lies before it.

    tilt: greatest turn of the cut-out, degrees; from_above: it lies on the backdrop and casts its shadow on it.
    """

    backdrops: tuple[Surface, ...]
    ground: Surface | None = None
    from_above: bool = False
    tilt: float = 0.0


SCENES = {
    "air": Scene((sky,), tilt=8),
    "garden": Scene((foliage,), tilt=8),
    "meadow": Scene((sky, foliage, foliage), ground=grass),
    "savanna": Scene((sky,), ground=dry_grass),
    "snow": Scene((sky, foliage), ground=snow),
    "forest": Scene((foliage,), ground=soil),
    "shore": Scene((sky, water), ground=sand),
    "sea": Scene((sky,), ground=water),
    "reef": Scene((deep_water,), tilt=10),
    "street": Scene((sky, foliage, wall), ground=asphalt),
    "room": Scene((wall,), ground=wood),
    "studio": Scene((studio,), tilt=5),
    "on the ground": Scene((soil, sand, grass), from_above=True, tilt=40),
    "beach": Scene((sand,), from_above=True, tilt=40),
    "table": Scene((wood, wood, cloth), from_above=True, tilt=30),
    "space": Scene((stars,), tilt=20),
}
"""Every place by name."""


def compose(cutout: Image.Image, scene: Scene, rng: np.random.Generator, *, mirror: bool, heap: bool) -> Image.Image:
    """Return a photograph-like picture of the cut-out (RGBA) in the scene.

    Its size, shape and everything in it follow from the cut-out and the generator alone. heap: a small
    cut-out may be shown several at a time.
    """
    cutout = cutout.crop(cutout.getchannel("A").getbbox())
    if mirror:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    copies = int(rng.integers(2, 6)) if heap and max(cutout.size) < HEAP_SIDE else 1
    if copies == 1:
        cutout = _turned(cutout, scene.tilt, rng)
    share = float(rng.uniform(0.62, 0.88))
    width, height = _frame(cutout, share, rng)
    picture = _background(scene, rng, width, height)
    light = _light(picture, rng)
    for i in range(copies):
        scale = share * min(width / cutout.width, height / cutout.height)
        if copies == 1:
            piece = _resized(cutout, scale)
        else:
            piece = _turned(_resized(cutout, scale * float(rng.uniform(0.45, 0.55))), 2 * scene.tilt, rng)
        x, y = _place(piece, scene, width, height, i, copies, rng)
        picture = _shadowed(picture, piece, x, y, scene)
        picture = _pasted(picture, piece, light, x, y)
    picture = _softened(picture, 0.35) + rng.normal(0, 0.012, picture.shape)
    return Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))


def _frame(cutout: Image.Image, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Choose width and height of the picture: upright for a tall cut-out, wide for a wide one."""
    aspect = cutout.width / cutout.height
    if aspect > 1.2:
        shape = float(rng.choice([1.0, 4 / 3, 4 / 3]))
    elif aspect < 0.8:
        shape = float(rng.choice([1.0, 3 / 4, 3 / 4]))
    else:
        shape = float(rng.choice([1.0, 1.0, 5 / 4]))
    long = int(np.clip(max(cutout.size) * GREATEST_ENLARGEMENT / share, *LONG_SIDE))
    return (long, round(long / shape)) if shape >= 1 else (round(long * shape), long)


def _background(scene: Scene, rng: np.random.Generator, width: int, height: int) -> Array:
    backdrop = scene.backdrops[int(rng.integers(len(scene.backdrops)))](rng, height, width)
    if scene.ground is None:
        return backdrop
    horizon = round(height * float(rng.uniform(0.4, 0.68)))
    ground = _laid_down(scene.ground(rng, 512, 512), height - horizon, width)
    picture = backdrop.copy()
    picture[:horizon] = backdrop[height - horizon :] if scene.backdrops == (sky,) else backdrop[:horizon]
    picture[horizon:] = ground
    # A horizon is never a clean cut: haze and distance blur it.
    blurred = _softened(picture, 3)
    near = np.exp(-((np.arange(height) - horizon) ** 2) / (2 * 5.0**2))[:, None, None]
    hazy: Array = picture * (1 - near) + blurred * near
    return hazy


def _laid_down(tile: Array, height: int, width: int) -> Array:
    """Show a surface as the ground runs away from the viewer: coarse in front, fine at the horizon."""
    nearness = np.linspace(0.04, 1, height)[:, None]
    depth = 1 / (nearness + 0.15)
    rows = (-depth * 180 % tile.shape[0]).astype(int)
    columns = ((np.arange(width)[None, :] - width / 2) * depth % tile.shape[1]).astype(int)
    near = tile[np.broadcast_to(rows, columns.shape), columns]
    # Far ground shows no grain: without this the rows next to the horizon flicker.
    clarity = np.clip(nearness * 1.6, 0, 1)[..., None]
    ground: Array = near * clarity + tile.mean((0, 1)) * (1 - clarity)
    return ground


def _light(picture: Array, rng: np.random.Generator) -> Array:
    """Return the colour of the light on the cut-out: a little of the place's own, and its exposure."""
    tint = picture.mean((0, 1)) / picture.mean()
    light: Array = (0.92 + 0.08 * tint) * float(rng.uniform(0.88, 1.05))
    return light


def _resized(cutout: Image.Image, scale: float) -> Image.Image:
    # Premultiplied alpha ("RGBa"): else the colour of invisible pixels bleeds into the rim.
    size = max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))
    return cutout.convert("RGBa").resize(size, Image.Resampling.BICUBIC).convert("RGBA")


def _turned(piece: Image.Image, tilt: float, rng: np.random.Generator) -> Image.Image:
    angle = float(rng.uniform(-tilt, tilt))
    turned = piece.convert("RGBa").rotate(angle, Image.Resampling.BICUBIC, expand=True).convert("RGBA")
    return turned.crop(turned.getchannel("A").getbbox())


def _place(
    piece: Image.Image, scene: Scene, width: int, height: int, index: int, copies: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Return the left and upper edge of a piece: near the middle, its foot on the ground where there is one."""
    x = width / 2 + float(rng.uniform(-0.06, 0.06)) * width
    y = height / 2 + float(rng.uniform(-0.05, 0.05)) * height
    if copies > 1:
        turn = 2 * np.pi * index / copies + float(rng.uniform(-0.3, 0.3))
        x += np.cos(turn) * width * 0.21
        y += np.sin(turn) * height * 0.21
    if scene.ground is not None and copies == 1:
        y = height * float(rng.uniform(0.86, 0.96)) - piece.height / 2
    return round(x - piece.width / 2), round(y - piece.height / 2)


def _alpha_at(piece: Image.Image, x: int, y: int, width: int, height: int) -> Image.Image:
    canvas = Image.new("L", (width, height))
    canvas.paste(piece.getchannel("A"), (x, y))
    return canvas


def _shadowed(picture: Array, piece: Image.Image, x: int, y: int, scene: Scene) -> Array:
    """Darken the ground under a standing piece, or beside one that is seen from above."""
    height, width = picture.shape[:2]
    if scene.from_above:
        cast, x, y = piece, x + max(2, width // 70), y + max(3, width // 50)
    elif scene.ground is not None:
        depth = max(4, piece.height // 8)
        cast = piece.resize((piece.width, depth))
        y += piece.height - round(depth * 0.75)
    else:
        return picture
    shade = _alpha_at(cast, x, y, width, height).filter(ImageFilter.GaussianBlur(max(2, width / 80)))
    return picture * (1 - 0.5 * np.asarray(shade)[..., None] / 255)


def _pasted(picture: Array, piece: Image.Image, light: Array, x: int, y: int) -> Array:
    height, width = picture.shape[:2]
    canvas = Image.new("RGB", (width, height))
    canvas.paste(piece.convert("RGB"), (x, y))
    alpha = np.asarray(_alpha_at(piece, x, y, width, height))[..., None] / 255
    return picture * (1 - alpha) + np.clip(np.asarray(canvas) / 255 * light, 0, 1) * alpha
