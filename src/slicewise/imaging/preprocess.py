"""Volume -> ModelInput: the one function that training and prediction share (numpy and scipy only).

`prepare` stores exactly its output and `predict` calls it too. Windows come after it, elementwise.
A change of its output, and of `head_box`, `intensity`, `shading` and `skull`, must raise
`slicewise.task.PREPROCESSING_VERSION`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import sparse

from slicewise.imaging.geometry import median_spacing_mm
from slicewise.imaging.head_box import body_centre, skull_centre
from slicewise.imaging.intensity import relative_scale
from slicewise.imaging.orientation import turn_to_canonical
from slicewise.imaging.shading import correct_shading
from slicewise.task import PreprocessingParameters
from slicewise.volume import CANONICAL_ORIENTATION, FloatImages, ScanWarning, Volume

Floats = npt.NDArray[np.float64]

OUTSIDE_HU = -1024.0
"""What lies outside a CT image counts as air; outside of any other image there is no signal."""

_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A series on the grid of a task, and the way back to its original slices.

    Attributes:
        values: HU, or thousandths of the reference of the series, shape (inputs, size, size), int16; row numbers count
            to the patient's back, column numbers to the patient's left.
        positions_mm: Position along the slice normal, shape (inputs,), ascending.
        duplicate_rank: Shape (inputs,). 0 for inputs that their neighbours see, above for further ones there.
        slab_of_slice: Shape (slices,): index of the input that each original slice went into.
        origin_px: Row and column, in the original image, of the centre of the first grid pixel; whole numbers are
            pixel centres.
        step_px: Original rows and columns from one grid pixel to the next, negative where they count against the grid.
        warnings: What this step adds to the warnings of the volume: no_body_found, no_skull_found,
            shading_not_corrected, intensity_not_scaled.
        transposed: The original rows lie along the columns of the grid, and the columns along its rows.
        intensity_scale: What the original values were multiplied by; 1 for HU.
    """

    values: npt.NDArray[np.int16]
    positions_mm: Floats
    duplicate_rank: npt.NDArray[np.int64]
    slab_of_slice: npt.NDArray[np.int64]
    origin_px: tuple[float, float]
    step_px: tuple[float, float]
    warnings: tuple[ScanWarning, ...] = ()
    transposed: bool = False
    intensity_scale: float = 1.0

    def to_original(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Maps pixels of the grid to the original images.

        Args:
            rows: Rows on the grid; fractions are allowed, whole numbers are pixel centres.
            columns: Columns on the grid, likewise.

        Returns:
            Rows and columns in the original image, in the shapes given, whole numbers again at pixel centres.
        """
        along_rows, along_columns = (columns, rows) if self.transposed else (rows, columns)
        return (
            self.origin_px[0] + self.step_px[0] * np.asarray(along_rows, dtype=np.float64),
            self.origin_px[1] + self.step_px[1] * np.asarray(along_columns, dtype=np.float64),
        )


def preprocess(volume: Volume, parameters: PreprocessingParameters) -> ModelInput:
    """Brings a series to the grid of a task: centred on the head, in millimetres, in slabs of about one thickness.

    The shading is corrected after resampling: what it subtracts is smooth, and there are fewer pixels by then.

    Args:
        volume: The series.
        parameters: The grid, what values mean, how the head is found, and whether shading is corrected.
    """
    turn = turn_to_canonical(volume.orientation)
    scale, scale_warnings = _intensity_scale(volume, parameters)
    upright = replace(
        volume,
        values=turn.apply(volume.values if scale == 1 else volume.values * np.float32(scale)),
        pixel_spacing_mm=turn.swap(volume.pixel_spacing_mm),
        orientation=CANONICAL_ORIENTATION,
    )
    centre_px, warnings = _locate_head(upright, parameters)
    slab_of_slice = _assign_slabs(volume, parameters.slab_mm)
    row_step, column_step = (parameters.pixel_mm / spacing for spacing in upright.pixel_spacing_mm)
    half = (parameters.size - 1) / 2
    grid = (centre_px[0] - row_step * half, centre_px[1] - column_step * half), (row_step, column_step)
    positions_mm = _slab_means(volume.positions_mm, slab_of_slice)
    outside = OUTSIDE_HU if parameters.intensity == "hounsfield" else 0.0
    resampled = _resample_slabs(upright.values, slab_of_slice, *grid, parameters.size, outside=outside)
    corrected, more_warnings = _shading_corrected(resampled, positions_mm, parameters)
    origin_px, step_px = turn.grid_in_original(*grid, (volume.values.shape[1], volume.values.shape[2]))
    return ModelInput(
        values=_whole_hu(corrected),
        positions_mm=positions_mm,
        duplicate_rank=_duplicate_rank(volume, slab_of_slice),
        slab_of_slice=slab_of_slice,
        origin_px=origin_px,
        step_px=step_px,
        warnings=(*scale_warnings, *warnings, *more_warnings),
        transposed=turn.transposed,
        intensity_scale=scale,
    )


def _intensity_scale(volume: Volume, parameters: PreprocessingParameters) -> tuple[float, tuple[ScanWarning, ...]]:
    if parameters.intensity == "hounsfield":
        return 1.0, ()
    scale = relative_scale(volume.values)
    if scale is None:
        message = "The series has no foreground above 0 to be scaled by: its values are used as they are."
        return 1.0, (ScanWarning("intensity_not_scaled", message),)
    return scale, ()


def _locate_head(
    volume: Volume, parameters: PreprocessingParameters
) -> tuple[tuple[float, float], tuple[ScanWarning, ...]]:
    """Finds the centre of the head in the plane, in pixels of the volume, and what was amiss on the way."""
    warnings: tuple[ScanWarning, ...] = ()
    if parameters.head_box == "skull":
        centre = skull_centre(volume)
        if centre is not None:
            return centre, ()
        warnings = (ScanWarning("no_skull_found", "No skull with a brain was found: the grid is centred on the body."),)
    centre = body_centre(volume, parameters.body_threshold, parameters.opening_mm)
    if centre is not None:
        return centre, warnings
    message = f"No body was found above {parameters.body_threshold:g}: the grid is centred on the image."
    middle = ((volume.values.shape[1] - 1) / 2, (volume.values.shape[2] - 1) / 2)
    return middle, (ScanWarning("no_body_found", message),)


def _shading_corrected(
    values: FloatImages, positions_mm: Floats, parameters: PreprocessingParameters
) -> tuple[FloatImages, tuple[ScanWarning, ...]]:
    """Corrects the shading of slabs on the grid where the task wants it."""
    if not parameters.corrects_shading:
        return values, ()
    corrected, cupping = correct_shading(
        values,
        positions_mm,
        parameters.pixel_mm,
        limit_hu=parameters.cupping_limit_hu,
        deep_hu=parameters.deep_brain_hu,
        deep_limit_hu=parameters.deep_brain_limit_hu,
    )
    if cupping is None:
        message = "Too little brain within a skull was found: the shading of the images is not corrected."
        return values, (ScanWarning("shading_not_corrected", message),)
    return corrected, ()


def _assign_slabs(volume: Volume, slab_mm: float) -> npt.NDArray[np.int64]:
    """Returns the slab of every slice: k slices side by side, k = round(slab / spacing), at least 1.

    Slabs are cut by position, half-way between slices, so that none reaches over a gap. With k = 1 every slice stays
    alone, duplicates too; with k > 1 a duplicate joins the slab of its position.
    """
    spacing = median_spacing_mm(volume.positions_mm)
    slices_a_slab = 1 if spacing is None else max(1, round(slab_mm / spacing))
    if spacing is None or slices_a_slab == 1:
        return np.arange(len(volume.positions_mm))
    from_first = (volume.positions_mm - volume.positions_mm[0]) / spacing
    bins = np.floor((from_first + 0.5) / slices_a_slab)
    return np.unique(bins, return_inverse=True)[1].astype(np.int64)


def _slab_means(per_slice: Floats, slab_of_slice: npt.NDArray[np.int64]) -> Floats:
    return np.bincount(slab_of_slice, weights=per_slice) / np.bincount(slab_of_slice)


def _duplicate_rank(volume: Volume, slab_of_slice: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    slabs = int(slab_of_slice[-1]) + 1
    return volume.duplicate_rank.copy() if slabs == len(slab_of_slice) else np.zeros(slabs, dtype=np.int64)


def _resample_slabs(
    values: FloatImages,
    slab_of_slice: npt.NDArray[np.int64],
    origin_px: tuple[float, ...],
    step_px: tuple[float, ...],
    size: int,
    *,
    outside: float,
) -> FloatImages:
    """Averages the slices of every slab, then resamples it in the plane: both are linear, so the order is free."""
    row_weights = _weights(values.shape[1], origin_px[0], step_px[0], size)
    column_weights = _weights(values.shape[2], origin_px[1], step_px[1], size)
    inside = np.outer(row_weights.sum(axis=1), column_weights.sum(axis=1))
    beyond = np.float32(outside) * (np.float32(1.0) - inside)
    starts = np.searchsorted(slab_of_slice, np.arange(slab_of_slice[-1] + 2))
    result = np.empty((len(starts) - 1, size, size), dtype=np.float32)
    for slab, (start, stop) in enumerate(pairwise(starts.tolist())):
        image = values[start] if stop - start == 1 else values[start:stop].mean(axis=0)
        rows_done = row_weights @ image
        np.add((column_weights @ np.ascontiguousarray(rows_done.T)).T, beyond, out=result[slab])
    return result


def _whole_hu(values: FloatImages) -> npt.NDArray[np.int16]:
    """Rounds to whole HU, or thousandths, in place, within what int16 holds."""
    np.rint(values, out=values)
    np.clip(values, OUTSIDE_HU, _INT16.max, out=values)
    return values.astype(np.int16)


def _weights(pixels: int, origin: float, step: float, size: int) -> sparse.csr_array:
    """Returns the weights of linear interpolation against aliasing along one axis, shape (size, pixels).

    A triangle around every grid pixel, one step wide to either side, or one original pixel where the grid is finer.
    Each row sums to 1 over an endless image; what is short of 1 lies outside. Sparse: a row has a handful of weights,
    and unlike a dense product the sum does not depend on the number of threads.
    """
    centres = origin + step * np.arange(size)
    reach = max(1.0, step)
    first = np.floor(centres - reach).astype(np.int64)
    index = first[:, None] + np.arange(int(2 * reach) + 3)
    triangle = np.maximum(0.0, 1.0 - np.abs(index - centres[:, None]) / reach)
    triangle /= triangle.sum(axis=1, keepdims=True)
    row, place = np.nonzero((index >= 0) & (index < pixels) & (triangle > 0))
    entries = (triangle[row, place].astype(np.float32), (row, index[row, place]))
    return sparse.csr_array(entries, shape=(size, pixels))
