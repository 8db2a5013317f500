"""The patients of one site as a model sees them: descriptors, logits and labels of slices and of studies."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import UsageError
from slicewise.evaluation.predictions import UNKNOWN
from slicewise.evaluation.scoring import Split, leakage, select_records
from slicewise.inference.axial import primary_rows
from slicewise.inference.detector import Detector
from slicewise.inference.reference import DescribedSeries
from slicewise.package import Calibration, probabilities_from_logits
from slicewise.progress import Progress, no_progress

Labels = npt.NDArray[np.int8]
Indices = npt.NDArray[np.intp]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Site:
    """N slices of the network input in M studies, with L labels; one slice a position, as in training.

    Attributes:
        series: What the model says of every series, in the order of the slices.
        logits: Not calibrated, shape (N, L).
        targets: 0, 1 or -1 for unknown, shape (N, L).
        patient_of_slice: Index in `patients`, shape (N,).
        study_of_slice: Index of the study, shape (N,).
        study_targets: Labels of the studies, likewise, shape (M, L).
        patient_of_study: Index in `patients`, shape (M,).
        patients: Patient IDs, each once.
    """

    series: tuple[DescribedSeries, ...]
    logits: npt.NDArray[np.float32]
    targets: Labels
    patient_of_slice: Indices
    study_of_slice: Indices
    study_targets: Labels
    patient_of_study: Indices
    patients: tuple[str, ...]

    @classmethod
    def of(
        cls,
        records: Sequence[SeriesRecord],
        series: Sequence[DescribedSeries],
        logits: npt.NDArray[np.float32],
        targets: Sequence[Labels],
    ) -> Site:
        """Puts together what a model says of series.

        Args:
            records: The series.
            series: What the model says of each.
            logits: Of all their slices, not calibrated, shape (N, L).
            targets: Labels of the slices of each, shape (slices, L).
        """
        patients = _places([record.patient_id for record in records])
        # One patient's study: anonymisers have given one UID to several patients.
        studies = _places([(record.patient_id, record.study_uid) for record in records])
        lengths = list(map(len, targets))
        study_of_series = [studies[record.patient_id, record.study_uid] for record in records]
        return cls(
            series=tuple(series),
            logits=logits,
            targets=np.concatenate(targets),
            patient_of_slice=np.repeat([patients[record.patient_id] for record in records], lengths),
            study_of_slice=np.repeat(study_of_series, lengths),
            study_targets=_study_targets(records, targets, study_of_series, len(studies)),
            patient_of_study=np.array([patients[patient] for patient, _ in studies]),
            patients=tuple(patients),
        )

    def study_scores(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the largest probability of the slices of every study, shape (M, L)."""
        scores = np.zeros(self.study_targets.shape, dtype=np.float32)
        np.maximum.at(scores, self.study_of_slice, probabilities)
        return scores

    def calibrated_series(self, calibration: Calibration, any_index: int | None) -> list[DescribedSeries]:
        """Returns the series with the probabilities that another calibration gives."""
        probabilities = probabilities_from_logits(self.logits, calibration, any_index)
        ends = np.cumsum([len(item.probabilities) for item in self.series])[:-1]
        return [
            replace(item, probabilities=rows)
            for item, rows in zip(self.series, np.split(probabilities, ends), strict=True)
        ]

    @property
    def patient_strata(self) -> dict[str, int]:
        """Stratum of every patient: 1 with a finding, 0 without, 2 where nothing is known."""
        known, positive = np.zeros((2, len(self.patients)), dtype=bool)
        for owners, targets in (
            (self.patient_of_slice, self.targets),
            (self.patient_of_study, self.study_targets),
        ):
            np.logical_or.at(known, owners, (targets != UNKNOWN).any(axis=1))
            np.logical_or.at(positive, owners, (targets == 1).any(axis=1))
        strata = np.where(positive, 1, np.where(known, 0, 2))
        return dict(zip(self.patients, map(int, strata), strict=True))


def unseen_records(detector: Detector, dataset: Dataset, split: Split) -> Sequence[SeriesRecord]:
    """Returns the series of a site, after checking that they are new to the model.

    Args:
        detector: The model.
        dataset: A prepared dataset.
        split: "test" for the patients held out by `splits.csv`, "all" for every patient.

    Raises:
        UsageError: As `select_records`, or if the model has seen a patient, a study or the pixels of a series.
    """
    records = select_records(detector, dataset, split, allow_seen_patients=True)
    found = leakage(detector, records)
    if found:
        raise UsageError(
            f"{dataset.path}: the model '{detector.package.manifest.name}' knows it: {'; '.join(found)}. What it says "
            "there tells nothing about new patients. Give patients that it has not seen"
        )
    return records


def describe_site(
    detector: Detector, dataset: Dataset, records: Sequence[SeriesRecord], *, progress: Progress = no_progress
) -> Site:
    """Runs a model over series of a prepared dataset.

    Args:
        detector: The model.
        dataset: A prepared dataset with the labels and the preprocessing of the model.
        records: Series of it, at least one.
        progress: Reports on series.
    """
    series, logits, targets = [], [], []
    for record in progress(records, description="Scoring", total=len(records), unit="series"):
        model_input = dataset.input(record)
        rows = primary_rows(model_input.duplicate_rank)
        found = detector.describe_input(model_input)
        series.append(
            DescribedSeries(
                record.patient_id,
                record.study_uid,
                record.series_uid,
                found.descriptors[rows],
                found.probabilities[rows],
            )
        )
        logits.append(found.logits[rows])
        targets.append(dataset.row_labels(record)[rows])
    return Site.of(records, series, np.concatenate(logits), targets)


def _study_targets(
    records: Sequence[SeriesRecord], targets: Sequence[Labels], study_of_series: Sequence[int], studies: int
) -> Labels:
    """A study has the label that it was given itself; else that of its slices, where they tell."""
    members: list[list[int]] = [[] for _ in range(studies)]
    for series, study in enumerate(study_of_series):
        members[study].append(series)
    found = np.full((studies, targets[0].shape[1]), UNKNOWN, dtype=np.int8)
    for study, of_study in enumerate(members):
        slices = np.concatenate([targets[series] for series in of_study])
        of_slices = np.where((slices == 1).any(axis=0), 1, np.where((slices == 0).all(axis=0), 0, UNKNOWN))
        given = np.array(records[of_study[0]].study_labels or (UNKNOWN,) * found.shape[1])
        found[study] = np.where(given == UNKNOWN, of_slices, given)
    return found


def _places(keys: Sequence[Key]) -> dict[Key, int]:
    return {key: place for place, key in enumerate(dict.fromkeys(keys))}
