"""Badges: in one word, what a cluster's own tests say of it on images that did not form it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

SOLID, TENTATIVE, CHANCE, UNTESTED = "solid", "tentative", "not above chance", "not tested"
BADGES = (SOLID, TENTATIVE, CHANCE, UNTESTED)
"""From the best to the worst, and last those that no test was made of."""

Row = Mapping[str, Any] | pd.Series
"""A row of the table of measures (records.MEASURES)."""


def badge(intruder: Row | None, peak_agreement: Row | None) -> str:
    """Return the badge of a cluster from its two measures, None where it was not tested.

    intruder: of the test that shows no picture twice. Solid: its interval lies wholly above what random groups reach,
    and that of the peak agreement above their mean. Tentative: the intruder test alone is above them. A measure that is
    not a number is above nothing.
    """
    if intruder is None:
        return UNTESTED
    if not intruder["value"] > intruder["null_high"]:
        return CHANCE
    certain = intruder["low"] > intruder["null_high"]
    agrees = peak_agreement is not None and peak_agreement["low"] > peak_agreement["null"]
    return SOLID if certain and agrees else TENTATIVE
