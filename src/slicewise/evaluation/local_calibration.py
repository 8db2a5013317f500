"""What calibrating a model again on the labelled patients of a site changes, for patients who did not set it.

Scaling and thresholds (`local_fit.py`) are measured by cross-fitting: those of each fold are set by the patients of all
other folds (Stone 1974).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from slicewise.data.folds import patient_folds
from slicewise.data.store import SeriesRecord
from slicewise.errors import DatasetError
from slicewise.evaluation.bootstrap import LEVEL, Draws, patient_multiplicities
from slicewise.evaluation.evidence import Difference, Estimate, difference, estimate
from slicewise.evaluation.goals import Goal
from slicewise.evaluation.local_fit import Flags, LocalFit, fit_locally
from slicewise.evaluation.local_metrics import decision_metrics, probability_metrics, weighted_losses
from slicewise.evaluation.predictions import UNKNOWN
from slicewise.evaluation.site import Site
from slicewise.package import Manifest, probabilities_from_logits

FOLDS = 5
LEAST_PATIENTS = 2 * FOLDS
"""With fewer labelled patients nothing is fitted."""

ENOUGH = 50
"""Below so many studies of the class that a goal is about, a threshold is uncertain: of 50, the exact interval of a
sensitivity of 90 % goes from 78 to 97 %."""


class LocalLabel(msgspec.Struct, frozen=True):
    """One label, before and after. All metrics are cross-fitted.

    Attributes:
        scale: Local scale, on logits that the model has calibrated; fitted on all labelled patients.
        bias: Local bias, likewise.
        threshold_before: The model's threshold of studies.
        threshold: The local one; the same where the site cannot set one.
        slice_threshold_before: The model's threshold of slices.
        slice_threshold: The local one.
        positive_studies: Studies with the finding.
        negative_studies: Studies without it.
        before: By level, "slice" and "study": log_loss and ece (of slices only), sensitivity and specificity at the
            threshold, with 95 % intervals from resampled patients.
        after: Likewise.
        exact_sensitivity: Share of the positive studies that is flagged after, with the interval of Clopper and Pearson
            (1934), which does not shrink to nothing where all are; None unless the goal is a sensitivity.
    """

    scale: float
    bias: float
    threshold_before: float
    threshold: float
    slice_threshold_before: float
    slice_threshold: float
    positive_studies: int
    negative_studies: int
    before: dict[str, dict[str, Estimate]]
    after: dict[str, dict[str, Estimate]]
    exact_sensitivity: Estimate | None = None


class LocalCalibration(msgspec.Struct, frozen=True):
    """What calibrating again would change.

    Attributes:
        goal: What thresholds are chosen for.
        patients: Labelled patients.
        folds: Folds of the cross-fitting.
        weighted_log_loss_before: Over all labels of slices, with the loss weights of the task.
        weighted_log_loss: Likewise after, cross-fitted.
        weighted_log_loss_change: After minus before, paired; below 0 is better.
        labels: By label.
        warnings: What a reader should know.
    """

    goal: str
    patients: int
    folds: int
    weighted_log_loss_before: Estimate
    weighted_log_loss: Estimate
    weighted_log_loss_change: Difference
    labels: dict[str, LocalLabel]
    warnings: tuple[str, ...]


def labelled_patients(records: Sequence[SeriesRecord]) -> int:
    """Returns how many patients have a known label, of a slice or of a study."""
    return len(
        {
            record.patient_id
            for record in records
            if (record.label_array != UNKNOWN).any() or any(label != UNKNOWN for label in record.study_labels)
        }
    )


def check_enough(labelled: int) -> None:
    """Checks the number of patients with a label.

    Raises:
        DatasetError: If it is below `LEAST_PATIENTS`.
    """
    if labelled < LEAST_PATIENTS:
        raise DatasetError(
            f"local calibration: {labelled} patients have a label; expected {LEAST_PATIENTS} or more, better some "
            "hundreds. Label more patients, and prepare them with --labels"
        )


def measure_local_calibration(
    site: Site, manifest: Manifest, goal: Goal, *, resamples: int, seed: int
) -> LocalCalibration:
    """Measures what calibrating again would change, on patients who did not set it.

    Args:
        site: The patients.
        manifest: The model.
        goal: What thresholds are chosen for.
        resamples: Number of resamples of the patients.
        seed: Seed of the folds and of the resamples.

    Raises:
        DatasetError: If fewer than `LEAST_PATIENTS` patients have a label.
    """
    labelled = sum(stratum != 2 for stratum in site.patient_strata.values())
    check_enough(labelled)
    fit = fit_locally(site, manifest, goal)
    before = _unchanged(site, manifest)
    after = _cross_fitted(site, manifest, goal, seed)
    draws = patient_multiplicities(len(site.patients), resamples, seed)
    losses = [
        weighted_losses(item.slices, site.targets, manifest.task.loss_weights, site.patient_of_slice, draws)
        for item in (before, after)
    ]
    labels = {
        name: _label(index, name, site, manifest, goal, fit=fit, before=before, after=after, draws=draws)
        for index, name in enumerate(manifest.task.label_names)
    }
    return LocalCalibration(
        goal=str(goal),
        patients=labelled,
        folds=FOLDS,
        weighted_log_loss_before=estimate(losses[0][0], losses[0][1:]),
        weighted_log_loss=estimate(losses[1][0], losses[1][1:]),
        weighted_log_loss_change=difference(losses[1][0] - losses[0][0], losses[1][1:] - losses[0][1:]),
        labels=labels,
        warnings=tuple(_warnings(site, goal, fit, labels)),
    )


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Probabilities of slices, and what thresholds say of slices and studies."""

    slices: npt.NDArray[np.float32]
    slice_flags: Flags
    study_flags: Flags


