from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from scored_dataset import small
from sites import SLABS, texture_detector, write_site
from slicewise.data.store import Dataset
from slicewise.data.writing import write_record
from slicewise.errors import UsageError
from slicewise.evaluation.site import describe_site, unseen_records
from slicewise.inference.detector import Detector
from slicewise.package import ModelPackage
from slicewise.patients import SeenContent, SeenPatients
from slicewise.task import Task, load_task


@pytest.fixture
def task() -> Task:
    return small(load_task("ich"))


@pytest.fixture
def dataset(tmp_path: Path, task: Task) -> Dataset:
    return write_site(tmp_path / "site", task, 6, name="P", test=2)


def test_a_site_is_what_the_model_says_of_its_rows(task: Task, dataset: Dataset) -> None:
    detector = texture_detector(task)
    site = describe_site(detector, dataset, dataset.records)
    assert site.patients == tuple(f"P{number}" for number in range(6))
    assert site.logits.shape == site.targets.shape == (6 * SLABS, len(task.labels))
    for number, (record, series) in enumerate(zip(dataset.records, site.series, strict=True)):
        found = detector.describe_input(dataset.input(record))
        np.testing.assert_array_equal(series.descriptors, found.descriptors)
        rows = site.patient_of_slice == number
        np.testing.assert_array_equal(site.logits[rows], found.logits)
        np.testing.assert_array_equal(site.targets[rows], dataset.row_labels(record))
        np.testing.assert_array_equal(site.study_targets[number], site.targets[rows].max(axis=0))
        scores = site.study_scores(np.concatenate([item.probabilities for item in site.series]))
        np.testing.assert_array_equal(scores[number], found.probabilities.max(axis=0))


def test_a_study_has_its_own_label_or_that_of_all_its_series(task: Task, dataset: Dataset) -> None:
    count = len(task.labels)
    one, two, three = (
        msgspec.structs.replace(record, labels=tuple((value,) * count for value in values))
        for record, values in zip(dataset.records, ((0, 0, 0, 0), (0, -1, 1, 0), (0, -1, 0, 0)), strict=False)
    )
    write_record(dataset.path, msgspec.structs.replace(one, study_labels=(1,) + (-1,) * (count - 1)))
    write_record(dataset.path, msgspec.structs.replace(two, patient_id="P0", study_uid=one.study_uid))
    write_record(dataset.path, three)
    changed = Dataset.open(dataset.path)
    site = describe_site(texture_detector(task), changed, changed.records)
    assert len(site.study_targets) == 5
    np.testing.assert_array_equal(site.study_targets[0], 1)  # given for the first label, a slice of the second series
    np.testing.assert_array_equal(site.study_targets[1], -1)
    assert site.patient_strata["P0"] == 1
    assert site.patient_strata["P2"] == 0  # something is known


@pytest.mark.parametrize("kind", ["patient", "study", "content"])
def test_what_the_model_has_seen_is_refused(task: Task, dataset: Dataset, kind: str) -> None:
    record = dataset.records[4]
    package = texture_detector(task).package
    provenance = msgspec.structs.replace(
        package.manifest.provenance,
        seen_patients=(SeenPatients.of([record.patient_id] if kind == "patient" else [], ""),),
        seen_content=(
            SeenContent.of(
                [record.values_digest] if kind == "content" else [], [record.study_uid] if kind == "study" else [], ""
            ),
        ),
    )
    manifest = msgspec.structs.replace(package.manifest, provenance=provenance)
    detector = Detector(ModelPackage(manifest, package.digest, package.files), texture_detector(task).runtime)
    with pytest.raises(UsageError, match=r"knows it: 1 of 6 .* were seen.*Give patients that it has not seen"):
        unseen_records(detector, dataset, "all")
    assert len(unseen_records(detector, dataset, "test")) == 2
