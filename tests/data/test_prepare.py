from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import nibabel
import numpy as np
import pytest

from dicom_files import brightness, head_values, make_dataset, seeded_uid, write_dataset, write_series
from slicewise.data.prepare import PreparationSummary, prepare
from slicewise.data.split import split_patients
from slicewise.data.store import Dataset, SeriesRecord, folder_name
from slicewise.data.workers import preprocess_all
from slicewise.data.writing import write_record
from slicewise.errors import DatasetError, LabelTableError, UsageError
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import Series, group_studies
from slicewise.task import PreprocessingParameters, Task, load_task

Item = TypeVar("Item")

ICH = load_task("ich")
# A coarse grid: resampling is most of the work.
TASK = msgspec.structs.replace(ICH, preprocessing=msgspec.structs.replace(ICH.preprocessing, size=32, pixel_mm=8.0))
POSITIVE, NEGATIVE = "1,0,0,0,0,1", "0,0,0,0,0,0"


def series_uid(patient_id: str) -> str:
    return seeded_uid("series", seeded_uid("study", patient_id))


def sop_uid(patient_id: str, index: int) -> str:
    return seeded_uid("slice", series_uid(patient_id), index)


def label_rows(patient_id: str, slices: int, positive: tuple[int, ...] = ()) -> list[str]:
    values = (POSITIVE if index in positive else NEGATIVE for index in range(slices))
    return [f"{patient_id},{sop_uid(patient_id, index)},{value}" for index, value in enumerate(values)]


def write_labels(path: Path, rows: list[str], keys: str = "patient_id,sop_uid") -> Path:
    path.write_text("\n".join([f"{keys},{','.join(TASK.label_names)}", *rows]) + "\n", encoding="utf-8")
    return path


def make(
    output: Path, images: Path, labels: Path | None = None, task: Task = TASK, **options: float
) -> PreparationSummary:
    return prepare(
        output,
        "table",
        [images],
        labels,
        task,
        holdout=options.get("holdout", 0.0),
        workers=int(options.get("workers", 1)),
        seed=int(options.get("seed", 0)),
    )


