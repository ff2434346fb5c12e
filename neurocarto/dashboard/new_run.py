"""A new run: which network, which images, what it will take, and the start."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from neurocarto.dashboard import policy, texts, watching, widgets
from neurocarto.dashboard.loaders import DEMO, ROOT, made_in
from neurocarto.errors import ImagesError, ModelError, NeurocartoError
from neurocarto.files import written_size
from neurocarto.request import PACKAGED, SUFFIXES
from neurocarto.runs.jobs import Asked, Jobs, run_name
from neurocarto.runs.store import Run
from neurocarto.settings import RunSettings

USUAL = (
    "resnet18", "resnet50", "googlenet", "inception_v3", "vgg16", "densenet121", "mobilenet_v3_large",
    "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vit_b_16", "swin_t",
)  # fmt: skip
"""Networks of torchvision that are offered; any other is typed."""
UPLOAD, FOLDER, SAMPLE = "Upload a .zip", "A folder of this server", "The demo's pictures"
OWN, FILE, NONE = "Its own", "From a file", "Random"
FEWEST = 10
PATIENCE = 180
"""Seconds that looking at a network may take."""


@dataclass(frozen=True)
class Images:
    """Images that were chosen: what to call them, how many, of how many labels, and what brings them to a job.

    argument: what the command line calls them, once `bring` has put them into the job's folder.
    """

    called: str
    count: int
    labels: int
    bring: Callable[[Path], str]


def form() -> None:
    """Show the form, or why there is none."""
    widgets.heading("New run", texts.NEW_RUN_HOW)
    why_not = policy.cannot_compute()
    if why_not:
        widgets.notice(why_not)
        return
    with st.container(border=True, key="nc_new_run"):
        left, right = st.columns(2, gap="large")
        with left:
            images = _said(_images)
        with right:
            model, weights, file = _model()
        if images is None or model is None:
            st.caption("Choose images to see what the run will take.")
            return
        with st.spinner("Looking at the network"):
            network = _said(lambda: _describe(model, weights, file, images))
        if network is not None:
            _settings_and_start(model, weights, file, images, network)


def _said(make: Callable[[], Any]) -> Any:
    """What is made, or None after saying in place why it cannot be."""
    try:
        return make()
    except NeurocartoError as error:
        widgets.notice(str(error))
        return None


def _images() -> Images | None:
    how = st.radio("Images", [UPLOAD, FOLDER, SAMPLE], key="nc_new_images", horizontal=True, help=texts.IMAGES_HOW)
    if how == SAMPLE:
        return _sample()
    if how == FOLDER:
        text = st.text_input("Folder", key="nc_new_folder", placeholder=next(map(str, policy.image_folders()), ""))
        return _folder(text) if text.strip() else None
    given = st.file_uploader("Images as .zip", type="zip", key="nc_new_zip", label_visibility="collapsed")
    return None if given is None else _zip(given)


def _zip(given: Any) -> Images:
    try:
        with zipfile.ZipFile(given) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ImagesError(f"{given.name!r} cannot be read as a .zip: {error}; make it again and upload it") from error

    def bring(folder: Path) -> str:
        given.seek(0)
        with (folder / "images.zip").open("wb") as file:
            shutil.copyfileobj(given, file)
        return str(folder / "images.zip")

    return _counted(given.name, names, bring)


def _folder(text: str) -> Images:
    folder = policy.allowed_folder(text)
    if not folder.is_dir():
        raise ImagesError(f"{str(folder)!r} is no folder")
    names = []
    for path in folder.rglob("*"):
        names.append(path.relative_to(folder).as_posix())
        if len(names) > 20 * policy.most_images():
            break
    return _counted(folder.name, names, lambda _: str(folder))


def _sample() -> Images:
    run = Run(ROOT / "data" / DEMO)
    table = run.images[["image", "path", "label"]].astype({"label": str})
    shown = [(image, path, label) for image, path, label in table.values.tolist() if run.preview(image)]

    def bring(folder: Path) -> str:
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            for image, path, label in shown:
                archive.writestr(f"{label}/{PurePosixPath(path).stem}.webp", run.preview(image) or b"")
        return str(folder / "images.zip")

    labels = {label for _, _, label in shown}
    st.caption(f"{len(shown):,} small pictures in {len(labels)} folders; they come with NeuroCartography.")
    return Images("the demo's pictures", len(shown), len(labels), bring)


def _counted(called: str, names: list[str], bring: Callable[[Path], str]) -> Images:
    pictures = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES and "__MACOSX" not in name]
    most = policy.most_images()
    if len(pictures) < FEWEST:
        raise ImagesError(f"{called!r} holds {len(pictures)} images; at least {FEWEST} are needed")
    if len(pictures) > most:
        raise ImagesError(f"{called!r} holds {len(pictures):,} images; at most {most:,} may be used on this server")
    labels = {name.rpartition("/")[0] for name in pictures} - {""}
    st.caption(f"{len(pictures):,} images" + (f" in {len(labels):,} folders, taken as classes" if labels else ""))
    return Images(called, len(pictures), len(labels), bring)


def _model() -> tuple[str | None, str, Any]:
    model = st.selectbox(
        "Network", [*PACKAGED, *USUAL], key="nc_new_model", accept_new_options=True, help=texts.NETWORK_HOW
    )
    weights = st.radio("Weights", [OWN, FILE, NONE], key="nc_new_weights", horizontal=True, help=texts.WEIGHTS_HOW)
    file = None
    if weights == FILE:
        file = st.file_uploader(
            "Weights", type=["pth", "pt", "safetensors"], key="nc_new_file", label_visibility="collapsed"
        )
        if file is None:
            return None, "", None
    if model and not model.replace("_", "").isalnum():
        widgets.notice(f"{model!r} is no network's name; a factory of your own is run from the command line")
        return None, "", None
    return model, {OWN: "DEFAULT", NONE: "none"}.get(weights, ""), file


def _describe(model: str, weights: str, file: Any, images: Images) -> dict[str, Any]:
    """The network's layers, and what a run will take, by a process that may import torch."""
    content = bytes(file.getbuffer()) if file else b""
    # Numbers of images are rounded: a few more change nothing.
    count = -(-images.count // 500) * 500
    key = hashlib.sha256(content).hexdigest() if file else weights
    return _described(model, key, Path(file.name).suffix if file else "", count, images.labels, content)


@st.cache_data(max_entries=20, show_spinner=False)
def _described(model: str, weights: str, suffix: str, images: int, labels: int, _content: bytes) -> dict[str, Any]:
    with TemporaryDirectory(prefix="neurocarto-") as folder:
        if suffix:
            path = Path(folder) / f"weights{suffix}"
            path.write_bytes(_content)
            weights = str(path)
        command = [sys.executable, "-m", "neurocarto", "layers", model, f"--weights={weights}", "--json"]
        command += [f"--images={images}", f"--labels={labels}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"{model!r} could not be loaded within {PATIENCE} s") from error
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
            raise ModelError(said.removeprefix("neurocarto: ").replace(f"{folder}/", ""))
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def _settings_and_start(model: str, weights: str, file: Any, images: Images, network: dict[str, Any]) -> None:
    usable = {layer["name"]: layer for layer in network["layers"] if not layer["problem"]}
    usual = [name for name, layer in usable.items() if layer["default"]]
    with st.expander("Layers and settings"):
        layers = st.multiselect(
            "Layers",
            list(usable),
            usual,
            format_func=lambda name: f"{name} ({usable[name]['channels']:,} neurons, map {usable[name]['map']})",
            key=f"nc_new_layers_{model}",
        )
        settings = _settings()
    if not layers:
        widgets.notice("No layer is chosen: choose at least one")
        return
    neurons = sum(usable[name]["channels"] for name in layers)
    low, high = _seconds(network["seconds"], images, len(layers), neurons, settings)
    memory = network["memory"]["fixed"] + network["memory"]["per_neuron"] * neurons
    st.markdown(
        f"**{neurons:,} neurons** in {len(layers)} layers, **{images.count:,} images**: about "
        f"**{_minutes(low)} to {_minutes(high)}** and **{written_size(memory)}** of memory on this machine."
    )
    name, start = st.columns([3, 1], vertical_alignment="bottom")
    text = name.text_input("Name of the run", f"{run_name(Path(images.called).stem)}-{model}", key="nc_new_name")
    begin = start.button("Start", key="nc_new_start", type="primary", width="stretch", disabled=not run_name(text))
    if begin:
        chosen = () if layers == usual else tuple(layers)
        _said(lambda: _start(run_name(text), model, weights, file, images, chosen, settings))


def _settings() -> dict[str, Any]:
    """The few settings that matter, those that differ from their defaults."""
    usual = RunSettings()
    first, second, third = st.columns(3)
    with first:
        seed = st.number_input("Seed", 0, 2**31 - 1, usual.seed, key="nc_new_seed", help=texts.SEED_HOW)
    with second:
        count = st.number_input(
            "Images per class for influence", 2, 100, usual.influence_images, key="nc_new_influence",
            help=texts.INFLUENCE_HOW,
        )  # fmt: skip
    with third:
        ways = {"intervention": "by switching clusters off", "gradient": "estimated, faster"}
        how = st.selectbox("Influence", list(ways), format_func=ways.__getitem__, key="nc_new_how")
    chosen = {"seed": int(seed), "influence_images": int(count), "influence": how}
    return {name: value for name, value in chosen.items() if value != getattr(usual, name)}


def _seconds(
    of: dict[str, Any], images: Images, layers: int, neurons: int, settings: dict[str, Any]
) -> tuple[float, float]:
    """How long a run will take, at least and at most; classes are the labels, and as many predictions besides."""
    rest = of["fixed"] + of["per_image"] * images.count + of["per_layer"] * layers + of["per_neuron"] * neurons
    share = settings.get("influence_images", RunSettings.influence_images) / RunSettings.influence_images
    share *= 0.3 if settings.get("influence") == "gradient" else 1
    low, high = (passes * share for passes in of["per_class"])
    return 0.8 * rest + low * (images.labels + 1), 1.5 * rest + high * (2 * images.labels + 1)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _start(
    name: str, model: str, weights: str, file: Any, images: Images, layers: tuple[str, ...], settings: dict[str, Any]
) -> None:
    asked = Asked(
        name,
        "",
        model,
        weights,
        layers,
        settings=settings,
        limits=(
            f"--called={images.called}",
            f"--most-images={policy.most_images()}",
            f"--most-minutes={policy.most_minutes():g}",
        ),
    )

    def uploads(folder: Path) -> Asked:
        brought = replace(asked, images=images.bring(folder))
        if file is None:
            return brought
        path = folder / f"weights{Path(file.name).suffix.lower()}"
        path.write_bytes(file.getbuffer())
        return replace(brought, weights=str(path))

    watching.watch(Jobs(made_in()).start(asked, uploads, policy.most_jobs()))
    st.rerun()
