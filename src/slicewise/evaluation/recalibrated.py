"""A model package whose calibration and thresholds are those of one site."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from slicewise.data.store import Dataset
from slicewise.evaluation.goals import Goal, parse_goal
from slicewise.evaluation.local_calibration import LocalCalibration
from slicewise.evaluation.local_fit import LocalFit, fit_locally
from slicewise.evaluation.site import Site
from slicewise.inference.reference import build_reference, encode_reference
from slicewise.package import (
    NOT_CALIBRATED,
    REFERENCE,
    Manifest,
    ModelPackage,
    Provenance,
    probabilities_from_logits,
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
        threshold_rule=_threshold_rule(before, fit, goal, measured.patients),
        provenance=_provenance(before.provenance, dataset, site, digest),
        metrics=_metrics(measured),
        limitations=_limitations(before, site, measured.patients),
    )
    notice = package.files.get("NOTICE", b"")
    added = f"\nVersion {manifest.version}: calibration and thresholds of one site, {measured.patients} patients.\n"
    files = {
        **package.files,
        "NOTICE": notice + added.encode(),
        REFERENCE: _reference(site, fit, before),
    }
    write_package(path, manifest, files)
    return manifest


def _limitations(before: Manifest, site: Site, patients: int) -> tuple[str, ...]:
    calibrated = ((site.targets == 0).any(axis=0) & (site.targets == 1).any(axis=0)).all()
    kept = [item for item in before.limitations if not (calibrated and item.startswith(NOT_CALIBRATED))]
    added = (
        f"Calibrated on {patients} patients of one site: probabilities and thresholds are meant for that site alone."
    )
    return (*kept, added)


def _threshold_rule(before: Manifest, fit: LocalFit, goal: Goal, patients: int) -> str:
    rule = f"local calibration on {patients} patients of one site: {goal.words}"
    if not fit.kept:
        return rule
    return f"{rule}; for {', '.join(fit.kept)}, which those patients cannot set, as before: {before.threshold_rule}"


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
    probabilities = probabilities_from_logits(site.logits, fit.calibration, before.task.any_index)
    ends = np.cumsum([len(item.probabilities) for item in site.series])[:-1]
    series = [
        replace(item, probabilities=rows) for item, rows in zip(site.series, np.split(probabilities, ends), strict=True)
    ]
    reference = build_reference(series, before.task.label_names, "the patients of one site that calibrated the model")
    assert reference is not None  # a local calibration has many patients
    return encode_reference(reference)
