"""What each measure of quality means, and how its values are written and drawn. Texts from a run are escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

Row = Mapping[str, Any] | pd.Series


@dataclass(frozen=True)
class Measure:
    """One measure.

    meaning: in one line; null: what its comparison is, "" for none; form, unit: how a value is written; top: end of its
    scale, None where that is the largest value.
    """

    title: str
    meaning: str
    null: str = "random groups"
    form: str = ".0%"
    unit: str = ""
    top: float | None = 1.0


MEASURES = {
    "intruder": Measure(
        "Odd one out named",
        "Three neurons of a cluster and one outsider of its layer, shown by patches of images that did not form the "
        "cluster: how often the judge names the outsider. Guessing gives 25%.",
    ),
    "intruder_distinct": Measure(
        "Odd one out, no picture twice",
        "The same, but no picture comes twice in a question: what the neurons share has to come again in other "
        "pictures. The badges rest on it.",
    ),
    "coherence": Measure(
        "Likeness of patches",
        "How alike the judge sees the patches of two neurons of a cluster: the mean cosine of its features.",
        form=".2f",
    ),
    "peak_agreement": Measure(
        "Same place",
        "Of the images that two neurons of a cluster share, the part in which both fire at the same place: what tells "
        "one concept from two that occur together.",
    ),
    "coverage": Measure("Coverage", "Share of the living neurons that are in a cluster of 3 to 40.", null=""),
    "size": Measure("Median size", "Neurons in a cluster, the middle one of all.", null="", form=".3g", top=None),
    "largest": Measure("Largest cluster", "Its share of its layer: one of half a layer explains nothing.", null=""),
    "stability_seeds": Measure(
        "Same under other seeds",
        "Agreement (adjusted Rand index) of the clusters under five seeds: 1 is the same, 0 chance.",
        form=".2f",
    ),
    "stability_halves": Measure(
        "Same on other images",
        "Agreement (adjusted Rand index) of the clusters found on one half of the images and on the other.",
        form=".2f",
    ),
    "lift@10": Measure(
        "Neighbours fire together",
        "Ten nearest neighbours in the embedding share so many times more images than random pairs, on images it has "
        "not seen.",
        null="random pairs",
        form=".2f",
        unit="×",
        top=None,
    ),
    "trustworthiness": Measure(
        "Map true to the embedding",
        "Trustworthiness: how far neighbours on the map are neighbours in the embedding. 1 is all.",
        null="random map",
        form=".2f",
    ),
    "faithfulness": Measure(
        "Edges true to interventions",
        "Rank correlation of an edge's weight with what its target really loses when the source is switched off, on "
        "images the run has not seen.",
        null="shuffled edges",
        form=".2f",
    ),
    "strongest_decile": Measure(
        "Strongest edges",
        "Switching off the source of the strongest tenth costs the target so many times more than random pairs of the "
        "same layers and sizes.",
        null="random pairs",
        form=".1f",
        unit="×",
        top=None,
    ),
    "five_clusters": Measure(
        "Most important clusters",
        "Switching off a class's five most important clusters costs its own output so many times more than random "
        "sets of the same sizes and layers.",
        null="random sets",
        form=".1f",
        unit="×",
        top=None,
    ),
    "five_effective": Measure(
        "Most effective clusters",
        "The same for the five important clusters whose effect the run found to be surest: how many times what random "
        "sets cost.",
        null="random sets",
        form=".1f",
        unit="×",
        top=None,
    ),
    "false_discoveries": Measure(
        "False finds",
        "Share of clusters called important when the labels are shuffled: no more than the stated rate.",
        null="stated rate",
        form=".1%",
    ),
}  # fmt: skip
"""Every measure that is shown, in order."""
SECTIONS = {
    "Do the clusters hold?": ("intruder", "intruder_distinct", "coherence", "peak_agreement"),
    "How far do they reach, and would they come again?": (
        "coverage", "size", "largest", "stability_seeds", "stability_halves",
    ),
    "Do map, edges and importance hold?": (
        "lift@10", "trustworthiness", "faithfulness", "strongest_decile", "five_clusters", "five_effective",
        "false_discoveries",
    ),
}  # fmt: skip


def written(measure: str, row: Row) -> str:
    """Return a value with its interval as text."""
    kind = MEASURES[measure]
    return _number(kind, row["value"]) + _between(kind, row["low"], row["high"])


def null_written(measure: str, row: Row) -> str:
    """Return what the value is to be compared with as text, nothing where there is none."""
    kind = MEASURES[measure]
    if not kind.null or row["null"] != row["null"]:
        return ""
    return f"{kind.null} {_number(kind, row['null'])}" + _between(kind, row["null_low"], row["null_high"])


def _number(kind: Measure, value: float) -> str:
    return f"{value:z{kind.form}}{kind.unit}".replace("-", "−")


def _between(kind: Measure, low: float, high: float) -> str:
    if low != low or high != high:
        return ""
    return f" ({_number(kind, low).removesuffix('%').removesuffix(kind.unit)}–{_number(kind, high)})"


def span(measure: str, row: Row, top: float = 1.0) -> str:
    """Return a value as a dot on its scale, with its interval as a bar over the band of its null."""
    places = {
        name: f"{min(max(float(row[key]) / top, 0.0), 1.0):.1%}"
        for name, key in (("at", "value"), ("low", "low"), ("high", "high"), ("from", "null_low"), ("to", "null_high"))
        if row[key] == row[key]
    }
    style = ";".join(f"--{name}:{place}" for name, place in places.items())
    text = escape("; ".join(part for part in (written(measure, row), null_written(measure, row)) if part))
    band = '<i class="nc-null"></i>' if "from" in places and "to" in places else ""
    bar = '<i class="nc-interval"></i>' if "low" in places and "high" in places else ""
    return (
        f'<span class="nc-span" role="img" aria-label="{text}" title="{text}" style="{style}">{band}{bar}<b></b></span>'
    )


def top_of(measure: str, rows: Sequence[Row]) -> float:
    """Return where the scale of a measure ends for some rows."""
    given = MEASURES[measure].top
    values = [float(row[key]) for row in rows for key in ("value", "high", "null_high") if row[key] == row[key]]
    return given or 1.05 * max(values, default=1.0) or 1.0
