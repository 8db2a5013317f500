"""Evaluation protocols: one call from the files of a public dataset to evidence that others can repeat.

    rsna    the challenge's labels of slices, on patients held out
    cq500   studies by the majority of three readers, scored by their highest slice (Ngo et al. 2022)
    bhx     slices of CQ500 by boxes, and by what the readers deny for their study

The dataset is prepared with the task of the model, so that it is what the model reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import slicewise
from slicewise.data.cq500 import FINDINGS, READERS, Reads, read_reads
from slicewise.data.prepare import PreparationSummary, prepare
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import InputError, UsageError
from slicewise.evaluation.agreement import LabelAgreement, reader_agreement
from slicewise.evaluation.evaluate import evaluate
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.protocol_call import TITLES, ProtocolCall
from slicewise.evaluation.protocol_report import ExcludedStudy, ProtocolReport, count_rejected
from slicewise.evaluation.published import beside_published
from slicewise.evaluation.scoring import leakage, leakage_search, predict_dataset, select_records
from slicewise.evaluation.series_used import ListedSeries, SeriesCheck, check_series, read_series_list
from slicewise.imaging.overrides import patient_name
from slicewise.inference.detector import Detector
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection

DATASET = "dataset"
"""Folder of the prepared dataset, in the output of a protocol."""


@dataclass(frozen=True, eq=False)
class ProtocolOutcome:
    """What a protocol gave.

    Attributes:
        dataset: The prepared dataset.
        records: The series of it that were scored.
        table: Predictions beside labels.
        metrics: Their figures.
        report: What was done.
        unreadable: Files and series that could not be read.
    """

    dataset: Dataset
    records: Sequence[SeriesRecord]
    table: PredictionTable
    metrics: Metrics
    report: ProtocolReport
    unreadable: int


def run_protocol(call: ProtocolCall, detector: Detector, progress: Progress = no_progress) -> ProtocolOutcome:
    """Prepares, scores and measures.

    A later call with the same arguments keeps what is prepared.

    Args:
        call: The protocol, and what it works on.
        detector: The model.
        progress: Reports on files, series and metrics.

    Raises:
        UsageError: If an argument does not fit, or the model was trained on patients that would be scored.
        InputError: If a label file, or the list of series, cannot be used, or not one series can be read.
        DatasetError: If the output holds the dataset of another call.
    """
    call.check()
    listed = () if call.series_list is None else read_series_list(call.series_list)
    reads = _reads(call, detector)
    summary = _prepare(call, detector, listed, progress)
    dataset = Dataset.open(call.output / DATASET)
    _refuse_seen(call, detector, dataset)
    records = select_records(detector, dataset, "test")
    table = predict_dataset(detector, dataset, "test", progress=progress)
    manifest = detector.package.manifest
    metrics = evaluate(
        table,
        dataset.task,
        thresholds=manifest.thresholds,
        study_thresholds=manifest.study_thresholds,
        model={"name": manifest.name, "version": manifest.version, "digest": detector.package.digest},
        dataset={"layout": dataset.manifest.layout, "split": "test", "digest": dataset.digest()},
        resamples=call.resamples,
        seed=call.seed,
        room=call.room,
        leakage_search=leakage_search(detector),
        progress=progress,
    )
    rejected = dataset.rejections()
    check = check_series(listed, dataset, rejected) if listed else None
    report = _report(call, detector, summary, _Found(dataset, records, metrics, reads, rejected, check))
    return ProtocolOutcome(dataset, records, table, metrics, report, summary.unreadable)


@dataclass(frozen=True, eq=False)
class _Found:
    dataset: Dataset
    records: Sequence[SeriesRecord]
    metrics: Metrics
    reads: Reads | None
    rejected: tuple[Rejection, ...]
    series: SeriesCheck | None


def _reads(call: ProtocolCall, detector: Detector) -> Reads | None:
    path = {"rsna": None, "cq500": call.labels, "bhx": call.reads}[call.protocol]
    return None if path is None else read_reads(path, detector.task)


def _prepare(
    call: ProtocolCall, detector: Detector, listed: Sequence[ListedSeries], progress: Progress
) -> PreparationSummary:
    summary = prepare(
        call.output / DATASET,
        call.protocol,
        call.images,
        call.labels,
        detector.task,
        reads=call.reads,
        series=[item.series_uid for item in listed],
        holdout=call.scored_share,
        workers=call.workers,
        seed=call.seed,
        progress=progress,
    )
    if summary.series == 0:
        raise InputError(
            f"not one series could be read of {', '.join(map(str, call.images))}: "
            f"{call.output / DATASET / 'rejected.csv'} says why of every file",
            reason="no_series",
        )
    return summary


def _refuse_seen(call: ProtocolCall, detector: Detector, dataset: Dataset) -> None:
    scored = [record for record in dataset.records if dataset.splits[record.patient_id] == "test"]
    found = leakage(detector, scored)
    if not found:
        return
    advice = (
        "Give --holdout and --seed that the dataset of its training was prepared with, or score another model"
        if call.protocol == "rsna"
        else "Score a model that has not seen this dataset"
    )
    raise UsageError(
        f"the model '{detector.package.manifest.name}' knows what it would be tested on: {'; '.join(found)}. Its "
        f"figures would be too good. {advice}"
    )


def _report(call: ProtocolCall, detector: Detector, summary: PreparationSummary, found: _Found) -> ProtocolReport:
    manifest, metrics = detector.package.manifest, found.metrics
    scored = {patient_name(record.patient_id) for record in found.records}
    return ProtocolReport(
        protocol=call.protocol,
        title=TITLES[call.protocol],
        steps=call.steps(),
        settings=call.settings() | {"runtime": detector.runtime.name},
        model=metrics.model,
        software_version=slicewise.__version__,
        n_patients=metrics.n_patients,
        n_studies=metrics.n_studies,
        n_series=len(found.records),
        n_slices=metrics.n_slices,
        counts=metrics.counts,
        excluded_studies=() if found.reads is None else excluded_studies(found.reads.names, scored, found.rejected),
        rejected=count_rejected(found.rejected),
        series=found.series,
        readers=() if found.reads is None else READERS,
        agreement={} if found.reads is None else _agreement(found.reads, scored, call),
        comparison=beside_published(call.protocol, metrics, _findings(found.dataset), manifest.provenance.trained_on),
        warnings=tuple(warning.message for warning in summary.warnings),
    )


def excluded_studies(
    names: Sequence[str], scored: set[str], rejected: Sequence[Rejection]
) -> tuple[ExcludedStudy, ...]:
    """Returns the labelled studies that were not scored, with the reasons of their files and series.

    Args:
        names: Labelled studies, as `patient_name` returns them.
        scored: Those that were scored.
        rejected: What was left out; a path belongs to the study that one of its folders is named after.
    """
    reasons: dict[str, dict[str, None]] = {}
    for item in rejected:
        for part in PurePosixPath(item.path).parts:
            reasons.setdefault(patient_name(part), {})[item.reason] = None
    return tuple(
        ExcludedStudy(name, tuple(reasons.get(name, {"not_found": None}))) for name in names if name not in scored
    )


def _agreement(reads: Reads, scored: set[str], call: ProtocolCall) -> dict[str, LabelAgreement]:
    rows = [row for row, name in enumerate(reads.names) if name in scored]
    return reader_agreement(reads.values[rows], READERS, reads.labels, resamples=call.resamples, seed=call.seed)


def _findings(dataset: Dataset) -> Mapping[str, str]:
    return {name: FINDINGS[name] for name in dataset.task.label_names if name in FINDINGS}
