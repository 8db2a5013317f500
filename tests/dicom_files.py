"""Writes small DICOM series for tests. Everything follows from the arguments: the same call writes the same bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SLOPE, INTERCEPT = 1.0, -1024.0


def seeded_uid(*seed: object) -> str:
    """Returns a valid UID that depends on the seed alone."""
    return str(generate_uid(entropy_srcs=[str(part) for part in seed]))


def orientation(tilt_degrees: float = 0.0) -> list[float]:
    """Returns row and column direction of an axial image, tilted about the patient's left-right axis."""
    tilt = np.deg2rad(tilt_degrees)
    # 16 characters are what DICOM allows for a decimal
    return [1.0, 0.0, 0.0, 0.0, round(float(np.cos(tilt)), 12), round(float(-np.sin(tilt)), 12) + 0.0]


def head_values(slices: int = 12, matrix: int = 64) -> npt.NDArray[np.float32]:
    """Returns HU of a ball-like head in air with a bright band: shape (slices, matrix, matrix), whole numbers.

    No two slices, rows or columns are equal, so that a wrong order shows.
    """
    z, y, x = np.meshgrid(
        np.linspace(-1, 1, slices), np.linspace(-1, 1, matrix), np.linspace(-1, 1, matrix), indexing="ij"
    )
    radius = np.sqrt((0.6 * z) ** 2 + y**2 + (1.1 * x) ** 2)
    brain = 30.0 + 8.0 * z + 5.0 * y + 3.0 * x
    values = np.where(radius < 0.75, brain, np.where(radius < 0.85, 900.0, -1000.0))
    return np.rint(values).astype(np.float32)


def brightness(patient_id: str) -> int:
    """Returns HU that the images of a patient are brighter: no two patients have the same images. P1 has 0."""
    return (int.from_bytes(patient_id.encode()) - int.from_bytes(b"P1")) % 61


def make_dataset(
    *,
    pixels: npt.NDArray[np.int16] | npt.NDArray[np.uint16] | None = None,
    values: npt.NDArray[np.float32] | None = None,
    sop_uid: str | None = None,
    **tags: Any,
) -> Dataset:
    """Returns one CT image.

    Args:
        pixels: Stored values, shape (rows, columns).
        values: HU, shape (rows, columns), stored with slope 1 and intercept -1024. Ignored where `pixels` is given.
        sop_uid: SOP Instance UID.
        **tags: Elements by keyword, which replace the ones made here; None leaves the element out.
    """
    if pixels is None:
        hu = head_values(1)[0] if values is None else values
        pixels = np.rint((hu - INTERCEPT) / SLOPE).astype(np.int16)
    uid = sop_uid or seeded_uid("single")
    signed = pixels.dtype.kind == "i"
    elements: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid,
        "PatientID": "P1",
        "PatientName": "Test^Patient",
        "StudyInstanceUID": seeded_uid("study"),
        "SeriesInstanceUID": seeded_uid("series"),
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesDescription": "HEAD 5MM",
        "SeriesNumber": 2,
        "InstanceNumber": 1,
        "ConvolutionKernel": "STANDARD",
        "SliceThickness": 5.0,
        "ImagePositionPatient": [0.0, 0.0, 0.0],
        "ImageOrientationPatient": orientation(),
        "PixelSpacing": [3.5, 3.5],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(signed),
        "RescaleSlope": SLOPE,
        "RescaleIntercept": INTERCEPT,
        "PixelData": pixels.tobytes(),
    }
    elements.update(tags)
    dataset = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests store invalid values on purpose
        for keyword, value in elements.items():
            if value is not None:
                setattr(dataset, keyword, value)
    return dataset


