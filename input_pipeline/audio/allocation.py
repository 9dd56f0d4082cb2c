"""How the C library keeps memory."""

import ctypes
import gc


def keep_freed_memory() -> None:
    """Lets glibc reuse the memory of freed arrays instead of giving it back to the system.

    Arrays of batches and of a step's intermediate values are allocated and freed every time;
    touching them anew costs a page fault for every 4 KiB, which is a quarter of a small model's
    step, and a third of the time of reading.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return
    arena_max, mmap_max, trim_threshold, top_pad = -8, -4, -1, -2  # of <malloc.h>
    mallopt(arena_max, 1)
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**28)


def give_back_freed_memory() -> None:
    """Gives the system what is free now, for once.

    A compiler leaves much of it behind, in pieces that are too small for a step's arrays; and a run
    before this one all that it remembered, in cycles.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
