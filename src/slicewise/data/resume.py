"""What an earlier call of `prepare` left in the folder: whether it fits, and which of it is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from slicewise.data import store
from slicewise.data.split import read_splits
from slicewise.data.store import DatasetManifest, SeriesRecord, folder_name
from slicewise.data.workers import source_digest
from slicewise.errors import DatasetError, UsageError
from slicewise.imaging.series import Series


def check_output(output: Path, manifest: DatasetManifest, chosen: Iterable[Series]) -> dict[str, str]:
    """Checks that the folder is free, or that what it holds is an earlier state of the same dataset.

    Args:
        output: Folder of the dataset.
        manifest: What the dataset is to be.
        chosen: The series that it is to have.

    Returns:
        The split of every patient that an earlier call has dealt.

    Raises:
        UsageError: If it is something else.
        DatasetError: If it is a dataset of something else.
    """
    known: dict[str, str] = {}
    if (output / store.MANIFEST).is_file():
        known = _check_earlier(output, manifest)
    elif output.exists() and (not output.is_dir() or _visible(output)):
        raise UsageError(f"{output}: exists and is not a prepared dataset. Use a new folder")
    expected = {folder_name(series.series_uid) for series in chosen}
    for folder in sorted((output / store.SERIES).glob("[!.]*")):
        if folder.name not in expected:
            raise DatasetError(
                f"{output}: holds series {store.read_record(folder).series_uid}, which is not among the series that "
                "would be read now. Name all images of the dataset, or use a new folder"
            )
    return known


def follow_renamed(
    output: Path, known: Mapping[str, str], relabelled: Iterable[tuple[SeriesRecord, SeriesRecord]]
) -> dict[str, str]:
    """Returns the splits with those of patients that a new label file calls otherwise.

    Args:
        output: Folder of the dataset.
        known: Split of every patient that an earlier call has dealt.
        relabelled: Series as they are stored, and with the patients and labels of this call.

    Raises:
        DatasetError: If a patient would be in both parts.
    """
    followed = dict(known)
    for before, after in relabelled:
        split = known.get(before.patient_id)
        if split is not None and followed.setdefault(after.patient_id, split) != split:
            raise DatasetError(
                f"{output}: the labels give series {after.series_uid} to patient {after.patient_id}, who is in "
                f"'{followed[after.patient_id]}'; but as one of patient {before.patient_id} it is in '{split}'. "
                "Use a new folder"
            )
    return followed


def kept_series(
    output: Path, chosen: Iterable[Series], size: int
) -> tuple[list[tuple[Series, SeriesRecord]], list[Series]]:
    """Returns the series that are there whole with their records, and the others."""
    kept, missing = [], []
    for series in chosen:
        folder = output / store.SERIES / folder_name(series.series_uid)
        record = _usable_record(folder, series, size) if folder.exists() else None
        if record is not None:
            kept.append((series, record))
        else:
            missing.append(series)
    return kept, missing


def remove_remains(output: Path, missing: Iterable[Series]) -> None:
    """Removes what is there of series that are to be made, and what a killed call left behind."""
    remains = [output / store.SERIES / folder_name(series.series_uid) for series in missing]
    for folder in (*remains, *(output / store.SERIES).glob(".*")):
        if folder.is_dir():
            shutil.rmtree(folder)


def _usable_record(folder: Path, series: Series, size: int) -> SeriesRecord | None:
    try:
        record = store.read_record(folder)
        values = store.open_values(folder, record, size)
    except DatasetError:
        return None
    # Files that could not be read may have been repaired since.
    to_retry = any(item.kind == "unreadable" for item in record.rejected)
    if to_retry or record.source_digest != source_digest(series):
        return None
    return record if record.values_digest == store.digest_of_values(values) else None


def _check_earlier(output: Path, manifest: DatasetManifest) -> dict[str, str]:
    """Checks that an earlier call had the same task and split; returns the split of its patients."""
    earlier = store.read_manifest(output)
    if earlier.task != manifest.task:
        raise DatasetError(f"{output}: was prepared for another task, or another state of it. Use a new folder")
    for name, before, now in (
        ("holdout", earlier.holdout, manifest.holdout),
        ("seed", earlier.seed, manifest.seed),
    ):
        if before != now:
            raise DatasetError(
                f"{output}: was prepared with {name} {before}, not {now}, and another split would move patients "
                f"between train and test. Use {name} {before}, or a new folder"
            )
    splits = output / store.SPLITS
    # A first call that was interrupted has not dealt its patients.
    return read_splits(splits) if earlier.complete or splits.exists() else {}


def _visible(folder: Path) -> list[Path]:
    return [item for item in folder.iterdir() if not item.name.startswith(".")]
