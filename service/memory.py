"""How this process holds on to memory."""

from __future__ import annotations

import ctypes

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's <malloc.h>
ARRAY_BYTES = 16 * 2**20
"""Arrays up to this size come from the heap."""
KEPT_BYTES = 64 * 2**20
"""Free memory at the end of a heap that is kept."""


def keep_freed_memory() -> bool:
    """Lets the allocator keep what a batch of decisions frees for the next; False where it is not glibc's.

    Each batch makes and drops arrays of some MB. Given back and asked for again, every page of them is faulted in and
    cleared anew, which took a quarter of a decision's CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, ARRAY_BYTES) and mallopt(TRIM_THRESHOLD, KEPT_BYTES))
