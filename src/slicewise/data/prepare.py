"""Images and a label file -> a prepared dataset.

The images take the same path as in prediction: discover, group, choose, load, preprocess. Labels are joined at the end,
so that a dataset that was prepared without labels, or with older ones, gets new ones without reading its images again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

import slicewise
from slicewise.data import store, writing
from slicewise.data.join import LabelJoin
from slicewise.data.labels import LabelCounts, LabelTable, count_labels
from slicewise.data.resume import check_output, follow_renamed, kept_series, remove_remains
from slicewise.data.rsna import read_rsna
from slicewise.data.split import SPLIT_NAMES, extend_split
from slicewise.data.store import DatasetManifest, SeriesRecord
from slicewise.data.table import read_table
from slicewise.data.workers import preprocess_all
from slicewise.errors import InputError, UsageError
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.imaging.series import Series, choose_series, group_studies, rejection_of, rejection_of_error
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection, write_rejected_csv
from slicewise.task import Task
from slicewise.volume import ScanWarning

LabelReader = Callable[[Path, Task], LabelTable]

LAYOUTS: Mapping[str, LabelReader] = {"rsna": read_rsna, "table": read_table}
"""The reader of the label file of every layout."""


class PreparationSummary(msgspec.Struct, frozen=True):
    """What a preparation gave.

    Attributes:
        series: Series of the dataset.
        kept: Those of them that an earlier call had prepared.
        slices: Original slices.
        counts: How often each value of every label occurs among them.
        patients: Patients of "train" and "test".
        unlabelled_slices: Slices without a row in the label file.
        unused_labels: Rows of the label file whose slice is not in the dataset.
        rejected: Files and series that are not in the dataset.
        warnings: What was odd about the labels.
    """

    series: int
    kept: int
    slices: int
    counts: dict[str, LabelCounts]
    patients: dict[str, int]
    unlabelled_slices: int
    unused_labels: int
    rejected: tuple[Rejection, ...]
    warnings: tuple[ScanWarning, ...]


def prepare(
    output: Path,
    layout: str,
    images: Sequence[Path],
    labels: Path | None,
    task: Task,
    *,
    holdout: float = 0.0,
    workers: int = 1,
    seed: int = 0,
    progress: Progress = no_progress,
) -> PreparationSummary:
    """Prepares a dataset, or goes on with one: series that are there whole are kept.

    Of a study with labels the labelled series are read, of any other the one that prediction would read. Patients
    that an earlier call dealt to "train" or "test" stay there.

    Args:
        output: Folder of the dataset.
        layout: Form of the label file, a key of `LAYOUTS`.
        images: Files and folders.
        labels: The label file; without one every label is unknown.
        task: Labels and preprocessing.
        holdout: Share of the patients whose split is "test".
        workers: Processes that read and preprocess series; each holds one volume in memory.
        seed: Seeds the split.
        progress: Reports on files and series.

    Raises:
        UsageError: If an input does not exist or a value does not fit.
        LabelTableError: If the label file cannot be used.
        DatasetError: If the folder holds something else, as a dataset of another task or with another split.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout '{layout}' is not known. Expected one of: {', '.join(LAYOUTS)}")
    if not 0.0 <= holdout <= 1.0:
        raise UsageError(f"holdout {holdout:g}: expected a share of the patients between 0 and 1")
    no_labels = LabelTable(task.label_names, np.empty((0, len(task.labels)), dtype=np.int8), {}, {})
    join = LabelJoin(no_labels if labels is None else LAYOUTS[layout](labels, task))
    rejected: list[Rejection] = []
    chosen = _choose(images, task, join, rejected, progress)
    manifest = DatasetManifest(
        layout, task, task.preprocessing.digest(), slicewise.__version__, holdout=holdout, seed=seed
    )
    known = check_output(output, manifest, chosen)
    kept, missing = kept_series(output, chosen, task.preprocessing.size)
    records = [join.apply(record, series.patient_id) for series, record in kept]
    relabelled = [(before, after) for (_, before), after in zip(kept, records, strict=True) if before != after]
    known = follow_renamed(output, known, relabelled)
    # From here on the folder changes; a call that is refused leaves a whole dataset whole.
    writing.write_manifest(output, manifest)
    remove_remains(output, missing)

    outcomes = preprocess_all(missing, task.preprocessing, workers)
    done = progress(outcomes, description="preparing", total=len(chosen), unit="series", initial=len(kept))
    for series, outcome in done:
        if isinstance(outcome, Rejection):
            rejected.append(outcome)
        else:
            labelled = join.apply(outcome.record, series.patient_id)
            records.append(writing.write_series(output, labelled, outcome.values))
    # Not before: until splits.csv is written, the patients of earlier calls are found by their former names.
    for _, record in relabelled:
        writing.write_record(output, record)

    rejected += [item for record in records for item in record.rejected]
    splits = _split(records, holdout, seed, known)
    warnings = join.warnings(labelled=labels is not None)
    writing.write_tables(output, store.sort_records(records), task.label_names, known | splits)
    write_rejected_csv(output / store.REJECTED, rejected)
    writing.write_manifest(output, msgspec.structs.replace(manifest, complete=True, label_warnings=warnings))
    values = [record.label_array for record in records]
    return PreparationSummary(
        series=len(records),
        kept=len(kept),
        slices=sum(len(record.slices) for record in records),
        counts=count_labels(np.concatenate([no_labels.values, *values]), task.label_names),
        patients={split: list(splits.values()).count(split) for split in SPLIT_NAMES},
        unlabelled_slices=join.unlabelled_slices,
        unused_labels=join.unused_labels,
        rejected=tuple(rejected),
        warnings=warnings,
    )


def _choose(
    images: Sequence[Path], task: Task, join: LabelJoin, rejected: list[Rejection], progress: Progress
) -> list[Series]:
    """Returns the series to read; adds everything else to `rejected`."""
    headers: list[SliceHeader] = []
    for item in discover(images, progress):
        (rejected if isinstance(item, Rejection) else headers).append(item)  # type: ignore[arg-type]  # one of the two
    chosen: dict[str, Series] = {}
    for study in group_studies(headers):
        labelled = [series.series_uid for series in study.series if join.names(series)]
        for decision in choose_series(study, task.series, labelled):
            series = decision.series
            if not decision.chosen:
                rejected.append(rejection_of(decision))
            elif series.series_uid in chosen:
                message = (
                    f"Series Instance UID {series.series_uid} stands in two studies; expected one. Only one was read."
                )
                error = InputError(message, reason="conflicting_series_uid")
                rejected.append(rejection_of_error(series, error))
            else:
                chosen[series.series_uid] = series
    return list(chosen.values())


def _split(records: Iterable[SeriesRecord], holdout: float, seed: int, known: Mapping[str, str]) -> dict[str, str]:
    """Splits the patients that have no part yet, with like shares of patients with a positive slice."""
    positive: dict[str, int] = {}
    for record in records:
        is_positive = int((record.label_array == 1).any())
        positive[record.patient_id] = max(is_positive, positive.get(record.patient_id, 0))
    return extend_split(known, list(positive), {"train": 1.0 - holdout, "test": holdout}, seed, positive)
