from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dicom_files import make_dataset, seeded_uid, write_dataset, write_series
from slicewise.errors import UsageError
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.inventory import Inventory, take_inventory
from slicewise.imaging.series import Study
from slicewise.results import Rejection

Item = SliceHeader | Rejection


def inventory_of(items: Iterable[Item], most_held: int = 1000) -> tuple[list[Study], list[Rejection]]:
    with filled(items, most_held) as inventory:
        return list(inventory.studies()), list(inventory.rejections())


def filled(items: Iterable[Item], most_held: int) -> Inventory:
    inventory = Inventory(most_held)
    for item in items:
        inventory.add(item)
    inventory.index()
    return inventory


def write_nifti(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.zeros((4, 4, 3), np.int16), np.eye(4))  # type: ignore[no-untyped-call]
    image.to_filename(path)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of two patients, one with a series in two folders, three unreadable files, two NIfTI of one name."""
    folder = tmp_path_factory.mktemp("scans")
    paths = write_series(folder / "a", slices=5, matrix=4)
    (folder / "c").mkdir()
    paths[1].rename(folder / "c" / "moved")
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    write_series(folder / "b", slices=3, matrix=4, patient_id="P2")
    write_series(folder / "b" / "bone", slices=2, matrix=4, patient_id="P2", series_uid=seeded_uid("bone"))
    (folder / "b" / "note").write_text("a note")
    write_nifti(folder / "n" / "1" / "CT.nii")
    write_nifti(folder / "n" / "2" / "CT.nii")
    write_dataset(folder / "z", make_dataset(PixelData=None))
    return folder


@pytest.fixture(scope="module")
def items(scans: Path) -> list[Item]:
    return list(discover([scans]))


def files_of(studies: Sequence[Study]) -> list[list[list[str]]]:
    return [[[header.file for header in series.headers] for series in study.series] for study in studies]


def test_studies_stand_in_the_order_of_their_files(scans: Path) -> None:
    with take_inventory([scans]) as inventory:
        studies, rejections = list(inventory.studies()), list(inventory.rejections())
        assert inventory.study_count == len(studies) == 4
    first, second, *nifti = files_of(studies)
    assert first == [["a/IM0000.dcm", "a/IM0397.dcm", "a/IM0550.dcm", "c/moved"]]
    assert second == [["b/IM0000.dcm", "b/IM0703.dcm", "b/IM0856.dcm"], ["b/bone/IM0000.dcm", "b/bone/IM0856.dcm"]]
    assert nifti == [[["n/1/CT.nii"] * 3], [["n/2/CT.nii"] * 3]]
    assert [[header.frame for header in study.series[0].headers] for study in studies[2:]] == [[1, 2, 3]] * 2
    assert [(item.path, item.reason) for item in rejections] == [
        ("a/IM0703.dcm", "truncated"),
        ("b/note", "not_dicom"),
        ("z", "no_pixel_data"),
    ]


@given(data=st.data(), most_held=st.integers(0, 25))
def test_neither_the_order_of_files_nor_where_they_are_kept_changes_anything(
    items: list[Item], data: st.DataObject, most_held: int
) -> None:
    twice = [*items, *(item for item in items if isinstance(item, Rejection))]
    assert inventory_of(data.draw(st.permutations(twice)), most_held) == inventory_of(twice)


@pytest.mark.parametrize("most_held", [0, 1000])
def test_unreadable_files_are_told_with_their_series(items: list[Item], most_held: int) -> None:
    studies, _ = inventory_of(items, most_held)
    unreadable = [[[item.path for item in series.unreadable] for series in study.series] for study in studies]
    assert unreadable == [[["a/IM0703.dcm"]], [[], []], [[]], [[]]]


@pytest.mark.parametrize("most_held", [0, 1000])
def test_what_no_rule_reads_is_not_missed_by_a_series(items: list[Item], most_held: int) -> None:
    header = next(item for item in items if isinstance(item, SliceHeader) and item.file.startswith("b/IM"))
    report = Rejection("b/report", "not_chosen", "not_an_image", "b/report: is no image.", header.series_uid)
    studies, rejections = inventory_of([header, report], most_held)
    assert studies[0].series[0].unreadable == ()
    assert rejections == [report]


def test_dicom_files_are_not_missed_by_a_nifti_file_of_the_name_of_their_series(items: list[Item]) -> None:
    nifti = [item for item in items if isinstance(item, SliceHeader) and item.pixels is None]
    damaged = Rejection("CT/1", "unreadable", "truncated", "CT/1: ends early.", "CT")
    studies, rejections = inventory_of([*nifti, damaged])
    assert [study.series[0].unreadable for study in studies] == [(), ()]
    assert rejections == [damaged]


def test_nifti_files_of_one_name_in_two_inputs_are_two_studies(tmp_path: Path) -> None:
    inputs = [tmp_path / "1" / "CT.nii.gz", tmp_path / "2" / "CT.nii.gz"]
    for path in inputs:
        write_nifti(path)
    for given_inputs in (inputs, [path.parent for path in inputs]):
        with take_inventory(given_inputs) as inventory:
            studies = list(inventory.studies())
            assert inventory.study_count == 2
        assert [[header.source.path for header in study.series[0].headers] for study in studies] == [
            [str(path)] * 3 for path in inputs
        ]


def test_the_order_of_inputs_with_files_of_one_name_changes_nothing(tmp_path: Path) -> None:
    write_series(tmp_path / "1", slices=3, matrix=4)
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    found = []
    for inputs in ([tmp_path / "1", tmp_path / "2"], [tmp_path / "2", tmp_path / "1"]):
        with take_inventory(inputs) as inventory:
            found.append(list(inventory.studies()))
    assert found[0] == found[1]
    (study,) = found[0]
    assert len(study.series[0].headers) == 6


def test_patients_with_one_study_uid_are_two_studies(items: list[Item]) -> None:
    one, other = (item for item in items if isinstance(item, SliceHeader) and item.file.startswith("b/bone/"))
    other = replace(other, patient_id="P3", series_uid="1.2.3")
    studies, _ = inventory_of([other, one])
    assert [(study.patient_id, study.study_uid) for study in studies] == [
        ("P2", one.study_uid),
        ("P3", one.study_uid),
    ]


@pytest.mark.parametrize("most_held", [0, 1000])
def test_names_that_are_no_utf_8(tmp_path: Path, most_held: int) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    write_series(folder, slices=2, matrix=4)
    write_nifti(folder / os.fsdecode(b"\xfe.nii"))
    with filled(discover([tmp_path]), most_held) as inventory:
        assert files_of(list(inventory.studies())) == [
            [[r"\xff/IM0000.dcm", r"\xff/IM0856.dcm"]],
            [[r"\xff/\xfe.nii"] * 3],
        ]


def test_many_headers_are_not_held_in_memory(items: list[Item]) -> None:
    header = next(item for item in items if isinstance(item, SliceHeader))
    gc.collect()
    before = headers_in_memory()
    with Inventory(most_held=50) as inventory:
        for number in range(600):
            inventory.add(replace(header, study_uid=f"1.{number // 3}", sop_uid=f"2.{number}"))
        inventory.index()
        assert headers_in_memory() <= before + 1
        assert inventory.study_count == 200
        for number, study in enumerate(inventory.studies()):
            assert len(study.series[0].headers) == 3
            if number % 50 == 49:
                assert headers_in_memory() <= before + 7, "those of this study and of the one before"


def headers_in_memory() -> int:
    return sum(type(item) is SliceHeader for item in gc.get_objects())


@pytest.mark.parametrize("most_held", [0, 1000])
def test_another_thread_may_go_on(items: list[Item], most_held: int) -> None:
    with filled(items, most_held) as inventory, ThreadPoolExecutor(1) as pool:
        studies = inventory.studies()
        first = next(studies)
        assert [first, *pool.submit(list, studies).result()] == list(inventory.studies())


@pytest.mark.parametrize("most_held", [0, 1000])
def test_several_readers_do_not_disturb_each_other(items: list[Item], most_held: int) -> None:
    with filled(items, most_held) as inventory:
        pairs = zip(inventory.studies(), inventory.studies(), strict=True)
        assert all(one == other for one, other in pairs)
        for _ in inventory.studies():
            assert len(list(inventory.rejections())) == 3


def test_an_empty_input(tmp_path: Path) -> None:
    with take_inventory([tmp_path]) as inventory:
        assert (inventory.study_count, list(inventory.studies()), list(inventory.rejections())) == (0, [], [])


def test_an_input_that_does_not_exist_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        take_inventory([tmp_path / "nowhere"])


def test_nothing_is_left_open_when_reading_is_interrupted(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Inventory] = []
    close = Inventory.close

    def closing(self: Inventory) -> None:
        closed.append(self)
        close(self)

    def interrupt(items: Iterable[Any], **_: Any) -> Iterator[Any]:
        yield next(iter(items))
        raise KeyboardInterrupt

    monkeypatch.setattr(Inventory, "close", closing)
    with pytest.raises(KeyboardInterrupt):
        take_inventory([scans], interrupt)
    assert len(closed) == 1
