"""Phantom images as DICOM datasets: CT images, localizers, pages about the dose, and the bare images of RSNA 2019.

Every one says that it is a phantom and no patient: Quality Control Image, Image Comments, Patient's Name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import DataElement
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset, validate_file_meta
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from slicewise.phantom.companions import BONE, DOSE, LOCALIZER, Companion
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.header_styles import HeaderStyle
from slicewise.phantom.scanner import ScanPhysics
from slicewise.phantom.study import PHANTOM_VERSION, PhantomStudy, stable_uid
from slicewise.phantom.tables import StudyNames

SYNTHETIC = "Synthetic phantom, not a patient."
MODEL_NAME = f"slicewise phantom {PHANTOM_VERSION}"
KVP = 120
_FIRST_DAY = dt.date(2000, 1, 1)
_PRIVATE_ELEMENT = 0xFE
_WRAPPED_STUDIES = 50
"""One in so many studies of the RSNA layout has values that wrap at 12 bits, where its range allows it."""


def ct_image(study: PhantomStudy, names: StudyNames, number: int, instance_number: int) -> Dataset:
    """Returns a slice of the main series as a CT image, DICOM PS3.3 A.3.

    Args:
        study: The study.
        names: Its identifiers.
        number: Index of the slice, from the feet.
        instance_number: Instance Number.
    """
    dataset = _of_study(study, names, study.style)
    dataset.SOPInstanceUID = names.sop_uids[number]
    dataset.SeriesInstanceUID = names.series_uid
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = series_description(study)
    _add_acquisition(dataset, study.style, study.physics)
    _add_slice(dataset, study.style, study.geometry, number, instance_number=instance_number, window="brain")
    _add_stored(dataset, study.style, study.volume.values[number], study.outside)
    return _finished(dataset)


def companion_images(study: PhantomStudy, names: StudyNames, companion: Companion, series_number: int) -> list[Dataset]:
    """Returns the images of a further series of the study, in the order of their Instance Numbers."""
    images = []
    for number, values in enumerate(companion.values):
        dataset = _of_study(study, names, study.style)
        dataset.SeriesInstanceUID = UID(stable_uid(names.study_uid, companion.kind))
        dataset.SOPInstanceUID = UID(stable_uid(names.study_uid, companion.kind, number))
        dataset.SeriesNumber = series_number
        if companion.kind == DOSE:
            _fill_page(dataset, study.style, values)
        elif companion.kind == LOCALIZER:
            _fill_localizer(dataset, study, companion)
        else:
            _fill_second(dataset, study, companion, number)
        images.append(_finished(dataset))
    return images


def rsna_image(study: PhantomStudy, names: StudyNames, number: int) -> Dataset:
    """Returns an image as the RSNA 2019 challenge has it: few attributes, and identifiers that are no valid UIDs."""
    dataset = Dataset()
    _add_unchecked(dataset, "SOPInstanceUID", names.sop_uids[number])
    _add_unchecked(dataset, "StudyInstanceUID", names.study_uid)
    _add_unchecked(dataset, "SeriesInstanceUID", names.series_uid)
    dataset.Modality = "CT"
    dataset.StudyID = ""
    dataset.PatientName = "PHANTOM^SYNTHETIC"
    dataset.PatientID = names.patient_id
    dataset.ImageComments = SYNTHETIC
    geometry, storage = study.geometry, study.style.storage
    dataset.ImagePositionPatient = _decimals(geometry.image_positions[number])
    dataset.ImageOrientationPatient = _decimals(np.concatenate([geometry.row, geometry.column]))
    dataset.PixelSpacing = _decimals(np.array([geometry.pixel_mm, geometry.pixel_mm]))
    _add_windows(dataset, study.style, "brain")
    _add_stored(dataset, study.style, study.volume.values[number], study.outside)
    if "PixelPaddingValue" in dataset and study.index % 2:  # some writers state the bits of a signed value as unsigned
        dataset[0x00280120] = DataElement(0x00280120, "US", dataset.PixelPaddingValue % 65536)
    if storage.lowest_hu >= -1000 and not storage.signed and study.index % _WRAPPED_STUDIES == 0:
        _wrap(dataset, study.volume.values[number])
    return _finished(dataset, sop_uid=study.volume.slices[number].sop_uid)


def save(path: Path, dataset: Dataset) -> None:
    """Writes a file in DICOM's file format, PS3.10."""
    # Not `enforce_file_format`: it copies the SOP Instance UID into the file meta information and warns of RSNA's.
    dataset.preamble = b"\x00" * 128
    pydicom.dcmwrite(path, dataset, enforce_file_format=False)


