import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurocarto.errors import NamesError
from neurocarto.runs import names
from neurocarto.runs.names import (
    FILE_NAME,
    LARGEST,
    LONGEST_NAME,
    LONGEST_NOTE,
    Name,
    Names,
    clean_name,
    clean_note,
    keep,
    merge,
    parse,
    read,
)

RUN = "run1"
EARLY, LATE = "2026-01-01T00:00:00.000+00:00", "2026-01-02T00:00:00.000+00:00"
SOME = Names({3: Name(EARLY, "wheels", "mostly of cars\nseen from the side"), 12: Name(LATE, "fur")})


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / FILE_NAME
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def add(cluster: int, name: str, note: str = "") -> names.Change:
    return lambda found: found.with_name(cluster, name, note)


def document(**runs: object) -> str:
    return json.dumps({"format": 1, "runs": runs})


def test_names_are_read_as_they_were_kept(tmp_path: Path) -> None:
    keep(tmp_path, RUN, lambda found: merge(found, SOME))
    assert read(tmp_path, RUN) == SOME
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_where_there_is_no_file_there_are_no_names(tmp_path: Path) -> None:
    assert read(tmp_path, RUN) == Names()


def test_names_of_another_run_are_not_shown_and_stay(tmp_path: Path) -> None:
    others = {"7": {"name": "theirs", "note": "", "changed": EARLY, "by": "tool"}, "odd": [1]}
    write(tmp_path, document(other=others))
    keep(tmp_path, RUN, add(3, "wheels"))
    assert read(tmp_path, RUN).given == {3: "wheels"}
    assert json.loads((tmp_path / FILE_NAME).read_text())["runs"]["other"] == others


def test_what_other_tools_put_beside_a_name_stays(tmp_path: Path) -> None:
    write(tmp_path, document(run1={"3": {"name": "a", "colour": "red"}, "x": 1}))
    keep(tmp_path, RUN, add(4, "b"))
    own = json.loads((tmp_path / FILE_NAME).read_text())["runs"][RUN]
    assert own["3"] == {"name": "a", "colour": "red"}
    assert own["x"] == 1


def test_the_later_of_two_names_stays() -> None:
    older, newer = Names({1: Name(EARLY, "old"), 2: Name(LATE, "mine")}), Names({1: Name(LATE, "new"), 2: Name(EARLY)})
    assert merge(older, newer).given == merge(newer, older).given == {1: "new", 2: "mine"}


def test_a_removed_name_does_not_come_back_from_an_older_file() -> None:
    removed = SOME.with_name(3, "", "")
    assert merge(removed, SOME).given == {12: "fur"}
    assert len(removed) == 1


entries = st.dictionaries(
    st.integers(0, 5), st.builds(Name, st.sampled_from(["", EARLY, LATE]), st.sampled_from("ab"), st.sampled_from("ab"))
)
some_names = st.builds(Names, entries)


@given(some_names, some_names, some_names)
def test_it_does_not_matter_in_which_order_names_are_merged(a: Names, b: Names, c: Names) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a


@given(st.text())
def test_a_cleaned_text_is_clean(text: str) -> None:
    for clean, longest in ((clean_name, LONGEST_NAME), (clean_note, LONGEST_NOTE)):
        cleaned = clean(text)
        assert len(cleaned) <= longest
        assert clean(cleaned) == cleaned
        cleaned.encode()
        assert not set(cleaned) & set("\x00\x07\x1b\x7f\x9b\u202e\u2066")


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        ("  red\t\nwheels ", "red wheels", "red \nwheels"),
        ("<b>bold</b> & **x**", "<b>bold</b> & **x**", "<b>bold</b> & **x**"),
        ("a\x00\x1b[31mb\u202ec\ud800", "a[31mbc", "a[31mbc"),
        ("👩‍🔬 أب", "👩‍🔬 أب", "👩‍🔬 أب"),
        ("one\r\ntwo\rthree", "one two three", "one\ntwo\nthree"),
        ("x" * 3000, "x" * 80, "x" * 2000),
    ],
)
def test_control_characters_go_and_markup_is_text(text: str, name: str, note: str) -> None:
    assert clean_name(text) == name
    assert clean_note(text) == note


