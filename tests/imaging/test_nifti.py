from __future__ import annotations

import contextlib
import errno
import gzip
import io
import itertools
import struct
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicom_files import head_values
from slicewise.errors import UnreadableFileError
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.nifti import decode_nifti, is_nifti, read_nifti_headers, series_name
from slicewise.imaging.nifti_header import parse_grid
from slicewise.imaging.orientation import turn_to_canonical
from slicewise.imaging.series import Series, choose_series, series_warnings
from slicewise.results import Rejection
from slicewise.source import Source
from slicewise.task import SeriesParameters
from slicewise.volume import Volume

Floats = npt.NDArray[np.float64]
CT = SeriesParameters(modality="CT", minimum_slices=8, maximum_angle_degrees=35.0)
STEPS = np.array([2.0, 2.5, 3.0])
RAS = np.diag([*STEPS, 1.0])
"""Right, front, head: what NIfTI's axes point to."""

ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def anatomy() -> npt.NDArray[np.int16]:
    """Returns HU of a head, shape (right, front, head) = (14, 12, 10): no two lines of voxels are equal."""
    values = head_values(10, 16)[:, :12, :14]
    return np.ascontiguousarray(values.transpose(2, 1, 0)).astype(np.int16)


def image(values: Any = None, affine: Any = RAS, kind: type = nibabel.Nifti1Image, **fields: Any) -> Any:
    made = kind(anatomy() if values is None else values, affine)
    for name, value in fields.items():
        made.header[name] = value
    return made


def save(path: Path, made: Any) -> Path:
    nibabel.save(made, path)
    return path


def patch(path: Path, offset: int, content: bytes) -> Path:
    """Overwrites bytes of a file: nibabel refuses to write what it does not like."""
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


def source(path: Path) -> Source:
    return Source(str(path), path.name)


def load(path: Path, modality: str = "CT") -> Volume:
    volume, rejected = load_volume(Series(read_nifti_headers(source(path), modality)))
    assert rejected == ()
    return volume


def refused(path: Path, modality: str = "CT") -> UnreadableFileError:
    with pytest.raises(UnreadableFileError) as caught:
        list(decode_nifti(source(path), read_nifti_headers(source(path), modality)))
    assert path.name in str(caught.value)
    return caught.value


def load_with_nibabel(path: Path) -> Any:
    return nibabel.load(path)


def canonical(volume: Volume) -> npt.NDArray[np.float32]:
    """Returns the values with columns counting to the left and rows to the back, as `preprocess` turns them."""
    return turn_to_canonical(volume.orientation).apply(volume.values)


def test_names() -> None:
    assert [is_nifti(name) for name in ("a.nii", "b/A.NII.GZ", "a.nii.zip", "a.gz", "nii")] == [True, True] + [
        False
    ] * 3
    assert [series_name(name) for name in ("x/a.b.nii", "A.NII.GZ", "c")] == ["a.b", "A", "c"]


def test_a_file_is_read_as_a_series(tmp_path: Path) -> None:
    headers = read_nifti_headers(source(save(tmp_path / "scan.01.nii.gz", image())), "CT")
    assert len(headers) == 10
    first, last = headers[0], headers[-1]
    assert (first.study_uid, first.series_uid, first.sop_uid, first.patient_id) == ("scan.01",) * 3 + ("",)
    assert ([item.frame for item in headers], [item.slice_index for item in headers]) == (
        list(range(1, 11)),
        list(range(10)),
    )
    assert (first.modality, first.pixels, first.file, first.image_type) == ("CT", None, "scan.01.nii.gz", ("NIFTI",))
    assert (first.rows, first.columns, first.pixel_spacing_mm) == (12, 14, (2.5, 2.0))
    assert first.slice_thickness_mm == 3.0
    assert (first.image_position, last.image_position) == ((0.0, 0.0, 0.0), (0.0, 0.0, 27.0))
    # columns count to the right, rows to the front: DICOM's x and y run the other way
    assert first.image_orientation == (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def test_values_and_positions_worked_out_by_hand(tmp_path: Path) -> None:
    volume = load(save(tmp_path / "a.nii", image()))
    np.testing.assert_array_equal(volume.values, anatomy().transpose(2, 1, 0))
    np.testing.assert_array_equal(canonical(volume), anatomy().transpose(2, 1, 0)[:, ::-1, ::-1])
    assert volume.positions_mm.tolist() == [3.0 * index for index in range(10)]
    assert (volume.tilt_degrees, volume.warnings) == (0.0, ())


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda item: str(item.tolist()))
def test_any_order_and_direction_of_the_axes_gives_the_same_volume(
    tmp_path: Path, orientation: npt.NDArray[np.int64]
) -> None:
    stored = image().as_reoriented(orientation)
    volume = load(save(tmp_path / "a.nii", stored))
    np.testing.assert_array_equal(canonical(volume), anatomy().transpose(2, 1, 0)[:, ::-1, ::-1])
    np.testing.assert_allclose(np.diff(volume.positions_mm), 3.0)
    assert turn_to_canonical(volume.orientation).swap(volume.pixel_spacing_mm) == pytest.approx((2.5, 2.0))
    # slice_index counts along the stored axis of the slices, in the order in which they are stored
    axis, direction = (int(item) for item in orientation[2])
    assert [item.slice_index for item in volume.slices] == list(range(10))[::direction]
    assert [item.frame - 1 for item in volume.slices] == [item.slice_index for item in volume.slices]
    for index in (0, 4, 9):
        taken = np.take(np.asarray(stored.dataobj), volume.slices[index].slice_index, axis=axis)
        assert sorted(taken.ravel().tolist()) == sorted(volume.values[index].ravel().tolist())
    assert [item.code for item in volume.warnings] == ([] if axis == 2 else ["slice_axis"])


