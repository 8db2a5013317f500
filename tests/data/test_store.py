from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from slicewise.data.store import Dataset, DatasetManifest, SeriesRecord, folder_name
from slicewise.data.writing import write_manifest, write_record, write_series, write_tables
from slicewise.errors import DatasetError, UsageError
from slicewise.imaging.acquisition import Acquisition
from slicewise.results import Rejection
from slicewise.task import load_task
from slicewise.volume import ScanWarning, SliceReference

TASK = load_task("ich")
SIZE = TASK.preprocessing.size
UNKNOWN_ROW = (-1,) * 6


def record(series_uid: str = "1.2.3", patient_id: str = "P1", slices: int = 3) -> SeriesRecord:
    return SeriesRecord(
        patient_id=patient_id,
        study_uid="1.2",
        series_uid=series_uid,
        source_digest="",
        slices=tuple(SliceReference(f"{series_uid}.{index}", 1, f"a/{index}.dcm", index) for index in range(slices)),
        positions_mm=tuple(5.1 * index for index in range(slices)),
        labels=tuple((0,) * 6 if index % 2 else (1, 0, 0, -1, 0, 1) for index in range(slices)),
        row_positions_mm=tuple(5.1 * index for index in range(slices)),
        duplicate_rank=(0,) * slices,
        slab_of_slice=tuple(range(slices)),
        origin_px=(-3.5, 1 / 3),
        step_px=(0.26, -0.26),
        matrix=(512, 512),
        pixel_spacing_mm=(0.5, 0.5),
        tilt_degrees=12.5,
        volume_warnings=(ScanWarning("tilted", "Tilted."),),
        input_warnings=(ScanWarning("no_body_found", "No body."),),
        transposed=True,
    )


def values_of(item: SeriesRecord) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    rng = np.random.default_rng(len(item.series_uid))
    return rng.integers(-1024, 3000, (len(item.row_positions_mm), SIZE, SIZE), dtype=np.int16)


def sha256_of_values(item: SeriesRecord) -> str:
    return hashlib.sha256(values_of(item).tobytes()).hexdigest()


def make(path: Path, *records: SeriesRecord, splits: dict[str, str] | None = None) -> Path:
    for item in records:
        write_series(path, item, values_of(item))
    splits = dict.fromkeys((item.patient_id for item in records), "train") if splits is None else splits
    write_tables(path, records, TASK.label_names, splits, ())
    write_manifest(path, DatasetManifest("table", TASK, TASK.preprocessing.digest(), "0", complete=True))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    first, second = record("1.2.9", "P2"), record("1.2.3", "P1", slices=5)
    dataset = Dataset.open(make(tmp_path, first, second, splits={"P1": "train", "P2": "test"}))
    stored = [msgspec.structs.replace(item, values_digest=sha256_of_values(item)) for item in (second, first)]
    assert dataset.records == tuple(stored)
    assert dataset.splits == {"P1": "train", "P2": "test"}
    assert dataset.task == TASK
    model_input = dataset.input(second)
    assert isinstance(model_input.values, np.memmap)
    assert np.array_equal(model_input.values, values_of(second))
    assert model_input.positions_mm.tolist() == list(second.row_positions_mm)
    assert model_input.slab_of_slice.tolist() == [0, 1, 2, 3, 4]
    assert (model_input.origin_px, model_input.step_px) == (second.origin_px, second.step_px)
    assert (model_input.warnings, model_input.transposed) == (second.input_warnings, True)


def test_the_tables_follow_the_contract(tmp_path: Path) -> None:
    make(tmp_path, record())
    with (tmp_path / "slices.csv").open(encoding="utf-8", newline="") as stream:
        header, first, *_ = list(csv.reader(stream))
    assert header == [
        *("patient_id", "study_uid", "series_uid", "sop_uid", "frame", "file", "slice_index", "position_mm"),
        *TASK.label_names,
    ]
    assert first == ["P1", "1.2", "1.2.3", "1.2.3.0", "1", "a/0.dcm", "0", "0.0", "1", "0", "0", "", "0", "1"]
    assert (tmp_path / "splits.csv").read_text(encoding="utf-8").splitlines() == ["patient_id,split", "P1,train"]


