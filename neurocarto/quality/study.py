"""The intruder test for people: the questions of a study, the answers, and what they come to.

A study is its seed and its number of questions: whoever takes it gets the same ones. Some of them are controls, drawn
from random groups, at which nobody can do better than guess.
"""

import math
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from neurocarto.quality.questions import MEMBERS, SHOWN, draw, shuffled
from neurocarto.records import IntArray

STUDIES = "studies"
"""Folder beside the run's own files for the answers: `<seed>-<questions>.csv` for each study."""
CONTROLS = 0.2
"""Share of the questions that are controls."""
ANSWERS = (
    "run", "question", "cluster", "layer", *MEMBERS, "intruder", "answer", "correct", "seconds", "participant",
    "control",
)  # fmt: skip
"""Columns of the answers; neurons by their number, cluster -1 for a control."""
PLACES = tuple(f"place{i}" for i in range(len(SHOWN)))
"""Columns of a study: the neurons in the order in which they are shown."""
Z = 1.96
"""Standard deviations of a normal distribution that its central 95 % lie within."""


def study(
    cluster: IntArray, layer: npt.NDArray[Any], alive: npt.NDArray[np.bool_], count: int, seed: int
) -> pd.DataFrame:
    """Return a study's questions in their order: as `questions.draw`, with `control` and the PLACES of the neurons."""
    controls = round(CONTROLS * count)
    random = shuffled(cluster, layer, alive, seed)
    asked = draw(cluster, layer, alive, count - controls, seed).assign(control=False)
    table = pd.concat([asked, draw(random, layer, alive, controls, seed + 1).assign(control=True, cluster=-1)])
    rng = np.random.default_rng(seed)
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    places = rng.permuted(table[list(SHOWN)].to_numpy(), axis=1)
    return table.assign(**{name: places[:, i] for i, name in enumerate(PLACES)})


def participant() -> str:
    """Return a new code for a participant: random, so that it says nothing of the person."""
    return secrets.token_hex(4)


def answered(
    run: str, questions: pd.DataFrame, answers: Sequence[int], seconds: Sequence[float], who: str
) -> pd.DataFrame:
    """Return the answers of one participant as a table of ANSWERS. answers: the neuron named at each question."""
    named = np.asarray(answers, np.int64)
    table = questions.head(len(named)).assign(
        run=run,
        question=np.arange(1, len(named) + 1),
        answer=named,
        seconds=np.round(np.asarray(seconds, float), 1),
        participant=who,
    )
    return table.assign(correct=table["answer"] == table["intruder"])[list(ANSWERS)]


def as_csv(table: pd.DataFrame) -> str:
    """Return a table of answers as CSV."""
    return table.to_csv(index=False, lineterminator="\n")


def append(path: Path, table: pd.DataFrame) -> None:
    """Add a participant's answers to a study's file in one piece, also while others do the same.

    OSError where it cannot be written.
    """
    head, _, rows = as_csv(table).partition("\n")
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        new.write_text(f"{head}\n", encoding="utf-8")
        try:
            os.link(new, path)  # as one step, and only where nobody else has just done it
        except FileExistsError:
            pass
        finally:
            new.unlink()
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, rows.encode())
    finally:
        os.close(file)


def read(path: Path) -> pd.DataFrame:
    """Return the answers that a study's file holds; none where there is no such file, or not one of answers."""
    try:
        table = pd.read_csv(path, dtype={"run": str, "layer": str, "participant": str}, keep_default_na=False)
        return table[list(ANSWERS)].astype({"correct": bool, "control": bool})
    except (OSError, ValueError, KeyError):
        return pd.DataFrame(columns=list(ANSWERS)).astype({"correct": bool, "control": bool})


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927), NaN where nothing was counted."""
    if not count:
        return math.nan, math.nan
    share, spread = right / count, Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    reach = Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
