"""What an earlier call of `prepare` left in the folder: whether it fits, and which of it is kept."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from slicewise.data import store
from slicewise.data.split import read_splits
from slicewise.data.store import DatasetManifest, SeriesRecord, folder_name
from slicewise.data.workers import source_digest
from slicewise.errors import DatasetError, UsageError
from slicewise.imaging.series import Series


class Renamed(NamedTuple):
    """A series to which a label file gives another patient than an earlier call did.

    Attributes:
        series_uid: Series Instance UID.
        former: Patient ID of the earlier call.
        now: Patient ID of this call.
    """

    series_uid: str
    former: str
    now: str


def check_output(output: Path, manifest: DatasetManifest, chosen: Collection[str]) -> dict[str, str]:
    """Checks that the folder is free, or that what it holds is an earlier state of the same dataset.

    Args:
        output: Folder of the dataset.
        manifest: What the dataset is to be.
        chosen: Series Instance UIDs of the series that it is to have.

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
    expected = {folder_name(series_uid) for series_uid in chosen}
    for folder in sorted((output / store.SERIES).glob("[!.]*")):
        if folder.name not in expected:
            raise DatasetError(
                f"{output}: holds series {store.read_record(folder).series_uid}, which is not among the series that "
                "would be read now. Name all images of the dataset, or use a new folder"
            )
    return known


def follow_renamed(output: Path, known: Mapping[str, str], renamed: Iterable[Renamed]) -> dict[str, str]:
    """Returns the splits with those of patients that a new label file calls otherwise.

    Args:
        output: Folder of the dataset.
        known: Split of every patient that an earlier call has dealt.
        renamed: The series in question.

    Raises:
        DatasetError: If a patient would be in both parts.
    """
    followed = dict(known)
    for item in renamed:
        split = known.get(item.former)
        if split is not None and followed.setdefault(item.now, split) != split:
            raise DatasetError(
                f"{output}: the labels give series {item.series_uid} to patient {item.now}, who is in "
                f"'{followed[item.now]}'; but as one of patient {item.former} it is in '{split}'. Use a new folder"
            )
    return followed


def usable_record(output: Path, series: Series, size: int) -> SeriesRecord | None:
    """Returns the record of a series that is there whole and still has the same images, None if it is to be made."""
    folder = output / store.SERIES / folder_name(series.series_uid)
    if not folder.exists():
        return None
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


def remove_remains(output: Path, missing: Iterable[str]) -> None:
    """Removes what is there of series (by UID) that are to be made, and what a killed call left behind."""
    remains = [output / store.SERIES / folder_name(series_uid) for series_uid in missing]
    for folder in (*remains, *(output / store.SERIES).glob(".*")):
        if folder.is_dir():
            shutil.rmtree(folder)


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
