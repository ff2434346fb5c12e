"""The browser scripts of Plotly and vis-network, copied from the installed packages to where Streamlit serves them.

They are third-party files, so they are never committed; serving them from here means that a page makes
no request to any other host.
"""

import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = {
    "plotly.min.js": ("plotly", "package_data/plotly.min.js"),
    "vis-network.min.js": ("pyvis", "lib/vis-9.1.2/vis-network.min.js"),
}


@cache
def copy_scripts(beside: Path = ROOT) -> None:
    """Copy the scripts to static/ beside the app's entrypoint, once per process and only where they differ."""
    static = beside / "static"
    static.mkdir(exist_ok=True)
    for name, (package, path) in SCRIPTS.items():
        source, target = _package_folder(package) / path, static / name
        if target.is_file() and _stamp(target) == _stamp(source):
            continue
        temporary = target.with_name(f".{name}.{os.getpid()}")
        shutil.copy2(source, temporary)
        temporary.replace(target)


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the app needs {package}; install requirements.txt")
    return Path(spec.origin).parent


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, int(status.st_mtime)
