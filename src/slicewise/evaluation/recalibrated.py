"""A model package whose calibration and thresholds are those of one site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from slicewise.data.store import Dataset
from slicewise.evaluation.goals import Goal, parse_goal
from slicewise.evaluation.local_calibration import LocalCalibration
from slicewise.evaluation.local_fit import LocalFit, fit_locally
from slicewise.evaluation.site import Site
from slicewise.inference.reference import build_reference, encode_reference
from slicewise.package import (
    CARD,
    NO_STUDY_THRESHOLD,
    NOT_CALIBRATED,
    PRIOR_STATED,
    REFERENCE,
    Manifest,
    ModelPackage,
    Provenance,
    write_package,
)
from slicewise.patients import SeenContent, SeenPatients, merge_content, merge_patients

LOCAL_PART = "local calibration"


def write_recalibrated(
    path: Path, package: ModelPackage, dataset: Dataset, site: Site, measured: LocalCalibration
) -> Manifest:
    """Writes a package with the same networks, which remembers the patients of the site as seen.

    Args:
        path: Folder to make, or a zip file if the name ends with ".zip".
        package: The model.
        dataset: The dataset of the site.
        site: Its patients as the model sees them.
        measured: What calibrating on them changes; its goal is what thresholds are chosen for.

    Returns:
        The manifest of the new package.

    Raises:
        UsageError: If the path exists.
    """
    before, digest = package.manifest, dataset.digest()
    goal = parse_goal(measured.goal)
    fit = fit_locally(site, before, goal)
    manifest = msgspec.structs.replace(
        before,
        version=f"{before.version}+local.{digest[:8]}",
        calibration=fit.calibration,
        thresholds=fit.thresholds,
        threshold_rule=_threshold_rule(before, site, measured.patients),
        study_thresholds=fit.study_thresholds,
        study_threshold_rule=_study_threshold_rule(before, fit, goal, measured.patients),
        provenance=_provenance(before.provenance, dataset, site, digest),
        metrics=_metrics(measured),
        limitations=_limitations(before, site, fit, measured.patients),
    )
    notice = package.files.get("NOTICE", b"")
    added = f"\nVersion {manifest.version}: calibration and thresholds of one site, {measured.patients} patients.\n"
    files = {
        **package.files,
        "NOTICE": notice + added.encode(),
        REFERENCE: _reference(site, fit, before),
    }
    files.pop(CARD, None)  # its figures are those of the model as it was calibrated before
    write_package(path, manifest, files)
    return manifest


def _limitations(before: Manifest, site: Site, fit: LocalFit, patients: int) -> tuple[str, ...]:
    outdated = [] if _of_one_class(before, site) else [NOT_CALIBRATED, PRIOR_STATED]
    outdated += [] if fit.kept else [NO_STUDY_THRESHOLD]
    kept = [item for item in before.limitations if not item.startswith(tuple(outdated))]
    added = (
        f"Calibrated on {patients} patients of one site: probabilities and thresholds are meant for that site alone."
    )
    return (*kept, added)


def _threshold_rule(before: Manifest, site: Site, patients: int) -> str:
    rule = (
        f"local calibration on {patients} patients of one site: highest sensitivity + specificity (Youden) of slices, "
        "at most the threshold of studies"
    )
    return _with_kept(rule, _of_one_class(before, site), before.threshold_rule)


def _study_threshold_rule(before: Manifest, fit: LocalFit, goal: Goal, patients: int) -> str:
    rule = f"local calibration on {patients} patients of one site: {goal.words}"
    return _with_kept(rule, fit.kept, before.study_threshold_rule or before.threshold_rule)


def _with_kept(rule: str, kept: Sequence[str], rule_before: str) -> str:
    if not kept:
        return rule
    return f"{rule}; for {', '.join(kept)}, which those patients cannot set, as before: {rule_before}"


def _of_one_class(before: Manifest, site: Site) -> list[str]:
    """Returns the labels whose slices are not known to be of both classes: they keep what the model has."""
    both = (site.targets == 0).any(axis=0) & (site.targets == 1).any(axis=0)
    return [name for name, known in zip(before.task.label_names, both, strict=True) if not known]


def _provenance(before: Provenance, dataset: Dataset, site: Site, digest: str) -> Provenance:
    records = [record for record in dataset.records if record.patient_id in set(site.patients)]
    content = SeenContent.of(
        (record.values_digest for record in records), (record.study_uid for record in records), digest
    )
    patients = dict(before.patients)
    patients[LOCAL_PART] = patients.get(LOCAL_PART, 0) + len(site.patients)
    return msgspec.structs.replace(
        before,
        trained_on=f"{before.trained_on}; calibrated on {len(site.patients)} patients of one site",
        patients=patients,
        seen_patients=merge_patients((*before.seen_patients, SeenPatients.of(site.patients, digest))),
        seen_content=merge_content((*before.seen_content, content)),
    )


def _metrics(measured: LocalCalibration) -> dict[str, float]:
    figures = {
        "weighted_log_loss_on_local_patients": measured.weighted_log_loss.value,
        "weighted_log_loss_on_local_patients_before": measured.weighted_log_loss_before.value,
    }
    return {name: value for name, value in figures.items() if value is not None}


def _reference(site: Site, fit: LocalFit, before: Manifest) -> bytes:
    """The patients of the site are the calibration patients now: their scores are what the new scaling gives."""
    series = site.calibrated_series(fit.calibration, before.task.any_index)
    reference = build_reference(series, before.task.label_names, "the patients of one site that calibrated the model")
    assert reference is not None  # a local calibration has many patients
    return encode_reference(reference)
