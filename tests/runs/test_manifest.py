import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.errors import RunError
from neurocarto.records import Layer
from neurocarto.runs.manifest import Manifest
from neurocarto.settings import SNAPSHOT_FRACTIONS, RunSettings

MANIFEST = Manifest(
    run_id="4f00ba",
    created="2026-01-01T00:00:00+00:00",
    version="1.2",
    settings=RunSettings(threads=1).as_dict(),
    model={"name": "net", "source": "tests", "weights_sha256": "0" * 64, "preprocessing": {"size": 224}},
    images={"source": "böx/é", "fingerprint": "f" * 64, "count": 12, "skipped": [{"path": "a.png", "reason": "empty"}]},
    layers=(
        Layer("block0", 3, 7, 5, clamp=(0.0, 6.0), receptive_field=32, example_box=56.5),
        Layer("block1", 4, 1, 1, layout="BTC", parents=("block0",)),
    ),
    packages={"torch": "2.15.0"},
    seconds={"extraction": 1.25, "labels": 0.0},
    snapshots=SNAPSHOT_FRACTIONS,
    influence={"method": "gradient"},
    files={"neurons.parquet": {"sha256": "0" * 64, "bytes": 12}},
)
CONTENT: dict[str, Any] = json.loads(MANIFEST.to_json())

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, child in children for place in places(child, (*path, name)))]


def mutilated(path: tuple[Any, ...], new: Any, remove: bool) -> Any:
    """Return the content with the value at a path replaced or removed."""
    content = json.loads(json.dumps(CONTENT))
    if not path:
        return new
    parent = content
    for step in path[:-1]:
        parent = parent[step]
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return content


def test_writing_and_reading_is_the_identity() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@given(st.dictionaries(st.text().filter(lambda name: name not in CONTENT), json_values.filter(lambda v: v == v)))
def test_fields_of_later_versions_are_kept(extra: dict[str, Any]) -> None:
    manifest = Manifest.from_json(json.dumps({**CONTENT, **extra}))
    text = manifest.to_json()
    assert json.dumps(json.loads(text), sort_keys=True) == json.dumps({**CONTENT, **extra}, sort_keys=True)
    assert replace(manifest, extra={}) == MANIFEST


def test_a_field_named_like_the_keeper_of_unknown_fields_is_kept_too() -> None:
    assert Manifest.from_json(json.dumps({**CONTENT, "extra": 1})).extra == {"extra": 1}


def test_unknown_fields_of_a_layer_are_accepted() -> None:
    content = {**CONTENT, "layers": [{**layer, "later": 1} for layer in CONTENT["layers"]]}
    assert Manifest.from_json(json.dumps(content)).layers == MANIFEST.layers


@pytest.mark.parametrize("other", [0, 2, "1", None])
def test_another_format_is_refused_naming_both(other: object) -> None:
    with pytest.raises(RunError, match=f"the run has format {other}, this version reads format 1"):
        Manifest.from_json(json.dumps({**CONTENT, "format": other}))


@pytest.mark.parametrize("text", ["", "no json", "null", "[]", "{}", '"format"', "[" * 100_000, '{"format": 1}'])
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(RunError, match="is not a run's manifest"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("layers", 0, "channels"), "3"),
        (("layers", 1, "channels"), -4),
        (("images",), []),
        (("images", "count"), None),
        (("images", "skipped", 0), "a.png"),
        (("seconds", "labels"), "long"),
        (("files", "neurons.parquet"), 12),
        (("snapshots",), 1.0),
        (("settings", "false_discovery_rate"), "all"),
        (("model", "weights_sha256"), 7),
        (("layers", 1, "parents"), [["block0"]]),
        (("layers", 0, "example_box"), "wide"),
        (("files", "neurons.parquet"), {"sha256": "0", "bytes": 0.5}),
    ],
)
def test_a_value_that_readers_could_not_use_is_refused(path: tuple[Any, ...], value: object) -> None:
    with pytest.raises(RunError, match=path[0]):
        Manifest.from_json(json.dumps(mutilated(path, value, remove=False)))


def test_half_a_letter_is_refused() -> None:
    text = json.dumps(mutilated(("model", "name"), "\ud83d", remove=False))
    with pytest.raises(RunError, match="ud83d', half a letter"):
        Manifest.from_json(text)
    assert Manifest.from_json(text.replace("\\ud83d", "\\ud83d\\ude00")).model["name"] == "\U0001f600"


@pytest.mark.parametrize(("path", "new"), [(("format",), "2\n" * 999), (("run_id",), ["\x1b[31m"] * 999)])
def test_a_wrong_value_is_said_in_a_short_line(path: tuple[str, ...], new: object) -> None:
    with pytest.raises(RunError) as caught:
        Manifest.from_json(json.dumps(mutilated(path, new, remove=False)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.sampled_from(places(CONTENT)), json_values, st.booleans())
def test_a_changed_value_gives_a_manifest_or_a_run_error(path: tuple[Any, ...], new: Any, remove: bool) -> None:
    try:
        manifest = Manifest.from_json(json.dumps(mutilated(path, new, remove)))
    except RunError:
        return
    assert manifest.to_json()
    assert sum(layer.channels for layer in manifest.layers) >= 0


@given(st.data())
def test_damaged_text_gives_a_manifest_or_a_run_error(data: st.DataObject) -> None:
    text = MANIFEST.to_json()
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, len(text)))
    damaged = text[:begin] + data.draw(st.text(max_size=10)) + text[end:]
    with suppress(RunError):
        assert isinstance(Manifest.from_json(damaged), Manifest)


def test_a_folder_without_a_manifest_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="is not a run folder"):
            Manifest.read(folder)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="is not a run folder"):
        Manifest.read(tmp_path)
