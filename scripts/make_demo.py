"""Rebuild data/demo: photographs composed of Tux Paint's stamps, then a run over them with its scores.

    python -m scripts.make_demo            (or: make demo)

The stamps come from Debian's package tuxpaint-stamps-default, which is fetched and unpacked, not
installed, when it is not on the machine. The same stamps and seed give the same files, byte for byte.
"""

import argparse
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.scenes import SCENES, compose

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "tuxpaint-stamps-default"
VERSION = "2022.06.04-1"
THREADS = 2
"""Sums depend on the number of threads; with a fixed one the demo does not depend on the machine's cores."""
INFLUENCE_IMAGES = 4
"""Images of a class that its clusters are switched off on: its 45 classes would take long at the default."""
STAMPS = Path("usr/share/tuxpaint/stamps")
"""Where the package keeps its stamps, below the root of the file system it is unpacked in."""

FLAT = 0.65
"""A stamp is a drawing when more than this share of neighbouring pixels have exactly the same colour.

Over the folders below, photographs reach 0.59 (a crescent moon on black) and drawings start at 0.77.
"""
LEAST_SIDE = 40
"""Stamps whose long side is shorter (px) would be enlarged into a blur."""
VARIANTS = 2
"""Pictures of each stamp; every second one is mirrored, except where there is writing on it."""


@dataclass(frozen=True)
class Kind:
    """A class of the demo: which stamps belong to it and where they are shown.

    sources: folders, or single stamps, below the stamps folder; the longest that fits a stamp decides.
    """

    label: str
    sources: tuple[str, ...]
    scenes: tuple[str, ...]
    heap: bool = False


KINDS = (
    Kind("bird", ("animals/birds",), ("meadow", "garden", "shore")),
    Kind("sea animal", ("animals/fish", "animals/shellfish", "animals/mammals/aquatic"), ("reef",)),
    Kind(
        "insect and reptile",
        ("animals/insects", "animals/amphibians", "animals/lizards"),
        ("garden", "on the ground", "forest"),
    ),
    Kind(
        "carnivore",
        (
            "animals/mammals/bears",
            "animals/mammals/cats",
            "animals/mammals/dogs",
            "animals/mammals/badger",
            "animals/mammals/ferret",
            "animals/mammals/aquatic/otter",
            "animals/mammals/aquatic/sea_lion",
        ),
        ("meadow", "forest", "savanna"),
    ),
    Kind(
        "hoofed animal",
        (
            "animals/mammals/bovines",
            "animals/mammals/camel",
            "animals/mammals/deer",
            "animals/mammals/equines",
            "animals/mammals/giraffe",
            "animals/mammals/hippopotamus",
            "animals/mammals/pig",
            "animals/mammals/pig_golden",
            "animals/mammals/pig_golden2",
            "animals/mammals/rhino_black",
            "animals/mammals/wildboar",
        ),
        ("meadow", "savanna"),
    ),
    Kind("other mammal", ("animals/mammals", "animals/marsupials"), ("meadow", "forest", "savanna")),
    Kind("fruit and nut", ("food/fruit", "food/nuts"), ("table", "table", "studio"), heap=True),
    Kind("vegetable", ("food/vegetables", "food/spices"), ("table", "on the ground", "studio"), heap=True),
    Kind("flower", ("plants/flowers",), ("garden", "garden", "table")),
    Kind("tree and plant", ("plants", "plants/mushrooms", "plants/trees"), ("meadow", "forest")),
    Kind("musical instrument", ("hobbies/music",), ("room", "studio", "table")),
    Kind(
        "tool and household",
        (
            "household",
            "medical",
            "clothes/clothespin_new",
            "clothes/clothespin_old",
            "hobbies/binoculars",
            "hobbies/camera_35mm",
        ),
        ("table", "studio", "room"),
    ),
    Kind("vehicle", ("vehicles", "military/vehicles"), ("street", "street", "meadow")),
    Kind("ball and sport", ("sports",), ("meadow", "studio", "room")),
    Kind("road sign and letter box", ("town/roadsigns", "town/uk_post_box", "town/usps_mailbox"), ("street",)),
    Kind("space", ("space",), ("space",)),
)
"""The classes, and with them the label of every stamp."""

