"""How this process holds on to memory."""

from __future__ import annotations

import ctypes
import gc

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's <malloc.h>
ARRAY_BYTES = 16 * 2**20
"""Arrays up to this size come from the heap."""
KEPT_BYTES = 64 * 2**20
"""Free memory at the end of a heap that is kept."""


YOUNG, MIDDLE, OLD = 50_000, 20, 100
"""Objects made before the youngest are looked through for cycles; how often that is before older ones are, too."""


def leave_alone_what_stays() -> None:
    """What start-up made stays for good: the garbage collector need not look through it, nor so often at what is new.

    A batch of decisions makes thousands of objects and few cycles; looking for these took a tenth of its CPU, and a
    look through everything held all answers up.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)


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
