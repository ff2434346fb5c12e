from dataclasses import replace

import numpy as np
import pytest

from neurocarto.extraction.lineage import OUTPUT, Lineage
from neurocarto.summarisation.interventions import Interventions
from neurocarto.summarisation.strengths import Study

LINEAGE = Lineage({"a": (), "b": ("a",), OUTPUT: ("b",)}, {"a": 10, "b": 30, OUTPUT: 60})
GROUPS = {"a": {0: np.array([0]), 1: np.array([1, 2])}, "b": {2: np.array([0, 1])}}
STUDY = Study("cats", GROUPS, np.arange(4), [0])


def test_what_interventions_cost_is_counted_by_the_work_behind_each_layer() -> None:
    interventions = Interventions(None, LINEAGE)  # type: ignore[arg-type]
    # Two groups of a and three times random sets of either size, .9 of the network behind them; likewise of b, .6.
    assert interventions.cost(STUDY) == pytest.approx(4 * (1 + 0.9 * (2 + 2 * 3) + 0.6 * (1 + 3)))
    # Without outputs only what a does to b is watched, .3 of the network.
    assert interventions.cost(replace(STUDY, outputs=[])) == pytest.approx(4 * (1 + 0.3 * 2))
