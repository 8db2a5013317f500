"""Masks of findings in NIfTI files -> the coarse grid of dense supervision.

A file is named after its series (`SERIES.nii.gz`, or `SERIES.nii`) and has the voxels of its images. Its values are
whole numbers whose bits are the labels of the task, but for the one that sums up the others: for `ich` epidural 1,
intraparenchymal 2, intraventricular 4, subarachnoid 8, subdural 16. Any axis order and direction is understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slicewise.data.occupancy import GridPlace, Occupancy, coarse_occupancy
from slicewise.data.store import SeriesRecord
from slicewise.errors import InputError, UnreadableFileError
from slicewise.imaging.nifti import decode_nifti, is_nifti, read_nifti_headers, series_name
from slicewise.imaging.orientation import Turn, turn_to_canonical
from slicewise.source import Source
from slicewise.task import Task
from slicewise.volume import FloatImages, ScanWarning

_MODALITY = "SEG"


@dataclass(eq=False)
class MaskFiles:
    """The masks of a folder, and an account of what did not fit.

    Attributes:
        files: File of every series.
        task: Labels and grid.
    """

    files: dict[str, Path]
    task: Task
    _used: set[str] = field(default_factory=set)
    _problems: list[str] = field(default_factory=list)

    @classmethod
    def find(cls, folder: Path, task: Task) -> MaskFiles:
        """Finds the NIfTI files of a folder and of those below it."""
        found = sorted(path for path in folder.rglob("*") if is_nifti(path.name) and path.is_file())
        return cls({series_name(path.name): path for path in found}, task)

    def of(self, record: SeriesRecord) -> Occupancy | None:
        """Returns where the findings of a series are, None where no mask tells or the one there does not fit."""
        path = self.files.get(record.series_uid)
        if path is None:
            return None
        self._used.add(record.series_uid)
        try:
            bits = _read_bits(path, slices=len(record.slices), most=(1 << len(self._bits)) - 1)
        except InputError as error:
            self._problems.append(str(error))
            return None
        findings = {
            name: (bits >> bit & 1).astype(np.float32) for bit, name in enumerate(self._bits) if (bits >> bit & 1).any()
        }
        return coarse_occupancy(findings, _place(record, bits.shape[1:]), self.task)

    def warnings(self) -> Iterator[ScanWarning]:
        """Yields what a reader of the dataset should know."""
        if self._problems:
            message = f"{len(self._problems)} masks cannot be used: {self._problems[0]}"
            yield ScanWarning("unusable_masks", message)
        unused = sorted(self.files.keys() - self._used)
        if unused:
            message = f"{len(unused)} masks belong to no prepared series (as {self.files[unused[0]]}): they are unused"
            yield ScanWarning("unused_masks", message)

    @property
    def _bits(self) -> list[str]:
        """Label of every bit."""
        return [name for index, name in enumerate(self.task.label_names) if index != self.task.any_index]


def _read_canonical(path: Path) -> FloatImages:
    """Reads a mask, slices from feet to head, columns to the left, rows to the back."""
    source = Source(str(path), path.name)
    headers = read_nifti_headers(source, _MODALITY)
    images = []
    for image in decode_nifti(source, headers):
        if isinstance(image, UnreadableFileError):
            raise image
        images.append(image)
    first, last = headers[0].image_position, headers[-1].image_position
    orientation = headers[0].image_orientation
    assert first is not None
    assert last is not None
    assert orientation is not None
    upwards = last[2] >= first[2]
    return turn_to_canonical(orientation).apply(np.stack(images if upwards else images[::-1]))


def _read_bits(path: Path, slices: int, most: int) -> npt.NDArray[np.int64]:
    values = _read_canonical(path)
    if len(values) != slices:
        raise InputError(
            f"{path}: has {len(values)} slices, its series {slices}. Expected one mask a slice", reason="bad_mask"
        )
    bits = np.rint(values).astype(np.int64)
    if not np.array_equal(bits, values) or bits.min() < 0 or bits.max() > most:
        raise InputError(
            f"{path}: has values from {values.min():g} to {values.max():g}. Expected whole numbers from 0 to {most}, a "
            "bit a label",
            reason="bad_mask",
        )
    return bits


def _place(record: SeriesRecord, shape: tuple[int, ...]) -> GridPlace:
    """Where the grid lies in the canonical images: the inverse of `Turn.grid_in_original`."""
    turn = Turn(record.step_px[0] < 0, record.step_px[1] < 0, record.transposed)
    rows, columns = turn.swap((float(shape[0]), float(shape[1])))  # of the original images
    origin = (
        _flipped(record.origin_px[0], rows, turn.flip_rows),
        _flipped(record.origin_px[1], columns, turn.flip_columns),
    )
    step = (abs(record.step_px[0]), abs(record.step_px[1]))
    return GridPlace(turn.swap(origin), turn.swap(step), np.array(record.slab_of_slice, dtype=np.int64))


def _flipped(origin: float, pixels: float, flip: bool) -> float:  # noqa: FBT001 - private
    return pixels - 1 - origin if flip else origin
