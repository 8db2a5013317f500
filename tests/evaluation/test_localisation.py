from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replaced
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scored_dataset import grey_value_detector
from slicewise.data.store import Dataset, DatasetManifest, SeriesRecord
from slicewise.data.writing import write_manifest, write_series, write_tables
from slicewise.errors import UsageError
from slicewise.evaluation.localisation import (
    Localisation,
    Peak,
    cell_means,
    distances,
    find_peaks,
    localisation_table,
    localise,
    with_masks,
)
from slicewise.evaluation.model_card import MeasuredLocalisation
from slicewise.inference.detector import Detector
from slicewise.inference.runtime import EncodedSlices, Floats
from slicewise.task import Task
from slicewise.volume import SliceReference

SIZE, CELLS = 32, 4
AIR, BRAIN, SPOT = -1000, 40, 1500
LESION = 1
"""The label that the masks of the tests are of."""

Cell = tuple[int, int]


class SpotRuntime:
    """Sees what is bright in the bone window: where it is in the maps, how much there is in the score."""

    name = "spot"

    def encode(self, channels: Floats) -> EncodedSlices:
        bright = np.clip(channels[:, 2] - 0.6, 0, None)
        means = bright.reshape(len(channels), CELLS, 8, CELLS, 8).mean(axis=(2, 4))
        maps = np.repeat(10 * means[:, None], 2, axis=1).astype(np.float32)
        logits = np.repeat(bright.sum(axis=(1, 2))[:, None] - 2, 2, axis=1).astype(np.float32)
        return EncodedSlices(
            np.zeros((len(channels), 1), np.float32), logits, np.zeros((len(channels), 0), np.float32), maps
        )

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        del positions
        return slices.slice_logits


