"""What a run was made from, as tables for the About page. Every value is escaped: names come from users' folders."""

import itertools
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import streamlit as st

from neurocarto.runs.manifest import Manifest
from neurocarto.views.facts import LAYER_HEAD, layer_rows, run_rows, text_of

_CELL = "padding:4px 12px 4px 0;text-align:left;vertical-align:top"
_LINE = "border-bottom:1px solid color-mix(in srgb,currentColor 14%,transparent)"
SHOWN_SKIPPED = 50


def run_facts(manifest: Manifest) -> None:
    """Show the run's model, images, layers, settings and skipped files."""
    skipped = manifest.images.get("skipped", [])
    _table((), run_rows(manifest))
    with st.expander(f"Layers ({len(manifest.layers)})"):
        _table(LAYER_HEAD, layer_rows(manifest))
    with st.expander(f"Settings ({len(manifest.settings)})"):
        _table(("Setting", "Value"), manifest.settings.items())
    with st.expander(f"Skipped files ({len(skipped):,})"):
        if skipped:
            _table(("File", "Why"), [(entry.get("path"), entry.get("reason")) for entry in skipped[:SHOWN_SKIPPED]])
            if len(skipped) > SHOWN_SKIPPED:
                st.caption(f"and {len(skipped) - SHOWN_SKIPPED:,} more; all of them are in the run's manifest.json")
        else:
            st.caption("Every image file could be read.")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    def line(cells: Iterable[Any], tag: str) -> str:
        # The first column names things: it is as wide as its longest word.
        wraps = itertools.chain(["break-word"], itertools.repeat("anywhere"))
        return "".join(
            f'<{tag} style="{_CELL};{_LINE};overflow-wrap:{wrap}">{escape(text_of(cell))}</{tag}>'
            for cell, wrap in zip(cells, wraps, strict=False)
        )

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    st.html(f'<table style="border-collapse:collapse;width:100%;font-size:.9rem">{top}<tbody>{body}</tbody></table>')