@settings(max_examples=60)
@given(
    number=st.integers(0, 47),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    shift=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_oblique_files_agree_with_simpleitk(
    tmp_path_factory: pytest.TempPathFactory, number: int, angles: tuple[float, ...], shift: tuple[float, ...]
) -> None:
    oblique = np.eye(4)
    oblique[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ RAS[:3, :3]
    oblique[:3, 3] = shift
    folder = tmp_path_factory.mktemp("oblique")
    straight = load(save(folder / "straight.nii", image(affine=oblique)))
    path = save(folder / "turned.nii", image(affine=oblique).as_reoriented(ORIENTATIONS[number]))
    volume = load(path)
    np.testing.assert_array_equal(canonical(volume), canonical(straight))
    np.testing.assert_allclose(volume.positions_mm, straight.positions_mm, atol=1e-3)
    assert volume.tilt_degrees == pytest.approx(straight.tilt_degrees, abs=1e-3)
    up = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()[2, 2]
    assert volume.tilt_degrees == pytest.approx(np.degrees(np.arccos(min(up, 1.0))), abs=0.02)

    read: Any = SimpleITK.ReadImage(str(path))
    headers = read_nifti_headers(source(path), "CT")
    for header, row, column in ((headers[0], 0, 0), (headers[3], 11, 13), (headers[9], 5, 2)):
        assert header.image_position is not None
        assert header.image_orientation is not None
        assert header.pixel_spacing_mm is not None
        along_row, along_column = np.array(header.image_orientation[:3]), np.array(header.image_orientation[3:])
        point = (
            np.array(header.image_position)
            + row * header.pixel_spacing_mm[0] * along_column
            + column * header.pixel_spacing_mm[1] * along_row
        )
        voxel = read.TransformPhysicalPointToContinuousIndex(point.tolist())
        np.testing.assert_allclose(voxel, np.rint(voxel), atol=1e-2)
        place = next(index for index, item in enumerate(volume.slices) if item.frame == header.frame)
        expected = read.GetPixel([int(index) for index in np.rint(voxel)])
        assert volume.values[place, row, column] == expected


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", ">i4", "<f4", ">f8", "i1", "<i8"])
def test_every_version_and_type_as_nibabel_reads_it(tmp_path: Path, kind: type, suffix: str, dtype: str) -> None:
    ours = (
        np.clip(anatomy(), -128, 127).astype(dtype)
        if dtype == "i1"
        else np.maximum(anatomy(), 0 if "u" in dtype else -2000)
    )
    header = kind.header_class(endianness=">" if ">" in dtype else "<")  # type: ignore[attr-defined]
    header.set_data_dtype(np.dtype(dtype))
    made = kind(ours.astype(dtype), RAS, header)
    path = save(tmp_path / f"a.{suffix}", made)
    volume = load(path, "MR")
    expected = load_with_nibabel(path).get_fdata().transpose(2, 1, 0)
    np.testing.assert_array_equal(volume.values, expected.astype(np.float32))
    if kind is nibabel.Nifti1Image:  # SimpleITK does not read NIfTI-2
        np.testing.assert_array_equal(volume.values, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1.0, -1024.0), (2.0, 0.0), (0.5, -1000.5), (-1.0, 3.0), (1e-3, 0.1), (1.0, 0.0)]
)
def test_scaling_as_nibabel_reads_it(tmp_path: Path, slope: float, intercept: float) -> None:
    path = save(tmp_path / "a.nii", image())
    patch(path, 112, struct.pack("<ff", slope, intercept))
    volume = load(path, "MR")
    expected = load_with_nibabel(path)
    assert (expected.dataobj.slope, expected.dataobj.inter) == pytest.approx((slope, intercept))
    np.testing.assert_allclose(volume.values, expected.get_fdata().transpose(2, 1, 0), rtol=1e-6)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 0.0), (0.0, 7.0), (np.nan, np.nan), (np.inf, 1.0)])
