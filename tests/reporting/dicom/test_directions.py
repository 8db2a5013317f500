"""Letters of directions, and a lesion at a known place of the patient, stored in every way that a scanner may."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from dicom_files import make_dataset, seeded_uid, write_dataset
from slicewise.imaging.load import load_slice
from slicewise.reporting.dicom.capture_page import picture_origin, picture_size
from slicewise.reporting.dicom.directions import direction_letters, edge_letters, patient_orientation
from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.key_objects import key_objects
from slicewise.reporting.dicom.secondary_capture import secondary_captures
from slicewise.reporting.dicom.structured_report import structured_report
from slicewise.volume import FloatImages

Findings = Callable[..., StudyFindings]

SPACING_MM, SLICES, MATRIX = 5.0, 10, 32
LESION_MM = (35.0, -25.0, 30.0)
"""Left, in front, in the seventh slice from the feet."""

IN_PLANE = [
    (row, column)
    for row, column in itertools.permutations(np.vstack([np.eye(3), -np.eye(3)]).tolist(), 2)
    if row[2] == column[2] == 0 and np.dot(row, column) == 0
]
"""Image Orientation of every axial image: eight, mirrored ones as well."""


def patient_values(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Returns the HU at points of the patient in mm, shape (..., 3): a skull, brain, one lesion, and noise by place."""
    x, y, z = np.moveaxis(points, -1, 0)
    radius = np.hypot(x / 65, y / 75)
    values = np.where(radius < 0.9, 30 + x / 20 + y / 30 + z / 40, np.where(radius < 1, 900.0, -1000.0))
    lesion = np.linalg.norm(points - np.array(LESION_MM), axis=-1) < 9
    lesion &= np.abs(z - LESION_MM[2]) < 1
    return np.where(lesion, 75.0, values).astype(np.float32)


def write_scan(folder: Path, row: list[float], column: list[float], *, head_first: bool) -> tuple[str, tuple[int, int]]:
    """Writes the series and returns the SOP Instance UID and the row and column of the lesion."""
    place = ("", (0, 0))
    half = SPACING_MM * (MATRIX - 1) / 2
    for index in range(SLICES):
        z = SPACING_MM * index
        corner = np.array([0.0, 0.0, z]) - half * (np.array(row) + np.array(column))
        rows, columns = np.mgrid[:MATRIX, :MATRIX] * SPACING_MM
        points = corner + columns[..., None] * np.array(row) + rows[..., None] * np.array(column)
        uid = seeded_uid("lesion", index, row, column)
        number = SLICES - index if head_first else index + 1
        dataset = make_dataset(
            values=patient_values(points),
            sop_uid=uid,
            InstanceNumber=number,
            ImagePositionPatient=corner.tolist(),
            ImageOrientationPatient=[*row, *column],
            PixelSpacing=[SPACING_MM, SPACING_MM],
        )
        write_dataset(folder / f"{(index * 7) % SLICES}", dataset)
        if z == LESION_MM[2]:
            distance = np.linalg.norm(points - np.array(LESION_MM), axis=-1)
            nearest = np.unravel_index(int(distance.argmin()), distance.shape)
            place = uid, (int(nearest[0]), int(nearest[1]))
    return place


def rule(values: FloatImages) -> dict[str, float]:
    """Flags what holds the lesion."""
    return {"any": 0.9} if bool(((values > 70) & (values < 80)).any()) else {}


@pytest.mark.parametrize("order", ["feet first", "head first"])
@pytest.mark.parametrize(("row", "column"), IN_PLANE)
def test_references_and_pictures_lead_to_the_lesion(
    tmp_path: Path, find: Findings, row: list[float], column: list[float], order: str
) -> None:
    uid, (lesion_row, lesion_column) = write_scan(tmp_path / "scan", row, column, head_first=order == "head first")
    findings = find(tmp_path / "scan", rule=rule)
    assert [flagged.item.sop_uid for flagged in findings.flagged] == [uid]

    selection = pydicom.dcmread(BytesIO(key_objects(findings) or b""))
    assert [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in selection.ContentSequence
        if item.ValueType == "IMAGE"
    ] == [uid]
    report = pydicom.dcmread(BytesIO(structured_report(findings)))
    groups = report.ContentSequence[-2].ContentSequence
    last = [item for item in groups[-1].ContentSequence if item.ValueType == "IMAGE"]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in last] == [uid]

    _, content = secondary_captures(findings)
    page = pydicom.dcmread(BytesIO(content))
    assert [item.ReferencedSOPInstanceUID for item in page.SourceImageSequence] == [uid]
    header, _ = load_slice(findings.study.sources[uid], 1, "CT")
    width, height = picture_size(header)
    left, top = picture_origin(width, 2)
    shown = page.pixel_array[top : top + height, left : left + width]
    grey = int(shown[round((lesion_row + 0.5) * height / MATRIX), round((lesion_column + 0.5) * width / MATRIX)][0])
    assert abs(grey - 75 / 80 * 255) < 5  # nothing else of the brain is as bright, so it is not mirrored

    assert header.image_orientation is not None
    edges = edge_letters(header.image_orientation)
    sides = ("left" if lesion_column < MATRIX / 2 else "right", "top" if lesion_row < MATRIX / 2 else "bottom")
    assert {edges[side] for side in sides} == {"L", "A"}
    assert list(page.PatientOrientation) == [edges["right"], edges["bottom"]]


@pytest.mark.parametrize(("row", "column"), IN_PLANE[:2])
def test_marks_stand_at_the_edges(tmp_path: Path, find: Findings, row: list[float], column: list[float]) -> None:
    write_scan(tmp_path / "scan", row, column, head_first=False)
    findings = find(tmp_path / "scan", rule=rule)
    _, content = secondary_captures(findings)
    pixels = pydicom.dcmread(BytesIO(content)).pixel_array.astype(int)
    header, _ = load_slice(findings.study.sources[findings.flagged[0].item.sop_uid], 1, "CT")
    width, height = picture_size(header)
    left, top = picture_origin(width, 2)
    shown = pixels[top : top + height, left : left + width]
    coloured = shown[..., 2] > shown[..., 0] + 60
    edge = 40
    for part in (coloured[:, :edge], coloured[:, -edge:], coloured[:edge], coloured[-edge:]):
        assert part.any()
    assert not coloured[edge:-edge, edge:-edge].any()


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1.0, 0.0, 0.0), "L"),
        ((-1.0, 0.0, 0.0), "R"),
        ((0.0, 1.0, 0.0), "P"),
        ((0.0, -1.0, 0.0), "A"),
        ((0.0, 0.0, 1.0), "H"),
        ((0.0, 0.0, -1.0), "F"),
        ((0.0, 0.94, -0.34), "PF"),
        ((0.999, 0.04, 0.0), "L"),
        ((-0.6, 0.7, 0.39), "PRH"),
    ],
)
def test_directions_have_the_letters_of_the_standard(direction: tuple[float, float, float], letters: str) -> None:
    assert direction_letters(direction) == letters


def test_an_axial_image_as_radiologists_see_it_has_the_right_of_the_patient_on_the_left() -> None:
    orientation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert edge_letters(orientation) == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert patient_orientation(orientation) == ("L", "P")