def rejected_rows(output: Path) -> list[dict[str, str]]:
    with (output / "rejected.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def warning_codes(summary: PreparationSummary) -> list[str]:
    return [warning.code for warning in summary.warnings]


def undecodable(content: bytes) -> bytes:
    """A DICOM file with a transfer syntax that does not exist: its header is read, its pixels are not."""
    assert b"1.2.840.10008.1.2.1\x00" in content
    return content.replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.4.")


def stamp(output: Path, patient_id: str) -> int:
    return (output / "series" / folder_name(series_uid(patient_id)) / "values.npy").stat().st_mtime_ns


@pytest.fixture(scope="module")
def written_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, patient_id in enumerate(("A", "B")):
        write_series(folder / patient_id, slices=10, matrix=32, patient_id=patient_id, tilt_degrees=15.0 * number)
    return folder


@pytest.fixture
def images(tmp_path: Path, written_images: Path) -> Path:
    return shutil.copytree(written_images, tmp_path / "images")


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.csv", [*label_rows("A", 10, positive=(2, 3)), *label_rows("B", 10)])


def direct(images: Path) -> dict[str, Series]:
    headers = [item for item in discover([images]) if isinstance(item, SliceHeader)]
    return {series.series_uid: series for study in group_studies(headers) for series in study.series}


def test_stored_values_are_exactly_those_of_prediction(tmp_path: Path, images: Path, labels: Path) -> None:
    # Slabs of several slices and a duplicate, too.
    write_series(tmp_path / "images" / "thin", values=head_values(24, 40), spacing_mm=1.25, patient_id="thin")
    summary = make(tmp_path / "dataset", images, labels)
    assert (summary.series, summary.kept, summary.slices) == (3, 0, 44)
    dataset = Dataset.open(tmp_path / "dataset")
    expected = direct(images)
    for record in dataset.records:
        volume, _ = load_volume(expected[record.series_uid])
        model_input = preprocess(volume, TASK.preprocessing)
        stored = dataset.input(record)
        for name in ("values", "positions_mm", "duplicate_rank", "slab_of_slice", "origin_px", "step_px"):
            one, other = np.asarray(getattr(stored, name)), np.asarray(getattr(model_input, name))
            assert np.array_equal(one, other), name
            assert one.dtype == other.dtype, name
        assert stored.warnings == model_input.warnings
        assert record.volume_warnings == volume.warnings
        assert record.slices == volume.slices
        assert record.positions_mm == tuple(volume.positions_mm)
        assert record.tilt_degrees == volume.tilt_degrees
    assert max(len(record.slices) / len(record.row_positions_mm) for record in dataset.records) == pytest.approx(4.0)


def test_labels_reach_their_slices(tmp_path: Path, images: Path, labels: Path) -> None:
    summary = make(tmp_path / "dataset", images, labels)
    record = Dataset.open(tmp_path / "dataset").records[0]
    assert record.patient_id == "A"
    # write_series names its files in an order that is not the axial one; the UIDs are numbered from feet to head.
    assert [item.sop_uid for item in record.slices] == [sop_uid("A", index) for index in range(10)]
    assert [int(row[0]) for row in record.labels] == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert summary.counts[TASK.label_names[0]] == msgspec.structs.replace(
        summary.counts[TASK.label_names[0]], positive=2, negative=18, unknown=0
    )
    assert summary.warnings == ()
    assert (summary.unlabelled_slices, summary.unused_labels) == (0, 0)


def test_missing_and_unused_labels_are_counted(tmp_path: Path, images: Path) -> None:
    labels = write_labels(tmp_path / "l.csv", [*label_rows("A", 12), *label_rows("B", 7)])
    summary = make(tmp_path / "dataset", images, labels)
    assert (summary.unlabelled_slices, summary.unused_labels) == (3, 2)
    assert warning_codes(summary) == ["unlabelled_slices", "unused_labels"]
    dataset = Dataset.open(tmp_path / "dataset")
    assert dataset.manifest.label_warnings == summary.warnings
    assert [row[0] for row in dataset.records[1].labels] == [0] * 7 + [-1] * 3


def test_without_labels_all_are_unknown(tmp_path: Path, images: Path) -> None:
    summary = make(tmp_path / "dataset", images)
    assert summary.warnings == ()
    assert all(counts.unknown == 20 for counts in summary.counts.values())
    dataset = Dataset.open(tmp_path / "dataset")
    assert dataset.splits == {"A": "train", "B": "train"}
    assert (dataset.row_labels(dataset.records[0]) == -1).all()


def test_labels_by_slice_index(tmp_path: Path, images: Path) -> None:
    rows = [f"{series_uid('A')},{index},{POSITIVE if index == 4 else NEGATIVE}" for index in range(10)]
    labels = write_labels(tmp_path / "l.csv", rows, keys="series,slice_index")
    summary = make(tmp_path / "dataset", images, labels)
    record = Dataset.open(tmp_path / "dataset").records[0]
    assert [row[0] for row in record.labels] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert record.slices[4].sop_uid == sop_uid("A", 4)
    assert warning_codes(summary) == ["no_patient_id", "unlabelled_slices"]
    assert record.patient_id == "A"  # of the images, as the label file does not say


def test_slice_indices_are_not_trusted_where_slices_are_missing(tmp_path: Path, images: Path) -> None:
    rows = [f"{series_uid('A')},{index},{NEGATIVE}" for index in range(10)]
    labels = write_labels(tmp_path / "l.csv", rows, keys="series,slice_index")
    next((images / "A").iterdir()).unlink()
    summary = make(tmp_path / "dataset", images, labels)
    assert "misaligned_labels" in warning_codes(summary)
    assert summary.unused_labels == 10
    assert (Dataset.open(tmp_path / "dataset").records[0].label_array == -1).all()


def test_a_series_without_patient_is_one(tmp_path: Path) -> None:
    write_series(tmp_path / "images", slices=8, PatientID="")
    summary = make(tmp_path / "dataset", tmp_path / "images")
    record = Dataset.open(tmp_path / "dataset").records[0]
    assert record.patient_id == record.series_uid
    assert warning_codes(summary) == ["series_as_patient"]


def test_rejected_is_complete(tmp_path: Path, images: Path) -> None:
    (images / "notes.txt").write_text("not a scan", encoding="utf-8")
    write_series(images / "short", slices=3, patient_id="short")
    write_series(images / "flat", slices=8, matrix=16, patient_id="flat", ImagePositionPatient=None)
    damaged = min((images / "B").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-500])
    summary = make(tmp_path / "dataset", images)
    assert summary.series == 2
    rows = rejected_rows(tmp_path / "dataset")
    assert sorted((row["kind"], row["reason"]) for row in rows) == [
        ("not_chosen", "too_few_slices"),
        ("unreadable", "no_position"),
        ("unreadable", "not_dicom"),
        ("unreadable", "truncated"),
    ]
    assert all(row["message"] for row in rows)
    assert {row["series_uid"] for row in rows} >= {series_uid("short"), series_uid("flat")}
    assert len(Dataset.open(tmp_path / "dataset").records[1].slices) == 9


