"""What Explore shows of a visitor's image, and where it cannot take one. The look itself is tests/test_look.py's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_images import content
from streamlit.proto.Common_pb2 import FileURLs
from streamlit.runtime.uploaded_file_manager import DeletedFile, UploadedFile, UploadedFileRec

from dashboard.conftest import Visit
from neurocarto.dashboard import own_image
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.looking import Looking
from neurocarto.dashboard.own_image import Own, why_not
from neurocarto.dashboard.policy import VIEW_ONLY
from neurocarto.views.own_image import OwnImage


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"name": "mynets:factory"}, "This run’s network is made by mynets:factory, code that the app does not run"),
        ({"source": "torchvision 0.29, weights from the file a.pth"}, "This run’s weights came from a file"),
        ({"source": "torch module mynets.Net, code 0123456789ab"}, "This run’s network was given in Python"),
    ],
    ids=str,
)
def test_a_network_that_the_app_cannot_have_is_said(
    opened: OpenRun, change: dict[str, str], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VIEW_ONLY, raising=False)
    manifest = replace(opened.run.manifest, model={**opened.run.manifest.model, **change})
    why = why_not(manifest)
    assert why is None if reason is None else (why or "").startswith(reason)


def test_a_server_for_viewing_takes_no_images(opened: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VIEW_ONLY, "1")
    assert "only shows runs" in (why_not(opened.run.manifest) or "")


def test_without_torch_it_says_what_to_install(opened: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_image, "find_spec", lambda _: None)
    assert "lacks: pip install" in (why_not(opened.run.manifest) or "")


def test_another_run_forgets_the_image(opened: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    session: dict[str, Own] = {}
    monkeypatch.setattr(own_image.st, "session_state", session)
    first = own_image._own(opened)
    first.seen = OwnImage(content(), opened.lookup)
    assert own_image.fires(opened) == {2: 0.8, 12: 0.8}
    assert own_image._own(opened) is first
    assert own_image.fires(replace(opened, version="2")) == {}
    assert first.seen is None


class Finished(Looking):
    def __init__(self, found: dict[str, Any] | None, problem: str | None = None) -> None:
        self.found, self.problem, self.stopped = found, problem, False

    def is_over(self) -> bool:
        return True

    def stop(self) -> None:
        self.stopped = True


def test_what_was_found_replaces_the_look(opened: OpenRun) -> None:
    own = Own("1", looking=Finished(content()))
    own.finish(opened)
    assert own.seen is not None
    assert own.looking is None
    for found, problem in (({"run": "another"}, None), (None, "Your image could not be looked at: truncated.")):
        own = Own("1", looking=Finished(found, problem))
        own.finish(opened)
        assert own.seen is None
        assert (own.problem or "").startswith("Your image could not be looked at: ")


def test_clearing_stops_the_look_and_empties_the_field() -> None:
    look = Finished(None)
    own = Own("1", looking=look, number=3)
    own.clear()
    assert look.stopped
    assert (own.looking, own.seen, own.problem, own.number) == (None, None, None, 4)


def test_the_panel_shows_and_one_click_removes_it(visit: Visit, only_planted: Path) -> None:
    app = visit(class_="birds")
    assert not app.exception
    own = app.session_state["nc_own_image"]
    own.problem = "Your image could not be looked at: truncated."
    app.run()
    assert "truncated" in "".join(element.proto.body for element in app.main if element.type == "html")
    app.button(key="nc_own_clear").click().run()
    assert own.problem is None
    assert not [button for button in app.button if button.key == "nc_own_clear"]


def test_a_file_is_looked_at_once_and_its_field_is_a_new_one(opened: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []

    def look_at(run: Path, content: bytes) -> Finished:
        given.append(content)
        return Finished(None)

    file = UploadedFile(UploadedFileRec("1", "own.png", "image/png", b"pixels"), FileURLs())
    session: dict[str, object] = {"nc_own_file_0": file}
    monkeypatch.setattr(own_image.st, "session_state", session)
    monkeypatch.setattr(own_image, "look_at", look_at)
    own_image._take(opened, 0)
    own_image._take(opened, 0)  # the browser sends the value of the old field again
    session["nc_own_file_1"] = DeletedFile("1")
    own_image._take(opened, 1)
    own = own_image._own(opened)
    assert given == [b"pixels"]
    assert own.number == 1
    assert own.looking is not None
