"""The cluster graph as SVG, from the data that the graph component draws. Every text from a run is escaped."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from math import ceil
from pathlib import Path
from typing import Any

from neurocarto.views.strips import PATCH

LINE = 14.0
"""Between two lines of a label, in graph units."""
MARGIN = 26.0
HEAD = 8.0
"""Length of an arrow's head."""
STYLE = (Path(__file__).parent / "drawings.css").read_text(encoding="utf-8")
"""What a document that shows graphs or maps needs in its style sheet; colours follow its color-scheme."""

_PLAIN = "\n".join(
    re.sub(r"light-dark\((.*?), .*?\)", r"\1", line) for line in STYLE.splitlines() if "var(" not in line
)
"""The same for a file of its own: in light colours, and without what only browsers understand."""


@dataclass(frozen=True)
class Drawing:
    """A drawing: its elements, and the box x, y, width, height in which they lie."""

    body: str
    box: tuple[float, float, float, float]
    rows: int
    """Rows of equal height, from the top."""

    def file(self) -> str:
        """Return it as a document of its own, in light colours and in what every program for drawings understands."""
        x, y, width, height = self.box
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nc-drawing" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="{x:.1f} {y:.1f} {width:.1f} {height:.1f}"><style>{_PLAIN}</style>{self.body}</svg>'
        )

    def slices(self, name: str, most: int) -> str:
        """Return it cut between rows into parts of `most` rows, which lie one below the other, for pages of paper."""
        x, y, width, height = self.box
        parts = ceil(self.rows / most) or 1
        down = height / max(self.rows, 1)
        each = ceil(self.rows / parts)
        shown = "".join(
            _svg((x, y + first * down, width, min(each, self.rows - first) * down), f'<use href="#{_ID}"/>', _HIDDEN)
            for first in range(each, self.rows, each)
        )
        top = _svg(
            (x, y, width, min(each, self.rows) * down), f'<g id="{_ID}" class="nc-drawing">{self.body}</g>', _HIDDEN
        )
        return f'<div class="nc-slices" role="img" aria-label="{escape(name)}">{top}{shown}</div>'


_ID, _HIDDEN = "nc-graph", 'aria-hidden="true"'


def draw(data: Mapping[str, Any], picture: Callable[[int], str | None]) -> Drawing:
    """Draw a graph as views.graph returns it, in rows from the top.

    picture: returns what shows a cluster, a data URI or a reference (`#…`) to a picture of PATCH × PATCH; where it is
    None, the node is a square in its layer's colour.
    """
    nodes = {node["id"]: node for node in data["nodes"]}
    down, bands = float(data["down"]), data["rows"]
    left, right = _ends([float(node["x"]) for node in nodes.values()])
    tops = sorted({float(node["y"]) for node in nodes.values()})
    box = (left, tops[0] - 0.45 * down, right - left, len(tops) * down) if tops else (0.0, 0.0, 1.0, 1.0)
    parts = [
        f'<rect class="nc-{"odd" if index % 2 else "even"}" x="{left:g}" y="{y - 0.45 * down:.1f}" '
        f'width="{right - left:g}" height="{down:g}"/>'
        for index, y in enumerate(tops)
    ]
    parts += [_edge(edge, nodes) for edge in data["edges"]]
    parts += [_node(node, picture(node["id"]) if node["id"] >= 0 else None) for node in nodes.values()]
    parts += [_band(band, left, down) for band in bands]
    return Drawing("".join(parts), box, len(tops))


def _svg(box: tuple[float, float, float, float], body: str, attributes: str) -> str:
    seen = " ".join(f"{value:.1f}".removesuffix(".0") for value in box)
    return f'<svg class="nc-drawing" viewBox="{seen}" {attributes}>{body}</svg>'


def _ends(xs: list[float]) -> tuple[float, float]:
    return min(xs, default=0.0) - 46 - MARGIN, max(xs, default=0.0) + 46 + MARGIN


def _lines(node: Mapping[str, Any]) -> list[str]:
    return str(node["label"]).split("\n")


def _edge(edge: Mapping[str, Any], nodes: Mapping[int, Mapping[str, Any]]) -> str:
    """A curve from the top of its source to below the label of its target, with an arrow's head."""
    source, target = nodes[edge["from"]], nodes[edge["to"]]
    x0, y0 = float(source["x"]), float(source["y"]) - float(source.get("size", 0.0))
    x1, y1 = float(target["x"]), float(target["y"]) + _below(target)
    bend = max(0.35 * (y0 - y1), 12.0)
    end = y1 + HEAD
    kind = ' class="nc-minus" stroke-dasharray="6 5"' if edge.get("dashes") else ""
    return (
        f'<path{kind} stroke-width="{edge["width"]}" d="M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 - bend:.1f} {x1:.1f} '
        f'{end + bend:.1f} {x1:.1f} {end:.1f}"/><polygon points="{x1 - HEAD / 2:.1f},{end:.1f} '
        f'{x1 + HEAD / 2:.1f},{end:.1f} {x1:.1f},{y1:.1f}"/>'
    )


def _below(node: Mapping[str, Any]) -> float:
    """How far a node reaches down from its middle, with its label."""
    if node["id"] < 0:
        return LINE * len(_lines(node)) / 2 + 14
    return float(node["size"]) + LINE * len(_lines(node)) + 4


def _node(node: Mapping[str, Any], picture: str | None) -> str:
    x, y, lines = float(node["x"]), float(node["y"]), _lines(node)
    if node["id"] < 0:
        across, down = 11.0 * max(map(len, lines)) + 24, 22.0 * len(lines) + 12
        frame = (
            f'<rect class="nc-box" x="{x - across / 2:.1f}" y="{y - down / 2:.1f}" width="{across:.1f}" '
            f'height="{down:.1f}" rx="5"/>'
        )
        return frame + _label(lines, x, y + 6 - 11 * (len(lines) - 1), 22, "nc-output")
    half = float(node["size"])
    place = f'x="{x - half:.1f}" y="{y - half:.1f}" width="{2 * half:.1f}" height="{2 * half:.1f}"'
    title = f"<title>{escape(str(node['name']))}, cluster {node['id']} in {escape(str(node['layer']))}</title>"
    light, dark = node["light"], node["dark"]
    colours = f'fill="{light}" stroke="{light}" style="--light:{light};--dark:{dark}"'
    body = f'<rect class="nc-node" {colours} {place} rx="2"/>'
    if picture and picture.startswith("#"):
        scale = 2 * half / PATCH
        moved = f'transform="translate({x - half:.1f} {y - half:.1f}) scale({scale:.4f})"'
        body += f'<use href="{escape(picture)}" {moved}/>'
    elif picture:
        body += f'<image href="{escape(picture)}" {place}/>'
    return f"<g>{title}{body}{_label(lines, x, y + half + LINE)}</g>"


def _label(lines: list[str], x: float, y: float, apart: float = LINE, kind: str = "") -> str:
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{y + index * apart:.1f}">{escape(line)}</tspan>' for index, line in enumerate(lines)
    )
    named = f' class="{kind}"' if kind else ""
    return f"<text{named}>{spans}</text>"


def _band(band: Mapping[str, Any], left: float, down: float) -> str:
    count = f"{band['shown']} of {band['available']}"
    return (
        f'<text class="nc-name" x="{left + 8:.1f}" y="{float(band["y"]) - 0.45 * down + 14:.1f}">'
        f"{escape(str(band['name']))} · {count}</text>"
    )