def series_description(study: PhantomStudy) -> str:
    """Returns the Series Description of the main series."""
    return _description(study.style, study.style.description, study.geometry, study.physics)


def _of_study(study: PhantomStudy, names: StudyNames, style: HeaderStyle) -> Dataset:
    """Patient, study and equipment."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = list(style.character_set)
    dataset.SOPClassUID = CTImageStorage
    day = _FIRST_DAY + dt.timedelta(days=study.index % 3650)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, day.strftime("%Y%m%d"))
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, "120000")
    dataset.Modality = "CT"
    dataset.Manufacturer = style.manufacturer
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.InstitutionName = "slicewise phantom"
    dataset.StationName = "PHANTOM"
    dataset.SoftwareVersions = str(PHANTOM_VERSION)
    dataset.DeviceSerialNumber = "PHANTOM"
    dataset.StudyDescription = "CT HEAD PHANTOM"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = style.patient_name
    dataset.PatientID = names.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.StudyInstanceUID = names.study_uid
    dataset.StudyID = str(study.index + 1)
    dataset.ImageComments = SYNTHETIC
    dataset.QualityControlImage = "YES"
    dataset.BurnedInAnnotation = "NO"
    return dataset


def _add_acquisition(dataset: Dataset, style: HeaderStyle, physics: ScanPhysics) -> None:
    dataset.FrameOfReferenceUID = UID(stable_uid(dataset.StudyInstanceUID, "frame of reference"))
    dataset.PositionReferenceIndicator = "OM"
    dataset.BodyPartExamined = "HEAD"
    dataset.PatientPosition = "HFS"
    dataset.KVP = str(KVP)
    dataset.ExposureTime = 1000
    dataset.XRayTubeCurrent = round(250 * (2.5 / physics.noise_hu) ** 2)
    dataset.ConvolutionKernel = style.kernels[physics.kernel.name]
    dataset.AcquisitionNumber = None if "AcquisitionNumber" in style.empty else 1
    for group, creator, text in style.private:
        block = dataset.private_block(group, creator, create=True)
        block.add_new(_PRIVATE_ELEMENT, "LO", text)


def _add_slice(
    dataset: Dataset, style: HeaderStyle, geometry: ScanGeometry, number: int, *, instance_number: int, window: str
) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", *style.image_type]
    dataset.RescaleType = "HU"
    dataset.InstanceNumber = instance_number
    dataset.SliceThickness = _decimal(geometry.thickness_mm[number])
    dataset.ReconstructionDiameter = _decimal(geometry.fov_mm)
    if style.exposes_tilt:
        dataset.GantryDetectorTilt = _decimal(geometry.tilt_degrees)
    dataset.ImagePositionPatient = _decimals(geometry.image_positions[number])
    dataset.ImageOrientationPatient = _decimals(np.concatenate([geometry.row, geometry.column]))
    dataset.SliceLocation = _decimal(geometry.image_positions[number, 2])
    dataset.PixelSpacing = _decimals(np.array([geometry.pixel_mm, geometry.pixel_mm]))
    _add_windows(dataset, style, window)


def _fill_second(dataset: Dataset, study: PhantomStudy, companion: Companion, number: int) -> None:
    style, geometry, physics = study.style, companion.geometry, companion.physics
    assert geometry is not None
    assert physics is not None
    is_bone = companion.kind == BONE
    template = style.bone_description if is_bone else f"{style.description} THIN"
    dataset.SeriesDescription = _description(style, template, geometry, physics)
    _add_acquisition(dataset, style, physics)
    _add_slice(dataset, style, geometry, number, instance_number=number + 1, window="bone" if is_bone else "brain")
    _add_stored(dataset, style, companion.values[number], study.outside)


def _fill_localizer(dataset: Dataset, study: PhantomStudy, companion: Companion) -> None:
    style = study.style
    rows, columns = companion.values.shape[1:]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.SeriesDescription = style.localizer
    _add_acquisition(dataset, style, study.physics)
    dataset.InstanceNumber = 1
    dataset.SliceThickness = None
    down, across = companion.pixel_mm
    center = study.geometry.pose.center
    corner = [center[0], center[1] - 0.5 * (columns - 1) * across, center[2] + 0.5 * (rows - 1) * down]
    dataset.ImagePositionPatient = _decimals(np.array(corner))
    dataset.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    dataset.PixelSpacing = [_decimal(down), _decimal(across)]
    _add_windows(dataset, style, "bone")
    _add_stored(dataset, style, companion.values[0], None)


def _fill_page(dataset: Dataset, style: HeaderStyle, grey: npt.NDArray[np.float32]) -> None:
    """A Secondary Capture image, DICOM PS3.3 A.8.1."""
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = "HEAD"
    dataset.SeriesDescription = "Dose Report" if style.manufacturer.startswith("GE") else "Patient Protocol"
    dataset.InstanceNumber = 1
    dataset.BurnedInAnnotation = "YES"
    dataset.PatientOrientation = ""
    _add_pixels(dataset, grey.astype(np.uint8), 8, signed=False)


def _description(style: HeaderStyle, template: str, geometry: ScanGeometry, physics: ScanPhysics) -> str:
    return template.format(mm=f"{geometry.thickness_mm[0]:.1f}", kernel=style.kernels[physics.kernel.name])


def _add_windows(dataset: Dataset, style: HeaderStyle, kind: str) -> None:
    centers, widths = zip(*style.windows[kind], strict=True)
    dataset.WindowCenter = [_decimal(center) for center in centers]
    dataset.WindowWidth = [_decimal(width) for width in widths]
    if len(centers) > 1:
        dataset.WindowCenterWidthExplanation = [f"WINDOW{number}" for number in range(1, len(centers) + 1)]


def _add_stored(
    dataset: Dataset, style: HeaderStyle, hu: npt.NDArray[np.float32], outside: npt.NDArray[np.bool_] | None
) -> None:
    storage = style.storage
    _add_pixels(dataset, storage.stored(hu, outside), storage.bits_stored, signed=storage.signed)
    if storage.padding is not None:
        dataset.PixelPaddingValue = storage.padding
    dataset.RescaleIntercept = str(storage.intercept)
    dataset.RescaleSlope = "1"


def _add_pixels(dataset: Dataset, stored: npt.NDArray[np.integer], bits_stored: int, *, signed: bool) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored = bits_stored
    dataset.HighBit = bits_stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.add(DataElement("PixelData", "OW" if stored.dtype.itemsize > 1 else "OB", stored.tobytes()))


def _wrap(dataset: Dataset, hu: npt.NDArray[np.float32]) -> None:
    """Values that lost their offset and wrap at 12 bits, as in a few studies of the challenge."""
    stored = (hu.astype(np.int32) % 4096).astype("<u2")
    dataset.PixelData = stored.tobytes()
    dataset.RescaleIntercept = "0"


def _finished(dataset: Dataset, sop_uid: str = "") -> Dataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom fills it in
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = UID(sop_uid or dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    validate_file_meta(meta, enforce_standard=True)
    dataset.file_meta = meta
    return dataset


def _add_unchecked(dataset: Dataset, keyword: str, value: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))


def _decimal(value: float) -> str:
    return format_number_as_ds(round(float(value), 6))


def _decimals(values: npt.NDArray[np.float64] | Sequence[float]) -> list[str]:
    return [_decimal(value) for value in np.asarray(values).tolist()]
