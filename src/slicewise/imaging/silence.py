"""Keeps the warnings of pydicom from whoever reads files with it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("pydicom")


def _drop(_record: logging.LogRecord) -> bool:
    return False


class _Silence:
    """Silences warnings, and their copies in pydicom's log, while at least one thread is inside.

    `warnings.catch_warnings` alone is not safe in threads: overlapping blocks restore each other's filters.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters: warnings.catch_warnings[None] | None = None

    def enter(self) -> None:
        with self._lock:
            if self._filters is None:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                _LOGGER.addFilter(_drop)
                _LOGGER.propagate = False  # the filter does not see what pydicom's modules log under their own names
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._filters is not None:
                _LOGGER.removeFilter(_drop)
                _LOGGER.propagate = True
                self._filters.__exit__(None, None, None)
                self._filters = None


_SILENCE = _Silence()


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keeps pydicom's warnings about nonconforming values, as invalid UIDs, from the caller; safe in threads.

    They quote values of the header, which may name a patient.
    """
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()
