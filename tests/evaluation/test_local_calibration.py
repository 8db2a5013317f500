from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from conftest import ManifestMaker
from sites import simulated_site, without_any_rule
from slicewise.errors import DatasetError
from slicewise.evaluation.goals import Goal
from slicewise.evaluation.local_calibration import measure_local_calibration
from slicewise.evaluation.local_fit import fit_locally
from slicewise.evaluation.metrics import expected_calibration_error, log_loss
from slicewise.package import Manifest, probabilities_from_logits

YOUDEN, SENSITIVITY = Goal("youden"), Goal("sensitivity", 0.9)


@pytest.fixture(scope="module")
def manifest(make_manifest: ManifestMaker) -> Manifest:
    return without_any_rule(make_manifest())


def test_a_known_miscalibration_is_repaired_on_new_patients(manifest: Manifest) -> None:
    site, new = (simulated_site(manifest, 200, scale=0.5, bias=1.5, seed=seed) for seed in (0, 1))
    measured = measure_local_calibration(site, manifest, YOUDEN, resamples=100, seed=0)
    fit = fit_locally(site, manifest, YOUDEN)
    before = np.concatenate([item.probabilities for item in new.series])
    after = probabilities_from_logits(new.logits, fit.calibration, None)
    for index, (name, label) in enumerate(measured.labels.items()):
        truth = new.targets[:, index]
        assert expected_calibration_error(after[:, index], truth) < 0.05, name
        assert expected_calibration_error(before[:, index], truth) > 0.08, name
        # What cross-fitting says of the patients at hand is what new patients show.
        assert label.after["slice"]["log_loss"].value == pytest.approx(log_loss(after[:, index], truth), rel=0.12)
        assert label.before["slice"]["log_loss"].value == pytest.approx(log_loss(before[:, index], truth), rel=0.2)
    change = measured.weighted_log_loss_change
    assert change.high is not None
    assert change.high < 0


def test_nothing_is_gained_where_the_model_is_calibrated(manifest: Manifest) -> None:
    site = simulated_site(manifest, 100, scale=0.8, bias=0.3)
    measured = measure_local_calibration(site, manifest, YOUDEN, resamples=200, seed=0)
    change = measured.weighted_log_loss_change
    assert change.low is not None
    assert change.high is not None
    assert change.low - 0.005 < 0 < change.high + 0.005
    for label in measured.labels.values():
        assert label.scale == pytest.approx(1.0, abs=0.25)


def test_no_patient_is_measured_by_what_it_set(manifest: Manifest) -> None:
    """With labels that nothing foretells, thresholds that reach any goal on the patients who set them reach none."""
    site = simulated_site(manifest, 60, slices=1)
    coin = np.random.default_rng(7).integers(0, 2, site.targets.shape).astype(np.int8)
    site = replace(site, targets=coin, study_targets=coin)
    measured = measure_local_calibration(site, manifest, YOUDEN, resamples=0, seed=0)
    sums = []
    for label in measured.labels.values():
        found = label.after["study"]
        assert found["sensitivity"].value is not None
        assert found["specificity"].value is not None
        sums.append(found["sensitivity"].value + found["specificity"].value)
    assert np.mean(sums) == pytest.approx(1.0, abs=0.12)


def test_a_goal_of_sensitivity_is_about_met_on_patients_who_did_not_set_it(manifest: Manifest) -> None:
    site = simulated_site(manifest, 400, offset=-4.0)
    measured = measure_local_calibration(site, manifest, SENSITIVITY, resamples=50, seed=0)
    for index, label in enumerate(measured.labels.values()):
        exact = label.exact_sensitivity
        assert exact is not None
        assert exact.value is not None
        assert exact.value == label.after["study"]["sensitivity"].value
        assert exact.value == pytest.approx(0.9, abs=0.08)
        assert label.positive_studies == (site.study_targets[:, index] == 1).sum()
        flagged = round(exact.value * label.positive_studies)
        low = stats.beta.ppf(0.025, flagged, label.positive_studies - flagged + 1)
        assert exact.low == pytest.approx(low)
    assert measured.warnings == ()


def test_few_positive_studies_are_warned_of(manifest: Manifest) -> None:
    site = simulated_site(manifest, 40, offset=-5.0)
    targets, studies = site.targets.copy(), site.study_targets.copy()
    targets[:, 1], studies[:, 1] = 0, 0
    site = replace(site, targets=targets, study_targets=studies)
    measured = measure_local_calibration(site, manifest, SENSITIVITY, resamples=20, seed=0)
    first, second = manifest.task.label_names[:2]
    positive = int((studies[:, 0] == 1).sum())
    assert any(
        warning.startswith(f"{first}: only {positive} positive studies set its threshold, fewer than 50")
        and "exact 95 % interval" in warning
        for warning in measured.warnings
    )
    assert any(warning.startswith(f"{second}: keeps the model's threshold") for warning in measured.warnings)
    assert any(warning.startswith(f"{second}: keeps the model's calibration") for warning in measured.warnings)


def test_labels_of_studies_alone_set_thresholds_alone(manifest: Manifest) -> None:
    site = simulated_site(manifest, 60)
    site = replace(site, targets=np.full_like(site.targets, -1))
    measured = measure_local_calibration(site, manifest, YOUDEN, resamples=20, seed=0)
    assert measured.warnings[0].startswith("no slice is labelled")
    assert measured.weighted_log_loss.value is None
    for label in measured.labels.values():
        assert (label.scale, label.bias) == (1.0, 0.0)
        assert label.after["study"]["sensitivity"].value is not None


def test_too_few_labelled_patients_are_refused(manifest: Manifest) -> None:
    site = simulated_site(manifest, 20)
    unknown = site.patient_of_slice >= 9
    targets, studies = site.targets.copy(), site.study_targets.copy()
    targets[unknown], studies[9:] = -1, -1
    site = replace(site, targets=targets, study_targets=studies)
    with pytest.raises(DatasetError, match=r"9 patients have a label; expected 10 or more"):
        measure_local_calibration(site, manifest, YOUDEN, resamples=20, seed=0)