def test_labelled_series_are_read_and_one_of_a_study_else(tmp_path: Path) -> None:
    study = seeded_uid("study", "A")
    uids = [seeded_uid("recon", number) for number in range(3)]
    for number, uid in enumerate(uids):
        write_series(tmp_path / "images" / str(number), slices=9 + number, matrix=16, study_uid=study, series_uid=uid)
    unlabelled = make(tmp_path / "one", tmp_path / "images")
    assert (unlabelled.series, unlabelled.not_chosen) == (1, 2)
    rows = [f"{uid},0,{NEGATIVE}" for uid in uids[:2]]
    labels = write_labels(tmp_path / "l.csv", rows, keys="series,slice_index")
    assert make(tmp_path / "two", tmp_path / "images", labels).series == 2
    assert {record.series_uid for record in Dataset.open(tmp_path / "two").records} == set(uids[:2])


def test_one_series_uid_in_two_studies_is_told(tmp_path: Path) -> None:
    for study in ("1.2.3", "1.2.4"):
        write_series(tmp_path / "images" / study, slices=8, study_uid=study, series_uid="1.2.9")
    summary = make(tmp_path / "dataset", tmp_path / "images")
    assert (summary.series, summary.unreadable) == (1, 1)
    assert [row["reason"] for row in rejected_rows(tmp_path / "dataset")] == ["conflicting_series_uid"]


def test_the_split_is_by_patient_and_stratified(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        patient_id = f"P{number}"
        write_series(tmp_path / "images" / patient_id, slices=8, matrix=16, patient_id=patient_id)
        rows += label_rows(patient_id, 8, positive=(3,) if number < 4 else ())
    other = seeded_uid("follow-up")
    write_series(tmp_path / "images" / "later", slices=8, matrix=16, patient_id="P0", study_uid=other)
    labels = write_labels(tmp_path / "l.csv", rows)
    summary = make(tmp_path / "dataset", tmp_path / "images", labels, holdout=0.5, seed=3)
    assert summary.patients == {"train": 4, "test": 4}
    dataset = Dataset.open(tmp_path / "dataset")
    assert sum(dataset.splits[f"P{number}"] == "test" for number in range(4)) == 2
    assert len(dataset.records) == 9
    again = make(tmp_path / "dataset", tmp_path / "images", labels, holdout=0.5, seed=3)
    assert (again.kept, Dataset.open(tmp_path / "dataset").splits) == (9, dataset.splits)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"holdout": 0.25}, r"holdout 0\.5, not 0\.25"), ({"seed": 4}, "seed 3, not 4"), ({}, "")],
)
def test_another_split_of_a_dataset_is_refused(
    tmp_path: Path, images: Path, changed: dict[str, float], message: str
) -> None:
    output = tmp_path / "dataset"
    make(output, images, holdout=0.5, seed=3)
    before = (output / "splits.csv").read_bytes()
    if changed:
        with pytest.raises(DatasetError, match=message):
            make(output, images, **{"holdout": 0.5, "seed": 3, **changed})  # type: ignore[arg-type]  # options only
    else:
        make(output, images, holdout=0.5, seed=3)
    assert (output / "splits.csv").read_bytes() == before
    assert Dataset.open(output).manifest.holdout == 0.5


