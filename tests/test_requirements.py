"""What is imported is required: an environment that happens to hold more hides a missing line."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = {"neurocarto", "scripts", "benchmarks", "pages", "app"}


def required() -> set[str]:
    lines = [line for name in ("", "-ray") for line in (ROOT / f"requirements{name}.txt").read_text().splitlines()]
    return {re.split(r"[=~<>!\[ ]", line)[0].lower() for line in lines if line and line[0] not in "#-"}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def third_party(*places: str) -> set[str]:
    files = [file for place in places for file in ROOT.glob(place)]
    return {name for file in files for name in imported(file)} - OWN - set(sys.stdlib_module_names)


def test_everything_the_project_imports_is_required() -> None:
    distributions = packages_distributions()
    missing = {
        name
        for name in third_party("neurocarto/**/*.py", "scripts/*.py", "pages/*.py", "app.py")
        if not {d.lower() for d in distributions.get(name, [])} & required()
    }
    assert not missing
