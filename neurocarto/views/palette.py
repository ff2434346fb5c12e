"""Colours. Safe for the common kinds of colour blindness, and never the only sign of anything.

Layers lie on one ramp from dark to bright (viridis, which reads in order and in greyscale). What is
selected has one colour everywhere, and an outline or a larger mark besides.
"""

from functools import cache

import numpy as np

RAMP = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
"""Nine even steps of viridis."""
SELECTED = {"light": "#d1495b", "dark": "#ff7a6b"}
FIRING = {"light": "#e69f00", "dark": "#ffffff"}
"""What fires on a visitor's image, with a halo besides: not on the ramp's part of either theme."""
NEUTRAL = {"light": "#a8a8a8", "dark": "#6f6f6f"}
"""For points to which a colour's question does not apply."""
CATEGORIES = {
    "light": ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#7a5a00", "#5c3d99"),
    "dark": ("#4aa8e0", "#e69f00", "#2fc79a", "#e59cc4", "#8fd0f5", "#d6c25a", "#a98be0"),
}
"""Colours that tell neighbours apart, after Okabe and Ito (Color Universal Design, 2008); they have no order."""
RISING = {"light": ("#f1f5f4", "#21918c", "#440154"), "dark": ("#1d2026", "#21918c", "#fde725")}
"""For shares from none to all: from near the background over the ramp's middle to its end that stands out most."""
RANGE = {"light": (0.02, 0.80), "dark": (0.30, 1.0)}
"""The part of the ramp that stands out from the theme's background."""


@cache
def ramp(position: float) -> str:
    """Return the ramp's colour at a position in 0…1, as #rrggbb."""
    steps = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in RAMP], float)
    at = float(np.clip(position, 0, 1)) * (len(RAMP) - 1)
    channels = [np.interp(at, np.arange(len(RAMP)), steps[:, i]) for i in range(3)]
    return "#" + "".join(f"{round(float(value)):02x}" for value in channels)


@cache
def ramp_colours(count: int, theme: str) -> tuple[str, ...]:
    """Return evenly spaced colours of the ramp, from low to high, that stand out from the theme `light` or `dark`."""
    low, high = RANGE[theme]
    return tuple(ramp(low + (high - low) * (index / max(count - 1, 1))) for index in range(count))
