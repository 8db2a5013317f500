"""Series -> network input, in several processes."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.data.one_thread import use_one_thread
from slicewise.data.store import SeriesRecord
from slicewise.errors import DatasetError, InputError
from slicewise.imaging.acquisition import read_acquisition
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import Series, rejection_of_error
from slicewise.results import Rejection
from slicewise.task import PreprocessingParameters


@dataclass(frozen=True, eq=False)
class PreprocessedSeries:
    """What a worker makes of a series; labels and patient are still missing."""

    record: SeriesRecord
    values: npt.NDArray[np.int16]


def source_digest(series: Series) -> str:
    """Returns the SHA-256 over study and files of a series: tells whether it still has the same images.

    Size and time of change stand for the content of a file, which would take long to read.
    """
    states = {source: source.state() for source in {header.source for header in series.headers}}
    files = sorted((header.file, header.sop_uid, header.frame, *states[header.source]) for header in series.headers)
    return hashlib.sha256(msgspec.json.encode((series.study_uid, files))).hexdigest()


def preprocess_all(
    jobs: Iterable[Series], parameters: PreprocessingParameters, workers: int
) -> Iterator[tuple[Series, PreprocessedSeries | Rejection]]:
    """Loads and preprocesses series, in the order given.

    Args:
        jobs: The series; they are taken one by one, as they are needed.
        parameters: Parameters of the preprocessing.
        workers: Processes; each holds one volume in memory. 1 works in this process.

    Yields:
        Every series with what it gave, or why it could not be read.

    Raises:
        DatasetError: If a worker process dies.
    """
    if workers <= 1:
        for series in jobs:
            yield series, _preprocess_series(series, parameters)
        return
    pending: deque[tuple[Series, Future[PreprocessedSeries | Rejection]]] = deque()
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=use_one_thread) as pool:
            for series in jobs:
                pending.append((series, pool.submit(_preprocess_series, series, parameters)))
                if len(pending) > 2 * workers:  # results wait here: few, so that memory stays small
                    first, future = pending.popleft()
                    yield first, future.result()
            for series, future in pending:
                yield series, future.result()
    except BrokenProcessPool as error:
        raise DatasetError(
            "A worker process ended early, most likely for lack of memory. Run again with fewer workers: "
            "the series that are done are kept"
        ) from error


def _preprocess_series(series: Series, parameters: PreprocessingParameters) -> PreprocessedSeries | Rejection:
    digest = source_digest(series)  # before reading: a file that changes meanwhile is read again next time
    try:
        volume, rejected = load_volume(series)
    except InputError as error:
        return rejection_of_error(series, error)
    result = preprocess(volume, parameters)
    record = SeriesRecord(
        patient_id="",
        study_uid=volume.study_uid,
        series_uid=volume.series_uid,
        source_digest=digest,
        slices=volume.slices,
        positions_mm=tuple(volume.positions_mm.tolist()),
        labels=(),
        row_positions_mm=tuple(result.positions_mm.tolist()),
        duplicate_rank=tuple(result.duplicate_rank.tolist()),
        slab_of_slice=tuple(result.slab_of_slice.tolist()),
        origin_px=(float(result.origin_px[0]), float(result.origin_px[1])),
        step_px=(float(result.step_px[0]), float(result.step_px[1])),
        matrix=(int(volume.values.shape[1]), int(volume.values.shape[2])),
        pixel_spacing_mm=(float(volume.pixel_spacing_mm[0]), float(volume.pixel_spacing_mm[1])),
        tilt_degrees=float(volume.tilt_degrees),
        volume_warnings=volume.warnings,
        input_warnings=result.warnings,
        rejected=rejected,
        transposed=result.transposed,
        acquisition=read_acquisition(series),
        intensity_scale=result.intensity_scale,
    )
    return PreprocessedSeries(record, result.values)
