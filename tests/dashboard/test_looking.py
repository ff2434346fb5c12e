"""Looks in processes of their own; what they run here is a line of Python."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from neurocarto.dashboard import looking
from neurocarto.dashboard.looking import Looking

ECHO = "import json, sys; json.dump({'bytes': len(sys.stdin.buffer.read())}, sys.stdout)"
SLOW = "import os, sys, time; open({!r}, 'w').write(str(os.getpid())); sys.stdin.buffer.read(); time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def over(look: Looking) -> Looking:
    """Ask until it is over, as a page does."""
    until(look.is_over)
    return look


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def slow(tmp_path: Path) -> tuple[list[str], Callable[[], int]]:
    """A process that takes a minute, and its number once it runs."""
    place = tmp_path / "pid"

    def number() -> int:
        until(lambda: place.is_file() and bool(place.read_text()))
        return int(place.read_text())

    return python(SLOW.format(str(place))), number


def test_content_goes_in_and_json_comes_back() -> None:
    look = over(Looking(python(ECHO), bytes(3_000_000)))  # more than a pipe holds
    assert (look.found, look.problem) == ({"bytes": 3_000_000}, None)


def test_all_content_reaches_a_process_that_reads_late() -> None:
    look = over(Looking(python("import time; time.sleep(1); " + ECHO), bytes(3_000_000)))
    assert (look.found, look.problem) == ({"bytes": 3_000_000}, None)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import sys; sys.exit('a warning\\nneurocarto: the image: truncated')", "could not be looked at: truncated."),
        ("import sys; sys.exit(3)", "could not be looked at: the network stopped without saying why."),
        ("print('no JSON')", "could not be looked at: the network stopped without saying why."),
    ],
)
def test_what_goes_wrong_is_one_line(code: str, problem: str) -> None:
    look = over(Looking(python(code), bytes(3_000_000)))  # nobody reads it
    assert look.found is None
    assert (look.problem or "").endswith(problem)


def test_a_command_that_is_not_there_is_one_line() -> None:
    look = over(Looking(["/no/such/python"], b""))
    assert look.problem == "Your image could not be looked at: No such file or directory."


def test_stopping_kills_the_process(slow: tuple[list[str], Callable[[], int]]) -> None:
    command, number = slow
    look = Looking(command, b"")
    process = number()
    assert not look.is_over()
    look.stop()
    over(look)
    assert not is_alive(process)
    assert look.found is None


def test_what_takes_too_long_is_killed(
    slow: tuple[list[str], Callable[[], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "LONGEST", 0.5)
    command, number = slow
    look = over(Looking(command, b""))
    assert "took more than" in (look.problem or "")
    assert not is_alive(number())


def test_what_nobody_asks_for_is_killed(
    slow: tuple[list[str], Callable[[], int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "PATIENCE", 0.5)
    command, number = slow
    look = Looking(command, b"")
    process = number()
    until(lambda: not is_alive(process))
    assert over(look).found is None


def test_one_waits_for_another(slow: tuple[list[str], Callable[[], int]]) -> None:
    command, number = slow
    first = Looking(command, b"")
    number()
    second, third = Looking(python(ECHO), b"12"), Looking(python(ECHO), b"1")
    third.stop()
    over(third)
    assert third.found is None  # it never began
    assert not second.is_over()
    first.stop()
    assert over(second).found == {"bytes": 2}
