from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_files import head_values, make_dataset, orientation, seeded_uid, write_dataset, write_series
from slicewise.errors import GeometryError, UnreadableFileError
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.imaging.load import load_volume, stack_headers
from slicewise.imaging.series import Series


def series_in(folder: Path) -> Series:
    return Series(tuple(item for item in discover([folder]) if isinstance(item, SliceHeader)))


def edit(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def codes(items: Any) -> list[str]:
    return [item.code for item in items]


def test_a_written_series_comes_back(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=12, spacing_mm=5.0, tilt_degrees=20.0)
    volume, rejected = load_volume(series_in(tmp_path))
    np.testing.assert_array_equal(volume.values, head_values(12))
    assert volume.values.dtype == np.float32
    np.testing.assert_allclose(np.diff(volume.positions_mm), 5.0, atol=1e-4)
    assert volume.tilt_degrees == pytest.approx(20.0)
    assert volume.pixel_spacing_mm == (3.5, 3.5)
    assert [item.file for item in volume.slices] == [path.name for path in paths]
    assert [item.frame for item in volume.slices] == [1] * 12
    assert (volume.patient_id, volume.modality) == ("P1", "CT")
    assert (volume.study_uid, volume.series_uid) == (
        seeded_uid("study", "P1"),
        seeded_uid("series", volume.study_uid),
    )
    assert rejected == ()
    assert codes(volume.warnings) == ["tilted"]


def test_the_tilted_scan_with_changing_spacing(shared_data: Path) -> None:
    folder = shared_data / "ct_head" / "ge_tilted_variable_spacing"
    volume, rejected = load_volume(series_in(folder))
    assert volume.values.shape == (28, 512, 512)
    assert volume.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert rejected == ()
    # an independent reading: the table moves by 4.22 and 7.38 mm, the slices lie 4.0 and 7.0 mm apart
    datasets = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda item: item.InstanceNumber)
    table = np.diff([float(item.ImagePositionPatient[2]) for item in datasets])
    np.testing.assert_allclose(np.unique(table.round(2)), [1.14, 4.22, 7.38])
    np.testing.assert_allclose(np.diff(volume.positions_mm), table * np.cos(np.deg2rad(18.5)), atol=1e-6)
    assert [item.sop_uid for item in volume.slices] == [item.SOPInstanceUID for item in datasets]
    for index in (0, 13, 27):
        stored = np.frombuffer(datasets[index].PixelData, "<i2").reshape(512, 512)
        np.testing.assert_array_equal(volume.values[index], np.maximum(stored, -1024))
    assert codes(volume.warnings) == ["tilted", "uneven_spacing"]
    assert "from 1.1 to 7.0 mm" in volume.warnings[1].message


def test_a_slice_that_cannot_be_decoded_leaves_a_row_and_a_warning(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=9)
    series = series_in(tmp_path)
    paths[4].write_bytes(b"overwritten since the headers were read")
    volume, rejected = load_volume(series)
    assert [(item.path, item.kind, item.reason) for item in rejected] == [(paths[4].name, "unreadable", "not_dicom")]
    assert rejected[0].series_uid == series.series_uid
    assert codes(volume.warnings) == ["uneven_spacing", "gap", "slices_missing"]
    np.testing.assert_array_equal(volume.values, np.delete(head_values(9), 4, axis=0))
    assert volume.positions_mm.tolist() == [0, 5, 10, 15, 25, 30, 35, 40]
    assert paths[4].name not in [item.file for item in volume.slices]


def test_a_series_of_which_nothing_can_be_decoded(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=3)
    series = series_in(tmp_path)
    for path in paths:
        path.unlink()
    with pytest.raises(UnreadableFileError, match="None of the 3 slices") as caught:
        load_volume(series)
    assert caught.value.reason == "unreadable_path"


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_a_series_without_geometry(tmp_path: Path, keyword: str) -> None:
    tags: dict[str, Any] = {keyword: None}
    write_series(tmp_path, slices=4, **tags)
    with pytest.raises(GeometryError, match="cannot be ordered") as caught:
        load_volume(series_in(tmp_path))
    assert caught.value.reason == "no_position"


def test_one_slice_without_position_is_left_out(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=5)
    edit(paths[4], ImagePositionPatient=None)
    volume, rejected = load_volume(series_in(tmp_path))
    assert len(volume.values) == 4
    assert [(item.path, item.kind, item.reason) for item in rejected] == [(paths[4].name, "unreadable", "no_position")]
    assert codes(volume.warnings) == ["slices_missing"]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PixelSpacing": [3.5, 3.6]}, "mixed_spacing"),
        ({"PixelSpacing": None}, "no_pixel_spacing"),
        ({"PixelSpacing": [3.5, 0.049]}, "bad_spacing"),
        ({"PixelSpacing": [1e300, 3.5]}, "bad_spacing"),
        ({"PatientID": "P2"}, "mixed_patients"),
        ({"ImageOrientationPatient": orientation(12.0)}, "mixed_orientation"),
        ({"Rows": 32, "PixelData": bytes(2 * 32 * 64)}, "mixed_matrix"),
    ],
)
def test_slices_that_form_no_stack(tmp_path: Path, tags: dict[str, Any], reason: str) -> None:
    paths = write_series(tmp_path, slices=4)
    edit(paths[2], **tags)
    with pytest.raises(GeometryError) as caught:
        stack_headers(series_in(tmp_path))
    assert caught.value.reason == reason
    with pytest.raises(GeometryError):
        load_volume(series_in(tmp_path))


