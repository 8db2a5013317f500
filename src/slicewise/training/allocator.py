"""Memory that a training step frees and the next one wants again.

glibc gives large blocks back to the system as soon as they are freed. The tensors of every step on the CPU then are new
pages, which the kernel has to clear first (`benchmarks/cpu_step.py`).
"""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of mallopt(3).
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes glibc keep what this process frees, for its next use: the memory of the peak is held to the end.

    Returns:
        Whether it did: not where another C library runs, nor where `MALLOC_` variables of the environment say how it
        handles memory.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(setting, _LARGEST) == 1 for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
