"""Writes phantom studies as DICOM, with their label files.

OUT/dicom/<patient>/<study>/<series>/IM0001.dcm ...   layout "clinical": valid CT images, in no helpful file order
OUT/stage_2_train/ID_<9 hex>.dcm ...                  layout "rsna": flat, with the challenge's names
OUT/stage_2_train.csv                                 layout "rsna": the challenge's label format
OUT/labels.csv                                        one row a slice; a borderline label is empty
OUT/masks/<series_uid>.nii.gz                         with `masks`: bits of `slicewise.phantom.masks.MASK_BITS`
OUT/preview.png                                       with `preview`
OUT/phantom.json                                      version, seed and arguments
OUT/.phantom/<index>.json                             one record a whole study: what a later call need not do again
"""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import DataElement
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset, validate_file_meta
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from slicewise.data.one_thread import use_one_thread
from slicewise.errors import SlicewiseError, UsageError
from slicewise.files import write_atomically, write_bytes_atomically
from slicewise.phantom import tables
from slicewise.phantom.masks import nibabel, write_mask
from slicewise.phantom.scanner import LOWEST_HU
from slicewise.phantom.study import (
    PHANTOM_VERSION,
    PhantomParameters,
    PhantomStudy,
    generate_study,
    patient_index,
    stable_uid,
)
from slicewise.progress import Progress, no_progress

PREVIEW_STUDIES = 8
ARGUMENTS_FILE, RECORDS = "phantom.json", ".phantom"
SYNTHETIC = "Synthetic phantom, not a patient."
_FILE_ORDER = 100
"""Spawn key that the order of files is drawn with, apart from those of the study itself."""


class PhantomArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `phantom.json` holds: all that decides the content of the folder."""

    seed: int
    studies: int
    layout: str
    masks: bool
    parameters: PhantomParameters
    phantom_version: int = PHANTOM_VERSION


@dataclass(frozen=True)
class _Job:
    output: Path
    index: int
    arguments: PhantomArguments


def write_phantom(
    output: Path,
    studies: int,
    seed: int = 0,
    layout: str = tables.CLINICAL,
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
        layout: "clinical" or "rsna".
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
    if layout not in tables.LAYOUTS:
        raise UsageError(f"layout: '{layout}' is not one of {', '.join(tables.LAYOUTS)}")
    if studies < 1 or workers < 1 or seed < 0:
        raise UsageError(f"studies ({studies}) and workers ({workers}) must be at least 1, seed ({seed}) at least 0")
    if masks:
        nibabel()
    arguments = PhantomArguments(seed, studies, layout, masks, parameters or PhantomParameters())
    _claim(output, arguments)
    jobs = [_Job(output, index, arguments) for index in range(studies) if not _record_path(output, index).is_file()]
    done = studies - len(jobs)
    for _ in progress(_run(jobs, workers), description="phantom", total=studies, unit="study", initial=done):
        pass
    _write_tables(output, arguments)
    if preview:
        _write_preview(output, arguments)


def _claim(output: Path, arguments: PhantomArguments) -> None:
    """Makes the folder, or checks that it was made with the same arguments."""
    path = output / ARGUMENTS_FILE
    if path.is_file():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=PhantomArguments)
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{path}: not written by this version of the phantom ({error}). Choose another folder"
            ) from (error)
        if found.studies > arguments.studies or msgspec.structs.replace(found, studies=arguments.studies) != arguments:
            raise UsageError(
                f"{output} holds a phantom made with other arguments (see {ARGUMENTS_FILE}). Repeat them, with at "
                f"least {found.studies} studies, or choose another folder"
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} exists and is not a phantom folder. Choose another folder")
    write_bytes_atomically(path, msgspec.json.format(msgspec.json.encode(arguments, order="sorted"), indent=1) + b"\n")


def _run(jobs: list[_Job], workers: int) -> Iterator[int]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_write_study, jobs)
        return
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=use_one_thread) as pool:
            for future in as_completed([pool.submit(_write_study, job) for job in jobs]):
                yield future.result()
    except BrokenProcessPool as error:
        raise SlicewiseError(
            "A worker process ended early, most likely for lack of memory. Run again with fewer workers: "
            "the studies that are done are kept"
        ) from error


def _record_path(output: Path, index: int) -> Path:
    return output / RECORDS / f"{index:06d}.json"


def _write_study(job: _Job) -> int:
    """Generates and writes one study; the record comes last, so that a study with a record is whole."""
    arguments = job.arguments
    study = generate_study(arguments.seed, job.index, arguments.parameters)
    names = tables.names_of(study, arguments.seed, patient_index(arguments.seed, job.index), arguments.layout)
    if arguments.layout == tables.RSNA:
        folder = job.output / "stage_2_train"
        folder.mkdir(parents=True, exist_ok=True)
        for number, sop_uid in enumerate(names.sop_uids):
            with write_atomically(folder / f"{sop_uid}.dcm") as temporary:
                _save(temporary, _rsna_dataset(study, names, number))
    else:
        _write_series(job, study, names)
    if arguments.masks:
        write_mask(job.output / "masks" / f"{names.series_uid}.nii.gz", study)
    record = tables.record_of(study, names)
    write_bytes_atomically(_record_path(job.output, job.index), msgspec.json.encode(record))
    return job.index


def _write_series(job: _Job, study: PhantomStudy, names: tables.StudyNames) -> None:
    """Writes a whole series folder. The order of its files says nothing about positions."""
    folder = job.output / "dicom" / names.patient_id / names.study_uid / names.series_uid
    if folder.exists():  # from a call that was interrupted before it wrote the record
        shutil.rmtree(folder)
    rng = np.random.default_rng(np.random.SeedSequence(job.arguments.seed, spawn_key=(job.index, _FILE_ORDER)))
    count = len(names.sop_uids)
    from_vertex = bool(rng.random() < 0.3)  # most scanners number slices from feet to head
    with write_atomically(folder) as temporary:
        temporary.mkdir()
        for file_number, number in enumerate(rng.permutation(count).tolist(), start=1):
            dataset = _clinical_dataset(study, names, number)
            dataset.InstanceNumber = count - number if from_vertex else number + 1
            _save(temporary / f"IM{file_number:04d}.dcm", dataset)


def _clinical_dataset(study: PhantomStudy, names: tables.StudyNames, number: int) -> Dataset:
    """A CT image with every required attribute of its IOD, DICOM PS3.3 A.3."""
    geometry = study.geometry
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = names.sop_uids[number]
    for keyword in (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PositionReferenceIndicator",
    ):
        setattr(dataset, keyword, "")
    dataset.Manufacturer = "slicewise"
    dataset.ManufacturerModelName = f"phantom {PHANTOM_VERSION}"
    dataset.StudyDescription = "CT HEAD PHANTOM"
    dataset.SeriesDescription = "HEAD 5MM"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.BodyPartExamined = "HEAD"
    dataset.SliceThickness = _decimal(geometry.spacing_mm)
    dataset.KVP = "120"
    dataset.GantryDetectorTilt = _decimal(geometry.tilt_degrees)
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = names.study_uid
    dataset.SeriesInstanceUID = names.series_uid
    dataset.StudyID = str(study.index + 1)
    dataset.SeriesNumber = 2
    dataset.AcquisitionNumber = 1
    dataset.FrameOfReferenceUID = UID(stable_uid(names.series_uid, "frame of reference"))
    dataset.RescaleType = "HU"
    _add_image(dataset, study, names, number, signed=False)
    return dataset


def _rsna_dataset(study: PhantomStudy, names: tables.StudyNames, number: int) -> Dataset:
    """An image as the RSNA 2019 challenge has it: few attributes, and identifiers that are no valid UIDs."""
    dataset = Dataset()
    _add_unchecked(dataset, "SOPInstanceUID", names.sop_uids[number])
    _add_unchecked(dataset, "StudyInstanceUID", names.study_uid)
    _add_unchecked(dataset, "SeriesInstanceUID", names.series_uid)
    dataset.StudyID = ""
    _add_image(dataset, study, names, number, signed=True)
    return dataset


def _add_image(dataset: Dataset, study: PhantomStudy, names: tables.StudyNames, number: int, *, signed: bool) -> None:
    """Adds what both layouts share: patient, image plane, image pixel and the way to HU."""
    geometry = study.geometry
    stored = (study.volume.values[number] - LOWEST_HU).astype("<u2")
    dataset.Modality = "CT"
    dataset.PatientName = "PHANTOM^SYNTHETIC"
    dataset.PatientID = names.patient_id
    dataset.ImageComments = SYNTHETIC
    dataset.ImagePositionPatient = _decimals(geometry.image_positions[number])
    dataset.ImageOrientationPatient = _decimals(np.concatenate([geometry.row, geometry.column]))
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing = _decimals(np.array([geometry.pixel_mm, geometry.pixel_mm]))
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(signed)
    dataset.WindowCenter = "40"
    dataset.WindowWidth = "80"
    dataset.RescaleIntercept = str(LOWEST_HU)
    dataset.RescaleSlope = "1"
    dataset.add(DataElement("PixelData", "OW", stored.tobytes()))
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom fills it in
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(study.volume.slices[number].sop_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    validate_file_meta(meta, enforce_standard=True)
    dataset.file_meta = meta


def _save(path: Path, dataset: Dataset) -> None:
    # Not `enforce_file_format`: it copies the SOP Instance UID into the file meta information and warns of RSNA's.
    dataset.preamble = b"\x00" * 128
    pydicom.dcmwrite(path, dataset, enforce_file_format=False)


def _add_unchecked(dataset: Dataset, keyword: str, value: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))


def _decimal(value: float) -> str:
    return format_number_as_ds(round(float(value), 6))


def _decimals(values: npt.NDArray[np.float64]) -> list[str]:
    return [_decimal(value) for value in values.tolist()]


def _write_tables(output: Path, arguments: PhantomArguments) -> None:
    def records() -> Iterator[tables.StudyRecord]:
        for index in range(arguments.studies):
            yield msgspec.json.decode(_record_path(output, index).read_bytes(), type=tables.StudyRecord)

    tables.write_labels_csv(output / tables.LABELS_CSV, records())
    if arguments.layout == tables.RSNA:
        tables.write_rsna_csv(output / tables.RSNA_CSV, records())


def _write_preview(output: Path, arguments: PhantomArguments) -> None:
    from slicewise.phantom.preview import draw_preview

    count = min(PREVIEW_STUDIES, arguments.studies)
    sheet = draw_preview([generate_study(arguments.seed, index, arguments.parameters) for index in range(count)])
    options: dict[str, Any] = {"format": "PNG", "optimize": True}
    with write_atomically(output / "preview.png") as temporary:
        sheet.save(temporary, **options)