def write(
    path: Path, task: Task, series: Sequence[Sequence[tuple[int, Cell | None, Cell | None]]], *, masks: bool = True
) -> Dataset:
    """One series a patient. A row has a label, a cell with a bright spot and one with a mask; the left is brain."""
    preprocessing = msgspec.structs.replace(task.preprocessing, size=SIZE, pixel_mm=1.0)
    task = msgspec.structs.replace(task, preprocessing=preprocessing)
    records = []
    for number, rows in enumerate(series):
        values = np.full((len(rows), SIZE, SIZE), AIR, dtype=np.int16)
        values[:, :, : SIZE // 2] = BRAIN
        found = np.zeros((len(rows), len(task.labels), CELLS, CELLS), dtype=np.uint8)
        for row, (_, spot, mask) in enumerate(rows):
            if spot is not None:
                values[row, spot[0] * 8 + 2 : spot[0] * 8 + 6, spot[1] * 8 + 2 : spot[1] * 8 + 6] = SPOT
            if mask is not None:
                found[row, LESION][mask] = 1
        record = SeriesRecord(
            patient_id=f"P{number}",
            study_uid=f"1.{number}",
            series_uid=f"1.{number}.1",
            source_digest="",
            slices=tuple(SliceReference(f"{number}.{row}", 1, f"{row}", row) for row in range(len(rows))),
            positions_mm=tuple(5.0 * row for row in range(len(rows))),
            labels=tuple((0, label) for label, _, _ in rows),
            row_positions_mm=tuple(5.0 * row for row in range(len(rows))),
            duplicate_rank=(0,) * len(rows),
            slab_of_slice=tuple(range(len(rows))),
            origin_px=(0.0, 0.0),
            step_px=(1.0, 1.0),
            matrix=(64, 64),
            pixel_spacing_mm=(1.0, 1.0),
            tilt_degrees=0.0,
        )
        records.append(write_series(path, record, values, found if masks else None))
    write_tables(path, records, task.label_names, {record.patient_id: "test" for record in records}, ())
    write_manifest(path, DatasetManifest("table", task, task.preprocessing.digest(), "test", complete=True))
    return Dataset.open(path)


def spot_detector(task: Task) -> Detector:
    return Detector(grey_value_detector(task).package, SpotRuntime())


INSIDE = (1, (1, 1), (1, 1))
BESIDE = (1, (1, 0), (1, 1))
FAR = (1, (1, 3), (1, 1))
"""12 pixels from the centre of the cell with the spot to the nearest edge of the cell of the mask."""
ALWAYS = Peak("A", 0, inside=True, near=True, chance_inside=0.125, chance_near=0.75)
NOT_COUNTED = {
    "without the label": (0, (1, 1), None),
    "not known": (-1, (1, 1), None),
    "not flagged": (1, None, (1, 1)),
    "without a mask": (1, (1, 1), None),
}


def test_peaks_of_flagged_positive_rows_are_held_against_their_masks(tmp_path: Path, task: Task) -> None:
    dataset = write(tmp_path, task, [[INSIDE, *NOT_COUNTED.values()], [BESIDE, FAR]])
    peaks = find_peaks(spot_detector(dataset.task), dataset, dataset.records)
    assert [(peak.patient_id, peak.label, peak.inside, peak.near) for peak in peaks] == [
        ("P0", LESION, True, True),
        ("P1", LESION, False, True),
        ("P1", LESION, False, False),
    ]
    # Of the 8 cells with brain, the mask has one, and the five around it lie within 10 mm of it.
    assert (peaks[0].chance_inside, peaks[0].chance_near) == (1 / 8, 6 / 8)
    # The cell of the spot in the last row is mostly air: it is no body.
    assert (peaks[2].chance_inside, peaks[2].chance_near) == (1 / 8, 6 / 8)


def test_of_several_rows_at_one_position_the_one_that_neighbours_see_counts(tmp_path: Path, task: Task) -> None:
    dataset = write(tmp_path, task, [[INSIDE, INSIDE]])
    record = msgspec.structs.replace(dataset.records[0], duplicate_rank=(0, 1))
    dataset = replaced(dataset, records=(record,))
    assert len(find_peaks(spot_detector(dataset.task), dataset, dataset.records)) == 1


def test_occlusion_is_measured_on_request(tmp_path: Path, task: Task) -> None:
    dataset = write(tmp_path, task, [[INSIDE], [FAR]])
    detector = spot_detector(dataset.task)
    found = find_peaks(detector, dataset, dataset.records, by_occlusion=True)
    assert [(peak.inside, peak.near) for peak in found] == [(True, True), (False, False)]


def test_a_dataset_without_masks_is_refused(tmp_path: Path, task: Task) -> None:
    dataset = write(tmp_path, task, [[INSIDE]], masks=False)
    with pytest.raises(UsageError, match=r"none of the 1 series has masks.*--masks"):
        with_masks(dataset, dataset.records)


def test_shares_are_of_all_peaks_and_intervals_of_patients() -> None:
    peaks = [Peak("A", 1, *outcome, 0.1, 0.3) for outcome in [(True, True)] * 3 + [(False, True)]]
    peaks += [Peak("B", 1, *outcome, 0.3, 0.5) for outcome in [(False, False), (False, True)] * 2]
    found = localise(peaks, ("edema", "lesion"), resamples=400, seed=1)
    (label,) = found.labels
    assert (label.label, label.flagged) == ("lesion", 8)
    assert label.inside.value == pytest.approx(3 / 8)
    assert label.within_10_mm.value == pytest.approx(6 / 8)
    # Two patients: a resample holds both, or one of them twice.
    assert label.inside.low == 0.0
    assert label.inside.high == pytest.approx(3 / 4)
    assert label.within_10_mm.low == pytest.approx(1 / 2)
    assert label.within_10_mm.high == pytest.approx(1.0)
    assert list(found.chance_inside) == pytest.approx([0.2])
    assert list(found.chance_near) == pytest.approx([0.4])
    assert localise(peaks, ("edema", "lesion"), resamples=400, seed=1) == found


def test_nothing_flagged_is_nothing_measured() -> None:
    found = localise((), ("edema", "lesion"), resamples=10)
    assert found == Localisation((), (), ())
    assert len(localisation_table(found)) == 2


def test_the_table_has_a_row_a_label() -> None:
    peaks = [ALWAYS]
    *_, row = localisation_table(localise(peaks, ("edema", "lesion"), resamples=10))
    assert row == "| edema | 1 | 1.000 [1.000, 1.000] | 0.125 | 1.000 [1.000, 1.000] | 0.750 |"


def test_the_labels_come_back_from_json() -> None:
    measured = MeasuredLocalisation("ab" * 32, localise([ALWAYS], ("edema",), resamples=10).labels)
    assert msgspec.json.decode(msgspec.json.encode(measured), type=MeasuredLocalisation) == measured


def test_distances_are_those_to_the_edge_of_the_nearest_cell() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[3, 3] = True
    points = np.array([[3.5, 3.5], [7.5, 7.5], [3.5, 12.5], [11.5, 10.5], [27.5, 11.5]])
    # The cells reach from -0.5 to 7.5 and from 23.5 to 31.5.
    assert distances(points, mask).tolist() == pytest.approx([0, 0, 5, 5, 12])


def test_cells_have_the_means_of_their_pixels() -> None:
    values = np.zeros((16, 16), dtype=np.int16)
    values[8:, :8] = 64
    values[0, 15] = 640
    assert cell_means(values).tolist() == [[0.0, 10.0], [64.0, 0.0]]
