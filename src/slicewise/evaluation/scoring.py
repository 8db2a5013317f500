"""A detector on a prepared dataset: predictions for patients that the model has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from slicewise.errors import UsageError
from slicewise.evaluation.attributes import slice_attributes
from slicewise.evaluation.metrics import Probabilities
from slicewise.evaluation.predictions import UNKNOWN, Labels, PredictionTable
from slicewise.progress import Progress, no_progress

if TYPE_CHECKING:  # `evaluate --predictions` works without the libraries that these import
    from slicewise.data.store import Dataset, SeriesRecord
    from slicewise.inference.detector import Detector

Split = Literal["test", "all"]


def predict_dataset(
    detector: Detector,
    dataset: Dataset,
    split: Split = "test",
    *,
    allow_seen_patients: bool = False,
    progress: Progress = no_progress,
) -> PredictionTable:
    """Scores every original slice of a dataset.

    Args:
        detector: The model.
        dataset: A prepared dataset with the labels and the preprocessing of the model.
        split: "test" for the patients held out by `splits.csv`, "all" for every patient.
        allow_seen_patients: Score patients that the model was trained or calibrated on as well. Such numbers say
            nothing about new patients.
        progress: Reports on series.

    Raises:
        UsageError: As `select_records`.
    """
    records = select_records(detector, dataset, split, allow_seen_patients=allow_seen_patients)
    probabilities = [
        detector.predict_input(dataset.input(record))
        for record in progress(records, description="Scoring", total=len(records), unit="series")
    ]
    return prediction_table(dataset, records, probabilities)


def leakage_search(detector: Detector) -> str:
    """Says what `leakage` compares: packages of before this memory came know patients alone."""
    remembered = detector.package.manifest.provenance.seen_content
    kinds = "patients, studies and images" if remembered else "patients, by their ids alone,"
    return f"{kinds} were compared with those that the model was trained and calibrated on"


def leakage(detector: Detector, records: Sequence[SeriesRecord]) -> tuple[str, ...]:
    """Looks for what the model was trained on among series: the same patient, study or images, under any name.

    Returns:
        One sentence a kind, empty where nothing is known to be shared.
    """
    package = detector.package
    kinds = (
        ("patients", {record.patient_id for record in records}, package.has_seen),
        ("studies", {record.study_uid for record in records}, package.has_seen_study),
        ("series, by their images,", {record.values_digest for record in records}, package.has_seen_content),
    )
    found = []
    for what, items, has_seen in kinds:
        seen = sorted(item for item in items if has_seen(item))
        if seen:
            found.append(f"{len(seen)} of {len(items)} {what} were seen in training")
    return tuple(found)


def prediction_table(
    dataset: Dataset,
    records: Sequence[SeriesRecord],
    probabilities: Sequence[Probabilities],
    warnings: tuple[str, ...] = (),
) -> PredictionTable:
    """Puts probabilities beside ids and labels.

    Args:
        dataset: A prepared dataset.
        records: Series of it.
        probabilities: Of every original slice of each, shape (slices, labels).
        warnings: What a reader of the metrics should know.
    """
    slices = [(record, index) for record in records for index in range(len(record.slices))]
    labelled = any(record.study_labels for record in records)
    references = [record.slices[index] for record, index in slices]
    return PredictionTable(
        label_names=dataset.task.label_names,
        patient_ids=tuple(record.patient_id for record, _ in slices),
        study_uids=tuple(record.study_uid for record, _ in slices),
        series_uids=tuple(record.series_uid for record, _ in slices),
        sop_uids=tuple(reference.sop_uid for reference in references),
        frames=tuple(reference.frame for reference in references),
        files=tuple(reference.file for reference in references),
        slice_index=tuple(reference.slice_index for reference in references),
        positions_mm=np.concatenate([np.array(record.positions_mm) for record in records]),
        probabilities=np.concatenate(probabilities),
        targets=np.concatenate([record.label_array for record in records]),
        warnings=warnings,
        study_targets=np.concatenate([_study_targets(record) for record in records]) if labelled else None,
        attributes={name: texts for name, texts in slice_attributes(dataset, records).items() if any(texts)},
    )


def _study_targets(record: SeriesRecord) -> Labels:
    shape = record.label_array.shape
    return np.tile(np.array(record.study_labels or (UNKNOWN,) * shape[1], dtype=np.int8), (shape[0], 1))


def select_records(
    detector: Detector, dataset: Dataset, split: Split, *, allow_seen_patients: bool = False
) -> Sequence[SeriesRecord]:
    """Returns the series that `predict_dataset` scores, after checking that the model may score them.

    Raises:
        UsageError: If the dataset has other labels or another preprocessing than the model, holds no patient of the
            split, or holds patients, studies or images that the model has seen.
    """
    manifest = detector.package.manifest
    if dataset.task.label_names != manifest.task.label_names:
        raise UsageError(
            f"The dataset has the labels {', '.join(dataset.task.label_names)}, the model '{manifest.name}' has "
            f"{', '.join(manifest.task.label_names)}. Evaluate the model on a dataset of its own task"
        )
    if dataset.task.preprocessing.digest() != manifest.preprocessing_digest:
        raise UsageError(
            f"The dataset was prepared with other preprocessing than the model '{manifest.name}' was trained on. "
            "Prepare it again with the task of the model"
        )
    records = [record for record in dataset.records if split == "all" or dataset.splits[record.patient_id] == split]
    if not records:
        raise UsageError(
            "The dataset holds no test patients. Prepare it with --holdout, or score every patient with --split all"
            if split == "test"
            else "The dataset holds no series"
        )
    found = () if allow_seen_patients else leakage(detector, records)
    if found:
        raise UsageError(
            f"The model '{manifest.name}' knows what it would be tested on: {'; '.join(found)}. Its numbers would be "
            "too good. Score other patients, or, if that is what you want, use --allow-seen-patients"
        )
    return records
