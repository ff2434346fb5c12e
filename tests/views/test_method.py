from dataclasses import replace

import pytest

from neurocarto.views import method
from neurocarto.views.lookup import Lookup


@pytest.mark.parametrize(
    ("influence", "said", "unsaid"),
    [
        ({"method": "gradient"}, "estimated from gradients", "switching the source cluster off on"),
        ({"method": "intervention", "note": "", "agreement": None}, "switching the source cluster off on", "gradients"),
        (
            {"method": "intervention", "agreement": {"spearman": 0.987, "edges": 1331}},
            "rank 1,331 of the edges alike (rank correlation 0.99)",
            "stand-in",
        ),
        ({"method": "intervention", "agreement": {"spearman": "[x](//evil)", "edges": 3}}, "held", "evil"),
    ],
)
def test_how_influence_was_measured_is_said(lookup: Lookup, influence, said: str, unsaid: str) -> None:
    text = method.influence(replace(lookup.run.manifest, influence=influence))
    assert said in text
    assert unsaid not in text
