from __future__ import annotations

import shutil
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from codestream_samples import IMAGE, SAMPLES
from decoding import by_simpleitk
from dicom_files import (
    encapsulated,
    head_values,
    make_dataset,
    make_enhanced,
    orientation,
    seeded_uid,
    write_dataset,
    write_series,
)
from slicewise.errors import GeometryError, UnreadableFileError
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.hounsfield import DecodedSlice
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_slice, load_volume, stack_headers
from slicewise.imaging.series import Series, group_studies
from slicewise.source import Source


def series_in(folder: Path) -> Series:
    """Returns the one series of a folder, as the command line finds it."""
    with take_inventory([folder]) as inventory:
        (study,) = inventory.studies()
    (series,) = study.series
    return series


def unsplit(folder: Path) -> Series:
    """Returns all images of a folder as one series, even if they form no stack."""
    return Series(tuple(item for item in discover([folder]) if isinstance(item, SliceHeader)))


def edit(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests store invalid values on purpose
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
    for image, item in zip(volume.values, volume.slices, strict=True):
        np.testing.assert_array_equal(image, np.maximum(by_simpleitk(folder / item.file), -1024))
    assert codes(volume.warnings) == ["tilted", "uneven_spacing"]
    assert "from 1.1 to 7.0 mm" in volume.warnings[1].message


def test_a_slice_that_cannot_be_decoded_leaves_a_row_and_a_warning(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=9)
    series = series_in(tmp_path)
    paths[4].write_bytes(b"overwritten since the headers were read")
    volume, rejected = load_volume(series)
    assert [(item.path, item.kind, item.reason) for item in rejected] == [(paths[4].name, "unreadable", "undecodable")]
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
    for read in (stack_headers, load_volume):
        with pytest.raises(GeometryError) as caught:
            read(unsplit(tmp_path))
        assert caught.value.reason == reason


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
    tracemalloc.start()
    with pytest.raises(GeometryError, match=r"need 4\.1 GiB") as caught:
        load_volume(Series(tuple(large)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.reason == "too_large"
    assert most < 10 * 1024**2


@pytest.mark.parametrize(
    "tags",
    [{"Rows": 1, "PixelData": bytes(2 * 64)}, {"SeriesDescription": "HEAD 1MM BRAIN"}, {"Rows": 65, "Columns": 65}],
)
def test_a_file_that_changed_after_its_header_was_read_is_left_out(tmp_path: Path, tags: dict[str, Any]) -> None:
    paths = write_series(tmp_path, slices=3)
    series = series_in(tmp_path)
    size = tags.get("Rows", 64) * tags.get("Columns", 64)
    edit(paths[2], **({"PixelData": bytes(2 * size)} | tags))
    volume, rejected = load_volume(series)
    np.testing.assert_array_equal(volume.values, head_values(3)[:2])
    assert [(item.path, item.reason) for item in rejected] == [(paths[2].name, "undecodable")]
    assert codes(volume.warnings) == ["slices_missing"]


def test_values_of_another_shape_are_not_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, slices=3)
    narrow = DecodedSlice(np.zeros((1, 64), np.float32), ())  # NumPy would repeat the one row
    monkeypatch.setattr("slicewise.imaging.load.decode_file", lambda headers: iter([narrow] * len(headers)))
    with pytest.raises(UnreadableFileError, match="was changed while the series was read") as caught:
        load_volume(series_in(tmp_path))
    assert caught.value.reason == "undecodable"


def test_the_orientation_in_the_plane_comes_with_the_volume(tmp_path: Path) -> None:
    write_series(tmp_path, slices=3, ImageOrientationPatient=[0.0, -1.0, 0.0, 1.0, 0.0, 0.0])
    assert load_volume(series_in(tmp_path))[0].orientation == (0.0, -1.0, 0.0, 1.0, 0.0, 0.0)


def test_the_odd_slice_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=4)
    edit(paths[2], PatientID="P2")
    with pytest.raises(GeometryError, match=rf"'P1' in 3 slices, 'P2' in 1 slices, as {paths[2].name}"):
        stack_headers(unsplit(tmp_path))


def test_short_pixel_data_leave_the_rest_of_the_series(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=5)
    edit(paths[3], SOPInstanceUID="ID_6431af929", PixelData=bytes(2 * 64 * 60))
    with take_inventory([tmp_path]) as inventory:
        assert [(item.path, item.reason) for item in inventory.rejections()] == [(paths[3].name, "truncated")]
    volume, _ = load_volume(series_in(tmp_path))
    np.testing.assert_array_equal(volume.values, np.delete(head_values(5), 3, axis=0))
    assert codes(volume.warnings) == ["uneven_spacing", "gap", "slices_missing"]
    assert volume.warnings[-1].message == "1 slices of the series could not be read (truncated: 1)."


def test_missing_slices_are_counted_by_their_reasons(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=8)
    edit(paths[0], PixelData=bytes(10))
    edit(paths[1], ImagePositionPatient=None)
    edit(paths[6], RescaleSlope=0.0)
    edit(paths[7], RescaleSlope=0.0)
    volume, rejected = load_volume(series_in(tmp_path))
    assert sorted(item.reason for item in rejected) == ["bad_rescale", "bad_rescale", "no_position"]
    counted = "(truncated: 1, no_position: 1, bad_rescale: 2)"
    assert volume.warnings[-1].message == f"4 slices of the series could not be read {counted}."
    np.testing.assert_array_equal(volume.values, head_values(8)[2:6])


def test_a_lost_slice_that_was_a_duplicate_leaves_the_other_one_to_the_neighbours(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=4)
    edit(paths[1], ImagePositionPatient=[-112.0, -112.0, 10.0], InstanceNumber=1, RescaleSlope=0.0)
    series = series_in(tmp_path)
    assert stack_headers(series).geometry.duplicate_rank.tolist() == [0, 0, 1, 0]
    volume, _ = load_volume(series)
    assert volume.positions_mm.tolist() == [0, 10, 15]
    assert volume.duplicate_rank.tolist() == [0, 0, 0]
    assert codes(volume.warnings)[-1] == "slices_missing"
    assert "duplicate_positions" not in codes(volume.warnings)
    np.testing.assert_array_equal(volume.values, head_values(4)[[0, 2, 3]])


class TestOrder:
    def test_reversed_and_interleaved_acquisitions(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, slices=8)
        for numbers in ([8, 7, 6, 5, 4, 3, 2, 1], [1, 3, 5, 7, 2, 4, 6, 8]):
            for path, number in zip(paths, numbers, strict=True):
                edit(path, InstanceNumber=number, AcquisitionNumber=number % 2, AcquisitionTime=f"1200{number:02d}")
            volume, rejected = load_volume(series_in(tmp_path))
            np.testing.assert_array_equal(volume.values, head_values(8))
            assert rejected == ()
            assert volume.warnings == ()

    @pytest.mark.parametrize("position", ["HFS", "FFS", "HFP"])
    def test_how_the_patient_lay_plays_no_part(self, tmp_path: Path, position: str) -> None:
        # coordinates are the patient's: only whoever sorts by table positions or numbers goes wrong
        write_series(tmp_path, slices=5, PatientPosition=position)
        np.testing.assert_array_equal(load_volume(series_in(tmp_path))[0].values, head_values(5))

    def test_a_prone_patient_is_ordered_from_feet_to_head_too(self, tmp_path: Path) -> None:
        write_series(tmp_path, slices=5, ImageOrientationPatient=[-1.0, 0.0, 0.0, 0.0, 1.0, 0.0])  # normal to the feet
        volume, _ = load_volume(series_in(tmp_path))
        assert volume.positions_mm.tolist() == [0, 5, 10, 15, 20]
        np.testing.assert_array_equal(volume.values, head_values(5))

    def test_a_gap_is_told(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path, slices=7)
        paths[3].unlink()
        volume, rejected = load_volume(series_in(tmp_path))
        assert volume.positions_mm.tolist() == [0, 5, 10, 20, 25, 30]
        assert codes(volume.warnings) == ["uneven_spacing", "gap"]
        assert "10.0 mm at 10.0 mm" in volume.warnings[1].message
        assert rejected == ()

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
    @given(order=st.permutations(range(8)))
    def test_any_order_gives_the_same_volume(self, tmp_path: Path, order: list[int]) -> None:
        if not any(tmp_path.iterdir()):
            paths = write_series(tmp_path, slices=6, matrix=64, tilt_degrees=12.0)
            edit(paths[3], PixelSpacing=[3.501, 3.4999])  # as close as scanners write
            for number, name in ((50, "b"), (50, "a")):  # two more at one position, and one of them twice
                shutil.copy(paths[1], tmp_path / name)
                edit(tmp_path / name, SOPInstanceUID=seeded_uid("again"), InstanceNumber=number)
        headers = unsplit(tmp_path).headers
        expected, expected_rejected = load_volume(Series(headers))
        volume, rejected = load_volume(Series(tuple(headers[index] for index in order)))
        np.testing.assert_array_equal(volume.values, expected.values)
        for attribute in ("slices", "pixel_spacing_mm", "orientation", "tilt_degrees", "warnings"):
            assert getattr(volume, attribute) == getattr(expected, attribute)
        np.testing.assert_array_equal(volume.positions_mm, expected.positions_mm)
        np.testing.assert_array_equal(volume.duplicate_rank, expected.duplicate_rank)
        assert rejected == expected_rejected
        assert [item.path for item in rejected] == ["b"]


def test_matrices_within_a_series_make_two_stacks(tmp_path: Path) -> None:
    write_series(tmp_path / "a", slices=6)
    write_series(tmp_path / "b", slices=2, matrix=32)
    for path in (tmp_path / "b").iterdir():
        edit(path, SOPInstanceUID=seeded_uid("small", path.name))
    (study,) = group_studies(unsplit(tmp_path).headers)
    volumes = [load_volume(series)[0] for series in study.series]
    assert [volume.values.shape for volume in volumes] == [(6, 64, 64), (2, 32, 32)]
    assert len({volume.series_uid for volume in volumes}) == 1
    np.testing.assert_array_equal(volumes[0].values, head_values(6))


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


def test_the_lowest_number_then_the_lowest_uid_is_seen_by_the_neighbours(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=3)
    for uid, number, name in (("1.9", 1, "x"), ("1.10", 1, "y"), ("1.1", None, "z")):
        shutil.copy(paths[1], tmp_path / name)
        edit(tmp_path / name, SOPInstanceUID=uid, InstanceNumber=number)
    edit(paths[1], InstanceNumber=2)
    volume, rejected = load_volume(series_in(tmp_path))
    assert rejected == ()
    assert [item.file for item in volume.slices[1:-1]] == ["y", "x", paths[1].name, "z"]
    assert volume.duplicate_rank.tolist() == [0, 0, 1, 2, 3, 0]
    for image in volume.values[1:-1]:
        np.testing.assert_array_equal(image, head_values(3)[1])


@pytest.mark.parametrize("position", [[-112.0, -112.0, 5.0], [-112.0, -112.0, 30.0]])
def test_the_same_pixels_under_one_uid_are_one_image_at_one_position_only(
    tmp_path: Path, position: list[float]
) -> None:
    paths = write_series(tmp_path, slices=3)
    shutil.copy(paths[1], tmp_path / "z.dcm")
    edit(tmp_path / "z.dcm", ImagePositionPatient=position)
    volume, rejected = load_volume(series_in(tmp_path))
    np.testing.assert_array_equal(volume.values, head_values(3))
    assert [item.reason for item in rejected] == ["duplicate_file" if position[2] == 5.0 else "conflicting_sop_uid"]
    assert volume.positions_mm.tolist() == [0, 5, 10]


def test_a_copy_stands_in_for_a_file_that_cannot_be_decoded(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=3)
    shutil.copy(paths[1], tmp_path / "z.dcm")
    edit(paths[1], RescaleSlope=0.0)
    volume, rejected = load_volume(series_in(tmp_path))
    np.testing.assert_array_equal(volume.values, head_values(3))
    assert volume.slices[1].file == "z.dcm"
    assert [(item.path, item.reason) for item in rejected] == [(paths[1].name, "bad_rescale")]


def mixed_series(folder: Path) -> None:
    """Writes a series of one enhanced file and many others, plain, deflated and compressed; one cannot be decoded."""
    uids = {"StudyInstanceUID": seeded_uid("study", "P1"), "SeriesInstanceUID": seeded_uid("mixed")}
    common: dict[str, Any] = {**uids, "BitsStored": 12, "HighBit": 11}
    stored = (np.arange(40 * 256) % 4001).reshape(40, 16, 16).astype(np.uint16)
    frames = make_enhanced(stored, sop_uid=seeded_uid("enhanced"), **common)
    write_dataset(folder / "enhanced", frames)
    for index in range(12):
        position = [-112.0, -112.0, 200.0 + 5.0 * index]
        tags = {**common, "sop_uid": seeded_uid("mixed", index), "ImagePositionPatient": position}
        dataset = make_dataset(pixels=IMAGE + np.uint16(index), **tags)
        if index % 3 == 1:
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        elif index % 3 == 2:
            name = "jpeg_ls_near" if index == 5 else "jpeg_lossless_sv7"
            sample = SAMPLES[name]
            content = bytes(64) if index == 8 else sample.codestream
            dataset = encapsulated(dataset, RLELossless if index == 8 else sample.syntax, [content])
        write_dataset(folder / f"{index:02d}", dataset)


def test_parallel_decoding_equals_serial_decoding(tmp_path: Path) -> None:
    mixed_series(tmp_path / "scans")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "scans").iterdir()):
            archive.write(path, f"scans/{path.name}")
    (tmp_path / "packed").mkdir()
    shutil.move(tmp_path / "scans.zip", tmp_path / "packed")
    serial, serial_rejected = load_volume(series_in(tmp_path / "scans"), workers=1)
    assert serial.values.shape == (51, 16, 16)
    assert [item.reason for item in serial_rejected] == ["undecodable"]
    np.testing.assert_array_equal(serial.values[:40].ravel(), np.arange(40 * 256) % 4001 - 1024)
    np.testing.assert_array_equal(serial.values[42], IMAGE - 1024.0)
    for folder, workers in (("scans", 2), ("scans", 5), ("packed", 1), ("packed", 3)):
        volume, rejected = load_volume(series_in(tmp_path / folder), workers=workers)
        np.testing.assert_array_equal(volume.values, serial.values)
        np.testing.assert_array_equal(volume.positions_mm, serial.positions_mm)
        assert [(item.sop_uid, item.frame) for item in volume.slices] == [
            (item.sop_uid, item.frame) for item in serial.slices
        ]
        assert volume.warnings == serial.warnings
        assert [item.reason for item in rejected] == ["undecodable"]


