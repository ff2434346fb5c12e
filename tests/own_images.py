"""What a look at an image of the planted run finds (neurocarto.look), by hand."""

import base64
import io
from typing import Any

from PIL import Image


def _picture() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), "red").save(buffer, "webp")
    return base64.b64encode(buffer.getvalue()).decode()


def entry(cluster: int, weaker: float, drop: float | None = None) -> dict[str, Any]:
    """A cluster that was looked at closely."""
    neurons = [{"neuron": 4 * cluster, "activation": 2.0, "box": [-5.0, 10.0, 45.0, 60.0]}]
    random = {"random": 0.01, "random_low": -0.01, "random_high": 0.02}
    return {"cluster": cluster, "strength": 0.8, "weaker": weaker, "neurons": neurons, "drop": drop, **random}


def content(run: str = "synthetic0", answer: str = "birds", **more: Any) -> dict[str, Any]:
    """What was found about an image of 200 × 100: clusters 2 and 12 fire, and the answer rests on 2."""
    closely = [entry(2, 0.99, 0.25), entry(12, 0.95, 0.015), entry(20, 0.4)]
    clusters = [{name: each[name] for name in ("cluster", "strength", "weaker")} for each in closely]
    answers = [
        {"output": 2, "name": answer, "confidence": 0.75},
        {"output": 1, "name": "<b>2nd</b>", "confidence": 0.2},
    ]
    found = {"run": run, "width": 200, "height": 100, "picture": _picture(), "answers": answers, "compared": 96}
    return {**found, "clusters": clusters, "closely": closely, **more}
