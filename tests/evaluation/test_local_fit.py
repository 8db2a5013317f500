from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from conftest import ManifestMaker
from sites import simulated_site, without_any_rule
from slicewise.evaluation.calibration import choose_threshold
from slicewise.evaluation.goals import Goal
from slicewise.evaluation.local_fit import compose, fit_locally
from slicewise.package import Calibration, Manifest, probabilities_from_logits


@pytest.fixture(scope="module")
def manifest(make_manifest: ManifestMaker) -> Manifest:
    return without_any_rule(make_manifest())


def test_two_scalings_in_one_do_what_both_do() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (50, 2))
    first, second = Calibration((0.5, 2.0), (1.0, -0.2)), Calibration((1.3, 0.7), (-0.4, 0.1))
    once = logits * first.scale + first.bias
    np.testing.assert_allclose(
        logits * compose(first, second).scale + compose(first, second).bias, once * second.scale + second.bias
    )


def test_a_known_miscalibration_is_found(manifest: Manifest) -> None:
    # Labels follow 0.5 z + 1.5 of the logits z that the model takes for calibrated with 0.8 z + 0.3.
    site = simulated_site(manifest, 500, scale=0.5, bias=1.5)
    fit = fit_locally(site, manifest, Goal("youden"))
    np.testing.assert_allclose(fit.calibration.scale, 0.5, rtol=0.12)
    logits = site.logits.astype(np.float64)
    found = logits * fit.calibration.scale + fit.calibration.bias
    assert np.abs(found - (0.5 * logits + 1.5)).mean() < 0.12
    assert fit.calibration == compose(manifest.calibration, fit.local)
    assert fit.kept == ()


def test_thresholds_hold_on_the_studies_that_set_them(manifest: Manifest, make_manifest: ManifestMaker) -> None:
    # With and without a label that is never less probable than the others.
    for model in (manifest, make_manifest()):
        site = simulated_site(model, 100, bias=-1.0, offset=-4.0)
        fit = fit_locally(site, model, Goal("sensitivity", 0.9))
        probabilities = probabilities_from_logits(site.logits, fit.calibration, model.task.any_index)
        scores = site.study_scores(probabilities)
        for index, name in enumerate(model.task.label_names):
            positive = scores[site.study_targets[:, index] == 1, index]
            assert np.mean(positive >= fit.study_thresholds[name]) >= 0.9
            assert np.mean(positive > positive[positive >= fit.study_thresholds[name]].min()) < 0.9
            best = choose_threshold(probabilities[:, index], site.targets[:, index])
            assert fit.thresholds[name] == min(best, fit.study_thresholds[name])


def test_chosen_patients_alone_take_part(manifest: Manifest) -> None:
    site = simulated_site(manifest, 60)
    chosen = np.arange(60) < 30
    wrong = np.where(chosen[site.patient_of_slice][:, None], site.targets, 1 - site.targets)
    studies = np.where(chosen[site.patient_of_study][:, None], site.study_targets, 1 - site.study_targets)
    changed = replace(site, targets=wrong, study_targets=studies)
    assert fit_locally(site, manifest, Goal("youden"), chosen) == fit_locally(changed, manifest, Goal("youden"), chosen)


def test_a_label_of_one_class_keeps_what_the_model_has(manifest: Manifest) -> None:
    site = simulated_site(manifest, 40)
    targets, studies = site.targets.copy(), site.study_targets.copy()
    targets[:, 2], studies[:, 2] = 0, 0
    names = manifest.task.label_names
    manifest = msgspec.structs.replace(
        manifest, thresholds=dict.fromkeys(names, 0.37), study_thresholds=dict.fromkeys(names, 0.41)
    )
    fit = fit_locally(replace(site, targets=targets, study_targets=studies), manifest, Goal("sensitivity", 0.8))
    assert fit.kept == (names[2],)
    assert (fit.thresholds[names[2]], fit.study_thresholds[names[2]]) == (0.37, 0.41)
    assert (fit.local.scale[2], fit.local.bias[2]) == (1.0, 0.0)
