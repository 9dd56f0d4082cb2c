"""How the C library keeps memory."""

import ctypes
import gc
import os
import sys
from pathlib import Path

HUGE_PAGES = "glibc.malloc.hugetlb"
KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
    """Starts this command again with memory in pages of 2 MiB, where programs have to ask for them.

    To find the pages of 4 KiB of a step's arrays, and to get them anew, takes a fifth to a third of
    its time. glibc reads the wish for larger ones when a process starts, from `GLIBC_TUNABLES`;
    where that speaks of huge pages already, as by a person who wants none, nothing happens.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if HUGE_PAGES in tunables or not (KERNEL.exists() and "[madvise]" in KERNEL.read_text()):
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, f"{HUGE_PAGES}=1")))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_freed_memory() -> None:
    """Lets glibc reuse the memory of freed arrays below 32 MiB, instead of giving it back.

    Such arrays are allocated and freed for every batch; touching them anew costs a page fault for
    each page, which is a third of the time of reading. Larger ones, as the intermediate values of a
    step in one piece, are given back: glibc does not find an aligned piece again that it has freed,
    so keeping them doubles and trebles the memory of a training.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return
    arena_max, mmap_threshold, trim_threshold, top_pad = -8, -3, -1, -2  # of <malloc.h>
    mallopt(arena_max, 1)
    mallopt(mmap_threshold, 2**25)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)


def give_back_freed_memory() -> None:
    """Gives the system what is free now, for once.

    A compiler leaves much of it behind, in pieces that are too small for a step's arrays; and a run
    before this one all that it remembered, in cycles.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