def _unchanged(site: Site, manifest: Manifest) -> _Outcome:
    probabilities = np.concatenate([item.probabilities for item in site.series])
    of_slices, of_studies = (_row(row, manifest) for row in (manifest.thresholds, manifest.thresholds_of_studies))
    return _Outcome(probabilities, probabilities >= of_slices, site.study_scores(probabilities) >= of_studies)


def _cross_fitted(site: Site, manifest: Manifest, goal: Goal, seed: int) -> _Outcome:
    folds = patient_folds(site.patient_strata, FOLDS, seed)
    fold_of = np.array([folds[patient] for patient in site.patients])
    of_slice, of_study = fold_of[site.patient_of_slice], fold_of[site.patient_of_study]
    probabilities = np.empty_like(site.logits)
    slice_flags, study_flags = (np.zeros(shape, dtype=bool) for shape in (site.targets.shape, site.study_targets.shape))
    for fold in range(FOLDS):
        fit = fit_locally(site, manifest, goal, chosen=fold_of != fold)
        of_slices, of_studies = (_row(row, manifest) for row in (fit.thresholds, fit.study_thresholds))
        found = probabilities_from_logits(site.logits, fit.calibration, manifest.task.any_index)
        scores = site.study_scores(found)
        probabilities[of_slice == fold] = found[of_slice == fold]
        slice_flags[of_slice == fold] = (found >= of_slices)[of_slice == fold]
        study_flags[of_study == fold] = (scores >= of_studies)[of_study == fold]
    return _Outcome(probabilities, slice_flags, study_flags)


def _row(thresholds: dict[str, float], manifest: Manifest) -> npt.NDArray[np.float64]:
    return np.array([thresholds[name] for name in manifest.task.label_names])


def _label(
    index: int,
    name: str,
    site: Site,
    manifest: Manifest,
    goal: Goal,
    *,
    fit: LocalFit,
    before: _Outcome,
    after: _Outcome,
    draws: Draws,
) -> LocalLabel:
    of_studies = site.study_targets[:, index]
    return LocalLabel(
        scale=fit.local.scale[index],
        bias=fit.local.bias[index],
        threshold_before=manifest.thresholds_of_studies[name],
        threshold=fit.study_thresholds[name],
        slice_threshold_before=manifest.thresholds[name],
        slice_threshold=fit.thresholds[name],
        positive_studies=int((of_studies == 1).sum()),
        negative_studies=int((of_studies == 0).sum()),
        before=_metrics(index, site, before, draws),
        after=_metrics(index, site, after, draws),
        exact_sensitivity=_exact(after.study_flags[of_studies == 1, index]) if goal.kind == "sensitivity" else None,
    )


def _metrics(index: int, site: Site, outcome: _Outcome, draws: Draws) -> dict[str, dict[str, Estimate]]:
    targets, owners = site.targets[:, index], site.patient_of_slice
    return {
        "slice": {
            **probability_metrics(outcome.slices[:, index], targets, owners, draws),
            **decision_metrics(outcome.slice_flags[:, index], targets, owners, draws),
        },
        "study": decision_metrics(
            outcome.study_flags[:, index], site.study_targets[:, index], site.patient_of_study, draws
        ),
    }


def _exact(flagged: Flags) -> Estimate:
    if not len(flagged):
        return Estimate(None, None, None)
    found = stats.binomtest(int(flagged.sum()), len(flagged))
    low, high = found.proportion_ci(LEVEL, method="exact")
    return Estimate(float(found.statistic), float(low), float(high))


def _warnings(site: Site, goal: Goal, fit: LocalFit, labels: dict[str, LocalLabel]) -> Iterator[str]:
    if (site.targets == UNKNOWN).all():
        yield "no slice is labelled: thresholds become local, probabilities stay as they are"
    for index, (name, label) in enumerate(labels.items()):
        deciding, kind = goal.deciding(site.study_targets[:, index])
        if name in fit.kept:
            yield f"{name}: keeps the model's threshold: no study with a label can set one for {goal}"
        elif deciding < ENOUGH:
            yield (
                f"{name}: only {deciding} {kind} set its threshold, fewer than {ENOUGH}: for new patients it may miss "
                f"the goal by far{_exact_words(label.exact_sensitivity)}"
            )
        if np.any(site.targets != UNKNOWN) and len({0, 1} & set(site.targets[:, index].tolist())) < 2:
            yield f"{name}: keeps the model's calibration: the labelled slices are not of both classes"


def _exact_words(exact: Estimate | None) -> str:
    if exact is None or exact.low is None or exact.high is None:
        return ""
    return f" (flagged here: exact 95 % interval {exact.low:.0%} to {exact.high:.0%})"
