"""One picture of a run: random neurons of every layer with their strongest patches.

    python -m scripts.patch_sheet data/demo docs/images/patches.webp

Each block is a layer, each row a neuron drawn at random among those that ever fire (seeded), each column
one of its strongest patches over both halves of the images, strongest first.
"""

import argparse
import base64
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from neurocarto.runs.store import Run
from neurocarto.views.patches import Patches

NEURONS = 10
PATCHES = 10
SIDE = 44
GAP = 14
TITLE = 16
COLUMNS = 6


def patch_sheet(run: Run, seed: int = 0) -> Image.Image:
    """Return the sheet of a run."""
    rng = np.random.default_rng(seed)
    patches = Patches(run)
    strongest = run.examples.sort_values(["neuron", "activation", "rank", "half"], ascending=[True, False, True, True])
    by_neuron = dict(iter(strongest.groupby("neuron").head(PATCHES).groupby("neuron")))
    layers = [layer.name for layer in run.manifest.layers]
    width, height = PATCHES * SIDE + GAP, NEURONS * SIDE + GAP + TITLE
    sheet = Image.new("RGB", (COLUMNS * width, math.ceil(len(layers) / COLUMNS) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, layer in enumerate(layers):
        left, top = i % COLUMNS * width, i // COLUMNS * height
        draw.text((left + 2, top + 2), layer, fill="black")
        alive = run.neurons.loc[(run.neurons["layer"] == layer) & run.neurons["x"].notna(), "neuron"]
        chosen = np.sort(rng.permutation(alive.to_numpy())[:NEURONS])
        for row, neuron in enumerate(chosen):
            _draw_row(sheet, patches, by_neuron[neuron], left, top + TITLE + row * SIDE)
    return sheet


def _draw_row(sheet: Image.Image, patches: Patches, examples: pd.DataFrame, left: int, top: int) -> None:
    for column, (image, *box) in enumerate(examples[["image", "x0", "y0", "x1", "y1"]].itertuples(index=False)):
        uri = patches.uri(int(image), tuple(map(float, box)), SIDE)
        if uri is not None:
            data = base64.b64decode(uri.partition(",")[2])
            sheet.paste(Image.open(io.BytesIO(data)), (left + column * SIDE, top))


def main() -> None:
    """Write the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("out", type=Path, help="the picture to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: %(default)s)")
    options = parser.parse_args()
    patch_sheet(Run(options.run), options.seed).save(options.out, quality=70)


if __name__ == "__main__":
    main()