def test_a_slope_that_says_nothing_leaves_the_values(tmp_path: Path, slope: float, intercept: float) -> None:
    path = patch(save(tmp_path / "a.nii", image()), 112, struct.pack("<ff", slope, intercept))
    np.testing.assert_array_equal(load(path).values, anatomy().transpose(2, 1, 0))


def test_large_integers_are_scaled_before_they_are_rounded(tmp_path: Path) -> None:
    stored = anatomy().astype(np.int32) + 2**30
    path = save(tmp_path / "a.nii", image(stored, kind=nibabel.Nifti2Image))
    patch(path, 176, struct.pack("<dd", 1.0, -(2.0**30)))
    np.testing.assert_array_equal(load(path).values, anatomy().transpose(2, 1, 0))


def test_an_intercept_that_is_no_number(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii", image()), 112, struct.pack("<ff", 1.0, np.nan))
    assert refused(path).reason == "bad_rescale"


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001), ("unknown", 1.0)])
def test_units(tmp_path: Path, unit: str, scale: float) -> None:
    made = image(affine=np.diag([*STEPS / scale, 1.0]))
    made.header.set_xyzt_units(unit)
    volume = load(save(tmp_path / "a.nii", made))
    assert volume.pixel_spacing_mm == pytest.approx((2.5, 2.0))
    np.testing.assert_allclose(np.diff(volume.positions_mm), 3.0, rtol=1e-5)


