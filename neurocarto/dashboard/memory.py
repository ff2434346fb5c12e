"""Keeping the server small enough for a free host.

Streamlit runs every rerun in a thread of its own, and both the C library and Arrow keep separate memory
for every thread that ever was. The C library also keeps freed arrays of many megabytes for later, with holes
where small things lie between. Measured on a run of 10,240 neurons after a dozen clicks: 394 MB without shared heaps,
332 MB with them; on one of 100,000 neurons and 1,000 classes with three visitors: 501 MB without returning large
arrays, 371 MB with it.
"""

import contextlib
import ctypes
import gc
from functools import cache

import pyarrow as pa

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""mallopt's names for the number of separate heaps and for the size from which memory is a mapping of its own (malloc.h
of glibc). Unless it is set, that size grows to 32 MB by itself."""
_LARGE = 256 * 1024


@cache
def share_heaps() -> None:
    """Let all threads share two heaps, and Arrow use them too; give back what is large as soon as it is freed.

    Does nothing where the C library is not glibc.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


@cache
def leave_modules_alone() -> None:
    """Leave what is there now out of all collections of garbage: Streamlit looks for some after every run of a page.

    To be called once all is imported and nothing opened yet: what is left out never goes where it refers to itself.
    """
    gc.freeze()