DAMAGED = {
    "not json": "no JSON that can be read",
    "[" * 100_000: "no JSON that can be read",
    '{"a":' * 100_000: "no JSON that can be read",
    '{"format": 1, "runs": {}}'.encode("utf-16")[:-3]: "no JSON that can be read",
    b"\xff\xfe\xfa": "no JSON that can be read",
    '{"format": ' + "9" * 5000 + "}": "no JSON that can be read",
    "[]": 'no object "runs"',
    '{"names": {}}': 'no object "runs"',
    '{"format": 1, "runs": []}': 'no object "runs"',
    '{"format": 2, "runs": {}}': "format 2",
    '{"format": {"a": "' + "x" * 500 + '"}, "runs": {}}': "format",
    '{"format": 1, "runs": {"run1": {' + ",".join(f'"{i}": 0' for i in range(1_000_000)) + "}}}": "too large",
    " " * (LARGEST + 1): "too large",
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.items(), ids=range(len(DAMAGED)))
def test_a_damaged_file_is_one_clear_line_and_stays_as_it_is(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = write(tmp_path, content)
    before = path.read_bytes()
    for attempt in (lambda: read(tmp_path, RUN), lambda: keep(tmp_path, RUN, add(1, "a")), lambda: parse(before, RUN)):
        with pytest.raises(NamesError, match=reason) as caught:
            attempt()
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_entries_that_are_none_are_passed_over(tmp_path: Path) -> None:
    own = {
        "1": {"name": "good", "note": "n", "changed": EARLY}, "2": {"name": 7}, "3": {"note": ["a"]}, "4": "text",
        "-5": {"name": "a"}, "06": {"name": "a"}, "٧": {"name": "a"}, "9" * 20: {"name": "a"}, "": {"name": "a"},
        "8": {"name": "dateless", "changed": {"a": 1}}, "9": {"name": "x" * 999, "changed": "soon"}, "10": None,
    }  # fmt: skip
    write(tmp_path, document(run1=own))
    found = read(tmp_path, RUN)
    assert found.given == {1: "good", 8: "dateless", 9: "x" * 80}
    assert found.entries[8].changed == found.entries[9].changed == ""


@pytest.mark.parametrize("runs", [{"run1": []}, {"run1": "text"}, {"run1": None}, {}])
def test_a_run_without_entries_has_no_names_and_can_get_some(tmp_path: Path, runs: dict[str, object]) -> None:
    write(tmp_path, document(**runs))
    assert read(tmp_path, RUN) == Names()
    keep(tmp_path, RUN, add(3, "wheels"))
    assert read(tmp_path, RUN).given == {3: "wheels"}


@pytest.mark.parametrize(
    ("changed", "read_as"),
    [
        ("2026-01-01T02:00:00+02:00", EARLY),
        ("2026-01-01T00:00:00Z", EARLY),
        ("2026-01-01", EARLY),
        ("9999-12-31T23:59:59-12:00", ""),
        ("0001-01-01T00:00:00+12:00", ""),
        pytest.param((datetime.now(UTC) + timedelta(days=2)).isoformat(), "", id="in two days"),
        (5, ""),
    ],
)
def test_times_are_compared_in_utc_and_none_lies_ahead(changed: object, read_as: str) -> None:
    content = document(run1={"1": {"name": "a", "changed": changed}}).encode()
    assert parse(content, RUN).entries[1].changed == read_as


def test_what_is_written_last_counts_even_beside_a_clock_that_is_ahead(tmp_path: Path) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    write(tmp_path, document(run1={"1": {"name": "old", "changed": ahead}}))
    keep(tmp_path, RUN, add(1, "new"))
    assert read(tmp_path, RUN).given == {1: "new"}


def test_a_file_is_loaded_only_for_its_own_run() -> None:
    content = SOME.to_json(RUN).encode()
    assert parse(content, RUN) == SOME
    with pytest.raises(NamesError, match="no names of this run, run2: it holds those of run1"):
        parse(content, "run2")
    with pytest.raises(NamesError, match="it holds none at all"):
        parse(Names().to_json(RUN).encode(), RUN)


def test_versions_differ_where_what_is_shown_differs() -> None:
    assert SOME.version == Names({**SOME.entries, 12: Name(EARLY, "fur"), 5: Name(LATE)}).version
    assert SOME.version != Names({**SOME.entries, 12: Name(LATE, "hair")}).version
    assert SOME.version != Names({**SOME.entries, 12: Name(LATE, "fur", "a note")}).version
    assert Names().version == Names({5: Name(LATE)}).version == ""


def test_many_processes_can_name_at_the_same_time(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from neurocarto.runs.names import keep\n"
        "for i in range(8):\n"
        "    cluster = int(sys.argv[1]) * 8 + i\n"
        "    keep(Path(sys.argv[2]), 'run1', lambda names: names.with_name(cluster, f'name {cluster}', ''))"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(i), str(tmp_path)]) for i in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4
    assert read(tmp_path, RUN).given == {cluster: f"name {cluster}" for cluster in range(32)}
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_whoever_is_locked_out_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PATIENCE", 0.05)
    (tmp_path / ".names.lock").touch()
    with pytest.raises(NamesError, match="somebody else has been writing"):
        keep(tmp_path, RUN, add(1, "a"))
    assert not (tmp_path / FILE_NAME).exists()


def test_the_lock_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / ".names.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    keep(tmp_path, RUN, add(1, "a"))
    assert read(tmp_path, RUN).given == {1: "a"}
    assert not lock.exists()


def test_a_folder_that_cannot_be_written_to_is_said_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NamesError, match="cannot be written: No such file"):
        keep(tmp_path / "gone", RUN, add(1, "a"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write(tmp_path, SOME.to_json(RUN))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NamesError, match="No space left on device"):
        keep(tmp_path, RUN, add(1, "a"))
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert read(tmp_path, RUN) == SOME


def test_what_lies_in_the_place_of_the_file_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(NamesError, match="is no file"):
        read(tmp_path, RUN)


def test_a_file_never_grows_beyond_what_is_read(tmp_path: Path) -> None:
    many = Names({i: Name(EARLY, "name", "n" * LONGEST_NOTE) for i in range(2_200)})
    with pytest.raises(NamesError, match="would exceed 4 MB"):
        keep(tmp_path, RUN, lambda found: merge(found, many))
    assert list(tmp_path.iterdir()) == []
