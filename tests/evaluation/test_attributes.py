from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from phantom_heads import simple_head
from scored_dataset import SLICES, small, write_dataset
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.data.writing import write_masks
from slicewise.evaluation.attributes import ATTRIBUTES, finding_ml, slice_attributes
from slicewise.evaluation.scoring import prediction_table
from slicewise.imaging.acquisition import Acquisition
from slicewise.phantom import study as study_module
from slicewise.phantom.dataset import write_phantom_dataset
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import generate_study
from slicewise.task import Task, load_task

ICH = load_task("ich")


@pytest.fixture
def dataset(tmp_path: Path, task: Task) -> Dataset:
    """Labels edema and lesion; lesion sums up. Grids of 8 pixels: one cell of masks."""
    task = msgspec.structs.replace(task, preprocessing=msgspec.structs.replace(small(task).preprocessing, size=8))
    return write_dataset(tmp_path / "dataset", task, patients=3, test=1)


def with_record(dataset: Dataset, **changes: Any) -> tuple[Dataset, SeriesRecord]:
    record = msgspec.structs.replace(dataset.records[0], **changes)
    return replace(dataset, records=(record,)), record


def of(dataset: Dataset, name: str, **changes: Any) -> tuple[str, ...]:
    changed, record = with_record(dataset, **changes)
    return slice_attributes(changed, [record])[name]


def test_every_slice_has_every_attribute_in_the_order_of_the_predictions(dataset: Dataset) -> None:
    found = slice_attributes(dataset, dataset.records)
    assert tuple(found) == ATTRIBUTES
    probabilities = [np.zeros((SLICES, 2)) for _ in dataset.records]
    table = prediction_table(dataset, dataset.records, probabilities)
    assert {len(texts) for texts in found.values()} == {len(table)}


def test_what_the_header_tells_comes_first(dataset: Dataset) -> None:
    told = Acquisition("GE", "GE MEDICAL SYSTEMS", kernel="STANDARD", slice_thickness_mm=2.5, age_years=63.0, sex="F")
    expected = {
        "slice_thickness_mm": "2.5",
        "spacing_mm": "5",
        "manufacturer": "GE",
        "kernel": "STANDARD",
        "tilt_degrees": "12.3",
        "matrix": "512 x 512",
        "age_years": "63",
        "sex": "F",
    }
    for name, text in expected.items():
        assert of(dataset, name, acquisition=told, tilt_degrees=12.34) == (text,) * SLICES
    assert of(dataset, "slice_thickness_mm") == ("5",) * SLICES
    for name in ("manufacturer", "kernel", "age_years", "sex"):
        assert of(dataset, name) == ("",) * SLICES


def test_positions_that_are_no_millimetres_give_no_spacing(dataset: Dataset) -> None:
    task = msgspec.structs.replace(dataset.task, axial_unit="index")
    counted = replace(dataset, manifest=msgspec.structs.replace(dataset.manifest, task=task))
    assert of(counted, "spacing_mm") == of(counted, "slice_thickness_mm") == ("",) * SLICES


def test_findings_are_counted_without_the_one_that_sums_up(dataset: Dataset) -> None:
    labels = ((1, 1), (0, 0), (-1, 1), (-1, -1), (0, 1), (1, -1))
    assert of(dataset, "subtypes", labels=labels) == ("single", "none", "", "", "none", "single")


def test_several_findings_need_no_known_others(dataset: Dataset) -> None:
    names = ("edema", "lesion", "cyst")
    labels = tuple(msgspec.structs.replace(dataset.task.labels[0], name=name) for name in names)
    task = msgspec.structs.replace(dataset.task, labels=labels, any_rule=None)
    three = replace(dataset, manifest=msgspec.structs.replace(dataset.manifest, task=task))
    values = ((1, 1, -1), (1, 0, 0), (1, 0, -1), (0, 0, 0), (0, 0, -1), (1, 1, 1))
    assert of(three, "subtypes", labels=values) == ("several", "single", "", "none", "", "several")


def test_labels_of_studies_count_where_no_slice_is_labelled(dataset: Dataset) -> None:
    unknown = ((-1, -1),) * SLICES
    assert of(dataset, "subtypes", labels=unknown, study_labels=(1, 1)) == ("single",) * SLICES
    assert of(dataset, "subtypes", labels=(*unknown[1:], (0, 0)), study_labels=(1, 1)) == ("",) * 5 + ("none",)


