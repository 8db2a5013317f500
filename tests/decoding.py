"""Reads the files of tests as slicewise does, and as others do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK

from slicewise.errors import UnreadableFileError
from slicewise.imaging.decode import decode_slice
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.hounsfield import DecodedSlice
from slicewise.imaging.reasons import REASONS
from slicewise.results import Rejection


def headers_of(*paths: Path) -> list[SliceHeader]:
    """Returns the headers of files that can all be used, in the order of file and frame."""
    found = list(discover(paths))
    headers = [item for item in found if isinstance(item, SliceHeader)]
    assert len(headers) == len(found), found
    return sorted(headers, key=lambda header: (header.file, header.frame))


def decoded(path: Path) -> DecodedSlice:
    """Returns the pixels of a file of one image."""
    (header,) = headers_of(path)
    return decode_slice(header)


def reason_of(path: Path) -> str:
    """Returns why a file of one image cannot be used: by its header, or by its pixels."""
    (found,) = discover([path])
    if isinstance(found, Rejection):
        reason, message = found.reason, found.message
    else:
        try:
            decode_slice(found)
        except UnreadableFileError as error:
            reason, message = error.reason, str(error)
        else:
            raise AssertionError(f"{path.name} can be read")
    assert reason in REASONS
    assert path.name in message
    return reason


def by_pydicom(path: Path) -> npt.NDArray[np.float64]:
    """Returns slope x stored + intercept as pydicom reads them, raised to -1024."""
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return np.maximum(values.astype(np.float64), -1024.0)


def by_simpleitk(path: Path) -> npt.NDArray[np.float64]:
    """Returns the rescaled values of a file of one image as SimpleITK reads them."""
    image: npt.NDArray[np.float64] = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0].astype(np.float64)
    return image
