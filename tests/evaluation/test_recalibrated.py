from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from scored_dataset import small
from sites import texture_detector, write_site
from slicewise.data.store import Dataset
from slicewise.errors import UsageError
from slicewise.evaluation.goals import parse_goal
from slicewise.evaluation.local_calibration import LocalCalibration, measure_local_calibration
from slicewise.evaluation.local_fit import fit_locally
from slicewise.evaluation.recalibrated import LOCAL_PART, write_recalibrated
from slicewise.evaluation.site import Site, describe_site, unseen_records
from slicewise.inference.detector import Detector
from slicewise.inference.reference import read_reference
from slicewise.package import (
    CARD,
    NO_STUDY_THRESHOLD,
    NOT_CALIBRATED,
    PRIOR_STATED,
    ModelPackage,
    load_package,
    probabilities_from_logits,
)
from slicewise.task import Task, load_task


@pytest.fixture(scope="module")
def task() -> Task:
    return small(load_task("ich"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, task: Task) -> Dataset:
    return write_site(tmp_path_factory.mktemp("site") / "dataset", task, 40, name="L")


@pytest.fixture(scope="module")
def detector(task: Task) -> Detector:
    return texture_detector(task, files={"NOTICE": b"A model.\n", CARD: b"figures of before"})


@pytest.fixture(scope="module")
def site(detector: Detector, dataset: Dataset) -> Site:
    return describe_site(detector, dataset, dataset.records)


def measure(detector: Detector, site: Site, goal: str = "sensitivity=0.9") -> LocalCalibration:
    return measure_local_calibration(site, detector.package.manifest, parse_goal(goal), resamples=20, seed=0)


@pytest.fixture(scope="module")
def local(detector: Detector, dataset: Dataset, site: Site, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    path = tmp_path_factory.mktemp("models") / "local.zip"
    write_recalibrated(path, detector.package, dataset, site, measure(detector, site))
    return load_package(path)


def test_the_new_package_predicts_what_both_scalings_say(
    detector: Detector, dataset: Dataset, site: Site, local: ModelPackage
) -> None:
    manifest = detector.package.manifest
    fit = fit_locally(site, manifest, parse_goal("sensitivity=0.9"))
    model_input = dataset.input(dataset.records[0])
    logits = detector.describe_input(model_input).logits
    once = logits * np.asarray(manifest.calibration.scale) + np.asarray(manifest.calibration.bias)
    expected = probabilities_from_logits(once.astype(np.float32), fit.local, manifest.task.any_index)
    found = Detector(local, detector.runtime).predict_input(model_input)
    np.testing.assert_allclose(found, expected[model_input.slab_of_slice], atol=1e-6)
    assert local.manifest.thresholds == fit.thresholds
    assert local.manifest.study_thresholds == fit.study_thresholds
    assert (found[:, [manifest.task.main_index]] >= found).all()


def test_the_new_package_says_where_it_comes_from(local: ModelPackage, dataset: Dataset) -> None:
    manifest = local.manifest
    assert manifest.version == f"1+local.{dataset.digest()[:8]}"
    assert manifest.threshold_rule == (
        "local calibration on 40 patients of one site: highest sensitivity + specificity (Youden) of slices, at most "
        "the threshold of studies"
    )
    assert manifest.study_threshold_rule == (
        "local calibration on 40 patients of one site: the highest threshold that flags at least 0.9 of the positive "
        "studies"
    )
    assert manifest.provenance.patients[LOCAL_PART] == 40
    assert manifest.limitations[-1].startswith("Calibrated on 40 patients of one site")
    assert set(manifest.metrics) == {
        "weighted_log_loss_on_local_patients",
        "weighted_log_loss_on_local_patients_before",
    }
    assert local.files["NOTICE"].decode().startswith(f"A model.\n\nVersion {manifest.version}: calibration")
    assert local.files["encoder.onnx"] == b"one"
    assert CARD not in local.files
    reference = read_reference(local)
    assert reference is not None
    assert reference.patients == 40
    assert reference.source == "the patients of one site that calibrated the model"


def test_local_patients_cannot_test_the_new_package(detector: Detector, dataset: Dataset, local: ModelPackage) -> None:
    record = dataset.records[3]
    assert local.has_seen(record.patient_id)
    assert local.has_seen_study(record.study_uid)
    assert local.has_seen_content(record.values_digest)
    with pytest.raises(UsageError, match="knows it: 40 of 40 patients"):
        unseen_records(Detector(local, detector.runtime), dataset, "all")
    assert len(unseen_records(detector, dataset, "all")) == 40


def test_the_reference_is_of_the_new_probabilities(local: ModelPackage, detector: Detector, dataset: Dataset) -> None:
    reference = read_reference(local)
    assert reference is not None
    new = describe_site(Detector(local, detector.runtime), dataset, dataset.records)
    scores = np.concatenate([item.probabilities for item in new.series])
    for index, name in enumerate(local.manifest.task.label_names):
        assert reference.scores["slice"].labels[name].percentiles[-1] == pytest.approx(scores[:, index].max())


def test_a_second_site_adds_to_what_is_remembered(
    local: ModelPackage, detector: Detector, task: Task, tmp_path: Path
) -> None:
    other = write_site(tmp_path / "other", task, 20, name="M", seed=4)
    again = Detector(local, detector.runtime)
    site = describe_site(again, other, other.records)
    write_recalibrated(tmp_path / "twice", local, other, site, measure(again, site, "youden"))
    package = load_package(tmp_path / "twice")
    assert package.manifest.provenance.patients[LOCAL_PART] == 60
    assert package.has_seen("L3")
    assert package.has_seen("M3")
    assert package.manifest.version.startswith(local.manifest.version)
    assert len(package.files) == len(local.files)


def test_labels_that_the_site_cannot_set_are_named(
    detector: Detector, dataset: Dataset, site: Site, tmp_path: Path
) -> None:
    names = dataset.task.label_names
    changed = without_findings(site, (1, 2))
    write_recalibrated(tmp_path / "local", detector.package, dataset, changed, measure(detector, changed))
    manifest = load_package(tmp_path / "local").manifest
    for rule, thresholds in (
        (manifest.threshold_rule, manifest.thresholds),
        (manifest.study_threshold_rule, manifest.study_thresholds),
    ):
        assert rule.endswith(f"; for {names[1]}, {names[2]}, which those patients cannot set, as before: fixed")
        assert [thresholds[names[index]] for index in (1, 2)] == [0.5, 0.5]


def without_findings(site: Site, labels: Sequence[int]) -> Site:
    targets, studies = site.targets.copy(), site.study_targets.copy()
    targets[:, labels], studies[:, labels] = 0, 0
    return replace(site, targets=targets, study_targets=studies)


def test_a_limitation_goes_once_it_no_longer_holds(
    detector: Detector, dataset: Dataset, site: Site, tmp_path: Path
) -> None:
    package = detector.package
    outdated = (f"{NOT_CALIBRATED}: Subdural.", f"{PRIOR_STATED} (any 0.1).", f"{NO_STUDY_THRESHOLD}: Subdural.")
    manifest = msgspec.structs.replace(package.manifest, limitations=("Kept.", *outdated))
    package = replace(package, manifest=manifest)
    for name, found, kept in (("all", site, 1), ("one-class", without_findings(site, (1,)), 4)):
        write_recalibrated(tmp_path / name, package, dataset, found, measure(detector, found))
        assert load_package(tmp_path / name).manifest.limitations[:-1] == manifest.limitations[:kept]


def test_an_existing_path_stays(detector: Detector, dataset: Dataset, site: Site, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists"):
        write_recalibrated(tmp_path, detector.package, dataset, site, measure(detector, site))
