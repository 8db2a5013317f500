from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dicom_files import write_series
from slicewise.data import workers
from slicewise.data.one_thread import use_one_thread
from slicewise.data.workers import PreprocessedSeries, preprocess_all, source_digest
from slicewise.errors import DatasetError
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import Series, group_studies
from slicewise.results import Rejection
from slicewise.task import load_task

PARAMETERS = msgspec.structs.replace(load_task("ich").preprocessing, size=32, pixel_mm=8.0)


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


def test_the_record_of_a_turned_series_holds_the_whole_way_back(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3, matrix=16, ImageOrientationPatient=[0.0, -1.0, 0.0, 1.0, 0.0, 0.0])
    ((_, outcome),) = preprocess_all(series_of(tmp_path), PARAMETERS, workers=1)
    assert isinstance(outcome, PreprocessedSeries)
    assert (outcome.record.transposed, outcome.record.step_px) == (True, (0.8, -0.8))  # 8 mm a grid pixel over 10 mm


def test_workers_keep_order_and_values(tmp_path: Path) -> None:
    # More series than wait at once, so that results are handed out while others are made.
    write_series(tmp_path / "flat", slices=3, matrix=16, patient_id="flat", ImagePositionPatient=None)
    jobs = write(tmp_path, "abcdef")
    alone, helped = (list(preprocess_all(jobs, PARAMETERS, workers=count)) for count in (1, 2))
    for (series, one), (same, other) in zip(alone, helped, strict=True):
        assert series == same
        if isinstance(one, Rejection):
            assert one == other
            continue
        assert isinstance(other, PreprocessedSeries)
        assert one.record == other.record
        assert np.array_equal(one.values, other.values)
    assert [outcome.reason for _, outcome in helped if isinstance(outcome, Rejection)] == ["no_position"]


def test_a_worker_has_one_thread() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=use_one_thread) as pool:
        assert pool.submit(_blas_threads).result() == [1]


def _blas_threads() -> list[int]:
    np.ones((8, 8)) @ np.ones((8, 8))
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return sorted({pool["num_threads"] for pool in pools if pool["user_api"] == "blas"})


def test_a_worker_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = write(tmp_path, "ab")
    # A built-in function, so that the processes end before they have imported anything.
    monkeypatch.setattr(workers, "use_one_thread", partial(os._exit, 1))
    with pytest.raises(DatasetError, match="fewer workers"):
        list(preprocess_all(jobs, PARAMETERS, workers=2))


def test_the_source_digest_tells_when_files_change(tmp_path: Path) -> None:
    [before] = write(tmp_path, "a")
    assert source_digest(before) == source_digest(Series(before.headers[::-1]))
    whole = source_digest(before)
    file = next((tmp_path / "a").iterdir())
    content, stat = file.read_bytes(), file.stat()
    # Other pixels under the same identifiers, of the same size, written later.
    file.write_bytes(content[:-1] + b"\x01")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    rewritten = source_digest(series_of(tmp_path)[0])
    # Of another size, and as old as before.
    file.write_bytes(content + b"\x00\x00")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    grown = source_digest(series_of(tmp_path)[0])
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source_digest(series_of(tmp_path)[0]) == whole
    file.unlink()
    gone = source_digest(before)
    fewer = source_digest(series_of(tmp_path)[0])
    assert len({whole, rewritten, grown, gone, fewer}) == 5


def test_the_record_tells_how_the_series_was_acquired_and_scaled(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3, matrix=16, Manufacturer="SIEMENS", PatientAge="070Y", Modality="MR")
    relative = msgspec.structs.replace(PARAMETERS, intensity="relative", head_box="body", cupping_limit_hu=0.0)
    relative = msgspec.structs.replace(relative, deep_brain_limit_hu=0.0, body_threshold=200.0)
    ((_, outcome),) = preprocess_all(series_of(tmp_path), relative, workers=1)
    assert isinstance(outcome, PreprocessedSeries)
    assert outcome.record.acquisition is not None
    assert (outcome.record.acquisition.manufacturer, outcome.record.acquisition.age_years) == ("Siemens", 70.0)
    volume, _ = load_volume(series_of(tmp_path)[0])
    assert outcome.record.intensity_scale == preprocess(volume, relative).intensity_scale != 1.0
