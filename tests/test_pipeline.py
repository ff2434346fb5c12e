import shutil
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BROKEN, SMALL, files

from neurocarto.engine import local
from neurocarto.errors import ImagesError, NeurocartoError
from neurocarto.extraction.hooks import layer_outputs
from neurocarto.extraction.images import list_images, open_image
from neurocarto.extraction.layers import describe_layers
from neurocarto.extraction.models import Model, load_model
from neurocarto.pipeline import run
from neurocarto.progress import Progress
from neurocarto.records import LATER_SCHEMAS, SCHEMAS
from neurocarto.runs.store import ARRAYS, PREVIEW_FILE, Run, check_run
from neurocarto.settings import SNAPSHOT_FRACTIONS
from neurocarto.stages import PACKAGES, STAGES

NETWORK = "efficientnet_lite0"


@pytest.fixture(scope="module")
def made(real_run: Path) -> Run:
    return Run(real_run)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(NETWORK)


def test_a_run_is_whole(real_run: Path) -> None:
    assert check_run(real_run) == []
    assert [path.name for path in real_run.parent.iterdir()] == [real_run.name]


def test_another_seed_gives_another_run(made: Run, model: Model, photos: Path) -> None:
    images, other = list_images(photos), replace(SMALL, seed=1)
    extraction = local.extract(model, describe_layers(model), images, other, lambda _: None)
    halves = made.examples.groupby("image")["half"].first()
    assert (extraction.images["half"][halves.index] != halves).any()
    np.testing.assert_allclose(extraction.maximum, made.neurons["max_activation"], atol=1e-3)


class TestUnreadableImages:
    def test_they_are_counted_and_listed_with_the_reason(self, made: Run) -> None:
        images = made.manifest.images
        assert images["count"] == len(made.images) == 24
        assert images["skipped"] == [{"path": BROKEN, "reason": "not an image that Pillow can read"}]

    def test_ids_go_on_without_them(self, made: Run, photos: Path) -> None:
        assert made.images["image"].tolist() == list(range(24))
        expected = sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.png"))
        assert made.images["path"].tolist() == [path for path in expected if path != BROKEN]
        assert made.images["label"].tolist() == ["discs"] * 12 + ["stripes"] * 12
        sizes = [open_image(photos / path).size for path in made.images["path"]]
        assert list(zip(made.images["width"], made.images["height"], strict=True)) == sizes

    def test_too_few_readable_ones_are_refused_with_the_first_problem(self, photos: Path, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        for index in range(9):
            shutil.copy(photos / "discs" / "00.png", folder / f"{index}.png")
        (folder / "empty.png").write_bytes(b"")
        with pytest.raises(ImagesError, match=r"only 9 of 10 images .* at least 10 .* empty\.png: not an image"):
            run(NETWORK, folder, tmp_path / "run", SMALL)
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]


