"""Your image: drop one on Explore and see what it excites. Nothing of it is kept but in the session's memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from neurocarto.dashboard import components, state, texts, widgets
from neurocarto.dashboard.events import on_event
from neurocarto.dashboard.loaders import OpenRun
from neurocarto.dashboard.looking import Looking, look_at
from neurocarto.dashboard.policy import view_only
from neurocarto.runs.manifest import Manifest
from neurocarto.views.own_image import OwnImage

MEGABYTES = 20
FORMATS = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif", "jp2", "tga", "heic", "heif"]
EVERY = 1.0
"""Seconds between two questions whether a look is over."""
_OWN = "nc_own_image"


@dataclass
class Own:
    """This session's image.

    version: of the run that it was looked at with; looking: while that goes on; seen, problem: what came of it;
    number: of the field that takes the next one.
    """

    version: str
    looking: Looking | None = None
    seen: OwnImage | None = None
    problem: str | None = None
    number: int = 0

    def clear(self) -> None:
        """Forget the image, and stop looking at it."""
        if self.looking:
            self.looking.stop()
        self.looking = self.seen = self.problem = None
        self.number += 1

    def finish(self, opened: OpenRun) -> None:
        """Take what came of the look."""
        found, self.problem = (self.looking.found, self.looking.problem) if self.looking else (None, None)
        self.looking = None
        try:
            self.seen = OwnImage(found, opened.lookup) if found else None
        except ValueError as error:
            self.problem = texts.own_failed(str(error))


def why_not(manifest: Manifest) -> str | None:
    """Return in one line why this server cannot look at images with a run's network; None where it can."""
    name, source = str(manifest.model["name"]), str(manifest.model["source"])
    if view_only():
        return texts.OWN_VIEW_ONLY
    if find_spec("torch") is None:
        return texts.OWN_NO_TORCH
    if ":" in name:
        return texts.own_factory(name)
    if source.startswith("torch module"):
        return texts.OWN_MODULE
    return texts.OWN_FILE if "from the file" in source else None


def fires(opened: OpenRun) -> Mapping[int, float]:
    """Return the clusters that fire on this session's image, with their strength in 0…1; none without an image."""
    seen = _own(opened).seen
    return seen.fires if seen else {}


def control(opened: OpenRun) -> None:
    """Show the button behind which an image is taken, or why it cannot be."""
    own, why = _own(opened), why_not(opened.run.manifest)
    # A new number closes it.
    with st.popover("Your image", key=f"nc_own_{own.number}", width="stretch"):
        if why:
            widgets.notice(why)
            return
        st.html(f'<p class="nc-how">{texts.OWN_HOW}</p>')
        st.file_uploader(
            "Your image",
            FORMATS,
            key=_field(own.number),
            max_upload_size=MEGABYTES,
            label_visibility="collapsed",
            on_change=_take,
            args=(opened, own.number),
        )


def panel(opened: OpenRun) -> None:
    """Show what is known of this session's image; nothing where there is none."""
    own = _own(opened)
    # Always there, so that what stands below keeps its place on the page, and with it zoom and pan.
    with st.container():
        if own.looking:
            _wait(opened)
        elif own.seen or own.problem:
            _came_of(opened, own)


def _came_of(opened: OpenRun, own: Own) -> None:
    what, class_, clear = st.columns([8, 2.4, 1.45], vertical_alignment="bottom")
    clear.button("Remove image", key="nc_own_clear", on_click=own.clear, width="stretch")
    if own.problem:
        with what:
            widgets.notice(own.problem)
    if own.seen:
        _show(opened, own.seen, what, class_)


def _show(
    opened: OpenRun,
    seen: OwnImage,
    what: "st.delta_generator.DeltaGenerator",
    class_: "st.delta_generator.DeltaGenerator",
) -> None:
    selection = state.current()
    with what:
        widgets.heading("Your image", texts.OWN_READ)
    if seen.class_ and seen.class_ != selection.class_:
        event = {"kind": "class", "name": seen.class_}
        # The button shows Markdown, so the class's name, which may hold some, is not on it.
        class_.button("Choose its class", key="nc_own_class", on_click=on_event, args=(opened, event), width="stretch")
    html = seen.html(opened.patches, selection.clusters, selection.layers)
    components.own_image(html=html, on_event=lambda event: on_event(opened, event))


@st.fragment(run_every=EVERY)
def _wait(opened: OpenRun) -> None:
    own = _own(opened)
    if own.looking and own.looking.is_over():
        own.finish(opened)
    if not own.looking:
        st.rerun()
    what, stop = st.columns([10.4, 1.45], vertical_alignment="center")
    with what:
        widgets.notice(texts.own_looking(own.looking.seconds))
    stop.button("Stop", key="nc_own_stop", on_click=own.clear, width="stretch")


def _take(opened: OpenRun, number: int) -> None:
    """Look at the file in a field, which is emptied."""
    own, file = _own(opened), st.session_state.get(_field(number))
    # The browser may send the value of a field along that is gone, and Streamlit (1.67) calls for it once more.
    if number != own.number or not isinstance(file, UploadedFile):
        return
    own.clear()
    own.looking = look_at(opened.run.folder, file.getvalue())
    context = get_script_run_ctx()
    if context and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        # Streamlit would keep it until the session ends.
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def _field(number: int) -> str:
    return f"nc_own_file_{number}"


def _own(opened: OpenRun) -> Own:
    """This session's image; one looked at with another run is forgotten."""
    own: Own | None = st.session_state.get(_OWN)
    if own is None or own.version != opened.version:
        if own:
            own.clear()
        own = st.session_state[_OWN] = Own(opened.version, number=own.number if own else 0)
    return own
