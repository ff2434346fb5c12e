"""The intruder test for people as HTML: a question, and at the end what the answers come to.

Questions say nothing but pictures: no neuron, label or place in the page tells the intruder before the end.
"""

from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.quality.questions import CHANCE, MEMBERS
from neurocarto.quality.study import PLACES, study, wilson
from neurocarto.records import IntArray
from neurocarto.views.inspector import cluster_button
from neurocarto.views.lookup import Lookup, table_rows
from neurocarto.views.measures import Row, null_written, span, written
from neurocarto.views.patches import Patches
from neurocarto.views.strips import Strips

PATCHES, SIDE = 10, 96
"""Patches of each neuron, and their side in pixels, enlarged by the page where there is room."""
REVIEWED, SMALL = 8, 36
HALVES = ("cluster_half0", "cluster_half1")
"""Columns of runs that keep the clusters found on each half of the images alone."""


class Questions:
    """The questions of one study of a run.

    Where the run keeps the clusters of each half of the images, the study asks about those of one half and shows
    patches of the other: held_out. Else the patches are among those that formed the clusters. shown: patches of each
    neuron, which are fewer than PATCHES where the run keeps no more.
    """

    def __init__(self, lookup: Lookup, patches: Patches, seed: int, count: int) -> None:
        self._lookup, self._patches = lookup, patches
        self.held_out = all(name in lookup.run.neurons for name in HALVES)
        formed = seed % 2
        self._half = 1 - formed if self.held_out else None
        clusters = self._column(HALVES[formed]) if self.held_out else lookup.neuron_cluster
        kept = lookup.example_counts(self._half)
        self.shown = min(PATCHES, int(kept.max(initial=1)))
        alive = (kept >= self.shown) & ~lookup.silent
        table = study(clusters, np.asarray(lookup.layers)[lookup.neuron_layer], alive, count, seed)
        self.table = table.assign(cluster=self._final(table)) if self.held_out else table

    def __len__(self) -> int:
        return len(self.table)

    def neuron(self, question: int, place: int) -> int:
        """Return the neuron at a place (0 … 3) of a question."""
        return int(self.table[PLACES[place]].iloc[question])

    def html(self, question: int) -> str:
        """Return a question: four rows of patches to choose from."""
        rows = "".join(self._choice(place, self.neuron(question, place)) for place in range(len(PLACES)))
        done = f"--done:{question / len(self):.1%}"
        return (
            f'<div class="nc-progress" role="progressbar" aria-valuemin="0" aria-valuemax="{len(self)}" '
            f'aria-valuenow="{question}" aria-label="Questions answered" style="{done}"><i></i></div>'
            f'<h4 tabindex="-1">Question {question + 1} of {len(self)}: three of these four neurons belong '
            f'together. Which one does not?</h4><div class="nc-four">{rows}</div>'
        )

    def _choice(self, place: int, neuron: int) -> str:
        pictures = "".join(f'<img src="{uri}" alt="">' for uri in self._pictures(neuron))
        return (
            f'<button type="button" class="nc-option" data-place="{place}" aria-label="Neuron {place + 1}">'
            f"<kbd>{place + 1}</kbd>{pictures}</button>"
        )

    def _pictures(self, neuron: int) -> list[str]:
        rows = table_rows(self.examples(neuron))
        found = (self._patches.uri(int(row.image), (row.x0, row.y0, row.x1, row.y1), SIDE) for row in rows)
        return [uri for uri in found if uri]

    def examples(self, neuron: int, count: int = PATCHES) -> pd.DataFrame:
        """Return the patches that are shown of a neuron."""
        return self._lookup.examples(neuron, count, self._half)

    def _column(self, name: str) -> IntArray:
        return self._lookup.run.neurons[name].to_numpy(np.int32)

    def _final(self, table: pd.DataFrame) -> npt.NDArray[np.int32]:
        """The run's cluster that two or all of the three members are in, -1 for none and for controls."""
        first, second, third = np.sort(self._lookup.neuron_cluster[table[list(MEMBERS)].to_numpy()].T, axis=0)
        agreed = (first == second) | (second == third)
        return np.where(agreed & ~table["control"].to_numpy(), second, -1).astype(np.int32)