def test_patients_keep_their_part_when_others_are_added(tmp_path: Path) -> None:
    output, images = tmp_path / "dataset", tmp_path / "images"
    splits: dict[str, str] = {}
    for patients in ("EFGH", "ABCD"):
        for patient_id in patients:
            write_series(images / patient_id, slices=8, matrix=16, patient_id=patient_id)
        summary = make(output, images, holdout=0.5, seed=2)
        found = Dataset.open(output).splits
        assert found.items() >= splits.items()
        splits = dict(found)
        assert summary.patients == {"train": len(splits) // 2, "test": len(splits) // 2}
    assert sorted(splits) == list("ABCDEFGH")
    anew = split_patients("ABCDEFGH", {"train": 0.5, "test": 0.5}, seed=2)
    assert any(anew[patient] != splits[patient] for patient in "EFGH")  # else the test would show nothing


def test_a_patient_whose_series_cannot_be_read_for_a_while_keeps_the_part(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images, holdout=0.5)
    before = dict(Dataset.open(output).splits)
    [away] = [patient for patient, split in before.items() if split == "test"]
    whole = {file: file.read_bytes() for file in (images / away).iterdir()}
    for file, content in whole.items():
        file.write_bytes(undecodable(content))
    assert make(output, images, holdout=0.5).patients == {"train": 1, "test": 0}
    assert away not in Dataset.open(output).splits
    for file, content in whole.items():
        file.write_bytes(content)
    make(output, images, holdout=0.5)
    assert Dataset.open(output).splits == before


def test_a_new_name_of_a_patient_does_not_move_series(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images, holdout=0.5)
    before = Dataset.open(output).splits
    rows = [
        row.replace(f"{old},", f"{new},", 1) for old, new in (("A", "Z"), ("B", "Y")) for row in label_rows(old, 10)
    ]
    labels = write_labels(tmp_path / "l.csv", rows)
    with pytest.raises(StopError):  # a call that is interrupted must not lose the former names
        prepare(output, "table", [images], labels, TASK, holdout=0.5, progress=stop_before_series)
    make(output, images, labels, holdout=0.5)
    assert Dataset.open(output).splits == {"Z": before["A"], "Y": before["B"]}


def test_one_patient_with_series_in_both_parts_is_refused(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images, holdout=0.5)
    rows = [row.replace(f"{old},", "Z,", 1) for old in "AB" for row in label_rows(old, 10)]
    with pytest.raises(DatasetError, match=r"give series .* to patient Z, who is in 't.*'; but as one of patient . it"):
        make(output, images, write_labels(tmp_path / "l.csv", rows), holdout=0.5)
    assert sorted(Dataset.open(output).splits) == ["A", "B"]  # a refused call leaves the dataset whole


def test_a_lost_or_damaged_split_is_not_drawn_again(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images, holdout=0.5)
    (output / "splits.csv").write_bytes(b"\xff")
    with pytest.raises(DatasetError, match=r"splits\.csv: cannot be read"):
        make(output, images, holdout=0.5)
    (output / "splits.csv").unlink()
    with pytest.raises(DatasetError, match=r"splits\.csv: cannot be read"):
        make(output, images, holdout=0.5)


def test_a_second_call_keeps_whole_series_and_joins_labels_anew(tmp_path: Path, images: Path, labels: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images)
    before = stamp(output, "A")
    summary = make(output, images, labels)
    assert (summary.series, summary.kept) == (2, 2)
    assert stamp(output, "A") == before
    assert summary.counts[TASK.label_names[0]].positive == 2
    assert Dataset.open(output).row_labels(Dataset.open(output).records[0])[2:4, 0].tolist() == [1, 1]


class StopError(Exception):
    pass


def stop_after_one_series(items: Iterable[Item], *, unit: str = "slice", **_: object) -> Iterator[Item]:
    """A `Progress` under which a preparation dies."""
    for number, item in enumerate(items):
        if unit == "series" and number == 1:
            raise StopError
        yield item


def stop_before_series(items: Iterable[Item], *, unit: str = "slice", **_: object) -> Iterator[Item]:
    """A `Progress` under which a preparation dies before its first series."""
    if unit == "series":
        raise StopError
    yield from items


def test_an_interrupted_call_goes_on(tmp_path: Path, images: Path, labels: Path) -> None:
    make(tmp_path / "whole", images, labels)
    output = tmp_path / "dataset"
    with pytest.raises(StopError):
        prepare(output, "table", [images], labels, TASK, progress=stop_after_one_series)
    with pytest.raises(DatasetError, match="has not ended"):
        Dataset.open(output)
    (output / "series" / ".half.part").mkdir()
    summary = make(output, images, labels)
    assert (summary.series, summary.kept) == (2, 1)
    assert Dataset.open(output).digest() == Dataset.open(tmp_path / "whole").digest()
    assert not (output / "series" / ".half.part").exists()


def test_series_that_changed_or_are_damaged_are_made_again(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images)
    values = output / "series" / folder_name(series_uid("A")) / "values.npy"
    values.write_bytes(values.read_bytes()[:100])
    min((images / "B").iterdir()).unlink()
    summary = make(output, images)
    assert (summary.series, summary.kept, summary.slices) == (2, 0, 19)
    dataset = Dataset.open(output)
    assert [len(dataset.input(record).values) for record in dataset.records] == [10, 9]


def test_images_with_other_pixels_under_the_same_names_are_read_again(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images)
    before = Dataset.open(output)
    stat = min((images / "A").iterdir()).stat()
    write_series(images / "A", slices=10, matrix=32, patient_id="A", values=head_values(10, 32) + 20)
    for file in (images / "A").iterdir():
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert make(output, images).kept == 1
    after = Dataset.open(output)
    assert after.records[0].values_digest != before.records[0].values_digest
    assert after.records[1] == before.records[1]
    assert after.digest() != before.digest()


def test_values_that_were_damaged_behind_their_header_are_made_again(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images)
    values = output / "series" / folder_name(series_uid("A")) / "values.npy"
    whole = values.read_bytes()
    values.write_bytes(whole[:128] + bytes(len(whole) - 128))
    assert make(output, images).kept == 1
    assert values.read_bytes() == whole


def test_files_that_were_repaired_are_read(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    file = min((images / "A").iterdir())
    whole = file.read_bytes()
    file.write_bytes(undecodable(whole))
    first = make(output, images)
    assert (first.unreadable, first.not_chosen) == (1, 0)
    file.write_bytes(whole)
    second = make(output, images)
    assert (second.series, second.slices, second.unreadable, second.not_chosen) == (2, 20, 0, 0)


@pytest.mark.parametrize("change", ["preprocessing", "loss_weight"])
def test_another_task_is_refused(tmp_path: Path, images: Path, change: str) -> None:
    make(tmp_path / "dataset", images)
    if change == "preprocessing":
        other = msgspec.structs.replace(TASK, preprocessing=msgspec.structs.replace(TASK.preprocessing, pixel_mm=1.0))
    else:
        other = msgspec.structs.replace(TASK, labels=TASK.labels[::-1])
    with pytest.raises(DatasetError, match="another task"):
        make(tmp_path / "dataset", images, task=other)


def test_other_content_of_the_folder_is_not_touched(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    output.mkdir()
    (output / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not a prepared dataset"):
        make(output, images)
    with pytest.raises(UsageError, match="not a prepared dataset"):
        make(output / "thesis.txt", images)
    assert [item.name for item in output.iterdir()] == ["thesis.txt"]


def test_series_that_are_no_longer_named_are_told(tmp_path: Path, images: Path) -> None:
    make(tmp_path / "dataset", images)
    with pytest.raises(DatasetError, match=f"holds series {series_uid('B')}"):
        make(tmp_path / "dataset", images / "A")


def test_the_number_of_workers_is_passed_on(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # That workers change nothing is tested in test_workers.py, without the cost of starting them here once more.
    asked: list[int] = []

    def preprocess_here(jobs: Iterable[Series], parameters: PreprocessingParameters, workers: int) -> object:
        asked.append(workers)
        return preprocess_all(jobs, parameters, 1)

    monkeypatch.setattr("slicewise.data.prepare.preprocess_all", preprocess_here)
    make(tmp_path / "dataset", images, workers=3)
    assert asked == [3]


def test_nothing_usable_gives_an_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("not a scan", encoding="utf-8")
    summary = make(tmp_path / "dataset", tmp_path / "images", holdout=0.2)
    assert (summary.series, summary.patients) == (0, {"train": 0, "test": 0})
    assert [row["reason"] for row in rejected_rows(tmp_path / "dataset")] == ["not_dicom"]
    assert Dataset.open(tmp_path / "dataset").records == ()


def test_a_wrong_call_leaves_nothing_behind(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    with pytest.raises(UsageError, match="layout 'cq501' is not known"):
        prepare(output, "cq501", [images], None, TASK)
    with pytest.raises(UsageError, match=r"holdout 1\.5"):
        make(output, images, holdout=1.5)
    with pytest.raises(UsageError, match="no such file"):
        make(output, tmp_path / "nowhere")
    with pytest.raises(LabelTableError, match="Missing"):
        make(output, images, write_labels(tmp_path / "l.csv", [], keys="wrong"))
    assert not output.exists()


def test_the_rsna_layout(tmp_path: Path) -> None:
    ids = [f"ID_{index:09x}" for index in range(8)]
    values = head_values(8, 32)
    for index, uid in enumerate(ids):
        image = make_dataset(
            values=values[index],
            sop_uid=uid,
            PatientID="ID_aaaaaaaaa",
            StudyInstanceUID="ID_bbbbbbbbb",
            SeriesInstanceUID="ID_ccccccccc",
            InstanceNumber=None,
            SliceThickness=None,
            ImageType=None,
            ImagePositionPatient=[0.0, 0.0, 5.0 * (7 - index)],
            PixelSpacing=[7.0, 7.0],
        )
        write_dataset(tmp_path / "images" / f"{uid}.dcm", image)
    lines = [
        f"{uid}_{name},{int(uid == ids[1] and name in TASK.label_names[:2])}"
        for uid in ids
        for name in reversed(TASK.label_names)
    ]
    labels = tmp_path / "stage_2_train.csv"
    labels.write_text("\n".join(["ID,Label", *lines]) + "\n", encoding="utf-8")
    summary = prepare(tmp_path / "dataset", "rsna", [tmp_path / "images"], labels, TASK)
    record: SeriesRecord = Dataset.open(tmp_path / "dataset").records[0]
    assert record.patient_id == "ID_aaaaaaaaa"
    assert [item.sop_uid for item in record.slices] == ids[::-1]
    assert record.labels == tuple((1, 1, 0, 0, 0, 0) if uid == ids[1] else (0,) * 6 for uid in ids[::-1])
    assert (summary.unlabelled_slices, summary.unused_labels, summary.warnings) == (0, 0, ())


def test_a_real_scan(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "ct_head" / "ge_tilted_variable_spacing"
    summary = make(tmp_path / "dataset", folder)
    assert (summary.series, summary.slices) == (1, 28)
    record = Dataset.open(tmp_path / "dataset").records[0]
    volume, _ = load_volume(direct(folder)[record.series_uid])
    stored = Dataset.open(tmp_path / "dataset").input(record).values
    assert np.array_equal(stored, preprocess(volume, TASK.preprocessing).values)


CQ500_COLUMNS = ["ICH", "EDH", "IPH", "IVH", "SAH", "SDH"]


def write_reads(path: Path, **findings: str) -> Path:
    """Writes reads.csv on which all readers agree: six characters a study in the order of the labels."""
    header = ["name", *(f"R{reader}:{name}" for reader in (1, 2, 3) for name in CQ500_COLUMNS)]
    rows = [[name.replace("_", "-"), *(list(values) * 3)] for name, values in findings.items()]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return path


def studies_rows(output: Path) -> list[dict[str, str]]:
    with (output / "studies.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_cq500_layout(tmp_path: Path) -> None:
    # As the archives of CQ500 unpack: names with blanks, a series split over two folders, the patient named twice.
    images = tmp_path / "CQ500CT1 CQ500CT1" / "Unknown Study"
    files = write_series(tmp_path / "all", slices=12, matrix=16, patient_id="CQ500CT1 CQ500CT1")
    for number, file in enumerate(files):
        target = images / ("CT PLAIN THIN" if number < 5 else "CT PLAIN THIN 2") / f"CT{number:06d}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    post = seeded_uid("post")
    write_series(
        images / "CT POST CONTRAST",
        slices=12,
        matrix=16,
        patient_id="CQ500CT1 CQ500CT1",
        series_uid=post,
        SeriesDescription="CT POST CONTRAST",
    )
    reads = write_reads(tmp_path / "reads.csv", CQ500_CT_1="100001", CQ500_CT_2="000000")
    summary = prepare(tmp_path / "dataset", "cq500", [tmp_path / "CQ500CT1 CQ500CT1"], reads, TASK)
    dataset = Dataset.open(tmp_path / "dataset")
    (record,) = dataset.records
    assert (len(record.slices), record.study_labels) == (12, (1, 0, 0, 0, 0, 1))
    assert (record.label_array == -1).all()
    assert warning_codes(summary) == ["unused_studies"]
    assert [row["reason"] for row in rejected_rows(tmp_path / "dataset")] == ["other_series_preferred"]
    (row,) = studies_rows(tmp_path / "dataset")
    assert [row[name] for name in TASK.label_names] == list("100001")


def test_the_bhx_layout(tmp_path: Path) -> None:
    for patient_id in ("CQ500-CT-1", "CQ500-CT-2"):
        write_series(tmp_path / "images" / patient_id, slices=9, matrix=16, patient_id=patient_id)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "SOPInstanceUID,labelName,x,y,width,height\n"
        f"{sop_uid('CQ500-CT-1', 4)},Subdural,1,2,3,4\n{sop_uid('CQ500-CT-1', 5)},Chronic,1,2,3,4\n",
        encoding="utf-8",
    )
    reads = write_reads(tmp_path / "reads.csv", CQ500_CT_1="100001", CQ500_CT_2="000000")
    prepare(tmp_path / "dataset", "bhx", [tmp_path / "images"], boxes, TASK, reads=reads)
    bleeding, healthy = Dataset.open(tmp_path / "dataset").records
    # A slice without a box is unknown for what the study has, negative for what it has not.
    assert bleeding.labels[4] == (1, 0, 0, 0, 0, 1)
    assert bleeding.labels[5] == (-1, 0, 0, 0, 0, -1)
    assert bleeding.labels[3] == (-1, 0, 0, 0, 0, -1)
    assert set(healthy.labels) == {(0,) * 6}
    assert [(item.slice, item.box.label) for item in bleeding.boxes] == [(4, "subdural"), (5, "chronic")]


def test_archives_are_read_where_they_lie(tmp_path: Path, images: Path) -> None:
    make(tmp_path / "folder", images)
    shutil.make_archive(str(tmp_path / "scans"), "zip", images)
    make(tmp_path / "archive", tmp_path / "scans.zip")
    one, other = Dataset.open(tmp_path / "folder"), Dataset.open(tmp_path / "archive")
    assert one.digest() == other.digest()
    assert [item.file for item in one.records[0].slices] == [item.file for item in other.records[0].slices]


def test_nifti_series_are_labelled_by_their_stored_index(tmp_path: Path) -> None:
    # Stored from the head down: row 0 of the label file is the slice at the vertex.
    affine = np.diag([-7.0, -7.0, -5.0, 1.0])
    stored = head_values(10, 32).transpose(2, 1, 0)[:, :, ::-1].astype(np.int16)
    image = nibabel.Nifti1Image(stored, affine)  # type: ignore[no-untyped-call]
    (tmp_path / "images").mkdir()
    nibabel.save(image, tmp_path / "images" / "case_7.nii.gz")
    rows = [f"case_7,{index},{POSITIVE if index < 3 else NEGATIVE}" for index in range(10)]
    labels = write_labels(tmp_path / "l.csv", rows, keys="series,slice_index")
    summary = make(tmp_path / "dataset", tmp_path / "images", labels)
    (record,) = Dataset.open(tmp_path / "dataset").records
    assert (record.series_uid, record.patient_id) == ("case_7", "case_7")
    assert [item.slice_index for item in record.slices] == list(range(10))[::-1]
    assert [row[0] for row in record.labels] == [0] * 7 + [1] * 3
    assert warning_codes(summary) == ["no_patient_id", "series_as_patient"]
    with (tmp_path / "dataset" / "slices.csv").open(encoding="utf-8", newline="") as stream:
        assert {row["slice_index"]: row["any"] for row in csv.DictReader(stream)} == {
            str(index): str(int(index < 3)) for index in range(10)
        }


def test_patients_with_the_same_images_stay_in_one_part(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(8):
        # Exported twice, each time under another pseudonym.
        for copy in "ab":
            write_series(
                images / f"{number}{copy}", slices=8, patient_id=f"{number}{copy}", values=head_values(8, 16) + number
            )
    summary = make(tmp_path / "dataset", images, holdout=0.5, seed=1)
    splits = Dataset.open(tmp_path / "dataset").splits
    assert summary.patients == {"train": 8, "test": 8}
    assert all(splits[f"{number}a"] == splits[f"{number}b"] for number in range(8))
    assert warning_codes(summary) == ["shared_images"]


def test_images_of_the_other_part_are_refused_in_a_later_call(tmp_path: Path) -> None:
    images, output = tmp_path / "images", tmp_path / "dataset"
    for patient_id in ("A", "B"):
        write_series(images / patient_id, slices=8, matrix=16, patient_id=patient_id)
    make(output, images, holdout=0.5)
    write_series(images / "B", slices=8, matrix=16, patient_id="B", values=head_values(8, 16) + brightness("A"))
    with pytest.raises(DatasetError, match=r"patient B is in '.*' and has the same images as patient A"):
        make(output, images, holdout=0.5)


def test_series_are_taken_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Memory must not grow with the archive: no list of series is ever made.
    waiting: list[int] = []

    def preprocess_here(jobs: Iterable[Series], parameters: PreprocessingParameters, workers: int) -> object:
        assert isinstance(jobs, Iterator)
        for series, outcome in preprocess_all(jobs, parameters, workers):
            waiting.append(len(list((tmp_path / "dataset" / "series").glob("[!.]*"))))
            yield series, outcome

    for patient_id in "ABC":
        write_series(tmp_path / "images" / patient_id, slices=8, matrix=16, patient_id=patient_id)
    monkeypatch.setattr("slicewise.data.prepare.preprocess_all", preprocess_here)
    make(tmp_path / "dataset", tmp_path / "images")
    assert waiting == [0, 1, 2]  # every series is on the disk before the next one is read


def test_the_series_that_are_asked_for_are_read_and_no_others(tmp_path: Path, images: Path) -> None:
    # Too few slices for the rules, and beside a series that they prefer.
    write_series(images / "short", slices=2, matrix=16, patient_id="A", series_uid="1.2.9")
    output = tmp_path / "dataset"
    summary = prepare(output, "table", [images], None, TASK, series=["1.2.9", "1.2.77"])
    assert [record.series_uid for record in Dataset.open(output).records] == ["1.2.9"]
    assert summary.missing_series == ("1.2.77",)
    assert "missing_series" in warning_codes(summary)
    assert {row["reason"] for row in rejected_rows(output)} == {"not_requested"}
    with pytest.raises(DatasetError, match=r"holds series 1\.2\.9, which is not among the series that would be read"):
        prepare(output, "table", [images], None, TASK)


def test_how_series_were_acquired_outlives_a_second_call(tmp_path: Path, images: Path) -> None:
    output = tmp_path / "dataset"
    make(output, images)
    first = Dataset.open(output).records
    assert [record.acquisition is not None for record in first] == [True, True]
    # As an earlier version has left it: what is missing is read again, without the pixels.
    earlier = msgspec.structs.replace(first[0], acquisition=None)
    write_record(output, earlier)
    before = stamp(output, "A")
    make(output, images)
    assert Dataset.open(output).records == first
    assert stamp(output, "A") == before