class TestManifest:
    def test_it_says_what_the_run_was_made_from(self, made: Run, model: Model, photos: Path) -> None:
        manifest = made.manifest
        assert (manifest.format, manifest.settings) == (1, SMALL.as_dict())
        assert manifest.model == {**model.describe(), "preprocessing": _lists(asdict(model.preprocessing))}
        assert len(manifest.model["weights_sha256"]) == 64
        assert manifest.images["source"] == str(photos)
        assert manifest.images["fingerprint"] == list_images(photos).fingerprint
        assert len(manifest.run_id) == 12
        assert manifest.extra["algorithms"] == {name: stage.version for name, stage in STAGES.items()}
        assert datetime.fromisoformat(manifest.created).utcoffset().total_seconds() == 0
        assert manifest.snapshots == SNAPSHOT_FRACTIONS
        assert (manifest.influence["method"], SMALL.influence) == ("intervention", "intervention")
        assert {"note", "agreement"} <= set(manifest.influence)
        assert set(manifest.packages) == set(PACKAGES)
        assert all(version[0].isdigit() for version in manifest.packages.values())

    def test_it_says_where_to_hook_every_layer(self, made: Run, model: Model) -> None:
        layers = made.manifest.layers
        assert [layer.name for layer in layers] == [site.name for site in model.sites]
        modules = dict(model.module.named_modules())
        for layer in layers:
            assert layer.channels == modules[layer.name].num_features
            assert (layer.layout, layer.clamp) == ("BCHW", (0.0, 6.0))
            assert layer.map_height == layer.map_width >= 7
            assert 0 < layer.example_box <= 224 * 0.35**0.5
        names = [layer.name for layer in layers]
        assert [layer.parents for layer in layers] == [(), *((name,) for name in names[:-1])]
        fields = [layer.receptive_field for layer in layers]
        assert fields == sorted(fields)
        assert fields[0] == 3 + 2 * 2, "a 3 x 3 convolution of stride 2, then a 3 x 3 one"

    def test_it_times_every_stage(self, made: Run) -> None:
        assert list(made.manifest.seconds) == list(STAGES)
        assert all(seconds >= 0 for seconds in made.manifest.seconds.values())
        assert made.manifest.seconds["extraction"] > 0

    def test_it_lists_every_file(self, made: Run) -> None:
        tables = (*SCHEMAS, *LATER_SCHEMAS)
        required = {*(f"{name}.parquet" for name in tables), *(f"{name}.npy" for name in ARRAYS), PREVIEW_FILE}
        assert required <= set(made.manifest.files)
        sizes = {name: len(content) for name, content in files(made.folder).items()}
        assert {name: entry["bytes"] for name, entry in made.manifest.files.items()} == sizes


