"""Masks of the planted hemorrhages as NIfTI files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from slicewise.errors import MissingExtraError
from slicewise.files import write_atomically
from slicewise.phantom.geometry import ScanGeometry
from slicewise.phantom.hemorrhages.model import SUBTYPES
from slicewise.phantom.study import PhantomStudy

MASK_BITS = {name: 1 << bit for bit, name in enumerate(SUBTYPES)}
"""Bit of every subtype: epidural 1, intraparenchymal 2, intraventricular 4, subarachnoid 8, subdural 16."""

MASK_OCCUPANCY = 0.25
"""A voxel belongs to a mask from this share of blood on: thin bleeds never fill a whole 5 mm voxel."""


def nibabel() -> ModuleType:
    """Returns the library that writes NIfTI.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import nibabel as library
    except ImportError as error:
        raise MissingExtraError("Writing masks", "phantom") from error
    module: ModuleType = library
    return module


def bit_mask(study: PhantomStudy) -> npt.NDArray[np.uint8]:
    """Returns the masks of all subtypes in one array of `MASK_BITS`, shape (slices, rows, columns)."""
    mask = np.zeros(study.volume.values.shape, dtype=np.uint8)
    for name, occupancy in study.occupancy.items():
        mask |= (occupancy >= MASK_OCCUPANCY).astype(np.uint8) * np.uint8(MASK_BITS[name])
    return mask


def nifti_affine(geometry: ScanGeometry) -> npt.NDArray[np.float64]:
    """Returns the map from (column, row, slice) to NIfTI's coordinates (right to left, back to front, feet to head).

    With a tilted gantry it is a shear: slices advance along the table, not along their normal. NIfTI knows one distance
    between slices: where it changes along the scan, the median stands for all.
    """
    positions = geometry.image_positions
    one = geometry.normal * geometry.thickness_mm[0]
    step = np.median(np.diff(positions, axis=0), axis=0) if len(positions) > 1 else one
    affine = np.eye(4)
    affine[:3, 0] = geometry.row * geometry.pixel_mm
    affine[:3, 1] = geometry.column * geometry.pixel_mm
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    affine[:2] *= -1  # DICOM's x and y grow to the left and to the back
    return affine


def write_mask(path: Path, study: PhantomStudy) -> None:
    """Writes the masks of a study as one gzipped NIfTI file."""
    write_nifti(path, bit_mask(study), study.geometry)


def write_nifti(path: Path, values: npt.NDArray[np.integer], geometry: ScanGeometry) -> None:
    """Writes an array of shape (slices, rows, columns) as one gzipped NIfTI file in the place of a scan."""
    library = nibabel()
    image = library.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), nifti_affine(geometry))
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        named = temporary.with_name(f"{temporary.name}.nii.gz")  # nibabel goes by the ending
        library.save(image, named)
        named.replace(temporary)
