"""A tiny task of its own, and DICOM series that show it: bright and dark squares in ball-like heads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_files import head_values, seeded_uid, write_series

TASK = """\
name = "squares"
title = "Squares in balls"
intended_use = "Tests of slicewise."

[any_rule]
label = "square"

[series]
modality = "CT"
minimum_slices = 4
maximum_angle_degrees = 35.0

[preprocessing]
pixel_mm = 7.0
size = 32
slab_mm = 5.0
body_threshold = -200.0
opening_mm = 8.0

[[channels]]
kind = "window"
name = "wide"
center = 40.0
width = 400.0

[[labels]]
name = "square"
display = "Any square"
loss_weight = 2.0
finding = { scheme = "99TEST", value = "S", meaning = "Square" }

[[labels]]
name = "bright"
display = "Bright square"
loss_weight = 1.0
finding = { scheme = "99TEST", value = "B", meaning = "Bright square" }

[[labels]]
name = "dark"
display = "Dark square"
loss_weight = 1.0
finding = { scheme = "99TEST", value = "D", meaning = "Dark square" }
"""

SLICES = 10


def write_tiny(folder: Path, patients: int, *, seed: int = 0) -> tuple[Path, Path, Path]:
    """Writes one series a patient; every second one has a run of slices with a square.

    Returns:
        The task file, the folder of images and the label file in the table layout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task, labels = folder / "squares.toml", folder / "labels.csv"
    task.write_text(TASK)
    rng = np.random.default_rng(seed)
    with labels.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("patient_id", "series", "slice_index", "bright", "dark", "square"))
        for patient in range(patients):
            name = f"patient-{seed}-{patient}"
            values, findings = _images(rng, patient)
            write_series(
                folder / "images" / name,
                values=values,
                patient_id=name,
                study_uid=seeded_uid("tiny", seed, patient, "study"),
                series_uid=seeded_uid("tiny", seed, patient, "series"),
            )
            for index, (bright, dark) in enumerate(findings):
                writer.writerow((name, seeded_uid("tiny", seed, patient, "series"), index, bright, dark, bright | dark))
    return task, folder / "images", labels


def _images(rng: np.random.Generator, patient: int) -> tuple[npt.NDArray[np.float32], list[tuple[int, int]]]:
    values = head_values(SLICES) + rng.normal(0, 4, (SLICES, 64, 64)).astype(np.float32)
    findings = [(0, 0)] * SLICES
    if patient % 2:
        first, length, row, column = rng.integers((1, 3, 22, 24), (5, 6, 34, 34))
        bright = patient % 4 == 1
        for index in range(first, min(first + length, SLICES)):
            values[index, row : row + 10, column : column + 10] += 90 if bright else -90
            findings[index] = (int(bright), int(not bright))
    return np.rint(values).astype(np.float32), findings