def test_the_ends_are_the_rows_that_lack_neighbours(dataset: Dataset) -> None:
    # 3 rows of 2 slices: none lies between. Of 6 rows with a duplicate, one of the five places does.
    assert of(dataset, "axial_place") == ("first or last two",) * SLICES
    rows = (0.0, 5.0, 10.0, 10.0, 15.0, 20.0)
    changes = {"row_positions_mm": rows, "duplicate_rank": (0, 0, 0, 1, 0, 0), "slab_of_slice": tuple(range(6))}
    ends, between = "first or last two", "between"
    assert of(dataset, "axial_place", **changes) == (ends, ends, between, between, ends, ends)


def test_the_volume_is_share_of_cells_times_area_times_reach(dataset: Dataset) -> None:
    masks = np.zeros((3, 2, 1, 1), np.uint8)
    masks[:, 1, 0, 0] = (255, 51, 0)  # whole, a fifth, nothing of a cell
    labels = ((1, 1),) * SLICES
    changed, record = with_record(dataset, labels=labels, row_positions_mm=(0.0, 10.0, 30.0))
    record = write_masks(changed.path, record, masks)
    cell_mm2 = (8 * dataset.task.preprocessing.pixel_mm) ** 2
    assert finding_ml(changed, record) == pytest.approx((1.0 * 10.0 + 0.2 * 15.0) * cell_mm2 / 1000)
    duplicate = msgspec.structs.replace(record, row_positions_mm=(0.0, 0.0, 4.0), duplicate_rank=(0, 1, 0))
    assert finding_ml(changed, duplicate) == pytest.approx(4.0 * cell_mm2 / 1000)


def test_a_single_place_reaches_as_far_as_its_slice_is_thick(dataset: Dataset) -> None:
    changes = {"labels": ((1, 1),) * SLICES, "row_positions_mm": (0.0,) * 3, "duplicate_rank": (0, 1, 2)}
    changed, record = with_record(dataset, **changes)
    record = write_masks(changed.path, record, np.full((3, 2, 1, 1), 255, np.uint8))
    assert finding_ml(changed, record) is None
    thick = msgspec.structs.replace(record, acquisition=Acquisition(slice_thickness_mm=5.0))
    assert finding_ml(changed, thick) == pytest.approx(5.0 * (8 * dataset.task.preprocessing.pixel_mm) ** 2 / 1000)


def test_without_masks_only_negative_series_have_a_volume(dataset: Dataset) -> None:
    negative, positive, unknown = ((0, 0),) * SLICES, ((1, 1),) * SLICES, ((-1, -1),) * SLICES
    assert of(dataset, "finding_ml", labels=negative) == ("0",) * SLICES
    assert of(dataset, "finding_ml", labels=positive) == ("",) * SLICES
    assert of(dataset, "finding_ml", labels=unknown) == ("",) * SLICES
    assert of(dataset, "finding_ml", labels=unknown, study_labels=(-1, 0)) == ("0",) * SLICES
    assert of(dataset, "finding_ml", labels=unknown, study_labels=(0, 1)) == ("",) * SLICES


@pytest.fixture
def _simple_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "render_head", simple_head)


@pytest.mark.usefixtures("_simple_heads")
def test_volumes_of_phantoms_are_those_that_were_planted(tmp_path: Path) -> None:
    settings = ("geometry.matrix=128", "geometry.thin=0.0", "geometry.medium=0.5", "hemorrhage.positive_share=1.0")
    parameters = override_parameters(PhantomParameters(), list(settings))
    write_phantom_dataset(tmp_path / "dataset", 4, ICH, seed=3, parameters=parameters)
    dataset = Dataset.open(tmp_path / "dataset")
    expected = {}
    for index in range(4):
        study = generate_study(3, index, parameters)
        expected[study.volume.series_uid] = sum(study.volumes_ml.values())
    found = {record.series_uid: finding_ml(dataset, record) for record in dataset.records}
    assert found == pytest.approx(expected, rel=0.08, abs=0.3)
    assert max(expected.values()) > 5