@pytest.mark.parametrize("series_uid", ["../../escape", "/etc/x", "a" * 300, "", "with\x00zero", "Ünïcode / \\"])
def test_no_series_uid_leaves_the_dataset(tmp_path: Path, series_uid: str) -> None:
    path = tmp_path / "dataset"
    dataset = Dataset.open(make(path, record(series_uid)))
    assert dataset.records[0].series_uid == series_uid
    assert np.array_equal(dataset.input(dataset.records[0]).values, values_of(record(series_uid)))
    assert [item.name for item in tmp_path.iterdir()] == ["dataset"]
    assert folder_name(series_uid).isalnum()


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([0, 0, 0], 0),
        ([0, 1, 0], 1),
        ([-1, 1, 0], 1),
        ([0, -1, 0], -1),
        ([-1, -1, -1], -1),
    ],
)
def test_the_label_of_a_slab(tmp_path: Path, slices: list[int], expected: int) -> None:
    labels = tuple((value,) * 6 for value in [*slices, 1, 0])
    slabs = msgspec.structs.replace(
        record(slices=5), labels=labels, slab_of_slice=(0, 0, 0, 1, 2), row_positions_mm=(1.0, 3.0, 4.0)
    )
    dataset = Dataset.open(make(tmp_path, slabs))
    assert dataset.row_labels(slabs).tolist() == [[expected] * 6, [1] * 6, [0] * 6]
    assert dataset.row_labels(slabs).dtype == np.int8


def test_the_digest_tells_datasets_apart(tmp_path: Path) -> None:
    base = Dataset.open(make(tmp_path / "a", record())).digest()
    assert Dataset.open(make(tmp_path / "b", record())).digest() == base
    other_label = msgspec.structs.replace(record(), labels=(UNKNOWN_ROW,) * 3)
    changed = [
        make(tmp_path / "c", record(patient_id="P2")),
        make(tmp_path / "d", other_label),
        make(tmp_path / "e", record(), record("1.2.4")),
        make(tmp_path / "f", record(), splits={"P1": "test"}),
    ]
    moved = msgspec.structs.replace(record(), row_positions_mm=(0.0, 5.1, 10.3))
    changed.append(make(tmp_path / "g", moved))
    digests = {Dataset.open(path).digest() for path in changed}
    assert len(digests | {base}) == 6


def test_the_digest_covers_the_stored_values(tmp_path: Path) -> None:
    base = Dataset.open(make(tmp_path / "a", record())).digest()
    make(tmp_path / "b", record())
    shutil.rmtree(tmp_path / "b" / "series")
    values = values_of(record())
    values[2, 5, 7] += 1
    written = write_series(tmp_path / "b", record(), values)
    dataset = Dataset.open(tmp_path / "b")
    assert dataset.digest() != base
    assert dataset.records == (written,)
    assert written.values_digest == hashlib.sha256(values.tobytes()).hexdigest()


