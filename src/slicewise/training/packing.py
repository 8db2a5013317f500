"""The end of a run: calibration, operating point, provenance, and the model package that holds it all."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import msgspec
import numpy as np
import numpy.typing as npt

import slicewise
from slicewise.evaluation.site import Site
from slicewise.imaging.channels import channel_count
from slicewise.inference.reference import DescribedSeries, build_reference, encode_reference
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.export import export_encoder, export_fusion
from slicewise.models.fusion import FusionHead
from slicewise.package import (
    ENCODER,
    FUSION,
    REFERENCE,
    Calibration,
    EncoderArchitecture,
    FusionArchitecture,
    Manifest,
    ModelPackage,
    Provenance,
    probabilities_from_logits,
    write_package,
)
from slicewise.patients import SeenContent, SeenPatients, merge_content, merge_patients
from slicewise.results import DISCLAIMER
from slicewise.task import Task
from slicewise.training.calibrating import calibrate
from slicewise.training.context import CALIBRATION_PART, TrainingContext
from slicewise.training.descriptors import SeriesFeatures
from slicewise.training.run_folder import library_versions

UNKNOWN_LICENSE = "not stated"
LIMITATION = "Research software, not a medical device: not for diagnosis or any other clinical use."


def pack(
    context: TrainingContext,
    network: DescriptorNetwork,
    head: FusionHead,
    *,
    unseen: Sequence[SeriesFeatures],
    logits: npt.NDArray[np.float32],
) -> None:
    """Calibrates a model and writes its package into the run folder.

    Args:
        context: The training run.
        network: The trained network of stage 1.
        head: The trained head of stage 2.
        unseen: Features of the series of the calibration patients, in the order of `context.records`.
        logits: Logits of their slices, shape (slices, labels).
    """
    task, config = context.task, context.config
    site = _calibration_patients(context, unseen, logits)
    found = calibrate(site, task, config.calibration)
    manifest = Manifest(
        name=config.name or context.run.path.resolve().name,
        version=config.version,
        task=task,
        preprocessing_digest=task.preprocessing.digest(),
        encoder=EncoderArchitecture.of(context.encoder),
        descriptor_size=network.descriptor_size,
        summary_size=network.summary_size,
        fusion=FusionArchitecture.of(head.config),
        weights="float16",
        calibration=found.calibration,
        thresholds=found.thresholds,
        threshold_rule=found.threshold_rule,
        study_thresholds=found.study_thresholds,
        study_threshold_rule=found.study_threshold_rule,
        provenance=_provenance(context),
        metrics=found.metrics,
        limitations=(LIMITATION, *found.limitations),
        license=config.license or UNKNOWN_LICENSE,
    )
    # Stage 2 first: what torch exports first, it exports in this process, recurrent heads too.
    fusion = export_fusion(head)
    encoder = export_encoder(
        network, channels=channel_count(task, context.encoder.neighbours), size=task.preprocessing.size
    )
    files = {
        **_terms(manifest),
        ENCODER: encoder,
        FUSION: fusion,
        **_reference(site, task, found.calibration),
    }
    write_package(context.run.package, manifest, files)


def _calibration_patients(
    context: TrainingContext, unseen: Sequence[SeriesFeatures], logits: npt.NDArray[np.float32]
) -> Site:
    records = context.records(CALIBRATION_PART)
    ends = np.cumsum([len(item.positions) for item in unseen])[:-1]
    raw = probabilities_from_logits(logits, Calibration.identity(logits.shape[1]), None)
    series = [
        DescribedSeries(record.patient_id, record.study_uid, record.series_uid, item.descriptors, rows)
        for record, item, rows in zip(records, unseen, np.split(raw, ends), strict=True)
    ]
    return Site.of(records, series, logits, [item.labels for item in unseen])


def _reference(site: Site, task: Task, calibration: Calibration) -> dict[str, bytes]:
    series = site.calibrated_series(calibration, task.any_index)
    reference = build_reference(series, task.label_names, "the calibration patients of the training")
    return {} if reference is None else {REFERENCE: encode_reference(reference)}


def _terms(manifest: Manifest) -> dict[str, bytes]:
    notice = (
        f"{manifest.name}, version {manifest.version}, a model for slicewise\n"
        f"Licence: {manifest.license}\n"
        f"Trained on: {manifest.provenance.trained_on}\n\n{DISCLAIMER}\n"
    )
    files = {"NOTICE": notice.encode()}
    shipped = resources.files("slicewise") / "weights" / f"LICENSE-{manifest.license}"
    if shipped.is_file():
        files["LICENSE"] = shipped.read_bytes()
    return files


def _provenance(context: TrainingContext) -> Provenance:
    parts = context.parts
    dataset_digest = context.run.record.dataset_digest
    records = [record for record in context.dataset.records if record.patient_id in parts]
    content = SeenContent.of(
        (record.values_digest for record in records), (record.study_uid for record in records), dataset_digest
    )
    before = _provenances(context.init)
    return Provenance(
        software_version=slicewise.__version__,
        trained_on=context.config.description or _training_data(context),
        dataset_digest=dataset_digest,
        patients={part: list(parts.values()).count(part) for part in sorted(set(parts.values()))},
        seen_patients=merge_patients(
            (*(group for item in before for group in item.seen_patients), SeenPatients.of(parts, dataset_digest))
        ),
        config=msgspec.to_builtins(context.config),
        versions=library_versions(),
        seen_content=merge_content((*(group for item in before for group in item.seen_content), content)),
    )


def _provenances(init: ModelPackage | None) -> tuple[Provenance, ...]:
    return () if init is None else (init.manifest.provenance,)


def _training_data(context: TrainingContext) -> str:
    records = [record for record in context.dataset.records if record.patient_id in context.parts]
    slices = sum(len(record.slices) for record in records)
    return f"{slices} slices of {len(records)} series of {len(context.parts)} patients"
