"""One series in memory: slices in axial order, in physical units."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

FloatImages = npt.NDArray[np.float32]
Orientation = tuple[float, float, float, float, float, float]
"""Image Orientation (Patient), (0020,0037): direction of a row of pixels, then of a column, in patient coordinates."""

CANONICAL_ORIENTATION: Orientation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""Axial: a row of pixels runs to the patient's left (+x), a column to the back (+y)."""


class ScanWarning(msgspec.Struct, frozen=True):
    """Something about a scan that a reader of its results should know.

    Attributes:
        code: A fixed code, as in "uneven_spacing".
        message: One sentence in plain words.
    """

    code: str
    message: str


class SliceReference(msgspec.Struct, frozen=True):
    """Where one slice comes from.

    Attributes:
        sop_uid: SOP Instance UID, (0008,0018).
        frame: Frame number within the instance, from 1; 1 for a single-frame image.
        file: Path relative to the input it was found under, with forward slashes.
        slice_index: Index of the slice in its series: from the feet for DICOM, along the stored axis for NIfTI; from 0.
    """

    sop_uid: str
    frame: int
    file: str
    slice_index: int


@dataclass(frozen=True, eq=False)
class Volume:
    """An axial series, ordered along the slice normal from feet to head.

    Attributes:
        values: HU for CT, intensity otherwise, shape (slices, rows, columns), float32.
        positions_mm: Position of every slice along the normal, shape (slices,), ascending.
        pixel_spacing_mm: Distance between rows and between columns, DICOM PS3.3 C.7.6.3.1.
        tilt_degrees: Angle between the slice normal and the patient's axis, 0 when unknown.
        duplicate_rank: Shape (slices,). 0 for the slice that its neighbours see; 1, 2, ... for further slices at the
            same position, which are scored as well.
        slices: Origin of every slice, in the order of `values`.
        patient_id: Patient ID, (0010,0020).
        study_uid: Study Instance UID, (0020,000D).
        series_uid: Series Instance UID, (0020,000E).
        modality: Modality, (0008,0060).
        orientation: Image Orientation (Patient), (0020,0037), which all slices share.
        warnings: What a reader of the results should know.
    """

    values: FloatImages
    positions_mm: npt.NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    tilt_degrees: float
    duplicate_rank: npt.NDArray[np.int64]
    slices: tuple[SliceReference, ...]
    patient_id: str
    study_uid: str
    series_uid: str
    modality: str
    orientation: Orientation = CANONICAL_ORIENTATION
    warnings: tuple[ScanWarning, ...] = ()

    def __post_init__(self) -> None:
        """Checks that all per-slice fields have one entry a slice.

        Raises:
            ValueError: If they do not, or if the positions are not in order.
        """
        count = len(self.values)
        if self.values.ndim != 3 or count == 0:
            raise ValueError(f"values must have shape (slices, rows, columns), not {self.values.shape}")
        for name in ("positions_mm", "duplicate_rank", "slices"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {count} slices")
        if np.any(np.diff(self.positions_mm) < 0):
            raise ValueError("positions_mm must be ascending")
