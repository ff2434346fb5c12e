"""What this server lets its visitors do: environment variables, read when asked for (docs/deploy.md lists them)."""

import os
from importlib.util import find_spec
from math import isfinite
from pathlib import Path

from neurocarto.errors import SettingsError

VIEW_ONLY = "NEUROCARTO_VIEW_ONLY"


def view_only() -> bool:
    """Whether nothing may be written or computed here (NEUROCARTO_VIEW_ONLY)."""
    return os.environ.get(VIEW_ONLY, "").strip().lower() not in {"", "0", "false", "no"}


def cannot_compute() -> str:
    """Why no run can be made here, in one line; empty where one can."""
    if view_only():
        return "This server only shows runs. Make yours on a machine of your own: README says how."
    if find_spec("torch") is None:
        return "torch is not installed here, so runs can only be shown: pip install -r requirements.txt"
    return ""


def most_jobs() -> int:
    """How many runs may be under way at once (NEUROCARTO_MAX_JOBS): each takes all cores."""
    return int(_number("NEUROCARTO_MAX_JOBS", 1, 1))


def most_images() -> int:
    """How many images a run started here may have (NEUROCARTO_MAX_IMAGES)."""
    return int(_number("NEUROCARTO_MAX_IMAGES", 20_000, 10))


def most_minutes() -> float:
    """How long a run started here may take (NEUROCARTO_MAX_MINUTES)."""
    return _number("NEUROCARTO_MAX_MINUTES", 240, 0.1)


def image_folders() -> list[Path]:
    """The folders whose images may be shown and made into runs (NEUROCARTO_IMAGES)."""
    return [folder.resolve() for folder in folders("NEUROCARTO_IMAGES")]


def folders(variable: str) -> list[Path]:
    """The folders that an environment variable names."""
    return [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]


def allowed_folder(text: str) -> Path:
    """Return the folder that a visitor has named; SettingsError when it is not one of image_folders, or within one."""
    allowed = image_folders()
    path = Path(text.strip()).expanduser()
    if not allowed:
        raise SettingsError(
            "no folder of this server may be used: name those that may in NEUROCARTO_IMAGES and start the app again, "
            "or upload a .zip"
        )
    try:
        found = path.resolve()
        usable = any(found.is_relative_to(folder) for folder in allowed) and found.exists()
    except (OSError, ValueError, RuntimeError):
        usable = False
    if not usable:
        raise SettingsError(
            f"{text.strip()!r} cannot be used: it has to exist and lie within {', '.join(map(str, allowed))}"
        )
    return found


def _number(name: str, default: float, least: float) -> float:
    try:
        given = float(os.environ.get(name, ""))
    except ValueError:
        return default
    return max(least, given) if isfinite(given) else default
