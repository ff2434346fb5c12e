"""What was measured of a run's clusters, map and edges: by the run itself, and by judges that scored it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from neurocarto.errors import RunError
from neurocarto.quality.badges import BADGES, CHANCE, SOLID, TENTATIVE, UNTESTED, badge
from neurocarto.records import MEASURES
from neurocarto.runs.store import Run
from neurocarto.views.measures import Row, null_written, written

DECIDING = "efficientnet-lite2"
"""The judge that comes first where there are several, by the short name of its scorecard: it decides the badges."""
INTRUDER, DISTINCT, AGREEMENT = "intruder", "intruder_distinct", "peak_agreement"
MEANINGS = {
    SOLID: "Holds on images that did not form it: both of its tests lie above random groups.",
    TENTATIVE: "Better than random groups on images that did not form it, but not certainly so in both tests.",
    CHANCE: "Not shown to be better than a random group of its size.",
    UNTESTED: "Of fewer than three neurons or more than 40, or not found again on one half of the images alone.",
}
"""What each badge says."""


@dataclass(frozen=True)
class Judge:
    """One judge's scorecard. name: the judge's own; info: how it was made; measures: records.MEASURES."""

    slug: str
    name: str
    info: Mapping[str, Any]
    measures: pd.DataFrame


class Scorecard:
    """The measures of one run, indexed. Read only; nothing is read before it is asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def judges(self) -> tuple[Judge, ...]:
        """Whoever has scored the run, the one that decides the badges first; each under a name of its own."""
        return self._judged[0]

    @property
    def problem(self) -> str:
        """Why scorecards cannot be read, "" where they can: what lies beside a run never keeps it from being shown."""
        return self._judged[1]

    @cached_property
    def _judged(self) -> tuple[tuple[Judge, ...], str]:
        try:
            scores = self._run.scores()
        except RunError as error:
            return (), str(error)
        judges: dict[str, Judge] = {}
        for slug in sorted(scores, key=lambda slug: (slug != DECIDING, slug)):
            info, measures = scores[slug]
            if not isinstance(info, dict) or not set(MEASURES.names) <= {*measures}:
                return (), f"the scorecard {slug} does not hold what it should"
            taken = {*measures["measure"]}
            if INTRUDER in taken and DISTINCT not in taken:
                return (), f"the scorecard {slug} is of an earlier version, without the test behind the badges"
            name = str(info.get("judge") or slug)
            name = f"{name} ({slug})" if name in judges else name
            judges[name] = Judge(slug, name, info, measures)
        return tuple(judges.values()), ""

    @cached_property
    def sources(self) -> dict[str, pd.DataFrame]:
        """Every table of measures by who took them: "" for the run itself, else the judge's name."""
        own = {} if self._run.quality is None else {"": self._run.quality}
        return own | {judge.name: judge.measures for judge in self.judges}

    def measured(self, measure: str, layer: str = "") -> dict[str, dict[str, Any]]:
        """Return the row of a measure over a layer, "" for the whole run, by who took it."""
        return self._over_layers.get((measure, layer), {})

    @cached_property
    def _over_layers(self) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for name, table in self.sources.items():
            for row in table[(table["cluster"] < 0) & table["value"].notna()].to_dict("records"):
                found.setdefault((row["measure"], row["layer"]), {})[name] = {str(key): row[key] for key in row}
        return found

    @cached_property
    def intruder(self) -> pd.DataFrame:
        """The deciding judge's intruder tests, indexed by cluster; no row where nobody has scored the run."""
        return _of_clusters(self.judges[0].measures if self.judges else None, INTRUDER)

    @cached_property
    def distinct(self) -> pd.DataFrame:
        """The same of the tests that show no picture twice."""
        return _of_clusters(self.judges[0].measures if self.judges else None, DISTINCT)

    @cached_property
    def agreement(self) -> pd.DataFrame:
        """Peak agreement, indexed by cluster."""
        own = _of_clusters(self._run.quality, AGREEMENT)
        return own if len(own) or not self.judges else _of_clusters(self.judges[0].measures, AGREEMENT)

    @cached_property
    def badges(self) -> dict[int, str]:
        """The badge of each cluster; none where nobody has scored the run."""
        if not self.judges:
            return {}
        tests: Any
        places: Any
        tests, places = (table.to_dict("index") for table in (self.distinct, self.agreement))
        clusters = self._run.clusters["cluster"].tolist()
        return {cluster: badge(tests.get(cluster), places.get(cluster)) for cluster in clusters}

    def counts(self, clusters: list[int]) -> dict[str, int]:
        """Return how many of some clusters have each badge; those not tested only where there are any."""
        words = [self.badges.get(cluster) for cluster in clusters]
        return {word: words.count(word) for word in BADGES if word != UNTESTED or word in words}

    def explanation(self, cluster: int) -> str:
        """Return what a cluster's badge says, with the numbers behind it; as plain text."""
        parts = [MEANINGS[self.badges[cluster]]]
        if cluster in self.intruder.index:
            row: Any = self.intruder.loc[cluster]
            tests = f"{int(row['count']):,} tests on images that did not form it"
            parts.append(f"{self.judges[0].name} named the odd one out in {beside(INTRUDER, row, tests)}.")
        if cluster in self.distinct.index:
            row = self.distinct.loc[cluster]
            parts.append(f"Where no picture comes twice in a test: {beside(DISTINCT, row)}.")
        if cluster in self.agreement.index:
            row = self.agreement.loc[cluster]
            shared = "the images that two of them share"
            parts.append(f"Its neurons fire at the same place in {beside(AGREEMENT, row, shared)}.")
        return " ".join(parts)


def beside(measure: str, row: Row, of: str = "") -> str:
    """Return a share of something as text, with what random groups reach."""
    share = f"{written(measure, row)} of {of}" if of else written(measure, row)
    return "; ".join(filter(None, (share, null_written(measure, row))))


def _of_clusters(table: pd.DataFrame | None, measure: str) -> pd.DataFrame:
    if table is None:
        return pd.DataFrame(columns=["value", "low", "high", "null", "null_low", "null_high", "count"])
    rows = (table["measure"] == measure) & (table["cluster"] >= 0) & table["value"].notna()
    return table[rows].set_index("cluster")
