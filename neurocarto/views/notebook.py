"""The views outside the app: the map as a figure, graphs and patches as HTML that needs nothing from elsewhere."""

import base64
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from neurocarto.records import ALL_IMAGES
from neurocarto.views import projection
from neurocarto.views.colouring import colouring
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.patches import Patches
from neurocarto.views.strips import Strips

VIS_NETWORK = ("pyvis", "lib/vis-9.1.2/vis-network.min.js")
"""The package that carries the script which draws graphs, and the file in it."""
HEIGHT = 600
"""Pixels."""
PICTURE = 64
"""Pixels of a graph's pictures."""


def map_figure(lookup: Lookup, colour: str = "layer", class_: str = ALL_IMAGES) -> go.Figure:
    """Return the map of neurons as the app draws it, with names to hover over.

    colour: layer, cluster, importance (for the class) or rate.
    """
    figure = go.Figure(projection.figure(lookup))
    points = figure.data[0]
    look = colouring(lookup, colour, class_)
    codes = np.frombuffer(base64.b64decode(look["codes"]), "<i2").astype(int)
    colours = look["light"] if codes.max(initial=0) == len(look["light"]) - 1 else look["light"][:-1]
    labels = lookup.labels
    names = [lookup.neuron_name(neuron) for neuron in range(len(codes))]
    of = [
        f"cluster {c}: {escape(labels[c])}" if c in labels else "in no cluster" for c in lookup.neuron_cluster.tolist()
    ]
    points.update(
        x=lookup.places[:, 0],
        y=lookup.places[:, 1],
        hoverinfo=None,
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        customdata=list(zip(map(escape, names), of, strict=True)),
        marker={
            "color": codes,
            "colorscale": _stepped(colours),
            "cmin": -0.5,
            "cmax": len(colours) - 0.5,
            "showscale": colour != "cluster",
            "colorbar": {
                "tickvals": [0, len(look["legend"]) - 1],
                "ticktext": [escape(look["low"]), escape(look["high"])],
                "thickness": 12,
            },
        },
    )
    figure.data = [points]
    return figure.update_layout(height=HEIGHT)


def _stepped(colours: list[str]) -> list[tuple[float, str]]:
    """A colour scale of even steps."""
    count = len(colours)
    return [(place / count, colour) for i, colour in enumerate(colours) for place in (i, i + 1)]


def graph_page(content: Mapping[str, Any], pictures: Mapping[int, str]) -> str:
    """Return a graph as a page that opens from disk. content: as views.graph draws it; pictures: data URIs by node."""
    nodes = [
        {
            **node,
            "color": {"border": node.get("light", "#444"), "background": "#fff"},
            "title": _tip(node),
            **({"shape": "image", "image": pictures[node["id"]]} if node["id"] in pictures else {}),
        }
        for node in content["nodes"]
    ]
    options = {**content["options"], "interaction": {**content["options"]["interaction"], "tooltipDelay": 200}}
    data = {**content, "nodes": nodes, "options": options}
    # No text of a run can end the script that it stands in.
    listed = json.dumps(data).replace("<", "\\u003c")
    return _PAGE.replace("/*vis-network*/", _script()).replace("/*content*/", listed)


def _tip(node: Mapping[str, Any]) -> str:
    if node["id"] < 0:
        return f"{node['name']}: the class's own output"
    return f"{node['name']}\ncluster {node['id']} in {node['layer']}\n{node['neurons']} neurons"


