"""Masks of findings in NIfTI files -> the coarse grid of dense supervision.

A file is named after its series (`SERIES.nii.gz`, or `SERIES.nii`) and has the voxels of its images. Its values are
whole numbers whose bits are the labels of the task, but for the one that sums up the others: for `ich` epidural 1,
intraparenchymal 2, intraventricular 4, subarachnoid 8, subdural 16. Any axis order and direction is understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slicewise.data.occupancy import GridPlace, Occupancy, check_grid, coarse_occupancy
from slicewise.data.store import SeriesRecord
from slicewise.errors import InputError, UnreadableFileError
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.nifti import decode_nifti, is_nifti, read_nifti_headers, series_name
from slicewise.imaging.orientation import Turn, turn_to_canonical
from slicewise.results import Rejection
from slicewise.source import Source
from slicewise.task import Task
from slicewise.volume import FloatImages, ScanWarning

_MODALITY = "SEG"
_SPACING_TOLERANCE = 0.01
"""Relative: spacings are rounded differently in different files."""

Bits = npt.NDArray[np.uint32]


@dataclass(eq=False)
class MaskFiles:
    """The masks of a folder, and an account of what did not fit.

    Attributes:
        files: File of every series, relative to the folder.
        folder: The folder.
        task: Labels and grid.
        rejected: Files that could not be used so far.
    """

    files: dict[str, str]
    folder: Path
    task: Task
    rejected: list[Rejection] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)

    @classmethod
    def none(cls, task: Task) -> MaskFiles:
        """Returns masks of no series."""
        return cls({}, Path(), task)

    @classmethod
    def find(cls, folder: Path, task: Task) -> MaskFiles:
        """Finds the NIfTI files of a folder and of those below it.

        Raises:
            UsageError: If the grid of the task cannot hold masks.
        """
        check_grid(task)
        masks = cls({}, folder, task)
        for path in sorted(folder.rglob("*")):
            if is_nifti(path.name) and path.is_file():
                file = path.relative_to(folder).as_posix()
                first = masks.files.setdefault(series_name(path.name), file)
                if first != file:
                    masks._reject(file, f"{file}: {first} is of the same series. Expected one file a series.", "")
        return masks

    def of(self, record: SeriesRecord) -> Occupancy | None:
        """Returns where the findings of a series are, None where no mask tells or the one there does not fit."""
        file = self.files.get(record.series_uid)
        if file is None:
            return None
        self._used.add(record.series_uid)
        try:
            bits = _read_canonical(Source(str(self.folder / file), file), record, len(self._bits))
        except InputError as error:
            self._reject(file, str(error), record.series_uid)
            return None
        findings = {
            name: (bits >> np.uint32(bit) & np.uint32(1)).astype(np.float32)
            for bit, name in enumerate(self._bits)
            if (bits >> np.uint32(bit) & np.uint32(1)).any()
        }
        return coarse_occupancy(findings, grid_place(record), self.task)

    def warnings(self) -> Iterator[ScanWarning]:
        """Yields what a reader of the dataset should know."""
        if self.rejected:
            message = f"{len(self.rejected)} masks cannot be used (rejected.csv): {self.rejected[0].message}"
            yield ScanWarning("unusable_masks", message)
        unused = sorted(self.files.keys() - self._used)
        if unused:
            message = f"{len(unused)} masks belong to no prepared series (as {self.files[unused[0]]}): they are unused"
            yield ScanWarning("unused_masks", message)

    @property
    def _bits(self) -> list[str]:
        """Label of every bit."""
        return [name for index, name in enumerate(self.task.label_names) if index != self.task.any_index]

    def _reject(self, file: str, message: str, series_uid: str) -> None:
        self.rejected.append(Rejection(file, "unreadable", "bad_mask", message, series_uid))


def grid_place(record: SeriesRecord) -> GridPlace:
    """Returns where the grid of a series lies in its canonical images: the inverse of `Turn.grid_in_original`."""
    turn = _turn(record)
    origin = (
        _flipped(record.origin_px[0], record.matrix[0], flip=turn.flip_rows),
        _flipped(record.origin_px[1], record.matrix[1], flip=turn.flip_columns),
    )
    step = (abs(record.step_px[0]), abs(record.step_px[1]))
    return GridPlace(turn.swap(origin), turn.swap(step), np.array(record.slab_of_slice, dtype=np.int64))


def _turn(record: SeriesRecord) -> Turn:
    """How the original images of a series become canonical ones."""
    return Turn(record.step_px[0] < 0, record.step_px[1] < 0, record.transposed)


def _flipped(origin: float, pixels: int, *, flip: bool) -> float:
    return pixels - 1 - origin if flip else origin


def _read_canonical(source: Source, record: SeriesRecord, labels: int) -> Bits:
    """Reads a mask, slices from feet to head, columns to the left, rows to the back."""
    headers = read_nifti_headers(source, _MODALITY, axial=True)
    first, last = headers[0], headers[-1]
    assert first.image_orientation is not None
    turn = turn_to_canonical(first.image_orientation)
    _check_voxels(headers, turn, record)
    images: list[Bits] = []
    for index, image in enumerate(decode_nifti(source, headers, axial=True)):
        if isinstance(image, UnreadableFileError):
            raise image
        images.append(_whole_numbers(image, index, most=(1 << labels) - 1, file=source.file))
    assert first.image_position is not None
    assert last.image_position is not None
    upwards = last.image_position[2] >= first.image_position[2]
    stacked = np.stack(images if upwards else images[::-1])
    return np.ascontiguousarray(turn.apply(stacked))


def _check_voxels(headers: Sequence[SliceHeader], turn: Turn, record: SeriesRecord) -> None:
    """Checks that a mask has the voxels of its series, both in the canonical orientation.

    Raises:
        InputError: If it has not.
    """
    own, header = _turn(record), headers[0]
    assert header.pixel_spacing_mm is not None
    for what, found, expected in (
        ("slices", (len(headers),), (len(record.slices),)),
        ("rows and columns", turn.swap((header.rows, header.columns)), own.swap(record.matrix)),
    ):
        if found != expected:
            raise InputError(
                f"{header.file}: has {_numbers(found)} {what}, its series {_numbers(expected)}. Expected a mask with "
                "the voxels of the images.",
                reason="bad_mask",
            )
    spacing, expected_mm = turn.swap(header.pixel_spacing_mm), own.swap(record.pixel_spacing_mm)
    if not np.allclose(spacing, expected_mm, rtol=_SPACING_TOLERANCE):
        raise InputError(
            f"{header.file}: pixels of {_numbers(spacing)} mm, those of its series {_numbers(expected_mm)} mm. "
            "Expected a mask with the geometry of the images.",
            reason="bad_mask",
        )


def _whole_numbers(image: FloatImages, index: int, most: int, file: str) -> Bits:
    bits = np.rint(image)
    if not np.array_equal(bits, image) or bits.min() < 0 or bits.max() > most:
        raise InputError(
            f"{file}: slice {index} has values from {image.min():g} to {image.max():g}. Expected whole numbers from 0 "
            f"to {most}, a bit a label.",
            reason="bad_mask",
        )
    return bits.astype(np.uint32)


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
