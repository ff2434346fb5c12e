"""The projection: every neuron of a run as a point, as a Plotly figure.

The figure is sent once per run. What stands out travels separately, as one bit per neuron, and fills
the figure's empty traces.
"""

import base64
import json
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neurocarto.views.lookup import BoolArray, Lookup
from neurocarto.views.palette import FIRING, SELECTED

TRACES = ("all", "context")
"""Names of the traces, from the bottom to the top; what is selected is marked above them (projection.js)."""
MAP_STEPS = 32767
"""Steps between the lowest and the highest coordinate of a map that travels."""


def figure(lookup: Lookup) -> dict[str, Any]:
    """Return the figure as plain JSON data: one trace with all neurons in row order, and an empty one above.

    A point's number is its neuron's number; neurons without a place (they never fired, or fire alike on all
    images) leave a gap.
    """
    colours = lookup.neuron_layer.astype(np.uint8 if len(lookup.layers) < 256 else np.int16)
    chart = go.Figure(
        [
            go.Scattergl(
                x=lookup.places[:, 0],
                y=lookup.places[:, 1],
                marker={"size": _point_size(len(colours)), "opacity": 0.8, "color": colours},
            ),
            go.Scattergl(marker={"size": _point_size(len(colours)) + 1, "opacity": 0.9}),
        ]
    )
    for name, trace in zip(TRACES, chart.data, strict=True):
        trace.update(name=name, mode="markers", hoverinfo="none", showlegend=False)
    bare = {"visible": False, "zeroline": False}
    chart.update_layout(
        template=None,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        xaxis=bare,
        yaxis={**bare, "scaleanchor": "x"},
        dragmode="pan",
        hovermode="closest",
        hoverdistance=12,
        uirevision="kept",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    content: dict[str, Any] = json.loads(chart.to_json(validate=False))
    return content


def captions(lookup: Lookup) -> dict[str, Any]:
    """Return what names a point: the layers, each neuron's cluster, and the clusters' labels."""
    first = np.searchsorted(lookup.neuron_layer, np.arange(len(lookup.layers))).tolist()
    return {
        "layers": [{"name": name, "first": first[i]} for i, name in enumerate(lookup.layers)],
        "clusters": base64.b64encode(lookup.neuron_cluster.astype("<i4").tobytes()).decode(),
        "labels": {str(cluster): label for cluster, label in lookup.labels.items()},
        "accent": SELECTED,
        "firing": FIRING,
    }


def maps(lookup: Lookup) -> dict[str, Any]:
    """Return the maps after a part of the images, all but the last, for the browser.

    data: (S - 1, N, 2) int16 as base64, steps between low and high, -1 where a neuron has no place.
    """
    places = lookup.run.snapshots[:-1]
    known = np.isfinite(places)
    low, high = (float(places[known].min()), float(places[known].max())) if known.any() else (0.0, 1.0)
    scaled = (np.where(known, places, low) - low) / max(high - low, 1e-9) * MAP_STEPS
    codes = np.where(known, np.rint(scaled), -1).astype("<i2")
    return {"low": low, "high": high, "steps": MAP_STEPS, "data": base64.b64encode(codes.tobytes()).decode()}


def bits(mask: BoolArray) -> str:
    """Pack one bit per neuron, lowest bit first, as base64 text: 20,000 neurons in 3.4 kB."""
    return base64.b64encode(np.packbits(mask, bitorder="little").tobytes()).decode()


def _point_size(neurons: int) -> float:
    return float(np.clip(9 - 1.25 * np.log10(max(neurons, 1)), 2.5, 8))
