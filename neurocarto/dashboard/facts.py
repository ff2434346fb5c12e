"""What a run was made from, as tables for the About page. Every value is escaped: names come from users' folders."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from neurocarto.runs.manifest import Manifest

_CELL = "padding:4px 12px 4px 0;text-align:left;vertical-align:top"
_LINE = "border-bottom:1px solid color-mix(in srgb,currentColor 14%,transparent)"
SHOWN_SKIPPED = 50


def run_facts(manifest: Manifest) -> None:
    """Show the run's model, images, layers, settings and skipped files."""
    model, images = manifest.model, manifest.images
    skipped = images.get("skipped", [])
    _table(
        (),
        [
            ("Run", manifest.run_id),
            ("Made", f"{manifest.created}, neurocarto {manifest.version}"),
            ("Model", f"{model.get('name')} ({model.get('source')})"),
            ("Weights", f"sha256 {str(model.get('weights_sha256'))[:16]}…"),
            ("Input", model.get("preprocessing")),
            ("Images", f"{images.get('count'):,} from {images.get('source')}; {len(skipped):,} files skipped"),
            ("Influence", manifest.influence),
            ("Computing time", f"{sum(manifest.seconds.values()):,.0f} s"),
        ],
    )
    with st.expander(f"Layers ({len(manifest.layers)})"):
        _table(
            ("Layer", "Neurons", "Activation map", "Receptive field", "Example box"),
            [
                (
                    layer.name,
                    f"{layer.channels:,}",
                    f"{layer.map_height} × {layer.map_width}",
                    _pixels(layer.receptive_field),
                    _pixels(layer.example_box),
                )
                for layer in manifest.layers
            ],
        )
    with st.expander(f"Settings ({len(manifest.settings)})"):
        _table(("Setting", "Value"), manifest.settings.items())
    with st.expander(f"Skipped files ({len(skipped):,})"):
        if skipped:
            _table(("File", "Why"), [(entry.get("path"), entry.get("reason")) for entry in skipped[:SHOWN_SKIPPED]])
            if len(skipped) > SHOWN_SKIPPED:
                st.caption(f"and {len(skipped) - SHOWN_SKIPPED:,} more; all of them are in the run's manifest.json")
        else:
            st.caption("Every image file could be read.")


def _pixels(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f} px"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    def line(cells: Iterable[Any], tag: str) -> str:
        # The first column names things: it is as wide as its longest word.
        wraps = itertools.chain(["break-word"], itertools.repeat("anywhere"))
        return "".join(
            f'<{tag} style="{_CELL};{_LINE};overflow-wrap:{wrap}">{escape(_text(cell))}</{tag}>'
            for cell, wrap in zip(cells, wraps, strict=False)
        )

    top = f"<thead><tr>{line(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    st.html(f'<table style="border-collapse:collapse;width:100%;font-size:.9rem">{top}<tbody>{body}</tbody></table>')


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