LEFT_OUT = {
    "animals/birds/albino_peahen": "hardly more than a patch of grass",
    "animals/fish/shrimp": "drawn, and nearly white",
    "animals/insects/fly": "an engraving",
    "household/arttools/highlighter": "grey, meant to be tinted",
    "household/dishes/glass": "drawn, and transparent",
    "medical/tooth": "an outline",
    "plants/trees/birch": "a silhouette",
    "plants/trees/holly_leaves": "drawn",
    "plants/trees/rambutan": "fruit in the folder of trees",
    "sports/rugby_goal_posts": "lines too thin to see",
    "vehicles/emergency/sedan_police": "an overlay for another stamp",
    "military/vehicles/ww2_german_gun": "painted",
}
"""Stamps that the rules cannot tell from photographs of their kind, and why they are no use here."""

WRITING = {
    "hobbies/camera_35mm",
    "household/arttools/pen_dryerase",
    "household/tools/measuring_tape",
    "household/tools/toolbox",
    "sports/australian_rules_football",
    "sports/tennis_racket",
    "town",
    "vehicles/emergency/firetruck",
    "vehicles/flight/planes/747",
    "vehicles/garbagetruck",
    "vehicles/masstransit",
    "vehicles/race/indycar",
}
"""Stamps and folders that are never mirrored: a network that reads would see a script that does not exist."""

PLACES = {
    "animals/mammals/aquatic/sea_lion": ("shore",),
    "vehicles/flight": ("air",),
    "vehicles/ship": ("sea",),
    "military/vehicles/f22_raptor": ("air",),
    "animals/birds/heron_greatblue_flying": ("air",),
    "animals/birds/cuckoo": ("air", "garden"),
    "animals/birds/quetzal": ("garden",),
    "animals/birds/seagull": ("air", "sea"),
    "animals/birds/tucan": ("air", "garden"),
    "animals/birds/pelican": ("air", "sea"),
    "animals/birds/penguin": ("snow",),
    "animals/birds/little-penguin": ("shore",),
    "animals/birds/magellanic_penguin": ("shore",),
    "animals/fish/lobster": ("reef", "beach"),
    "animals/shellfish": ("reef", "beach"),
    "animals/birds/ostrich": ("savanna",),
    "animals/birds/nandou": ("savanna",),
    "animals/mammals/camel": ("savanna",),
    "animals/mammals/elephant": ("savanna",),
    "animals/mammals/giraffe": ("savanna",),
    "animals/mammals/equines/zebra": ("savanna",),
    "animals/mammals/rhino_black": ("savanna",),
    "animals/mammals/deer/caribou": ("snow", "meadow"),
    "household/garbagecan": ("street",),
    "household/home_compost_bin": ("meadow",),
    "household/tools/cementmixer": ("street",),
    "household/tools/spade": ("meadow", "on the ground"),
    "household/wheelie_bin": ("street",),
    "plants/trees/pinecone": ("on the ground",),
    "plants/trees/liberia-palm": ("shore",),
}
"""Stamps and folders whose place is not the usual one of their kind."""


