"""What the C library does with freed memory: keeps it between two passes, hands it back after the last."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""mallopt's names, from malloc.h: free memory that is kept, and the size from which arrays are mapped one by one."""
_KEPT = 2**30


def keep_freed_memory() -> None:
    """Let the C library keep freed memory of up to a gigabyte, for what asks for it next.

    Every pass through a network asks for the same hundreds of megabytes again. Handing each array back to the kernel
    and getting it anew took half of the time of EfficientNet-Lite2 on batches of 32 patches. Does nothing where the C
    library is not glibc. For a process that computes; see dashboard.memory for one that waits.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def give_back() -> None:
    """Hand memory that is free inside the allocator back to the system, where that is glibc's."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
