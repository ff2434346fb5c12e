"""A run as a card of the library: its map in small, and what it is in a few lines."""

import base64
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from neurocarto.files import written_size
from neurocarto.quality.badges import BADGES, UNTESTED
from neurocarto.runs.store import Run
from neurocarto.views.palette import ramp
from neurocarto.views.scorecard import Scorecard

WIDTH, HEIGHT = 176, 120
DOT = 2
"""Side of a neuron's square, in pixels."""


@dataclass(frozen=True)
class Card:
    """What the library shows of a run: picture and facts (HTML, escaped), bytes on disk."""

    picture: str
    facts: str
    bytes: int


def card(run: Run) -> Card:
    """Make the card of a run. RunError when it cannot be read."""
    manifest, neurons = run.manifest, run.neurons
    size = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    layers = neurons["layer"].astype("category").cat.set_categories([layer.name for layer in manifest.layers])
    picture = small_map(neurons[["x", "y"]].to_numpy(np.float32), layers.cat.codes.to_numpy(), len(manifest.layers))
    address = base64.b64encode(picture).decode()
    lines = [
        str(manifest.model.get("name", "")),
        f"{manifest.images['count']:,} images of {manifest.images.get('source', '')}",
        f"{len(neurons):,} neurons in {len(manifest.layers)} layers, {len(run.clusters):,} clusters, "
        f"{len(run.classes):,} classes",
        _quality(run),
        f"made {manifest.created[:10]}, {written_size(size)}",
    ]
    return Card(
        f'<img alt="" width="{WIDTH}" height="{HEIGHT}" src="data:image/png;base64,{address}">',
        "<br>".join(escape(line) for line in lines),
        size,
    )


def small_map(places: npt.NDArray[np.float32], layers: npt.NDArray[np.integer], count: int) -> bytes:
    """Draw neurons at places (N, 2), coloured by their layers (N,) of so many; returns a PNG with clear ground."""
    alive = np.isfinite(places).all(1)
    low, high = np.percentile(places[alive], [0.5, 99.5], axis=0) if alive.any() else (np.zeros(2), np.ones(2))
    inside = alive & (places >= low).all(1) & (places <= high).all(1)
    reach = np.maximum(high - low, 1e-9)
    spots = (places[inside] - low) / reach * (WIDTH - DOT, HEIGHT - DOT)
    x, y = spots[:, 0].astype(int), (HEIGHT - DOT - spots[:, 1]).astype(int)
    colours = np.array([_rgb(ramp(0.05 + 0.8 * layer / max(1, count - 1))) for layer in range(max(1, count))], np.uint8)
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    for right in range(DOT):
        for down in range(DOT):
            pixels[y + down, x + right] = colours[layers[inside]]
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _rgb(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, 255


def _quality(run: Run) -> str:
    scores = Scorecard(run)
    counts = scores.counts(run.clusters["cluster"].tolist()) if scores.judges else {}
    said = [f"{counts[word]:,} {word}" for word in BADGES if counts.get(word) and word != UNTESTED]
    return f"clusters: {', '.join(said)}" if said else "clusters not scored"