@cache
def _script() -> str:
    package, file = VIS_NETWORK
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"graphs need {package}; install requirements.txt")
    return (Path(spec.origin).parent / file).read_text(encoding="utf-8").replace("</script", "<\\/script")


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Cluster graph</title>
<style>
html, body { margin: 0; height: 100%; background: #fff; font-family: sans-serif; }
#graph { height: calc(100% - 26px); }
div.vis-tooltip { position: absolute; visibility: hidden; z-index: 5; pointer-events: none; padding: 6px 9px;
  color: #222; background: #fff; border: 1px solid #bbb; border-radius: 5px;
  white-space: pre-line; font: 12.5px sans-serif; }
#legend { padding: 5px 10px; font-size: 12px; line-height: 16px; color: #555; }
</style>
<div id="graph"></div>
<div id="legend">wider: stronger in its layer · dashed: inhibits · drag to move, scroll to zoom</div>
<script>/*vis-network*/</script>
<script>
const { nodes, edges, options, rows, down } = /*content*/;
const colour = ({ weight }) => ({ color: weight < 0 ? "#6a4c93" : "#444", opacity: 0.45 });
const coloured = edges.map((edge) => ({ ...edge, color: colour(edge) }));
const box = document.getElementById("graph");
const network = new vis.Network(box, { nodes, edges: coloured }, options);
network.on("beforeDrawing", (context) => {
  const left = network.DOMtoCanvas({ x: 0, y: 0 }).x, right = network.DOMtoCanvas({ x: box.clientWidth, y: 0 }).x;
  const unit = 1 / network.getScale();
  context.textBaseline = "top";
  context.font = `${Math.min(11.5 * unit, 20)}px sans-serif`;
  rows.forEach((row, i) => {
    const top = row.y - down * 0.42;
    context.fillStyle = i % 2 ? "#fff" : "#f6f6f6";
    context.fillRect(left, top, right - left, down);
    context.fillStyle = row.light;
    context.fillRect(left, top, 4 * unit, down);
    context.fillStyle = "#555";
    context.fillText(row.shown < row.available ? `${row.name}  ${row.shown} of ${row.available}` : row.name,
      left + 10 * unit, top + 3 * unit);
  });
});
// A tall graph opens at its top, where the class is, at a size that can be read.
function start() {
  if (!nodes.length) return;
  const xs = nodes.map((node) => node.x), ys = nodes.map((node) => node.y);
  const across = Math.max(...xs) - Math.min(...xs) + 180, tall = Math.max(...ys) - Math.min(...ys) + down;
  const scale = Math.min(1, box.clientWidth / across);
  const top = Math.min(...ys) - down * 0.42;
  const y = tall * scale <= box.clientHeight ? top + tall / 2 : top + box.clientHeight / scale / 2;
  network.moveTo({ position: { x: (Math.max(...xs) + Math.min(...xs)) / 2, y }, scale, animation: false });
}
start();
addEventListener("resize", start);
</script></html>
"""


def framed(page: str) -> str:
    """Return a page as a part of a notebook: its script can reach nothing around it."""
    return (
        f'<iframe srcdoc="{escape(page)}" sandbox="allow-scripts" loading="lazy" title="Cluster graph" '
        f'style="width:100%;height:{HEIGHT}px;border:1px solid #8884;border-radius:6px"></iframe>'
    )


def graph_pictures(lookup: Lookup, patches: Patches, content: Mapping[str, Any]) -> dict[int, str]:
    """Return the patch that speaks best for each cluster of a graph, as a data URI, by cluster."""
    pictures = {}
    for node in content["nodes"]:
        if node["id"] < 0:
            continue
        for row in table_rows(lookup.cluster_examples(node["id"], 1)):
            uri = patches.uri(int(row.image), (float(row.x0), float(row.y0), float(row.x1), float(row.y1)), PICTURE)
            if uri:
                pictures[node["id"]] = uri
    return pictures


def strip(
    lookup: Lookup, patches: Patches, *, cluster: int | None = None, neuron: int | None = None, count: int
) -> str:
    """Return the patches of a cluster or of a neuron, with its name."""
    strips = Strips(lookup, patches, openable=False)
    if cluster is not None:
        layer = lookup.layers[lookup.cluster_layer[cluster]]
        name, pictures = f"cluster {cluster} in {layer}: {lookup.label(cluster)}", strips.cluster(cluster, count)
    else:
        assert neuron is not None
        name, pictures = lookup.neuron_name(neuron), strips.neuron(neuron, count)
    return (
        f'<figure style="margin:0"><figcaption>{escape(name)}</figcaption>'
        f'<div style="display:flex;flex-wrap:wrap;gap:4px">{pictures or "no patches: it never fired"}</div></figure>'
    )
