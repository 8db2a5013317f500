from __future__ import annotations

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from slicewise.imaging.silence import silent_pydicom


def test_neither_warnings_nor_log_records_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    with silent_pydicom():
        warnings.warn("Invalid value: Doe^Jane", stacklevel=1)
        logging.getLogger("pydicom").warning("Invalid value: Doe^Jane")
    assert caplog.records == []
    logging.getLogger("pydicom").warning("heard")
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
    assert [record.message for record in caplog.records] == ["heard"]


def test_an_error_ends_the_silence() -> None:
    before = list(warnings.filters)
    with pytest.raises(KeyError), silent_pydicom(), silent_pydicom():
        raise KeyError
    assert list(warnings.filters) == before


def test_overlapping_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    entered, left = Barrier(2), Barrier(2)

    def first() -> None:
        with silent_pydicom():
            entered.wait(10)
        left.wait(10)

    def second() -> None:
        with silent_pydicom():
            entered.wait(10)
            left.wait(10)
            warnings.warn("nobody hears this", stacklevel=1)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(first), pool.submit(second)]:
            future.result()
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