def test_a_unit_that_is_none_counts_as_millimetres(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii", image()), 123, b"\x07")
    assert load(path).pixel_spacing_mm == (2.5, 2.0)


TILTED = np.eye(4)
TILTED[:3, :3] = Rotation.from_euler("x", 15, degrees=True).as_matrix() @ RAS[:3, :3]
SFORM_ROWS, QUATERNION = 280, 256


def test_orientation_by_sform_or_qform(tmp_path: Path) -> None:
    for name in ("s", "q"):
        made = image(affine=TILTED)
        made.set_sform(TILTED if name == "s" else None, code=int(name == "s"))
        made.set_qform(TILTED if name == "q" else None, code=int(name == "q"))
        assert load(save(tmp_path / f"{name}.nii", made)).tilt_degrees == pytest.approx(15.0, abs=1e-3)


def test_sform_comes_before_qform(tmp_path: Path) -> None:
    made = image(affine=RAS)
    made.set_qform(RAS, code=1)
    made.set_sform(TILTED, code=1)
    assert load(save(tmp_path / "a.nii", made)).tilt_degrees == pytest.approx(15.0, abs=1e-3)


def test_qform_stands_in_for_an_sform_of_zeros(tmp_path: Path) -> None:
    made = image(affine=TILTED)
    made.set_qform(TILTED, code=1)
    path = patch(save(tmp_path / "a.nii", made), SFORM_ROWS, bytes(48))
    assert load(path).tilt_degrees == pytest.approx(15.0, abs=1e-3)


def test_qfac_of_zero_counts_as_one(tmp_path: Path) -> None:
    made = image(affine=TILTED)
    made.set_qform(TILTED, code=1)
    made.set_sform(None, code=0)
    path = patch(save(tmp_path / "a.nii", made), 76, bytes(4))
    assert load(path).tilt_degrees == pytest.approx(15.0, abs=1e-3)


def test_a_quaternion_that_is_no_rotation(tmp_path: Path) -> None:
    made = image(affine=TILTED)
    made.set_qform(TILTED, code=1)
    made.set_sform(None, code=0)
    path = patch(save(tmp_path / "a.nii", made), QUATERNION, struct.pack("<fff", 1.0, 1.0, 1.0))
    assert refused(path).reason == "bad_orientation"


def test_without_orientation_the_axes_run_to_the_left_the_back_and_the_head(tmp_path: Path) -> None:
    made = image(affine=np.diag([-2.0, -2.5, 3.0, 1.0]))
    made.set_qform(None, code=0)
    made.set_sform(None, code=0)
    volume = load(save(tmp_path / "a.nii", made))
    np.testing.assert_array_equal(canonical(volume), anatomy().transpose(2, 1, 0))
    assert volume.pixel_spacing_mm == (2.5, 2.0)
    assert [item.code for item in volume.warnings] == ["no_orientation"]


@pytest.mark.parametrize(
    ("offset", "content", "reason"),
    [
        (SFORM_ROWS, bytes(48), "bad_spacing"),
        (SFORM_ROWS, struct.pack("<12f", *[np.nan] * 12), "bad_spacing"),
        (SFORM_ROWS, struct.pack("<12f", *[3e38] * 12), "bad_spacing"),
        (SFORM_ROWS, struct.pack("<12f", 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0), "bad_orientation"),
        (40, struct.pack("<8h", 3, -4, 12, 10, 1, 1, 1, 1), "bad_dimensions"),
        (40, struct.pack("<8h", 3, 14, 0, 10, 1, 1, 1, 1), "bad_dimensions"),
        (40, struct.pack("<8h", 3, -1, 1, 1, 1, 1, 1, 1), "bad_dimensions"),
        (40, struct.pack("<8h", 2, 14, 12, 1, 1, 1, 1, 1), "bad_dimensions"),
        (40, struct.pack("<8h", 4, 14, 12, 5, 2, 1, 1, 1), "bad_dimensions"),
        (40, struct.pack("<8h", -3, 14, 12, 10, 1, 1, 1, 1), "malformed"),
        (40, struct.pack("<8h", 3, 1, 1, 32767, 1, 1, 1, 1), "bad_dimensions"),
        (40, struct.pack("<8h", 3, 5000, 1, 1, 1, 1, 1, 1), "bad_matrix"),
        (40, struct.pack("<8h", 3, 32767, 32767, 4096, 1, 1, 1, 1), "too_large"),
        (70, struct.pack("<h", 12345), "not_grayscale"),
        (70, struct.pack("<h", 1), "not_grayscale"),
        (70, struct.pack("<h", 32), "not_grayscale"),
        (108, struct.pack("<f", 100.0), "malformed"),
        (108, struct.pack("<f", np.nan), "malformed"),
        (108, struct.pack("<f", -400.0), "malformed"),
        (108, struct.pack("<f", 3e9), "malformed"),
        (108, struct.pack("<f", 400.0), "truncated"),
        (0, b"\0\0\0\0", "malformed"),
        (344, b"ni1\0", "malformed"),
    ],
)
def test_headers_that_make_no_sense(tmp_path: Path, offset: int, content: bytes, reason: str) -> None:
    path = save(tmp_path / "a.nii", image())
    patch(path, offset, content)
    assert refused(path).reason == reason
    assert [item.reason for item in discover([path]) if isinstance(item, Rejection)] == [reason]


def test_voxels_right_behind_the_header_where_no_offset_is_stated(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii", image()), 108, struct.pack("<f", 0.0))
    np.testing.assert_array_equal(load(path).values, anatomy().transpose(2, 1, 0))


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_extensions_before_the_voxels(tmp_path: Path, suffix: str) -> None:
    made = image()
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
    np.testing.assert_array_equal(load(save(tmp_path / f"a.{suffix}", made)).values, anatomy().transpose(2, 1, 0))


def test_four_dimensions_of_one_volume(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", image(anatomy()[..., None]))
    np.testing.assert_array_equal(load(path).values, anatomy().transpose(2, 1, 0))
    twice = save(tmp_path / "b.nii", image(np.stack([anatomy()] * 2, axis=-1)))
    assert "14 x 12 x 10 x 2" in str(refused(twice))


def test_colours_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((14, 12, 10), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert refused(save(tmp_path / "a.nii", image(colours))).reason == "not_grayscale"


@pytest.mark.parametrize("length", [0, 1, 100, 348, 351])
def test_files_that_end_within_the_header(tmp_path: Path, length: int) -> None:
    path = save(tmp_path / "a.nii", image())
    path.write_bytes(path.read_bytes()[:length])
    assert refused(path).reason == "truncated"


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_files_that_end_early(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", image())
    path.write_bytes(path.read_bytes()[: -20 if suffix == "nii" else -200])
    assert refused(path).reason == "truncated"


def test_a_plain_file_that_ends_early_is_told_by_its_header_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", image())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableFileError, match="ends after 3711 bytes; its header states 3712"):
        read_nifti_headers(source(path), "CT")


def test_a_whole_archive_of_a_file_that_ended_early(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", image()).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:-1]))
    assert "ends after 3711 bytes; its header states 3712" in str(refused(path))


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    path = save(tmp_path / "a.nii", image())
    monkeypatch.setattr(Source, "open", lambda _: Failing())
    assert refused(path).reason == "unreadable_path"


def test_damaged_compression(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", image())
    content = path.read_bytes()
    path.write_bytes(content[:600] + bytes(100) + content[700:])
    assert refused(path).reason in ("malformed", "truncated")
    path.write_bytes(content[:-8] + bytes(4) + content[-4:])  # all can be unpacked, and the checksum differs
    assert refused(path).reason == "malformed"


def test_not_nifti_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"DICM" * 200)
    (tmp_path / "b.nii.gz").write_bytes(b"not compressed" * 100)
    assert [refused(tmp_path / name).reason for name in ("a.nii", "b.nii.gz")] == ["malformed", "malformed"]


def test_names_that_lie_about_the_compression(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", image()).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain))
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(load(tmp_path / name).values, anatomy().transpose(2, 1, 0))


def test_a_file_that_unpacks_to_fill_the_machine(tmp_path: Path) -> None:
    header = bytearray(save(tmp_path / "a.nii", image()).read_bytes()[:352])
    header[40:56] = struct.pack("<8h", 3, 2048, 2048, 64, 1, 1, 1, 1)  # 512 MiB
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(1 << 20)))
    assert refused(path).reason == "archive_bomb"


def test_values_that_are_no_numbers_cost_their_slices_alone(tmp_path: Path) -> None:
    values = anatomy().astype(np.float32)
    values[3, 4, 2] = np.nan
    values[0, 0, 7] = np.inf
    values[0, 0, 8] = -2e9
    volume, rejected = load_volume(Series(read_nifti_headers(source(save(tmp_path / "a.nii", image(values))), "CT")))
    assert [item.slice_index for item in volume.slices] == [0, 1, 3, 4, 5, 6, 9]
    assert [(item.reason, item.kind) for item in rejected] == [("bad_pixels", "unreadable")] * 3
    assert "slices_missing" in [item.code for item in volume.warnings]


@pytest.mark.parametrize(
    ("values", "readable"),
    [
        (anatomy(), True),
        (np.maximum(anatomy(), -250), True),
        (np.where(anatomy() < -900, -3024, anatomy()), False),  # no air but what lies outside the field of view
        (np.maximum(anatomy(), 0), False),  # without the skull and the air
        (np.clip(anatomy(), -100, 100), False),  # a window
        (anatomy() + 1024, False),  # stored values without their intercept
        (np.where(anatomy() < -900, -2000, anatomy() + 1024), False),  # likewise, with padding
        (np.full((14, 12, 10), -150), False),
    ],
)
def test_a_ct_must_be_in_hounsfield_units(tmp_path: Path, values: Any, readable: bool) -> None:  # noqa: FBT001 - a case
    path = save(tmp_path / "a.nii", image(values.astype(np.int16)))
    if readable:
        assert load(path).values.min() >= -1024
    else:
        assert refused(path).reason == "not_hounsfield"
    assert load(path, "MR").values.shape == (10, 12, 14)


def test_what_lies_below_air_counts_as_air_in_ct_alone(tmp_path: Path) -> None:
    values = anatomy()
    values[0] = -3024
    path = save(tmp_path / "a.nii", image(values))
    assert load(path).values.min() == -1024
    assert load(path, "MR").values.min() == -3024


def test_a_file_that_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    headers = read_nifti_headers(source(save(tmp_path / "a.nii", image())), "CT")
    save(tmp_path / "a.nii", image(anatomy()[:, :, :4]))
    outcomes = list(decode_nifti(headers[0].source, headers))
    assert [isinstance(item, UnreadableFileError) for item in outcomes] == [False] * 4 + [True] * 6
    (tmp_path / "a.nii").unlink()
    with pytest.raises(UnreadableFileError) as caught:
        list(decode_nifti(headers[0].source, headers))
    assert caught.value.reason == "unreadable_path"


def test_slices_of_a_shorn_scan_keep_their_distance(tmp_path: Path) -> None:
    sheared = RAS.copy()
    sheared[1, 2] = 1.0  # each slice lies 1 mm further to the front: a tilted gantry
    volume = load(save(tmp_path / "a.nii", image(affine=sheared)))
    np.testing.assert_allclose(np.diff(volume.positions_mm), 3.0, rtol=1e-6)
    headers = read_nifti_headers(source(tmp_path / "a.nii"), "CT")
    assert headers[0].slice_thickness_mm == pytest.approx(3.0)
    assert headers[2].image_position == pytest.approx((0.0, -2.0, 6.0))


def decided(path: Path, modality: str = "CT") -> tuple[bool, str, list[str]]:
    with take_inventory([path], modality=modality) as found:
        (study,) = found.studies()
    parameters = SeriesParameters(modality, minimum_slices=8, maximum_angle_degrees=35.0)
    (decision,) = choose_series(study, parameters)
    return decision.chosen, decision.reason, [item.code for item in series_warnings(decision.series)]


def test_scans_made_in_another_plane_are_refused_as_such(tmp_path: Path) -> None:
    # voxels of 1 x 1 x 5 mm: the third axis runs to the right, the slices are sagittal
    sagittal = np.array([[0, 0, 5.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    assert decided(save(tmp_path / "thick.nii", image(affine=sagittal))) == (False, "not_axial", [])
    # the same with cubes: axial slices are as good, they lie along the second axis
    cubes = sagittal @ np.diag([1.0, 1.0, 0.2, 1.0])
    assert decided(save(tmp_path / "cubes.nii", image(affine=cubes))) == (True, "chosen", ["slice_axis"])
    assert decided(save(tmp_path / "axial.nii", image(affine=np.diag([0.5, 0.5, 5.0, 1.0])))) == (True, "chosen", [])


def test_files_of_one_name_in_two_folders_and_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "in" / "x").mkdir(parents=True)
    content = save(tmp_path / "in" / "a.nii.gz", image()).read_bytes()
    (tmp_path / "in" / "x" / "a.nii.gz").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "in" / "z.zip", "w") as archive:
        archive.writestr("deep/a.nii.gz", content)
    with take_inventory([tmp_path / "in"]) as found:
        studies = list(found.studies())
    assert [study.series[0].headers[0].file for study in studies] == ["a.nii.gz", "x/a.nii.gz", "z.zip/deep/a.nii.gz"]
    for study in studies:
        volume, _ = load_volume(study.series[0])
        np.testing.assert_array_equal(volume.values, anatomy().transpose(2, 1, 0))


@settings(max_examples=150)
@given(data=st.data())
def test_no_damage_to_a_header_does_more_than_refuse_the_file(data: st.DataObject) -> None:
    header = bytearray(image().header.binaryblock)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(header) - 1))
        header[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableFileError):
        grid = parse_grid("a.nii", bytes(header) + bytes(200))
        assert sorted((grid.slice_axis, grid.row_axis, grid.column_axis)) == [0, 1, 2]
        assert np.all(np.isfinite(grid.affine))
        assert 0 < grid.voxel_bytes <= 4 * 1024**3


def test_real_mri_files(shared_data: Path) -> None:
    paths = sorted((shared_data / "mri_lgg" / "flair").glob("*.nii.gz"))[:4]
    assert len(paths) == 4
    for path in paths:
        headers = read_nifti_headers(source(path), "MR")
        volume = load(path, "MR")
        read: Any = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(volume.values, SimpleITK.GetArrayFromImage(read))
        assert volume.pixel_spacing_mm == read.GetSpacing()[1::-1]
        for header in headers:
            assert isinstance(header, SliceHeader)
            assert header.image_position == read.TransformIndexToPhysicalPoint([0, 0, header.frame - 1])
        assert [item.slice_index for item in volume.slices] == list(range(len(headers)))
        assert decided(path, "MR") == (True, "chosen", [])
