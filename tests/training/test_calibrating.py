from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import ManifestMaker
from sites import simulated_site
from slicewise.config import CalibrationConfig
from slicewise.errors import ConfigError
from slicewise.evaluation.calibration import choose_threshold, fit_platt
from slicewise.evaluation.site import Site
from slicewise.evaluation.study_thresholds import equal_odds_threshold
from slicewise.package import NO_STUDY_THRESHOLD, NOT_CALIBRATED, PRIOR_STATED, Manifest, probabilities_from_logits
from slicewise.training.calibrating import ELSEWHERE, HIGHEST, calibrate, check_prior

PLAIN = CalibrationConfig()
PRIOR = {"any": 0.144, "epidural": 0.004, "subdural": 0.063}


@pytest.fixture(scope="module")
def manifest(make_manifest: ManifestMaker) -> Manifest:
    return make_manifest()


@pytest.fixture(scope="module")
def site(manifest: Manifest) -> Site:
    """Fifty studies of eight slices; about 4 in 10 studies have a finding of each kind."""
    return simulated_site(manifest, 50, offset=-4.5)


def test_thresholds_of_slices_and_studies_are_those_of_their_rules(site: Site, manifest: Manifest) -> None:
    task = manifest.task
    found = calibrate(site, task, PLAIN)
    assert found.calibration == fit_platt(site.logits, site.targets)
    probabilities = probabilities_from_logits(site.logits, found.calibration, task.any_index)
    scores = probabilities.reshape(50, 8, -1).max(axis=1)
    higher = 0
    for index, name in enumerate(task.label_names):
        of_slices = choose_threshold(probabilities[:, index], site.targets[:, index])
        of_studies = equal_odds_threshold(scores[:, index], site.study_targets[:, index])
        assert of_studies is not None
        assert found.thresholds[name] == of_slices
        assert found.study_thresholds[name] == pytest.approx(max(of_slices, of_studies))
        higher += of_studies > of_slices
    assert higher > 3
    assert found.limitations == (ELSEWHERE,)
    assert "stated" not in found.threshold_rule
    assert "by their highest slice" in found.study_threshold_rule


def test_what_was_stated_in_advance_stands_in_every_text(site: Site, manifest: Manifest) -> None:
    found = calibrate(site, manifest.task, CalibrationConfig(PRIOR, 0.5))
    said = "prior stated: any 0.144, epidural 0.004, subdural 0.063"
    for text in (found.threshold_rule, found.limitations[0]):
        assert said in text
        assert "logits shrunk by the factor 0.5, fixed in advance" in text
    assert found.limitations[0].startswith(PRIOR_STATED)
    plain = calibrate(site, manifest.task, PLAIN)
    assert found.metrics["stated_prior_any"] == 0.144
    assert found.metrics["shrinkage"] == 0.5
    before = found.metrics["weighted_log_loss_on_calibration_patients_before_prior_and_shrinkage"]
    assert before == plain.metrics["weighted_log_loss_on_calibration_patients"]
    assert set(plain.metrics) == {
        "weighted_log_loss_on_calibration_patients",
        "weighted_log_loss_on_calibration_patients_uncalibrated",
    }
    np.testing.assert_allclose(found.calibration.scale, np.multiply(0.5, plain.calibration.scale))
    # Operating points are those of the new probabilities: about the same slices are flagged.
    for scaling, thresholds in ((plain.calibration, plain.thresholds), (found.calibration, found.thresholds)):
        probabilities = probabilities_from_logits(site.logits, scaling, None)
        index = manifest.task.label_names.index("epidural")
        assert choose_threshold(probabilities[:, index], site.targets[:, index]) == pytest.approx(
            thresholds["epidural"], rel=1e-3
        )


def test_a_prior_for_which_the_other_labels_leave_no_room_is_said_to_be_missed(site: Site, manifest: Manifest) -> None:
    names = manifest.task.label_names
    room = calibrate(site, manifest.task, CalibrationConfig({"any": 0.2} | dict.fromkeys(names[1:], 0.01)))
    assert HIGHEST not in room.limitations[0]
    # The others keep their share of the calibration slices.
    alone = calibrate(site, manifest.task, CalibrationConfig({"any": 0.01}))
    probabilities = probabilities_from_logits(site.logits, alone.calibration, manifest.task.any_index)
    positive = site.targets[:, 0] == 1
    mean = 0.01 * probabilities[positive, 0].mean() + 0.99 * probabilities[~positive, 0].mean()
    assert mean > 0.02
    assert f"any is {mean:.3f} on average at that prior, {HIGHEST}); elsewhere" in alone.limitations[0]


def test_shrinkage_without_a_prior_is_stated_too(site: Site, manifest: Manifest) -> None:
    found = calibrate(site, manifest.task, CalibrationConfig(shrinkage=0.7))
    assert found.limitations[0] == ELSEWHERE
    assert found.limitations[1].endswith("logits shrunk by the factor 0.7, fixed in advance.")


def test_labels_that_the_studies_cannot_set_keep_the_threshold_of_slices(site: Site, manifest: Manifest) -> None:
    targets, studies = site.targets.copy(), site.study_targets.copy()
    targets[:, 2], studies[:, 2] = 0, 0
    few = np.flatnonzero(studies[:, 3] == 1)[2:]
    studies[few, 3] = -1
    found = calibrate(replace(site, targets=targets, study_targets=studies), manifest.task, PLAIN)
    second, third = manifest.task.label_names[2:4]
    assert found.study_thresholds[second] == found.thresholds[second] == 0.5
    assert found.study_thresholds[third] == found.thresholds[third]
    assert found.study_threshold_rule.endswith(f"; for {second}, {third}, which they cannot set, that of slices")
    displays = [label.display for label in manifest.task.labels]
    assert found.limitations[1:] == (
        f"{NOT_CALIBRATED}: {displays[2]}.",
        f"{NO_STUDY_THRESHOLD}: {displays[2]}, {displays[3]}.",
    )


def test_where_no_label_has_one_studies_have_none(manifest: Manifest) -> None:
    found = calibrate(simulated_site(manifest, 2), manifest.task, PLAIN)
    assert (found.study_thresholds, found.study_threshold_rule) == ({}, "")
    assert found.limitations[-1].startswith(NO_STUDY_THRESHOLD)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"anny": 0.1}, r"no label 'anny'\. Expected any, epidural"),
        ({"any": 0.1, "subdural": 0.2}, r"subdural is 0\.2, more than 0\.1 for any"),
    ],
)
def test_a_prior_that_cannot_be_is_refused(manifest: Manifest, prior: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_prior(prior, manifest.task)
    check_prior(PRIOR, manifest.task)
    check_prior({"subdural": 0.2}, manifest.task)