def _lists(content: dict[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}


class TestExamples:
    def test_a_neuron_has_an_image_once_and_its_halves_share_none(self, made: Run) -> None:
        examples = made.examples
        assert not examples.duplicated(["neuron", "image"]).any()
        halves = examples.groupby("image")["half"].nunique()
        assert (halves == 1).all()
        assert set(examples["half"]) == {0, 1}

    def test_they_are_ranked_from_the_strongest_on(self, made: Run) -> None:
        keys = made.examples[["neuron", "half", "rank"]]
        assert keys.equals(keys.sort_values(["neuron", "half", "rank"]))
        groups = made.examples.groupby(["neuron", "half"])
        assert (groups["rank"].max() == groups.size() - 1).all()
        assert groups["rank"].max().max() == SMALL.examples - 1
        assert (groups["activation"].diff().dropna() <= 0).all()
        strongest = made.examples.groupby("neuron")["activation"].max()
        assert (made.neurons["max_activation"][strongest.index] == strongest).all()
        silent = made.neurons.drop(strongest.index)
        assert (silent["max_activation"] == 0).all()

    def test_every_image_with_an_example_has_a_preview(self, made: Run) -> None:
        shown = set(made.examples["image"])
        assert {image for image in range(24) if made.preview(image)} == shown

    def test_boxes_are_squares_of_the_layers_side_in_original_pixels(self, made: Run) -> None:
        table = made.examples.merge(made.neurons[["neuron", "layer"]]).merge(made.images)
        sides = {layer.name: layer.example_box for layer in made.manifest.layers}
        expected = table["layer"].map(sides) * table[["width", "height"]].min(axis=1) / 256
        np.testing.assert_allclose(table["x1"] - table["x0"], expected, rtol=1e-4)
        np.testing.assert_allclose(table["y1"] - table["y0"], expected, rtol=1e-4)
        for axis, side in (("x", "width"), ("y", "height")):
            centre = (table[f"{axis}0"] + table[f"{axis}1"]) / 2
            assert centre.between(-1e-2, table[side] + 1e-2).all()


@pytest.fixture(scope="module")
def maps(made: Run, model: Model, photos: Path) -> list[dict[str, torch.Tensor]]:
    """For each image alone: the activation maps (C, H, W) of every layer, clamped as the manifest says."""
    clamps = {layer.name: layer.clamp for layer in made.manifest.layers}
    found: list[dict[str, torch.Tensor]] = []

    def keep(name: str, output: torch.Tensor) -> None:
        found[-1][name] = output[0].clamp(*clamps[name])

    with torch.inference_mode(), layer_outputs(model.module, made.manifest.layers, keep):
        for path in made.images["path"]:
            found.append({})
            pixels = model.preprocessing.pixels(open_image(photos / path))
            model.module(model.preprocessing.normalise(pixels[None]))
    return found


@pytest.fixture(scope="module")
def activations(maps: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Maximum of every map, (images, neurons)."""
    return np.stack([torch.cat([m.amax((1, 2)) for m in image.values()]).numpy() for image in maps])


class TestAgainstTheNetwork:
    """What a run says of a neuron is what anybody finds who hooks the layer that the manifest names."""

    def test_example_activations(self, made: Run, activations: np.ndarray) -> None:
        examples = made.examples
        found = activations[examples["image"], examples["neuron"]]
        np.testing.assert_allclose(examples["activation"], found, atol=1e-3)

    def test_no_stronger_image_was_left_out(self, made: Run, activations: np.ndarray) -> None:
        halves = made.examples.groupby("image")["half"].first()
        for half in (0, 1):
            images = halves.index[halves == half]
            expected = -np.sort(-activations[images], axis=0)[: SMALL.examples]  # (rank, neuron)
            chosen = made.examples[made.examples["half"] == half]
            stored = np.zeros_like(expected)
            stored[chosen["rank"], chosen["neuron"]] = chosen["activation"]
            np.testing.assert_allclose(stored, expected, atol=1e-3)

    def test_statistics_of_neurons(self, made: Run, activations: np.ndarray) -> None:
        neurons = made.neurons
        np.testing.assert_allclose(neurons["max_activation"], activations.max(0), atol=1e-3)
        np.testing.assert_allclose(neurons["mean_activation"], activations.mean(0), atol=1e-3)
        rounding = (abs(activations) < 1e-4).mean(0)
        assert (abs(neurons["active_fraction"] - (activations > 0).mean(0)) <= rounding + 1e-6).all()

    def test_class_means(self, made: Run, activations: np.ndarray) -> None:
        means = made.array("class_means")
        for row, name, kind, count in made.classes[["class", "kind", "images"]].itertuples():
            members = (made.images[kind] == name).to_numpy()
            assert members.sum() == count
            np.testing.assert_allclose(means[row], activations[members].mean(0), atol=1e-3)
        assert {"discs", "stripes"} <= set(made.classes["class"])


class TestProgress:
    def test_stages_are_timed_in_their_order_and_advanced_to_their_end(self) -> None:
        progress = Progress(quiet=True)
        for name in ("one", "two"):
            with progress.stage(name, 3) as advance:
                advance(1)
        assert list(progress.seconds) == ["one", "two"]

    def test_a_stage_that_fails_is_not_counted_as_finished(self) -> None:
        progress = Progress(quiet=True)
        with pytest.raises(ZeroDivisionError), progress.stage("one"):
            raise ZeroDivisionError
        assert progress.seconds == {}

    def test_a_bar_is_shown_unless_quiet(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Progress(quiet=True).stage("hidden", 2):
            pass
        assert capsys.readouterr().err == ""
        with Progress().stage("shown", 2, "image") as advance:
            advance(2)
        assert "shown" in (shown := capsys.readouterr().err)
        assert "2/2" in shown


def test_an_error_after_the_pass_leaves_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NeurocartoError("late")

    monkeypatch.setattr("neurocarto.extraction.patches.measure_boxes", fail)
    with pytest.raises(NeurocartoError, match="late"):
        run(NETWORK, photos, tmp_path / "run", SMALL)
    assert list(tmp_path.iterdir()) == []
