"""The network of a finished run, loaded again."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from neurocarto.errors import ModelError, NeurocartoError, RunError
from neurocarto.extraction.models import Model, load_model
from neurocarto.extraction.preprocessing import Preprocessing
from neurocarto.request import ModelRequest
from neurocarto.runs.manifest import Manifest


def load_studied(manifest: Manifest, advice: str, name: str | None = None, weights: str | None = None) -> Model:
    """Load the network of a run as its manifest describes it, with the very weights that were studied.

    name, weights: where to find it, as of ModelRequest, in place of the manifest's name and of what comes with it.
    ModelError, which ends in the advice, when it cannot be had or has other weights.
    """
    described, seed = manifest.model, manifest.settings.get("seed", 0)
    # What goes wrong with a network that somebody named is said; of what is tried unasked it is not.
    unsaid = () if name or weights else (NeurocartoError,)
    for choice in [weights] if weights else ["DEFAULT", "none"]:
        model = None
        with suppress(*unsaid):
            model = load_model(ModelRequest(name or described["name"], choice), seed)
        if model and model.weights_sha256 == described.get("weights_sha256"):
            return replace(model, preprocessing=_preprocessing(described.get("preprocessing")))
    raise ModelError(
        f"the run's network, {described['name']} ({described['source']}), cannot be loaded again with the same "
        f"weights{advice}"
    )


def _preprocessing(described: object) -> Preprocessing:
    known = {field.name for field in fields(Preprocessing)}
    entries: Mapping[str, Any] = described if isinstance(described, Mapping) else {}
    fitting: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entries.items() if key in known
    }
    try:
        return Preprocessing(**fitting)
    except (TypeError, ValueError) as error:
        raise RunError("the manifest does not say how the run's images were fitted to the network") from error
