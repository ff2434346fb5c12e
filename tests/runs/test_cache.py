import os
import pickle
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from diskcache.core import MODE_PICKLE
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from neurocarto.errors import RunError
from neurocarto.runs.cache import ABANDONED_AFTER, Cache, default_folder
from neurocarto.runs.parts import Parts

ROOT = Path(__file__).resolve().parents[2]
TYPES = st.sampled_from(["int64", "int32", "uint8", "float32", "float64", "float16", "bool"])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    with Cache(tmp_path / "cache") as opened:
        yield opened


def same(found: Parts | None, parts: Parts) -> bool:
    assert found is not None
    assert list(found) == list(parts)
    return all(
        (found[name].dtype, found[name].shape, found[name].tobytes()) == (value.dtype, value.shape, value.tobytes())
        if isinstance(value, np.ndarray)
        else found[name] == value
        for name, value in parts.items()
    )


@given(array=arrays.arrays(TYPES, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)), text=st.text())
def test_arrays_and_json_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, text: str
) -> None:
    parts = {"array": array, "turned": array.T, "text": text, "nested": {"list": [1, None, 0.1], "text": text}}
    with Cache(tmp_path_factory.mktemp("cache")) as cache:
        cache.put("key", parts)
        found = cache.get("key")
    assert same({name: found[name] for name in parts}, parts)


def test_tables_come_back_with_their_types(cache: Cache) -> None:
    table = pd.DataFrame({"text": ["a", None], "number": np.float32([1, np.nan]), "list": [[1, 2], []]})
    cache.put("key", {"table": table})
    found = cache.get("key")["table"]
    assert found["number"].dtype == np.float32
    assert found["text"].isna().tolist() == [False, True]
    assert [list(numbers) for numbers in found["list"]] == [[1, 2], []]


def test_nothing_is_found_where_nothing_was_put(cache: Cache) -> None:
    cache.put("key", {"a": 1})
    assert cache.get("other") is None


def test_what_is_there_stays_unless_replaced(cache: Cache) -> None:
    cache.put("key", {"a": 1})
    cache.put("key", {"a": 2})
    assert cache.get("key") == {"a": 1}
    cache.put("key", {"a": 3}, replace=True)
    assert cache.get("key") == {"a": 3}


def test_removing_a_key_removes_its_parts_too(cache: Cache) -> None:
    for key in ("one", "one/state", "oneself"):
        cache.put(key, {"a": 1})
    cache.remove("one")
    assert [cache.get(key) for key in ("one", "one/state", "oneself")] == [None, None, {"a": 1}]


class TestRuns:
    @pytest.fixture
    def two(self, cache: Cache) -> Cache:
        """Two runs that share a stage; the second lacks its last."""
        for key in ("shared", "first", "second/unfinished/state"):
            cache.put(key, {"numbers": np.zeros(1000)})
        cache.note_run("a", "one", ["shared", "first"])
        cache.note_run("b", "two", ["shared", "second"])
        return cache

    def test_they_are_listed_the_last_used_first(self, two: Cache) -> None:
        second, first = two.runs()
        assert (first.run, first.about, first.stages, first.of) == ("a", "one", 2, 2)
        assert (second.run, second.about, second.stages, second.of) == ("b", "two", 1, 2)
        assert first.bytes == second.bytes > 16_000
        assert first.used <= second.used <= time.time()
        assert two.bytes > 3 * 8000

    def test_forgetting_one_keeps_what_another_needs(self, two: Cache) -> None:
        assert two.forget(["a"]) >= 8000
        assert two.get("first") is None
        assert two.get("shared") is not None
        assert [kept.run for kept in two.runs()] == ["b"]
        two.forget(["b"])
        assert two.runs() == []
        assert two.get("shared") is two.get("second/unfinished/state") is None

    def test_what_killed_processes_left_goes_when_it_is_old(self, two: Cache) -> None:
        left = [two.folder / "aa" / name for name in ("old.val", "new.val")]
        left[0].parent.mkdir(exist_ok=True)
        for path in left:
            path.write_bytes(b"half")
        os.utime(left[0], (0, time.time() - ABANDONED_AFTER - 10))
        for value in set(two.folder.rglob("*.val")) - set(left):
            os.utime(value, (0, 0))
        two.forget([])
        assert [path.exists() for path in left] == [False, True]
        assert two.get("shared") is not None


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda _: b"", lambda content: content[20:]])
def test_a_damaged_entry_is_no_entry(cache: Cache, damage: Callable[[bytes], bytes]) -> None:
    parts = {"numbers": np.arange(9), "table": pd.DataFrame({"a": [1]})}
    cache.put("key", parts)
    (value,) = cache.folder.rglob("*.val")
    value.write_bytes(damage(value.read_bytes()))
    assert cache.get("key") is None
    cache.put("key", parts)
    assert cache.get("key")["numbers"].sum() == 36


def test_no_pickle_is_written_or_read(cache: Cache) -> None:
    with pytest.raises(TypeError):
        cache._store.set("key", {"a": 1})
    ran = cache.folder / "ran"
    cache._store._sql(
        "INSERT INTO Cache (key, raw, store_time, access_time, access_count, size, mode, value)"
        f" VALUES (?, 1, 0, 0, 0, 0, {MODE_PICKLE}, ?)",
        ("bad", pickle.dumps(_Trap(ran))),
    )
    assert cache.get("bad") is None
    assert not ran.exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"the cache in .*file/cache cannot be used: .*--cache") as caught:
        Cache(tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_a_write_without_room_leaves_what_was_there_and_no_rubbish(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow beyond 1 MB: the write fails midway, as on a full disk."""
    code = f"""
import resource, signal
import numpy as np
from pathlib import Path
from neurocarto.errors import RunError
from neurocarto.runs.cache import Cache
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Cache(Path({str(tmp_path)!r})) as cache:
    cache.put("key", {{"a": np.ones(10_000)}})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    try:
        cache.put("key", {{"a": np.ones(10_000_000)}}, replace=True)
    except RunError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(cache.get("key")["a"].sum())
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    said, kept = done.stdout.splitlines()
    assert "cannot be used: File too large; make room" in said
    assert kept == "10000.0"
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.val")) < 100_000


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROCARTO_CACHE", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("NEUROCARTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/neurocarto")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "neurocarto"
