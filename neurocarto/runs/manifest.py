"""The manifest: what a run was made from, how, with what, and the checksums of its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neurocarto.errors import RunError, printable
from neurocarto.records import FORMAT, Layer

FILE_NAME = "manifest.json"
SHAPE: dict[str, Any] = {
    "run_id": str,
    "created": str,
    "version": str,
    "settings": {"false_discovery_rate?": float},
    "model": {"name": str, "source": str, "weights_sha256?": str},
    "images": {"source": str, "fingerprint": str, "count": int, "skipped": [{"path": str, "reason": str}]},
    "layers": [
        {
            "name": str,
            "channels": int,
            "map_height": int,
            "map_width": int,
            "layout?": str,
            "receptive_field?": float,
            "example_box?": float,
            "parents?": [str],
        }
    ],
    "packages": dict,
    "seconds": {...: float},
    "snapshots": [float],
    "influence": {"method": str},
    "files": {...: {"sha256": str, "bytes": int}},
}
"""What readers rely on: a type, a list of one shape, or an object's fields (`...`: every field). Integers count.

A field with a question mark may be missing or null.
"""


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    model: name, source, weights_sha256, preprocessing. images: source, fingerprint, count, skipped
    [{path, reason}]. seconds: per stage. files: {name: {sha256, bytes}}. influence says how edge
    weights were obtained; snapshots are the fractions of the images behind snapshots.npy. `extra`
    keeps fields that this version does not know.
    """

    run_id: str
    created: str
    version: str
    settings: Mapping[str, Any]
    model: Mapping[str, Any]
    images: Mapping[str, Any]
    layers: tuple[Layer, ...]
    packages: Mapping[str, str]
    seconds: Mapping[str, float]
    snapshots: tuple[float, ...]
    influence: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: int = FORMAT
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the manifest as indented JSON."""
        content = asdict(self)
        extra = content.pop("extra")
        return json.dumps({"format": content.pop("format"), **content, **extra}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse a manifest; RunError when it is not one or is of another format."""
        try:
            content = json.loads(text)
            _refuse_half_letters(content)
            if content["format"] != FORMAT:
                raise RunError(
                    f"the run has format {printable(content['format'])}, this version reads format {FORMAT}; "
                    "open it with the neurocarto that wrote it, or make it again"
                )
            _expect(content, SHAPE, "manifest")
            layers = tuple(Layer.from_json(entry) for entry in content.pop("layers"))
            known = {
                name: content.pop(name) for name in cls.__dataclass_fields__ if name in content and name != "extra"
            }
            known["snapshots"] = tuple(known["snapshots"])
            return cls(layers=layers, extra=content, **known)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(f"{FILE_NAME} is not a run's manifest: {error!r}; make the run again") from error

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a run folder; RunError when there is none."""
        try:
            text = (folder / FILE_NAME).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{folder} is not a run folder: it has no readable {FILE_NAME}") from error
        return cls.from_json(text)


def _refuse_half_letters(content: Any) -> None:
    """Raise ValueError for texts with half of a surrogate pair, which JSON can say and nothing can show."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a text in it holds {error.object[error.start]!a}, half a letter") from None


def _expect(value: Any, shape: Any, place: str) -> None:
    """Raise TypeError, with the place, when a value parsed from JSON has not the shape that readers rely on."""
    if isinstance(shape, list):
        _expect(value, list, place)
        for item in value:
            _expect(item, shape[0], f"{place}[]")
    elif isinstance(shape, dict):
        _expect(value, dict, place)
        parts = dict.fromkeys(value, shape[...]) if ... in shape else shape
        for key, part in parts.items():
            name = key if ... in shape else key.removesuffix("?")
            if name == key or value.get(name) is not None:
                _expect(value[name], part, f"{place}.{name}")
    elif shape is int and (type(value) is not int or value < 0):
        raise TypeError(f"{printable(place)} is {value!r:.80}, not a count")
    elif not isinstance(value, (int, float) if shape is float else shape) or value != value:
        raise TypeError(f"{printable(place)} is {value!r:.80}, not a {shape.__name__}")