def test_an_entry_of_an_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((40, 4, 4), np.int16)
    write_dataset(tmp_path / "a" / "plain", make_enhanced(pixels))
    with zipfile.ZipFile(tmp_path / "a" / "a.zip", "w") as archive:
        archive.write(tmp_path / "a" / "plain", "plain")
    (tmp_path / "a" / "plain").unlink()
    series = series_in(tmp_path / "a")
    opened: list[Source] = []
    real = Source.open

    def count(source: Source) -> Any:
        opened.append(source)
        return real(source)

    monkeypatch.setattr(Source, "open", count)
    assert load_volume(series, workers=4)[0].values.shape == (40, 4, 4)
    assert len(opened) == 1


class TestLoadSlice:
    def test_reads_what_is_in_the_volume(self, tmp_path: Path) -> None:
        write_dataset(tmp_path / "enhanced", make_enhanced(np.arange(3 * 16, dtype=np.int16).reshape(3, 4, 4)))
        (header,) = {item.source for item in series_in(tmp_path).headers}
        for frame in (3, 1):
            found, image = load_slice(header, frame, "CT")
            assert found.frame == frame
            np.testing.assert_array_equal(image.values.ravel(), np.arange(16) + 16 * (frame - 1) - 1024)

    def test_a_frame_that_is_not_there(self, tmp_path: Path) -> None:
        path = write_series(tmp_path, slices=1)[0]
        with pytest.raises(UnreadableFileError, match="has no frame 2 any more") as caught:
            load_slice(Source(str(path), path.name), 2, "CT")
        assert caught.value.reason == "undecodable"

    @pytest.mark.parametrize(("content", "reason"), [(b"a note", "not_dicom"), (None, "unreadable_path")])
    def test_a_file_that_is_no_image_any_more(self, tmp_path: Path, content: bytes | None, reason: str) -> None:
        if content is not None:
            (tmp_path / "a.dcm").write_bytes(content)
        with pytest.raises(UnreadableFileError) as caught:
            load_slice(Source(str(tmp_path / "a.dcm"), "a.dcm"), 1, "CT")
        assert caught.value.reason == reason

    def test_pixels_that_cannot_be_used(self, tmp_path: Path) -> None:
        path = write_series(tmp_path, slices=1, RescaleSlope=0.0)[0]
        with pytest.raises(UnreadableFileError) as caught:
            load_slice(Source(str(path), path.name), 1, "CT")
        assert caught.value.reason == "bad_rescale"


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    write_series(tmp_path, slices=8)
    one, _ = load_volume(series_in(tmp_path), workers=1)
    four, _ = load_volume(series_in(tmp_path), workers=4)
    np.testing.assert_array_equal(one.values, four.values)
    assert one.slices == four.slices
