"""NeuroCartography: a map of the concepts that a vision network has learnt.

`summarise` makes a run, `open` opens one (docs/api.md). Importing the package loads neither torch nor plotly.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["open", "summarise"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("neurocarto.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
