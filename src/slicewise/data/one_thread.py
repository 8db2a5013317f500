"""Keeps the numerical libraries of a worker process on one thread.

This module imports nothing heavy: the libraries read these variables when they are loaded, which must come after.
"""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def use_one_thread() -> None:
    """Initialises a worker process: several processes with several threads each would wait for each other."""
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
