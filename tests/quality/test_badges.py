import math

import pytest

from neurocarto.quality.badges import badge

INTRUDER = {"value": 0.7, "low": 0.5, "high": 0.8, "null": 0.25, "null_low": 0.2, "null_high": 0.3}
AGREEMENT = {"value": 0.5, "low": 0.3, "high": 0.6, "null": 0.16, "null_low": 0.1, "null_high": 0.4}


@pytest.mark.parametrize(
    ("intruder", "agreement", "expected"),
    [
        ({}, {}, "solid"),
        ({"low": 0.3}, {}, "tentative"),  # the interval only touches what random groups reach
        ({}, {"low": 0.16}, "tentative"),
        ({}, {"low": math.nan}, "tentative"),
        ({}, None, "tentative"),
        ({"value": 0.3}, {}, "not above chance"),
        ({"value": math.nan}, {}, "not above chance"),
        ({"null_high": math.nan}, {}, "not above chance"),
        (None, {}, "not tested"),
        (None, None, "not tested"),
    ],
)
def test_both_tests_decide(intruder: dict[str, float] | None, agreement: dict[str, float] | None, expected: str):
    rows = [
        None if change is None else usual | change for usual, change in ((INTRUDER, intruder), (AGREEMENT, agreement))
    ]
    assert badge(*rows) == expected
