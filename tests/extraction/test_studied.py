"""Tests that the network of a run is found again, by the weights that were studied."""

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import write_synthetic_run

from neurocarto.errors import ModelError, RunError
from neurocarto.extraction import studied
from neurocarto.extraction.models import Model
from neurocarto.extraction.studied import load_studied
from neurocarto.request import ModelRequest
from neurocarto.runs.manifest import Manifest

FITTED = {"resize": [48, 64], "size": 48, "mean": [0.4], "std": [0.2], "of a later version": 1}


@pytest.fixture
def manifest(tmp_path: Path, network: Model, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Of a run of `network`, whose weights have the hash "right" when they are drawn at random."""

    def load(request: ModelRequest, seed: int) -> Model:
        if request.name == "gone":
            raise ModelError("there is no model 'gone'")
        return replace(network, name=request.name, weights_sha256="right" if request.weights == "none" else "wrong")

    monkeypatch.setattr(studied, "load_model", load)
    manifest = Manifest.read(write_synthetic_run(tmp_path / "run", layers=1, channels=8, images=10))
    model = {"name": "tiny", "source": "here", "weights_sha256": "right", "preprocessing": FITTED}
    return replace(manifest, model=model)


def test_it_is_the_one_with_the_same_weights_and_the_manifests_preprocessing(manifest: Manifest) -> None:
    model = load_studied(manifest, "")
    assert (model.name, model.weights_sha256) == ("tiny", "right")
    assert (model.preprocessing.resize, model.preprocessing.mean) == ((48, 64), (0.4,))


def test_another_name_is_taken_when_its_weights_are_the_same(manifest: Manifest) -> None:
    assert load_studied(manifest, "", name="mine:factory").name == "mine:factory"


@pytest.mark.parametrize("given", [{"weights": "DEFAULT"}, {}])
def test_other_weights_are_refused(manifest: Manifest, given: dict[str, str]) -> None:
    other = replace(manifest, model={**manifest.model, "weights_sha256": "of others"})
    with pytest.raises(ModelError, match=r"^the run's network, tiny \(here\), cannot .* same weights; so$"):
        load_studied(other, "; so", **given)


def test_what_is_wrong_is_said_of_what_somebody_named_only(manifest: Manifest) -> None:
    with pytest.raises(ModelError, match="there is no model 'gone'"):
        load_studied(manifest, "", name="gone")
    with pytest.raises(ModelError, match="cannot be loaded again"):
        load_studied(replace(manifest, model={**manifest.model, "name": "gone"}), "")


@pytest.mark.parametrize("described", [None, {}, {"size": 224}, {**FITTED, "size": "48"}, []], ids=str)
def test_a_manifest_without_preprocessing_is_one_line(manifest: Manifest, described: object) -> None:
    damaged = replace(manifest, model={**manifest.model, "preprocessing": described})
    with pytest.raises((RunError, ModelError)):
        load_studied(damaged, "")
