"""Phantom studies straight into a prepared dataset: the same `preprocess`, no DICOM in between.

Beside what `slicewise prepare` makes of the same studies in the clinical layout, every series folder has the blood on a
coarse grid (`slicewise.data.occupancy`), and the dataset has `phantom.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

import slicewise
from slicewise.data import writing
from slicewise.data.occupancy import MASKS, GridPlace, coarse_occupancy
from slicewise.data.split import extend_split, read_splits
from slicewise.data.store import (
    RECORD,
    SERIES,
    SPLITS,
    DatasetManifest,
    SeriesRecord,
    StoredRecords,
    folder_name,
    read_record,
)
from slicewise.errors import UsageError
from slicewise.imaging.acquisition import Acquisition, short_manufacturer
from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.phantom.arguments import PhantomArguments, claim_folder
from slicewise.phantom.dicom import KVP, MODEL_NAME, series_description
from slicewise.phantom.labels import LABELS
from slicewise.phantom.parameters import PhantomParameters
from slicewise.phantom.pool import run_jobs
from slicewise.phantom.preview import write_preview
from slicewise.phantom.study import PhantomStudy, generate_study, series_uid
from slicewise.progress import Progress, no_progress
from slicewise.task import Task

LAYOUT = "phantom"


@dataclass(frozen=True)
class _Job:
    output: Path
    index: int
    arguments: PhantomArguments
    task: Task


def write_phantom_dataset(
    output: Path,
    studies: int,
    task: Task,
    seed: int = 0,
    parameters: PhantomParameters | None = None,
    *,
    holdout: float = 0.0,
    preview: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
) -> None:
    """Writes a prepared dataset of phantoms. A call that was interrupted can be repeated and does only what is missing.

    Args:
        output: Folder to make, or one that an earlier call with the same arguments made (it may have had fewer
            studies).
        studies: Number of studies.
        task: Its labels must be among those of the phantom.
        seed: Seed of everything that is random, the split included.
        parameters: What can be chosen about the studies; None for the defaults.
        holdout: Share of the patients whose split is "test".
        preview: Write a picture of the first studies.
        workers: Number of processes; the dataset is the same whatever it is.
        progress: Reports finished studies.

    Raises:
        UsageError: If an argument does not fit, or the folder holds something else.
        SlicewiseError: If a worker process dies.
    """
    foreign = [name for name in task.label_names if name not in LABELS]
    if foreign:
        raise UsageError(f"task '{task.name}': phantoms know nothing about '{foreign[0]}', only {', '.join(LABELS)}")
    if not 0.0 <= holdout <= 1.0:
        raise UsageError(f"holdout {holdout:g}: expected a share of the patients between 0 and 1")
    arguments = PhantomArguments(seed, studies, LAYOUT, masks=True, parameters=parameters or PhantomParameters())
    manifest = DatasetManifest(
        LAYOUT, task, task.preprocessing.digest(), slicewise.__version__, holdout=holdout, seed=seed
    )
    claim_folder(output, arguments, workers)
    writing.write_manifest(output, manifest)
    jobs = [_Job(output, index, arguments, task) for index in range(studies) if not _is_whole(output, seed, index)]
    done = run_jobs(_write_study, jobs, workers)
    for _ in progress(done, description="phantom", total=studies, unit="study", initial=studies - len(jobs)):
        pass
    _write_tables(output, arguments, manifest)
    if preview:
        write_preview(output, arguments)


def series_record(study: PhantomStudy, model_input: ModelInput, task: Task) -> SeriesRecord:
    """Returns what a prepared dataset says of a study."""
    volume = study.volume
    columns = [LABELS.index(name) for name in task.label_names]
    return SeriesRecord(
        patient_id=volume.patient_id,
        study_uid=volume.study_uid,
        series_uid=volume.series_uid,
        source_digest="",
        slices=volume.slices,
        positions_mm=tuple(volume.positions_mm.tolist()),
        labels=tuple(tuple(row) for row in study.labels[:, columns].tolist()),
        row_positions_mm=tuple(model_input.positions_mm.tolist()),
        duplicate_rank=tuple(model_input.duplicate_rank.tolist()),
        slab_of_slice=tuple(model_input.slab_of_slice.tolist()),
        origin_px=(float(model_input.origin_px[0]), float(model_input.origin_px[1])),
        step_px=(float(model_input.step_px[0]), float(model_input.step_px[1])),
        matrix=(int(volume.values.shape[1]), int(volume.values.shape[2])),
        pixel_spacing_mm=volume.pixel_spacing_mm,
        tilt_degrees=float(volume.tilt_degrees),
        volume_warnings=volume.warnings,
        input_warnings=model_input.warnings,
        transposed=model_input.transposed,
        acquisition=_acquisition(study),
        intensity_scale=model_input.intensity_scale,
    )


def _acquisition(study: PhantomStudy) -> Acquisition:
    """Returns what the headers of a study tell: a phantom has neither age nor sex."""
    return Acquisition(
        manufacturer=short_manufacturer(study.style.manufacturer),
        manufacturer_text=study.style.manufacturer,
        model_name=MODEL_NAME,
        series_description=series_description(study),
        kernel=study.style.kernels[study.physics.kernel.name],
        slice_thickness_mm=round(float(np.median(study.geometry.thickness_mm)), 6),
        kvp=float(KVP),
    )


def _folder(output: Path, seed: int, index: int) -> Path:
    return output / SERIES / folder_name(series_uid(seed, index))


def _is_whole(output: Path, seed: int, index: int) -> bool:
    folder = _folder(output, seed, index)
    return (folder / MASKS).is_file() and (folder / RECORD).is_file() and bool(read_record(folder).masks_digest)


def _write_study(job: _Job) -> int:
    """Generates and writes one study."""
    study = generate_study(job.arguments.seed, job.index, job.arguments.parameters)
    model_input = preprocess(study.volume, job.task.preprocessing)
    folder = _folder(job.output, job.arguments.seed, job.index)
    if folder.exists():  # a file of it was lost
        shutil.rmtree(folder)
    place = GridPlace(model_input.origin_px, model_input.step_px, model_input.slab_of_slice)  # a phantom is upright
    masks = coarse_occupancy(study.occupancy, place, job.task)
    writing.write_series(job.output, series_record(study, model_input, job.task), model_input.values, masks)
    return job.index


def _write_tables(output: Path, arguments: PhantomArguments, manifest: DatasetManifest) -> None:
    def records() -> Iterator[SeriesRecord]:
        for index in range(arguments.studies):
            yield read_record(_folder(output, arguments.seed, index))

    keys = []
    positive: dict[str, int] = {}
    for record in records():
        keys.append((record.patient_id, record.study_uid, record.series_uid))
        is_positive = int((record.label_array == 1).any())
        positive[record.patient_id] = max(is_positive, positive.get(record.patient_id, 0))
    known = read_splits(output / SPLITS) if (output / SPLITS).is_file() else {}
    shares = {"train": 1.0 - manifest.holdout, "test": manifest.holdout}
    splits = extend_split(known, list(positive), shares, arguments.seed, positive)
    stored = StoredRecords(output, [series for _, _, series in sorted(keys)])
    writing.write_tables(output, stored, manifest.task.label_names, splits, ())
    writing.write_manifest(output, msgspec.structs.replace(manifest, complete=True))
