"""What lies in deploy/ fits the project: versions, imports, and what images are made of."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = ("deploy/Dockerfile", "deploy/Dockerfile.view")
VIEWING = ("deploy/view_only.py", *(path.relative_to(ROOT).as_posix() for path in (ROOT / "pages").glob("*.py")))


def required(name: str) -> dict[str, str]:
    """Each package of a file of requirements, with the versions that it may have."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and line[0] not in "#-"]
    return {re.split(r"[=~<>!\[ ]", line)[0].lower(): re.sub(r"^[\w.-]+(\[\w+\])?", "", line) for line in lines}


def imports(path: Path) -> set[str]:
    """Modules that a file imports as it is read; what only a function or a type checker imports does not count."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def reached(*files: str) -> set[str]:
    """Every module that files import, and that the package's modules among them import in turn, lazily or not."""
    modules, waiting = set(), [ROOT / name for name in files]
    while waiting:
        for name in imports(waiting.pop()) - modules:
            modules.add(name)
            if name.split(".")[0] == "neurocarto":
                parts = ROOT.joinpath(*name.split("."))
                waiting += [path for path in (parts.with_suffix(".py"), parts / "__init__.py") if path.is_file()]
    return modules


def test_the_pins_are_those_of_the_project() -> None:
    whole = required("requirements.txt")
    for name in ("deploy/requirements.txt", "requirements-auth.txt"):
        own = required(name)
        assert own
        assert own == {package: whole[package] for package in own}


def test_looking_imports_only_what_its_requirements_name_and_all_of_it() -> None:
    distributions = packages_distributions()
    modules = {name.split(".")[0] for name in reached(*VIEWING)} - set(sys.stdlib_module_names) - {"neurocarto"}
    needed = {distribution.lower() for name in modules for distribution in distributions[name]}
    assert needed == set(required("deploy/requirements.txt"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_copies_what_exists_and_is_not_ignored(dockerfile: str) -> None:
    taken = {line.lstrip("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    text = (ROOT / dockerfile).read_text()
    sources = re.findall(r"^COPY (\S+) \S+$", text, re.MULTILINE)
    assert {"neurocarto", "pages", "data", ".streamlit"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert source.split("/")[0] in taken
    entrypoint = re.search(r'"streamlit", "run", "([^"]+)"', text)
    assert entrypoint is not None
    assert entrypoint[1] in sources


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_runs_as_a_plain_user_says_whether_it_is_well_and_keeps_runs_outside(dockerfile: str) -> None:
    text = (ROOT / dockerfile).read_text()
    user = re.search(r"^USER (\w+)$", text, re.MULTILINE)
    assert user is not None
    assert user[1] != "root"
    assert "USER root" not in text
    assert "/_stcore/health" in text
    assert re.search(r"^VOLUME .*/runs", text, re.MULTILINE)


def test_secrets_are_neither_committed_nor_built_into_an_image() -> None:
    for ignore in (".gitignore", ".dockerignore"):
        assert ".streamlit/secrets.toml" in (ROOT / ignore).read_text().splitlines()


def test_every_environment_variable_is_documented_in_one_table() -> None:
    files = [path for place in ("neurocarto", "deploy", "tests") for path in (ROOT / place).rglob("*.py")]
    used = {name for path in files for name in re.findall(r"NEUROCARTO_[A-Z_]+", path.read_text())}
    _, _, table = (ROOT / "docs/deploy.md").read_text().partition("## Environment variables")
    assert {name for name in used if f"| `{name}` |" not in table} == set()
