"""Images and a label file -> a prepared dataset.

The images take the same path as in prediction: discover, group, choose, load, preprocess. Labels are joined at the end,
so that a dataset that was prepared without labels, or with older ones, gets new ones without reading its images again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

import slicewise
from slicewise.data import store, writing
from slicewise.data.join import LabelJoin
from slicewise.data.labels import LabelCounts, LabelTable, count_labels
from slicewise.data.rsna import read_rsna
from slicewise.data.split import split_patients
from slicewise.data.store import DatasetManifest, SeriesRecord, folder_name
from slicewise.data.table import read_table
from slicewise.data.workers import preprocess_all, source_digest
from slicewise.errors import DatasetError, InputError, UsageError
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

    Of a study with labels the labelled series are read, of any other the one that prediction would read.

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
        DatasetError: If the folder holds something else, as a dataset of another task.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout '{layout}' is not known. Expected one of: {', '.join(LAYOUTS)}")
    if not 0.0 <= holdout <= 1.0:
        raise UsageError(f"holdout {holdout:g}: expected a share of the patients between 0 and 1")
    no_labels = LabelTable(task.label_names, np.empty((0, len(task.labels)), dtype=np.int8), {}, {})
    join = LabelJoin(no_labels if labels is None else LAYOUTS[layout](labels, task))
    rejected: list[Rejection] = []
    chosen = _choose(images, task, join, rejected, progress)
    manifest = _begin(output, layout, task, chosen)

    kept, missing = _kept_series(output, chosen, task.preprocessing.size)
    records = [_relabel(output, record, join.apply(record, series.patient_id)) for series, record in kept]
    outcomes = preprocess_all(missing, task.preprocessing, workers)
    done = progress(outcomes, description="preparing", total=len(chosen), unit="series", initial=len(kept))
    for series, outcome in done:
        if isinstance(outcome, Rejection):
            rejected.append(outcome)
        else:
            records.append(join.apply(outcome.record, series.patient_id))
            writing.write_series(output, records[-1], outcome.values)

    rejected += [item for record in records for item in record.rejected]
    splits = _split(records, holdout, seed)
    warnings = join.warnings(labelled=labels is not None)
    writing.write_tables(output, store.sort_records(records), task.label_names, splits)
    write_rejected_csv(output / store.REJECTED, rejected)
    writing.write_manifest(output, msgspec.structs.replace(manifest, complete=True, label_warnings=warnings))
    values = [record.label_array for record in records]
    return PreparationSummary(
        series=len(records),
        kept=len(kept),
        slices=sum(len(record.slices) for record in records),
        counts=count_labels(np.concatenate([no_labels.values, *values]), task.label_names),
        patients={split: list(splits.values()).count(split) for split in store.SPLIT_NAMES},
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


def _begin(output: Path, layout: str, task: Task, chosen: Iterable[Series]) -> DatasetManifest:
    """Makes the folder, or checks that what it holds is an earlier state of the same dataset."""
    manifest = DatasetManifest(layout, task, task.preprocessing.digest(), slicewise.__version__)
    if (output / store.MANIFEST).is_file():
        if store.read_manifest(output).task != task:
            raise DatasetError(f"{output}: was prepared for another task, or another state of it. Use a new folder")
    elif output.exists() and (not output.is_dir() or _visible(output)):
        raise DatasetError(f"{output}: exists and is not a prepared dataset. Use a new folder")
    expected = {folder_name(series.series_uid) for series in chosen}
    for folder in sorted((output / store.SERIES).glob("*")):
        if folder.name.startswith("."):  # what a killed call left behind
            shutil.rmtree(folder)
        elif folder.name not in expected:
            raise DatasetError(
                f"{output}: holds series {store.read_record(folder).series_uid}, which is not among the series that "
                "would be read now. Name all images of the dataset, or use a new folder"
            )
    writing.write_manifest(output, manifest)
    return manifest


def _visible(folder: Path) -> list[Path]:
    return [item for item in folder.iterdir() if not item.name.startswith(".")]


def _kept_series(
    output: Path, chosen: Iterable[Series], size: int
) -> tuple[list[tuple[Series, SeriesRecord]], list[Series]]:
    """Returns the series that are there whole with their records, and the others, of which it removes any remains."""
    kept, missing = [], []
    for series in chosen:
        folder = output / store.SERIES / folder_name(series.series_uid)
        record = _usable_record(folder, series, size) if folder.exists() else None
        if record is not None:
            kept.append((series, record))
            continue
        if folder.exists():
            shutil.rmtree(folder)
        missing.append(series)
    return kept, missing


def _usable_record(folder: Path, series: Series, size: int) -> SeriesRecord | None:
    try:
        record = store.read_record(folder)
        store.open_values(folder, record, size)
    except DatasetError:
        return None
    # Files that could not be read may have been repaired since.
    to_retry = any(item.kind == "unreadable" for item in record.rejected)
    return record if record.source_digest == source_digest(series) and not to_retry else None


def _relabel(output: Path, record: SeriesRecord, labelled: SeriesRecord) -> SeriesRecord:
    if labelled != record:
        writing.write_record(output, labelled)
    return labelled


def _split(records: Iterable[SeriesRecord], holdout: float, seed: int) -> dict[str, str]:
    """Splits the patients, with like shares of patients with a positive slice."""
    positive: dict[str, int] = {}
    for record in records:
        is_positive = int((record.label_array == 1).any())
        positive[record.patient_id] = max(is_positive, positive.get(record.patient_id, 0))
    return split_patients(list(positive), {"train": 1.0 - holdout, "test": holdout}, seed, positive)
