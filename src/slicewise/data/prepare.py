"""Images and a label file -> a prepared dataset.

The images take the same path as in prediction: discover, group, choose, load, preprocess. Labels are joined at the end,
so that a dataset that was prepared without labels, or with older ones, gets new ones without reading its images again.
Headers and series are gone through one by one: memory does not grow with the number of series but by their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import slicewise
from slicewise.data import store, writing
from slicewise.data.join import LabelJoin
from slicewise.data.labels import LabelCounts, count_labels
from slicewise.data.layouts import read_labels
from slicewise.data.leaks import SeriesKey, check_no_leak, leak_warnings, linked_patients
from slicewise.data.mask_files import MaskFiles
from slicewise.data.occupancy import digest_of_masks, open_masks
from slicewise.data.resume import Renamed, check_output, follow_renamed, remove_remains, usable_record
from slicewise.data.split import SPLIT_NAMES, extend_split
from slicewise.data.store import DatasetManifest, SeriesRecord, StoredRecords, folder_name
from slicewise.data.workers import preprocess_all
from slicewise.errors import DatasetError, InputError, UsageError
from slicewise.imaging.acquisition import read_acquisition
from slicewise.imaging.inventory import Inventory, take_inventory
from slicewise.imaging.series import Series, choose_series, rejection_of, rejection_of_error
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection
from slicewise.task import Task
from slicewise.volume import ScanWarning


class PreparationSummary(msgspec.Struct, frozen=True):
    """What a preparation gave.

    Attributes:
        series: Series of the dataset.
        kept: Those of them that an earlier call had prepared.
        slices: Original slices.
        counts: How often each value of every label occurs among them.
        patients: Patients of "train" and "test".
        masked_series: Series with masks.
        unlabelled_slices: Slices without a row in the label file.
        unused_labels: Rows of the label file whose slice is not in the dataset.
        unreadable: Files and series that could not be read; `rejected.csv` lists them.
        not_chosen: Files and series that a rule left out; `rejected.csv` lists them.
        warnings: What was odd about the labels and the split.
        missing_series: Series that were asked for and are not among the images.
    """

    series: int
    kept: int
    slices: int
    counts: dict[str, LabelCounts]
    patients: dict[str, int]
    masked_series: int
    unlabelled_slices: int
    unused_labels: int
    unreadable: int
    not_chosen: int
    warnings: tuple[ScanWarning, ...]
    missing_series: tuple[str, ...] = ()


def prepare(
    output: Path,
    layout: str,
    images: Sequence[Path],
    labels: Path | None,
    task: Task,
    *,
    reads: Path | None = None,
    masks: Path | None = None,
    series: Collection[str] = (),
    holdout: float = 0.0,
    workers: int = 1,
    seed: int = 0,
    progress: Progress = no_progress,
) -> PreparationSummary:
    """Prepares a dataset, or goes on with one: series that are there whole are kept.

    Of a study with labels the labelled series are read, of any other the one that prediction would read; where series
    are asked for, those alone are read, whatever the rules say. Patients that an earlier call dealt to "train" or
    "test" stay there. Patients who share images stay in one part.

    Args:
        output: Folder of the dataset.
        layout: Form of the label file, a key of `layouts.LAYOUTS`.
        images: Files and folders.
        labels: The label file; without one every label is unknown.
        task: Labels and preprocessing.
        reads: The readers' findings of CQ500, for the layout "bhx".
        masks: Folder of masks as NIfTI, see `mask_files`; None for none.
        series: Series Instance UIDs to read instead of those that labels and rules choose.
        holdout: Share of the patients whose split is "test".
        workers: Processes that read and preprocess series; each holds one volume in memory.
        seed: Seeds the split.
        progress: Reports on files and series.

    Raises:
        UsageError: If an input does not exist or a value does not fit.
        LabelTableError: If the label file cannot be used.
        DatasetError: If the folder holds something else, as a dataset of another task or with another split, or if its
            parts share images.
    """
    if not 0.0 <= holdout <= 1.0:
        raise UsageError(f"holdout {holdout:g}: expected a share of the patients between 0 and 1")
    join = LabelJoin(read_labels(layout, labels, task, reads))
    mask_files = MaskFiles.none(task) if masks is None else MaskFiles.find(masks, task)
    manifest = DatasetManifest(
        layout, task, task.preprocessing.digest(), slicewise.__version__, holdout=holdout, seed=seed
    )
    with take_inventory(images, progress, modality=task.series.modality) as found, Inventory() as rejected:
        for item in found.rejections():
            rejected.add(item)
        choice = _Choice(found, task, join, frozenset(series))
        chosen = {item.series_uid for item in choice.read(rejected.add)}
        known = check_output(output, manifest, chosen)
        kept, renamed = _compare(output, choice.read(), join, task.preprocessing.size)
        known = follow_renamed(output, known, renamed)
        # From here on the folder changes; a call that is refused leaves a whole dataset whole.
        writing.write_manifest(output, manifest)
        if known:  # before a record names a patient otherwise: an interrupted call must not lose where its series were
            writing.write_splits(output, known)
        remove_remains(output, chosen - kept)

        totals = _Totals(task.label_names)
        for record in _relabelled(output, choice.read(), kept, join, mask_files):
            totals.add(record)
        missing = (item for item in choice.read() if item.series_uid not in kept)
        outcomes = preprocess_all(missing, task.preprocessing, workers)
        for source, outcome in progress(
            outcomes, description="preparing", total=len(chosen), unit="series", initial=len(kept)
        ):
            if isinstance(outcome, Rejection):
                rejected.add(outcome)
                continue
            record = join.apply(outcome.record, source.patient_id, incomplete=bool(source.unreadable))
            totals.add(writing.write_series(output, record, outcome.values, mask_files.of(record)))
            for item in record.rejected:
                rejected.add(item)

        for item in mask_files.rejected:
            rejected.add(item)
        splits = totals.split(holdout, seed, known)
        missing_series = tuple(sorted(set(series) - chosen))
        warnings = (
            *_missing_warning(missing_series),
            *join.warnings(labelled=labels is not None),
            *mask_files.warnings(),
            *leak_warnings(totals.keys),
        )
        order = [key.series_uid for key in sorted(totals.keys)]
        writing.write_tables(
            output, StoredRecords(output, order), task.label_names, known | splits, rejected.rejections()
        )
        writing.write_manifest(output, msgspec.structs.replace(manifest, complete=True, label_warnings=warnings))
        kinds = Counter(item.kind for item in rejected.rejections())
    return PreparationSummary(
        series=len(totals.keys),
        kept=len(kept),
        slices=totals.slices,
        counts=totals.counts,
        masked_series=totals.masked_series,
        patients={split: list(splits.values()).count(split) for split in SPLIT_NAMES},
        unlabelled_slices=join.unlabelled_slices,
        unused_labels=join.unused_labels,
        unreadable=kinds["unreadable"],
        not_chosen=kinds["not_chosen"],
        warnings=warnings,
        missing_series=missing_series,
    )


def _missing_warning(missing: Sequence[str]) -> tuple[ScanWarning, ...]:
    if not missing:
        return ()
    message = f"{len(missing)} series that were asked for are not among the images (as {missing[0]})"
    return (ScanWarning("missing_series", message),)


def _ignore(_: Rejection) -> None:
    """Takes what an earlier pass has told of."""


@dataclass(frozen=True)
class _Choice:
    """Which series of an inventory are read.

    Attributes:
        found: The inventory.
        task: What it reads.
        join: Knows which series are labelled.
        requested: Series Instance UIDs to read instead of those that labels and rules choose; empty for none.
    """

    found: Inventory
    task: Task
    join: LabelJoin
    requested: Collection[str]

    def read(self, report: Callable[[Rejection], None] = _ignore) -> Iterator[Series]:
        """Yields the series to read, in the same order at every call; reports the others."""
        seen: set[str] = set()
        for study in self.found.studies():
            wanted = self.requested or [item.series_uid for item in study.series if self.join.names(item)]
            for decision in choose_series(study, self.task.series, wanted):
                series = decision.series
                if not decision.chosen:
                    report(rejection_of(decision))
                elif series.series_uid in seen:
                    uid = series.series_uid
                    message = f"Series Instance UID {uid} stands in two studies; expected one. Only one was read."
                    report(rejection_of_error(series, InputError(message, reason="conflicting_series_uid")))
                else:
                    seen.add(series.series_uid)
                    yield series


def _compare(
    output: Path, chosen: Iterable[Series], join: LabelJoin, size: int
) -> tuple[frozenset[str], tuple[Renamed, ...]]:
    """Returns which series are there whole, and which of them get another patient from the label file."""
    kept, renamed = set(), []
    for series in chosen:
        record = usable_record(output, series, size)
        if record is None:
            continue
        kept.add(series.series_uid)
        patient_id = join.patient_of(record, series.patient_id)
        if patient_id != record.patient_id:
            renamed.append(Renamed(series.series_uid, record.patient_id, patient_id))
    return frozenset(kept), tuple(renamed)


def _relabelled(
    output: Path, chosen: Iterable[Series], kept: Collection[str], join: LabelJoin, mask_files: MaskFiles
) -> Iterator[SeriesRecord]:
    """Joins labels and masks anew to the series that are kept, and yields their records."""
    for series in chosen:
        if series.series_uid not in kept:
            continue
        before = store.read_record(output / store.SERIES / folder_name(series.series_uid))
        # A dataset of an earlier version learns here how its series were acquired.
        known = msgspec.structs.replace(before, acquisition=before.acquisition or read_acquisition(series))
        record = join.apply(known, series.patient_id, incomplete=bool(series.unreadable))
        masks = mask_files.of(record)
        wanted = "" if masks is None else digest_of_masks(masks)
        if {record.masks_digest, _stored_masks_digest(output, record, mask_files.task)} != {wanted}:
            record = writing.write_masks(output, record, masks)
        elif record != before:
            writing.write_record(output, record)
        yield record


def _stored_masks_digest(output: Path, record: SeriesRecord, task: Task) -> str:
    """Returns the digest of the masks that the folder of a series holds, "" where there are none that can be read."""
    folder = output / store.SERIES / folder_name(record.series_uid)
    rows, labels = len(record.row_positions_mm), len(task.labels)
    try:
        return digest_of_masks(open_masks(folder, rows, labels, task.preprocessing.size))
    except DatasetError:
        return ""


@dataclass
class _Totals:
    """What is kept in memory of the series that are done.

    Attributes:
        labels: Label names.
        keys: One a series.
        slices: Original slices.
        masked_series: Series with masks.
        counts: How often each value of every label occurs.
    """

    labels: Sequence[str]
    keys: list[SeriesKey] = field(default_factory=list)
    slices: int = 0
    masked_series: int = 0
    counts: dict[str, LabelCounts] = field(init=False)
    _positive: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys(self.labels, LabelCounts(0, 0, 0))

    def add(self, record: SeriesRecord) -> None:
        """Adds a series."""
        values = record.label_array
        self.keys.append(SeriesKey(record.patient_id, record.study_uid, record.series_uid, record.values_digest))
        self.slices += len(record.slices)
        self.masked_series += bool(record.masks_digest)
        self.counts = {name: self.counts[name] + new for name, new in count_labels(values, self.labels).items()}
        is_positive = int((values == 1).any() or 1 in record.study_labels)
        self._positive[record.patient_id] = max(is_positive, self._positive.get(record.patient_id, 0))

    def split(self, holdout: float, seed: int, known: Mapping[str, str]) -> dict[str, str]:
        """Deals the patients that have no part yet, with like shares of those with a positive slice or study.

        Patients who share images are dealt as one.

        Raises:
            DatasetError: If earlier calls have dealt such patients to both parts.
        """
        links = linked_patients(self.keys)
        positive: dict[str, int] = {}
        for patient, first in links.items():
            positive[first] = max(self._positive[patient], positive.get(first, 0))
        dealt = {links[patient]: split for patient, split in known.items() if patient in links}
        parts = extend_split(dealt, list(positive), {"train": 1.0 - holdout, "test": holdout}, seed, positive)
        splits = {patient: known.get(patient, parts[first]) for patient, first in links.items()}
        check_no_leak(self.keys, splits)
        return splits
