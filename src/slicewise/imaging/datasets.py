"""Images that another program holds in memory, as one that receives them over the network -> files that can be read."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian

from slicewise.errors import InputError
from slicewise.imaging.silence import silent_pydicom

Datasets = Iterable[Dataset]


def write_datasets(datasets: Datasets, folder: Path) -> None:
    """Writes every dataset as a DICOM file named by its place, so that all are read through the one door.

    Args:
        datasets: Are not changed. Where one has no file meta information, its encoding is that of DICOM's default,
            Implicit VR Little Endian.
        folder: Is there.

    Raises:
        InputError: If a dataset cannot be written as a file; the message names its place, from 0.
    """
    with silent_pydicom():
        for place, dataset in enumerate(datasets):
            try:
                _with_meta(dataset).save_as(folder / f"{place:06d}.dcm", enforce_file_format=True)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"dataset {place}: cannot be written as a DICOM file: {error}. Expected SOP Class UID, SOP "
                    "Instance UID, and file meta information with the transfer syntax that it was read in",
                    reason="not_dicom",
                ) from error


def _with_meta(dataset: Dataset) -> Dataset:
    shown = copy.copy(dataset)
    shown.file_meta = copy.deepcopy(getattr(dataset, "file_meta", None)) or FileMetaDataset()
    if "TransferSyntaxUID" not in shown.file_meta:
        shown.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return shown