def write_dataset(path: Path, dataset: Dataset) -> Path:
    """Writes one image as a DICOM file (explicit VR little endian unless the dataset says otherwise)."""
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests store invalid values on purpose
        dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", seeded_uid("none"))
        dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    *,
    slices: int = 12,
    spacing_mm: float = 5.0,
    matrix: int = 64,
    tilt_degrees: float = 0.0,
    patient_id: str = "P1",
    study_uid: str | None = None,
    series_uid: str | None = None,
    values: npt.NDArray[np.float32] | None = None,
    **tags: Any,
) -> list[Path]:
    """Writes an axial CT series, one file a slice from feet to head, named so that names do not sort that way.

    Args:
        folder: Where the files go; it is made.
        slices: Number of slices; the length of `values` where those are given.
        spacing_mm: Distance of neighbouring slices along the slice normal.
        matrix: Rows and columns; the shape of `values` where those are given.
        tilt_degrees: Tilt of the gantry. Positions move along the table, as in a real tilted scan.
        patient_id: Patient ID.
        study_uid: Study Instance UID; by default one that follows from the patient ID.
        series_uid: Series Instance UID; by default one that follows from the study.
        values: HU, shape (slices, rows, columns); by default those of `head_values`, a few HU brighter by patient.
        **tags: Elements by keyword for every file; None leaves the element out.

    Returns:
        The files, from feet to head.
    """
    images = head_values(slices, matrix) + brightness(patient_id) if values is None else values
    study = study_uid or seeded_uid("study", patient_id)
    series = series_uid or seeded_uid("series", study)
    step = spacing_mm / np.cos(np.deg2rad(tilt_degrees))
    paths = []
    for index, image in enumerate(images):
        sop_uid = seeded_uid("slice", series, index)
        common: dict[str, Any] = {
            "PatientID": patient_id,
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "InstanceNumber": len(images) - index,  # scanned from head to feet
            "SliceThickness": spacing_mm,
            "PixelSpacing": [min(round(224.0 / pixels, 8), 10.0) for pixels in image.shape],
            "ImagePositionPatient": [-112.0, -112.0, float(round(index * step, 6))],
            "ImageOrientationPatient": orientation(tilt_degrees),
        }
        dataset = make_dataset(values=image, sop_uid=sop_uid, **(common | tags))
        paths.append(write_dataset(folder / f"IM{(index * 7919) % 1009:04d}.dcm", dataset))
    return paths


def encapsulated(
    dataset: Dataset, syntax: str, codestreams: Sequence[bytes], *, fragments: int = 1, has_offsets: bool = True
) -> Dataset:
    """Gives an image compressed pixel data.

    Args:
        dataset: The image, which is changed.
        syntax: Transfer Syntax UID.
        codestreams: One a frame.
        fragments: Fragments a frame.
        has_offsets: Write a Basic Offset Table.

    Returns:
        The image.
    """
    dataset.PixelData = encapsulate(list(codestreams), fragments_per_frame=fragments, has_bot=has_offsets)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def sequence(**tags: Any) -> list[Dataset]:
    """Returns a sequence of one item."""
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return [item]


def frame_group(position_mm: float, **sequences: Any) -> Dataset:
    """Returns the functional groups of one frame: its position along the patient's axis, and others by keyword."""
    position = sequence(ImagePositionPatient=[-112.0, -112.0, position_mm])
    return sequence(PlanePositionSequence=position, **sequences)[0]


def make_enhanced(
    pixels: npt.NDArray[np.int16] | npt.NDArray[np.uint16],
    groups: Sequence[Dataset] | None = None,
    shared: Dataset | None = None,
    **tags: Any,
) -> Dataset:
    """Returns one enhanced CT image.

    Args:
        pixels: Stored values, shape (frames, rows, columns).
        groups: Functional groups of every frame; by default positions 5 mm apart, from feet to head.
        shared: Shared functional groups; by default orientation, spacing, kernel, and slope 1 with intercept -1024.
        **tags: Elements by keyword; None leaves the element out.
    """
    rescale = {"RescaleIntercept": INTERCEPT, "RescaleSlope": SLOPE, "RescaleType": "HU"}
    common = sequence(
        PlaneOrientationSequence=sequence(ImageOrientationPatient=orientation()),
        PixelMeasuresSequence=sequence(PixelSpacing=[3.5, 3.5], SliceThickness=5.0),
        CTImageFrameTypeSequence=sequence(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
        CTReconstructionSequence=sequence(ConvolutionKernel="H30s"),
        PixelValueTransformationSequence=sequence(**rescale),
    )[0]
    in_groups = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    outside = dict.fromkeys((*in_groups, "ConvolutionKernel", "RescaleIntercept", "RescaleSlope"))
    elements: dict[str, Any] = {
        "SOPClassUID": EnhancedCTImageStorage,
        "NumberOfFrames": len(pixels),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
        "SharedFunctionalGroupsSequence": [common if shared is None else shared],
        "PerFrameFunctionalGroupsSequence": (
            [frame_group(5.0 * index) for index in range(len(pixels))] if groups is None else list(groups)
        ),
    }
    return make_dataset(pixels=pixels[0], **(outside | elements | tags))
