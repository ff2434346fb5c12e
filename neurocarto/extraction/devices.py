"""What the network runs on: the processor, or the graphics cards of this machine."""

import os
import sys
from pathlib import Path
from typing import Any

from neurocarto.errors import SettingsError
from neurocarto.settings import BATCH_ON_CARDS, RunSettings

PATHS_OF_CARDS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""What the drivers of NVIDIA and AMD, and Windows' below Linux, show on Linux."""


def best_device() -> str:
    """Return what the setting `device` means by auto: cuda or mps where this machine has one, else cpu.

    Asks torch, whose import takes seconds, only where there may be a card.
    """
    if sys.platform == "linux" and not any(Path(path).exists() for path in PATHS_OF_CARDS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def with_device(chosen: dict[str, Any]) -> RunSettings:
    """Return settings from some that were chosen: device auto means the best, and cards get their own batch size."""
    settings = dict(chosen)
    if settings.setdefault("device", "auto") == "auto":
        settings["device"] = best_device()
    if settings["device"] != "cpu":
        settings.setdefault("batch_size", BATCH_ON_CARDS)
    return RunSettings(**settings)


def devices_of(device: str) -> list[str]:
    """Return the devices that the setting means: all graphics cards for cuda, by their numbers.

    SettingsError when this machine has none of them, or torch cannot use it.
    """
    import torch

    if device == "cuda" and torch.cuda.is_available():
        # Sums in one order every time, of numbers as wide as the processor's: else no run would be the same twice.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        return [f"cuda:{card}" for card in range(torch.cuda.device_count())]
    if device == "cpu" or (device == "mps" and torch.backends.mps.is_available()):
        return [device]
    raise SettingsError(f"device is {device!r}, but torch {torch.__version__} can use none here; choose auto or cpu")
