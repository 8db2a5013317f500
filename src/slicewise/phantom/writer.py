"""Writes phantom studies as DICOM, with their label files.

OUT/dicom/..., OUT/stage_2_train/... or OUT/cq500/...  images, see `layouts.py`
OUT/stage_2_train.csv                                 layout "rsna": the challenge's label format
OUT/reads.csv                                         layout "cq500": three readers' findings
OUT/labels.csv                                        one row a slice; a borderline label is empty
OUT/masks/<series_uid>.nii.gz                         with `masks`: bits of `slicewise.phantom.masks.MASK_BITS`
OUT/preview.png                                       with `preview`
OUT/phantom.json                                      version, seed and arguments
OUT/.phantom/<index>.json                             one record a whole study: what a later call need not do again
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from slicewise.errors import UsageError
from slicewise.files import write_bytes_atomically
from slicewise.phantom import layouts, reads, tables
from slicewise.phantom.arguments import PhantomArguments, claim_folder
from slicewise.phantom.masks import nibabel, write_mask
from slicewise.phantom.parameters import PhantomParameters
from slicewise.phantom.pool import run_jobs
from slicewise.phantom.preview import write_preview
from slicewise.phantom.study import generate_study, patient_index
from slicewise.progress import Progress, no_progress

RECORDS = ".phantom"
_FILE_ORDER, _READS = 100, 101
"""Spawn keys that the order of files and the readers are drawn with, apart from those of the study itself."""


@dataclass(frozen=True)
class _Job:
    output: Path
    index: int
    arguments: PhantomArguments


def write_phantom(
    output: Path,
    studies: int,
    seed: int = 0,
    layout: str = layouts.CLINICAL,
    parameters: PhantomParameters | None = None,
    *,
    masks: bool = False,
    preview: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
) -> None:
    """Writes a phantom data set. A call that was interrupted can be repeated and does only what is missing.

    Args:
        output: Folder to make, or one that an earlier call with the same arguments made (it may have had fewer
            studies).
        studies: Number of studies.
        seed: Seed of everything that is random.
        layout: "clinical", "rsna" or "cq500".
        parameters: What can be chosen about the studies; None for the defaults.
        masks: Write masks of the hemorrhages as NIfTI.
        preview: Write a picture of the first studies.
        workers: Number of processes; the files are the same whatever it is.
        progress: Reports finished studies.

    Raises:
        UsageError: If an argument does not fit, or the folder holds something else.
        MissingExtraError: If masks are wanted and nibabel is not installed.
        SlicewiseError: If a worker process dies.
    """
    if layout not in layouts.LAYOUTS:
        raise UsageError(f"layout: '{layout}' is not one of {', '.join(layouts.LAYOUTS)}")
    if masks:
        nibabel()
    arguments = PhantomArguments(seed, studies, layout, masks, parameters or PhantomParameters())
    claim_folder(output, arguments, workers)
    jobs = [_Job(output, index, arguments) for index in range(studies) if not _record_path(output, index).is_file()]
    done = run_jobs(_write_study, jobs, workers)
    for _ in progress(done, description="phantom", total=studies, unit="study", initial=studies - len(jobs)):
        pass
    _write_tables(output, arguments)
    if preview:
        write_preview(output, arguments)


def _record_path(output: Path, index: int) -> Path:
    return output / RECORDS / f"{index:06d}.json"


def _write_study(job: _Job) -> int:
    """Generates and writes one study; the record comes last, so that a study with a record is whole."""
    arguments = job.arguments
    with_companions = arguments.layout != layouts.RSNA
    study = generate_study(arguments.seed, job.index, arguments.parameters, companions=with_companions)
    patient = patient_index(arguments.seed, job.index, arguments.parameters)
    names = layouts.names_of(study, arguments.seed, patient, arguments.layout)
    layouts.write_images(job.output, arguments.layout, study, names, _rng(job, _FILE_ORDER))
    if arguments.masks:
        write_mask(job.output / "masks" / f"{names.series_uid}.nii.gz", study)
    found = reads.read_study(study, _rng(job, _READS)) if arguments.layout == layouts.CQ500 else ()
    record = tables.record_of(study, names, found)
    write_bytes_atomically(_record_path(job.output, job.index), msgspec.json.encode(record))
    return job.index


def _rng(job: _Job, key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(job.arguments.seed, spawn_key=(job.index, key)))


def _write_tables(output: Path, arguments: PhantomArguments) -> None:
    def records() -> Iterator[tables.StudyRecord]:
        for index in range(arguments.studies):
            yield msgspec.json.decode(_record_path(output, index).read_bytes(), type=tables.StudyRecord)

    tables.write_labels_csv(output / tables.LABELS_CSV, records())
    if arguments.layout == layouts.RSNA:
        tables.write_rsna_csv(output / tables.RSNA_CSV, records())
    if arguments.layout == layouts.CQ500:
        tables.write_reads_csv(output / tables.READS_CSV, records())
