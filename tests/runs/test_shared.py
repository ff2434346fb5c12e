from pathlib import Path

import numpy as np
import pytest

from neurocarto.errors import RunError
from neurocarto.runs.shared import SharedFolder

PARTS = {"array": np.arange(6, dtype=np.int64).reshape(2, 3), "list": [[1, "a", None]]}


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> SharedFolder:
    return SharedFolder.at(str(tmp_path / "shared") if request.param == "disk" else "memory://shared")


def test_parts_come_back_until_their_folder_is_removed(folder: SharedFolder) -> None:
    below = folder.below("key")
    assert below.get("0-2") is None
    for _ in range(2):  # written twice, by two workers that do not know of each other
        below.put("0-2", PARTS)
    found = below.get("0-2")
    assert np.array_equal(found["array"], PARTS["array"])
    assert found["list"] == PARTS["list"]
    assert folder.get("0-2") is None
    below.remove()
    assert below.get("0-2") is None
    below.remove()


def test_what_is_damaged_is_not_there(folder: SharedFolder) -> None:
    folder.put("whole", PARTS)
    content = folder.system.cat_file(f"{folder.path}/whole")
    for cut in (0, 10, len(content) - 1):
        folder.system.pipe_file(f"{folder.path}/cut", content[:cut])
        assert folder.get("cut") is None


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"^the shared folder [^\n]*file/below cannot be used: [^\n]*$"):
        SharedFolder.at(str(tmp_path / "file" / "below")).put("name", PARTS)
    with pytest.raises(RunError, match=r"^the shared folder nothing://x cannot be used: [^\n]*$"):
        SharedFolder.at("nothing://x")


def test_half_of_a_file_is_never_seen(folder: SharedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(folder.system), "mv", full)
    with pytest.raises(RunError, match="No space left"):
        folder.put("name", PARTS)
    assert folder.get("name") is None
