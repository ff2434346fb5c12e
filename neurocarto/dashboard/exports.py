"""What can be taken away from what is shown: a report, tables, the cluster graph, figures, and how to cite it."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from neurocarto.dashboard import components, state, texts
from neurocarto.dashboard.loaders import OpenRun, graph_data
from neurocarto.dashboard.selection import Selection, query_string
from neurocarto.views import export
from neurocarto.views.report import report
from neurocarto.views.report_facts import citation

FORMATS: dict[str, tuple[Callable[[pd.DataFrame], bytes], str]] = {
    "CSV": (export.as_csv, "text/csv"),
    "Parquet": (export.as_parquet, "application/vnd.apache.parquet"),
}


def popover(opened: OpenRun) -> None:
    """Offer everything; a file is made when it is asked for."""
    selection = state.current()
    with (
        st.popover("Export", key="nc_export", help=texts.EXPORT_HELP, width="stretch"),
        st.container(key="nc_export_body", gap="xsmall"),
    ):
        _reports(opened, selection)
        _tables(opened, selection)
        _graph(opened, selection)
        components.export(query=query_string(selection), citation=citation(opened.run.manifest))


def _reports(opened: OpenRun, selection: Selection) -> None:
    _title(texts.EXPORT_REPORT, texts.EXPORT_REPORT_HOW)
    pixels = st.checkbox(texts.EXPORT_PIXELS, value=True, key="nc_export_pixels")
    offers = {"This class": selection.class_, "Whole run": ""}
    for place, (label, class_) in zip(st.columns(2), offers.items(), strict=True):
        make = partial(report, opened.lookup, opened.patches, class_, pixels)
        there = bool(class_) or label == "Whole run"
        _offer(place, label, make, f"{opened.name}-{class_ or 'run'}.html", "text/html", "report", disabled=not there)


def _tables(opened: OpenRun, selection: Selection) -> None:
    lookup, class_ = opened.lookup, selection.class_
    _title(texts.EXPORT_TABLES, texts.EXPORT_TABLES_HOW)
    tables: dict[str, tuple[Callable[[], pd.DataFrame], bool]] = {
        "clusters": (lambda: export.clusters_table(lookup, _clusters(opened, selection), class_), True),
        "neurons": (lambda: _neurons(opened, selection), not selection.is_empty),
        "importance": (lambda: export.importance_table(lookup, class_), bool(class_)),
    }
    for what, (table, there) in tables.items():
        left, *places = st.columns([2.2, 1, 1], vertical_alignment="center")
        left.caption(texts.EXPORT_TABLE[what])
        for place, (name, (write, kind)) in zip(places, FORMATS.items(), strict=True):
            file = f"{opened.name}-{class_}-{what}.{name.lower()}"
            _offer(place, name, partial(_written, write, table), file, kind, what, disabled=not there)


def _graph(opened: OpenRun, selection: Selection) -> None:
    left, *places = st.columns([1.2, 1, 1, 1], vertical_alignment="center")
    left.caption(texts.EXPORT_GRAPH)
    makers: dict[str, tuple[Callable[[Any], bytes], str]] = {
        "GraphML": (export.graph_ml, "application/xml"),
        "JSON": (export.graph_json, "application/json"),
        "SVG": (partial(export.graph_drawing, opened.lookup, opened.patches), "image/svg+xml"),
    }
    for place, (name, (write, kind)) in zip(places, makers.items(), strict=True):
        file = f"{opened.name}-{selection.class_}-graph.{name.lower()}"
        _offer(place, name, partial(_written, write, partial(_shown_graph, opened, selection)), file, kind, "graph")


def _shown_graph(opened: OpenRun, selection: Selection) -> dict[str, Any]:
    return graph_data(opened, selection.class_, selection.layers, selection.least, selection.edges)


def _clusters(opened: OpenRun, selection: Selection) -> list[int]:
    """The selected clusters; where none is, those that the graph shows."""
    chosen = list(state.highlighted(opened, selection).clusters)
    return chosen or [node["id"] for node in _shown_graph(opened, selection)["nodes"] if node["id"] >= 0]


def _neurons(opened: OpenRun, selection: Selection) -> pd.DataFrame:
    return export.neurons_table(opened.lookup, state.highlighted(opened, selection).selected)


def _written(write: Callable[[Any], bytes], make: Callable[[], Any]) -> bytes:
    return write(make())


def _title(title: str, how: str) -> None:
    st.html(f'<p class="nc-export-title"><b>{title}</b> {how}</p>')


def _offer(
    place: Any, label: str, make: Callable[[], str | bytes], name: str, kind: str, what: str, disabled: bool = False
) -> None:
    key = f"nc_export_{what}_{label}"
    file = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    place.download_button(label, make, file, kind, key=key, on_click="ignore", disabled=disabled, width="stretch")
