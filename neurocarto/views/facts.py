"""What a run was made from, as rows of plain text; whoever shows them escapes them."""

import json
from collections.abc import Mapping
from typing import Any

from neurocarto.runs.manifest import Manifest

LAYER_HEAD = ("Layer", "Neurons", "Activation map", "Receptive field", "Example box")


def run_rows(manifest: Manifest, paths: bool = True) -> list[tuple[str, str]]:
    """Return name and value of what identifies a run. paths: whether to say where its images lie."""
    model, images = manifest.model, manifest.images
    source = f" from {images.get('source')}" if paths else ""
    return [
        ("Run", manifest.run_id),
        ("Made", f"{manifest.created}, neurocarto {manifest.version}"),
        ("Model", f"{model.get('name')} ({model.get('source')})"),
        ("Weights", f"sha256 {str(model.get('weights_sha256'))[:16]}…"),
        ("Input", text_of(model.get("preprocessing"))),
        ("Images", f"{images.get('count'):,}{source}; {len(images.get('skipped', [])):,} files skipped"),
        ("Influence", text_of(manifest.influence)),
        ("Computing time", f"{sum(manifest.seconds.values()):,.0f} s"),
    ]


def layer_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    """Return what LAYER_HEAD names of each layer."""
    return [
        (
            layer.name,
            f"{layer.channels:,}",
            f"{layer.map_height} × {layer.map_width}",
            _pixels(layer.receptive_field),
            _pixels(layer.example_box),
        )
        for layer in manifest.layers
    ]


def text_of(value: Any) -> str:
    """Return a value of a manifest as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {text_of(part)}" for name, part in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pixels(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f} px"