def results(lookup: Lookup, own: pd.DataFrame, everyone: pd.DataFrame) -> str:
    """Return a table of one participant's answers beside those of everyone, the judges and guessing.

    own, everyone: tables of answers (quality.study.ANSWERS); everyone's may be empty.
    """
    asked = set(own.loc[~own["control"], "cluster"]) - {-1}
    people = everyone["participant"].nunique()
    lines: list[tuple[str, str, Row | None]] = [
        ("You", _of(own, False), _accuracy(own[~own["control"]])),
        (
            "You, on random groups",
            f"{_of(own, True)}, guesses",
            _accuracy(own[own["control"]]),
        ),
    ]
    if people > 1:
        lines += [
            (f"All {people:,} participants", _of(everyone, False), _accuracy(everyone[~everyone["control"]])),
            ("All, on random groups", f"{_of(everyone, True)}, guesses", _accuracy(everyone[everyone["control"]])),
        ]
    for judge in lookup.scorecard.judges:
        tests = judge.measures[judge.measures["measure"] == "intruder"]
        same = tests[tests["cluster"].isin(asked)]
        if len(same):
            lines.append((judge.name, f"on the same {len(same)} clusters, the mean", _mean(same)))
        whole = lookup.scorecard.measured("intruder").get(judge.name)
        if whole is not None:
            lines.append((judge.name, "over the whole run", whole))
    lines.append(("Guessing", "one of four", {**_NOTHING, "value": CHANCE}))
    return f'<table class="nc-table nc-results"><tbody>{"".join(_line(*line) for line in lines)}</tbody></table>'


def review(lookup: Lookup, patches: Patches, questions: Questions, own: pd.DataFrame) -> str:
    """Return every question with its intruder, the answer that was given, and the way to its cluster."""
    strips = Strips(lookup, patches)
    return (
        f'<div class="nc-steps">{"".join(_reviewed(lookup, strips, questions, row) for row in table_rows(own))}</div>'
    )


def _reviewed(lookup: Lookup, strips: Strips, questions: Questions, row: Any) -> str:
    where = "random group" if row.control else "no cluster of the whole run"
    name = cluster_button(lookup, row.cluster) if row.cluster >= 0 else f"<small>{where} in {escape(row.layer)}</small>"
    rows = "".join(
        f'<div class="nc-reviewed"><small>{_said(neuron, row)}</small><div class="nc-strip">'
        f"{strips.of(questions.examples(neuron, REVIEWED), SMALL)}</div></div>"
        for neuron in (questions.neuron(row.question - 1, place) for place in range(len(PLACES)))
    )
    return (
        f'<section class="nc-card"><header><b>{row.question}</b><h4>{"Right" if row.correct else "Wrong"}</h4>'
        f'<small>{row.seconds:.0f} s</small><span class="nc-meta">{name}</span></header>{rows}</section>'
    )


def _said(neuron: int, row: Any) -> str:
    words = {"<b>the intruder</b>": row.intruder, "your answer": row.answer}
    return "<br>".join(word for word, meant in words.items() if meant == neuron)


_NOTHING = dict.fromkeys(("low", "high", "null", "null_low", "null_high"), float("nan"))


def _accuracy(answers: pd.DataFrame) -> Row | None:
    if not len(answers):
        return None
    low, high = wilson(int(answers["correct"].sum()), len(answers))
    return {**_NOTHING, "value": float(answers["correct"].mean()), "low": low, "high": high}


def _mean(tests: pd.DataFrame) -> Row:
    """The mean over some clusters. What their intervals come to together is not known."""
    return {**_NOTHING, "value": float(tests["value"].mean()), "null": float(tests["null"].mean())}


def _of(answers: pd.DataFrame, control: bool) -> str:
    chosen = answers.loc[answers["control"] == control, "correct"]
    return f"{int(chosen.sum()):,} of {len(chosen):,}"


def _line(who: str, what: str, row: Row | None) -> str:
    if row is None:
        return ""
    said = "; ".join(filter(None, (written("intruder", row), null_written("intruder", row))))
    return (
        f'<tr><th scope="row">{escape(who)} <small>{escape(what)}</small></th><td>{said}</td>'
        f"<td>{span('intruder', row)}</td></tr>"
    )
