"""What whoever runs the server allows."""

import os


def view_only() -> bool:
    """Return whether the app only shows: NEUROCARTO_VIEW_ONLY=1 keeps it from writing anything on the server."""
    return os.environ.get("NEUROCARTO_VIEW_ONLY", "").strip().lower() not in ("", "0", "false", "no")