@pytest.mark.parametrize(("spacing", "readable"), [(0.05, True), (0.0499, False), (10.0, True), (10.01, False)])
def test_the_bounds_of_pixel_spacing(tmp_path: Path, spacing: float, readable: bool) -> None:  # noqa: FBT001 - a case
    write_series(tmp_path, slices=2, matrix=16, PixelSpacing=[spacing, spacing])
    series = series_in(tmp_path)
    if readable:
        assert load_volume(series)[0].pixel_spacing_mm == (spacing, spacing)
        return
    with pytest.raises(GeometryError, match=r"0\.05 to 10 mm") as caught:
        load_volume(series)
    assert caught.value.reason == "bad_spacing"


def test_a_slice_beyond_all_scanners_is_left_out(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=5)
    edit(paths[4], ImagePositionPatient=[0.0, 0.0, 1e9])
    volume, rejected = load_volume(series_in(tmp_path))
    assert volume.positions_mm.tolist() == [0, 5, 10, 15]
    assert [(item.path, item.kind, item.reason) for item in rejected] == [(paths[4].name, "unreadable", "bad_position")]
    assert codes(volume.warnings) == ["slices_missing"]
    for path in paths:
        edit(path, ImagePositionPatient=[-20_000.0, 0.0, 0.0])
    with pytest.raises(GeometryError) as caught:
        load_volume(series_in(tmp_path))
    assert caught.value.reason == "bad_position"


def test_a_volume_that_no_memory_holds_is_refused_before_it_is_taken(tmp_path: Path) -> None:
    write_series(tmp_path, slices=1)
    (header,) = series_in(tmp_path).headers
    large = [
        replace(header, rows=4096, columns=4096, sop_uid=str(index), image_position=(0.0, 0.0, float(index)))
        for index in range(65)  # 64 of them are 4 GiB
    ]
    assert len(stack_headers(Series(tuple(large[:64]))).headers) == 64
    with pytest.raises(GeometryError, match=r"need 4\.1 GiB") as caught:
        load_volume(Series(tuple(large)))
    assert caught.value.reason == "too_large"


def test_a_file_that_shrank_after_its_header_was_read_is_left_out(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=3)
    series = series_in(tmp_path)
    edit(paths[2], Rows=1, PixelData=bytes(2 * 64))  # NumPy would repeat the one row
    volume, rejected = load_volume(series)
    assert len(volume.values) == 2
    assert [(item.path, item.reason) for item in rejected] == [(paths[2].name, "undecodable")]


def test_the_orientation_in_the_plane_comes_with_the_volume(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3, ImageOrientationPatient=[0.0, -1.0, 0.0, 1.0, 0.0, 0.0])
    assert load_volume(series_in(tmp_path))[0].orientation == (0.0, -1.0, 0.0, 1.0, 0.0, 0.0)


def test_the_odd_slice_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=4)
    edit(paths[2], PatientID="P2")
    with pytest.raises(GeometryError, match=rf"'P1' in 3 slices, 'P2' in 1 slices, as {paths[2].name}"):
        stack_headers(series_in(tmp_path))


def test_two_slices_at_one_position_are_both_kept(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=4)
    again = make_dataset(
        values=np.full((64, 64), 7.0, dtype=np.float32),
        sop_uid=seeded_uid("again"),
        StudyInstanceUID=seeded_uid("study", "P1"),
        SeriesInstanceUID=seeded_uid("series", seeded_uid("study", "P1")),
        ImagePositionPatient=[-112.0, -112.0, 10.0],
        InstanceNumber=99,
    )
    write_dataset(tmp_path / "again.dcm", again)
    volume, rejected = load_volume(series_in(tmp_path))
    assert rejected == ()
    assert volume.positions_mm.tolist() == [0, 5, 10, 10, 15]
    assert volume.duplicate_rank.tolist() == [0, 0, 0, 1, 0]
    assert [item.file for item in volume.slices[2:4]] == [paths[2].name, "again.dcm"]
    assert volume.values[3, 0, 0] == 7.0
    assert codes(volume.warnings) == ["duplicate_positions"]


def test_the_same_image_in_two_files_is_read_once(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", slices=3)
    (tmp_path / "b").mkdir()
    shutil.copy(paths[1], tmp_path / "b" / "copy.dcm")
    volume, rejected = load_volume(series_in(tmp_path))
    assert [item.file for item in volume.slices] == [f"a/{path.name}" for path in paths]
    assert [(item.path, item.kind, item.reason) for item in rejected] == [
        ("b/copy.dcm", "not_chosen", "duplicate_file")
    ]
    assert volume.warnings == ()


def test_another_image_under_the_same_uid_is_an_error_of_that_file(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=3)
    changed = pydicom.dcmread(paths[1])
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(tmp_path / "z.dcm")
    volume, rejected = load_volume(series_in(tmp_path))
    np.testing.assert_array_equal(volume.values, head_values(3))
    assert [(item.path, item.kind, item.reason) for item in rejected] == [
        ("z.dcm", "unreadable", "conflicting_sop_uid")
    ]
    assert codes(volume.warnings) == ["slices_missing"]


def test_warnings_of_slices_are_told_once(tmp_path: Path) -> None:
    write_series(tmp_path, slices=4, RescaleIntercept=None, RescaleSlope=None)
    volume, _ = load_volume(series_in(tmp_path))
    assert codes(volume.warnings) == ["missing_rescale"]


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    write_series(tmp_path, slices=8)
    one, _ = load_volume(series_in(tmp_path), workers=1)
    four, _ = load_volume(series_in(tmp_path), workers=4)
    np.testing.assert_array_equal(one.values, four.values)
    assert one.slices == four.slices