@dataclass(frozen=True)
class Stamp:
    """A photographic cut-out: its file, its name below the stamps folder without suffix, its kind."""

    file: Path
    name: str
    kind: Kind

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the places where it may be shown."""
        special = _longest_fit(self.name, PLACES)
        return PLACES[special] if special else self.kind.scenes

    @property
    def mirrorable(self) -> bool:
        """Whether it may be shown the other way round."""
        return _longest_fit(self.name, WRITING) is None


def _longest_fit(name: str, candidates: Iterable[str]) -> str | None:
    fits = [c for c in candidates if name == c or name.startswith(c + "/")]
    return max(fits, key=len, default=None)


def kind_of(name: str) -> Kind | None:
    """Return the kind of a stamp by its name below the stamps folder, None when it belongs to none."""
    kinds = {source: kind for kind in KINDS for source in kind.sources}
    fit = _longest_fit(name, kinds)
    return kinds[fit] if fit else None


def flat_share(image: Image.Image) -> float:
    """Return the share of opaque neighbours (left, right) with exactly the same colour: near 1 in a drawing."""
    pixels = np.asarray(image.convert("RGBA")).astype(np.int16)
    opaque = pixels[..., 3] > 250
    pairs = opaque[:, 1:] & opaque[:, :-1]
    same = (pixels[:, 1:, :3] == pixels[:, :-1, :3]).all(-1)
    return float((same & pairs).sum() / max(1, pairs.sum()))


def is_photograph(name: str, image: Image.Image) -> bool:
    """Say whether a stamp is a photographic cut-out that is worth showing, and not a copy of another."""
    parts = name.split("/")
    if "cartoon" in parts or "toys" in parts or parts[-1].endswith(("_mirror", "_flip")):
        return False
    return name not in LEFT_OUT and max(image.size) >= LEAST_SIDE and flat_share(image) <= FLAT


def find_stamps(folder: Path) -> Iterator[Stamp]:
    """Yield the photographic stamps below a folder, in the order of their names."""
    files = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.png")}
    for name in sorted(files):
        kind = kind_of(name)
        if kind is None:
            continue
        with Image.open(files[name]) as image:
            if is_photograph(name, image):
                yield Stamp(files[name], name, kind)


def compose_stamp(stamp: Stamp, variant: int, seed: int) -> Image.Image:
    """Return one picture of a stamp. Its randomness hangs on its own name: other stamps do not change it."""
    rng = np.random.default_rng([seed, zlib.crc32(stamp.name.encode()), variant])
    first = int(np.random.default_rng([seed, zlib.crc32(stamp.name.encode())]).integers(len(stamp.scenes)))
    scene = SCENES[stamp.scenes[(first + variant) % len(stamp.scenes)]]
    with Image.open(stamp.file) as image:
        cutout = image.convert("RGBA")
    return compose(cutout, scene, rng, mirror=stamp.mirrorable and variant % 2 == 1, heap=stamp.kind.heap)


def write_photographs(stamps: Sequence[Stamp], out: Path, seed: int) -> int:
    """Write every picture to out/<label>/<stamp>-<variant>.jpg, replacing what is there. Return their number."""
    shutil.rmtree(out, ignore_errors=True)
    for stamp in stamps:
        folder = out / stamp.kind.label
        folder.mkdir(parents=True, exist_ok=True)
        for variant in range(VARIANTS):
            # Folders repeat names (two fox.png would collide), so the parent folder goes into the name.
            name = "-".join(stamp.name.split("/")[-2:])
            compose_stamp(stamp, variant, seed).save(folder / f"{name}-{variant}.jpg", quality=88)
    return VARIANTS * len(stamps)


def obtain_stamps(cache: Path) -> Path:
    """Return the folder of the stamps: the installed package's, or a copy unpacked below the cache."""
    installed, unpacked = Path("/") / STAMPS, cache / PACKAGE
    if installed.is_dir():
        return installed
    if not (unpacked / STAMPS).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], cwd=cache, check=True)
        archive = next(cache.glob(f"{PACKAGE}_*.deb"))
        subprocess.run(["dpkg", "-x", str(archive), str(unpacked)], check=True)
        archive.unlink()
    return unpacked / STAMPS


def make_run(photographs: Path, out: Path, seed: int) -> int:
    """Run the pipeline over the pictures, score the run, and put it in the place of the old one once it is whole."""
    fresh = out.with_name(f".{out.name}-fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    folders = ["--images", _below_root(photographs), "--out", str(fresh)]
    options = ["--seed", str(seed), "--threads", str(THREADS), "--influence-images", str(INFLUENCE_IMAGES)]
    for command in (["run", *folders, *options], ["score", str(fresh), "--seed", str(seed)]):
        code = subprocess.run([sys.executable, "-m", "neurocarto", *command], cwd=ROOT, check=False).returncode
        if code:
            return code
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    print(f"the run is now {out}")
    return 0


def _below_root(folder: Path) -> str:
    """Name a folder from the repository's root: the manifest records it, and nobody else has our home folder."""
    folder = folder.resolve()
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else str(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Compose the photographs and make the run."""
    parser = argparse.ArgumentParser(description="Rebuild data/demo from Debian's package of Tux Paint stamps.")
    parser.add_argument("--stamps", type=Path, help="folder of the stamps (default: the package's, fetched if needed)")
    parser.add_argument(
        "--photographs", type=Path, default=ROOT / ".cache/tux-paint-stamps", help="where the pictures go"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "data/demo", help="the run's folder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pictures and of the run")
    parser.add_argument("--photographs-only", action="store_true", help="compose the pictures, make no run")
    arguments = parser.parse_args(argv)

    stamps = list(find_stamps(arguments.stamps or obtain_stamps(ROOT / ".cache")))
    count = write_photographs(stamps, arguments.photographs, arguments.seed)
    print(f"{count} pictures of {len(stamps)} stamps in {arguments.photographs}")
    if arguments.photographs_only:
        return 0
    return make_run(arguments.photographs, arguments.out, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