def values_file(path: Path) -> Path:
    return path / "series" / folder_name("1.2.3") / "values.npy"


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "zeroed": lambda whole: bytes(len(whole)),
    "zeroed from the tenth byte": lambda whole: whole[:10] + bytes(len(whole) - 10),
    "not UTF-8": lambda whole: whole[:20] + b"\xff\xfe\x80" + whole[23:],
    "of another program": lambda whole: b"PK\x03\x04" + whole,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["dataset.json", "splits.csv", "series.json", "values.npy"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    # Two patients and three characters: half of splits.csv ends within a row.
    make(tmp_path, record(), record("1.2.4", "P22"), splits={"P1": "train", "P22": "test"})
    file = tmp_path / name if (tmp_path / name).exists() else values_file(tmp_path).with_name(name)
    content = DAMAGES[damage](file.read_bytes())
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    # Without its manifest a folder is no dataset at all.
    no_dataset = name == "dataset.json" and content is None
    expected, where = (UsageError, tmp_path) if no_dataset else (DatasetError, file)
    with pytest.raises(expected, match=re.escape(str(where))):
        read_all(Dataset.open(tmp_path))


def read_all(dataset: Dataset) -> None:
    for item in dataset.records:
        dataset.input(item)


@pytest.mark.parametrize(
    ("part", "damaged"),
    [(b"), }", b"(, }"), (b"'shape'", b"      7"), (b"False", b"false"), (b"'<i2'", b"'|O8'"), (b"(3, ", b"(-3,")],
)
def test_a_header_of_values_that_is_no_longer_one_is_refused(tmp_path: Path, part: bytes, damaged: bytes) -> None:
    # NumPy parses it as Python, and its errors are as various.
    dataset = Dataset.open(make(tmp_path, record()))
    content = values_file(tmp_path).read_bytes()
    assert content.count(part, 0, 128) == 1
    values_file(tmp_path).write_bytes(content.replace(part, damaged, 1))
    with pytest.raises(DatasetError, match=r"values\.npy: cannot be read"):
        dataset.input(dataset.records[0])


def test_values_of_another_shape_or_pickled_are_refused(tmp_path: Path) -> None:
    dataset = Dataset.open(make(tmp_path, record()))
    np.save(values_file(tmp_path), np.zeros((2, SIZE, SIZE), dtype=np.int16))
    with pytest.raises(DatasetError, match=r"values\.npy: holds int16 of shape \(2, .*expected int16 of shape \(3, "):
        dataset.input(dataset.records[0])
    np.save(values_file(tmp_path), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"values\.npy: cannot be read"):
        dataset.input(dataset.records[0])


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a prepared dataset: dataset\.json is missing"):
        Dataset.open(tmp_path / "missing")
    make(tmp_path, record())
    manifest = tmp_path / "dataset.json"
    content = msgspec.json.decode(manifest.read_bytes(), type=dict)
    cases = (
        ({"format_version": 99}, "dataset format 99, this slicewise reads 2"),
        ({"preprocessing_digest": "0" * 64}, "another version of the preprocessing"),
        ({"complete": False}, "has not ended"),
        ({"complete": "maybe"}, "not valid"),
        ({"unexpected": 1}, "not valid"),
    )
    for change, message in cases:
        manifest.write_bytes(msgspec.json.encode(content | change))
        with pytest.raises(DatasetError, match=message):
            Dataset.open(tmp_path)


def test_splits_must_name_every_patient_and_a_known_split(tmp_path: Path) -> None:
    make(tmp_path, record())
    splits = tmp_path / "splits.csv"
    for content, message in (
        ("patient_id,split\nP2,train\n", "patient P1 has no row"),
        ("patient_id,split\nP1,validation\n", "patient P1 has split 'validation'. Expected train or test"),
        ("patient_id,split\nP1,train\nP1,test\n", "patient P1 stands twice. Expected one row"),
        ("patient,split\nP1,train\n", "expected columns patient_id, split"),
    ):
        splits.write_text(content, encoding="utf-8")
        with pytest.raises(DatasetError, match=message):
            Dataset.open(tmp_path)
    splits.write_text("patient_id,split\nP1,test\nelsewhere,train\n", encoding="utf-8")
    assert Dataset.open(tmp_path).splits == {"P1": "test"}


def test_a_record_is_replaced_and_remains_of_a_killed_call_are_ignored(tmp_path: Path) -> None:
    make(tmp_path, record())
    write_record(tmp_path, msgspec.structs.replace(record(), labels=(UNKNOWN_ROW,) * 3))
    (tmp_path / "series" / ".abc.part").mkdir()
    dataset = Dataset.open(tmp_path)
    assert dataset.records[0].label_array.tolist() == [list(UNKNOWN_ROW)] * 3


def test_acquisition_and_scale_are_kept_and_are_no_part_of_the_digest(tmp_path: Path) -> None:
    before = Dataset.open(make(tmp_path, record()))
    told = msgspec.structs.replace(
        before.records[0], acquisition=Acquisition("GE", slice_thickness_mm=5.0), intensity_scale=0.25
    )
    write_record(tmp_path, told)
    after = Dataset.open(tmp_path)
    assert after.records == (told,)
    assert after.input(told).intensity_scale == 0.25
    assert after.digest() == before.digest()


def test_a_dataset_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    make(tmp_path, record())
    (file,) = (tmp_path / "series").glob("*/series.json")
    content = msgspec.json.decode(file.read_bytes(), type=dict)
    del content["acquisition"], content["intensity_scale"]
    file.write_bytes(msgspec.json.encode(content))
    (found,) = Dataset.open(tmp_path).records
    assert (found.acquisition, found.intensity_scale) == (None, 1.0)


def test_rejections_are_read_back(tmp_path: Path) -> None:
    items = (
        Rejection("a/b.dcm", "unreadable", "truncated", "Ends, early.", "1.2"),
        Rejection("c", "not_chosen", "x", ""),
    )
    write_series(tmp_path, record(), values_of(record()))
    write_tables(tmp_path, [record()], TASK.label_names, {"P1": "train"}, items)
    write_manifest(tmp_path, DatasetManifest("table", TASK, TASK.preprocessing.digest(), "0", complete=True))
    dataset = Dataset.open(tmp_path)
    assert dataset.rejections() == items
    (tmp_path / "rejected.csv").write_text("path,kind\na,none\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"rejected\.csv: cannot be read"):
        dataset.rejections()
