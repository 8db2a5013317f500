from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dicom_files import write_series
from slicewise.data import workers
from slicewise.data.one_thread import use_one_thread
from slicewise.data.workers import PreprocessedSeries, preprocess_all, source_digest
from slicewise.errors import DatasetError
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.imaging.series import Series, group_studies
from slicewise.task import load_task

PARAMETERS = load_task("ich").preprocessing


def series_of(folder: Path) -> list[Series]:
    headers = [item for item in discover([folder]) if isinstance(item, SliceHeader)]
    return [series for study in group_studies(headers) for series in study.series]


def write(folder: Path, names: Sequence[str]) -> list[Series]:
    for name in names:
        write_series(folder / name, slices=3, matrix=16, patient_id=name)
    return series_of(folder)


def test_series_come_in_the_order_given(tmp_path: Path) -> None:
    jobs = write(tmp_path, "abcde")[::-1]
    outcomes = list(preprocess_all(jobs, PARAMETERS, workers=1))
    assert [series for series, _ in outcomes] == jobs
    for series, outcome in outcomes:
        assert isinstance(outcome, PreprocessedSeries)
        assert outcome.record.series_uid == series.series_uid
        assert outcome.values.shape == (3, PARAMETERS.size, PARAMETERS.size)


def test_workers_keep_order_and_values(tmp_path: Path) -> None:
    # More series than wait at once, so that results are handed out while others are made.
    jobs = write(tmp_path, "abcdef")
    alone, helped = (list(preprocess_all(jobs, PARAMETERS, workers=count)) for count in (1, 2))
    for (series, one), (same, other) in zip(alone, helped, strict=True):
        assert series == same
        assert isinstance(one, PreprocessedSeries)
        assert isinstance(other, PreprocessedSeries)
        assert one.record == other.record
        assert np.array_equal(one.values, other.values)


def test_a_worker_has_one_thread() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=use_one_thread) as pool:
        assert pool.submit(_blas_threads).result() == [1]


def _blas_threads() -> list[int]:
    np.ones((8, 8)) @ np.ones((8, 8))
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return sorted({pool["num_threads"] for pool in pools if pool["user_api"] == "blas"})


def test_a_worker_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = write(tmp_path, "ab")
    monkeypatch.setattr(workers, "use_one_thread", _die)
    with pytest.raises(DatasetError, match="fewer workers"):
        list(preprocess_all(jobs, PARAMETERS, workers=2))


def _die() -> None:
    os._exit(1)


def test_the_source_digest_tells_when_files_change(tmp_path: Path) -> None:
    [before] = write(tmp_path, "a")
    assert source_digest(before) == source_digest(Series(before.headers[::-1]))
    next((tmp_path / "a").iterdir()).unlink()
    assert source_digest(series_of(tmp_path)[0]) != source_digest(before)
