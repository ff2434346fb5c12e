"""What this server lets its visitors do."""

import os

VIEW_ONLY = "NEUROCARTO_VIEW_ONLY"


def view_only() -> bool:
    """Return whether visitors may look only, so that nothing is written on the server."""
    return os.environ.get(VIEW_ONLY, "0") not in {"", "0"}
