from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from decoding import by_pydicom, decoded, reason_of
from dicom_files import head_values, make_dataset, sequence, write_dataset


def values_of(tmp_path: Path, **tags: Any) -> npt.NDArray[np.float32]:
    image = decoded(write_dataset(tmp_path / "a.dcm", make_dataset(**tags)))
    assert image.values.dtype == np.float32
    return image.values


def codes_of(tmp_path: Path, **tags: Any) -> list[str]:
    image = decoded(write_dataset(tmp_path / "a.dcm", make_dataset(**tags)))
    return [warning.code for warning in image.warnings]


def signed(*rows: list[int]) -> npt.NDArray[np.int16]:
    return np.array(rows, dtype=np.int16)


def unsigned(*rows: list[int]) -> npt.NDArray[np.uint16]:
    return np.array(rows, dtype=np.uint16)


TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def test_slope_and_intercept_are_fractions(tmp_path: Path) -> None:
    values = values_of(tmp_path, pixels=signed([0, 1], [2, 1000]), RescaleSlope=0.25, RescaleIntercept=-10.5)
    np.testing.assert_array_equal(values, [[-10.5, -10.25], [-10.0, 239.5]])


def test_a_negative_slope(tmp_path: Path) -> None:
    values = values_of(tmp_path, pixels=signed([0, 100], [-40, 1124]), RescaleSlope=-1.0, RescaleIntercept=100.0)
    np.testing.assert_array_equal(values, [[100, 0], [140, -1024]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    pixels=arrays(np.int16, (3, 4)) | arrays(np.uint16, (3, 4)),
    slope=st.sampled_from([1.0, 0.1, 2.5, -0.4882813, 1e-3]),
    intercept=st.sampled_from([0.0, -1024.0, -1000.25, 13.7]),
)
def test_values_equal_those_of_pydicom(
    tmp_path: Path, pixels: npt.NDArray[Any], slope: float, intercept: float
) -> None:
    path = write_dataset(
        tmp_path / "a.dcm", make_dataset(pixels=pixels, RescaleSlope=slope, RescaleIntercept=intercept)
    )
    np.testing.assert_allclose(decoded(path).values, by_pydicom(path), rtol=1e-6, atol=1e-3)


def test_numbers_of_32_bits_keep_their_last_digit(tmp_path: Path) -> None:
    pixels = np.array([[2_000_000_001, 2_000_000_040]], dtype=np.int32)
    tags = {"Rows": 1, "Columns": 2, "BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelRepresentation": 1}
    values = values_of(tmp_path, PixelData=pixels.tobytes(), RescaleIntercept=-2e8, RescaleSlope=0.1, **tags)
    np.testing.assert_allclose(values, [[0.1, 4.0]], atol=1e-3)


def test_monochrome1_changes_the_display_not_the_values(tmp_path: Path) -> None:
    values = values_of(tmp_path, values=head_values(1)[0], PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(values, head_values(1)[0])


def test_air_is_the_floor_of_ct_alone(tmp_path: Path) -> None:
    pixels = signed([-2000, 24], [1024, 2000])
    np.testing.assert_array_equal(values_of(tmp_path, pixels=pixels), [[-1024, -1000], [0, 976]])
    np.testing.assert_array_equal(values_of(tmp_path, pixels=pixels, Modality="MR"), [[-3024, -1000], [0, 976]])


class TestStoredBits:
    def test_overlays_in_the_bits_above_are_cut_off(self, tmp_path: Path) -> None:
        pixels = unsigned([0x0400, 0x1400], [0x8BE8, 0xFFFF])
        values = values_of(tmp_path, pixels=pixels, **TWELVE_BITS)
        np.testing.assert_array_equal(values, [[0, 0], [3048 - 1024, 4095 - 1024]])

    def test_the_sign_is_the_highest_stored_bit(self, tmp_path: Path) -> None:
        pixels = unsigned([0x0FFF, 0x1FFF], [0x0800, 0x27FF]).view(np.int16)
        values = values_of(tmp_path, pixels=pixels, RescaleIntercept=3000.0, **TWELVE_BITS)
        np.testing.assert_array_equal(values, [[2999, 2999], [3000 - 2048, 3000 + 2047]])

    def test_a_high_bit_above_leaves_bits_below(self, tmp_path: Path) -> None:
        pixels = unsigned([0x0010, 0x001F], [0x4000, 0xFFFF])
        values = values_of(tmp_path, pixels=pixels, BitsStored=12, HighBit=15, RescaleIntercept=-100.0)
        np.testing.assert_array_equal(values, [[-99, -99], [924, 3995]])
        values = values_of(
            tmp_path, pixels=unsigned([0x0801, 0x2003]), BitsStored=12, HighBit=12, RescaleIntercept=-1000.0
        )
        np.testing.assert_array_equal(values, [[0x400 - 1000, 1 - 1000]])

    def test_eight_bits_with_seven_stored(self, tmp_path: Path) -> None:
        tags = {"BitsAllocated": 8, "BitsStored": 7, "HighBit": 6, "Rows": 1, "Columns": 4, "PixelRepresentation": 0}
        values = values_of(tmp_path, PixelData=bytes([0, 127, 128, 255]), RescaleIntercept=0.0, **tags)
        np.testing.assert_array_equal(values, [[0, 127, 0, 127]])

    @pytest.mark.parametrize(
        "tags", [{"BitsStored": 12, "HighBit": 9}, {"BitsStored": 17, "HighBit": 16}, {"HighBit": 16}]
    )
    def test_impossible_bits_keep_all_that_are_allocated(self, tmp_path: Path, tags: dict[str, Any]) -> None:
        values = values_of(tmp_path, pixels=unsigned([0xF000, 1024]), **tags)
        np.testing.assert_array_equal(values, [[0xF000 - 1024, 0]])

    def test_a_missing_high_bit_follows_from_bits_stored(self, tmp_path: Path) -> None:
        values = values_of(tmp_path, pixels=unsigned([0x1400]), BitsStored=12, HighBit=None)
        np.testing.assert_array_equal(values, [[0]])


class TestPadding:
    def test_below_the_floor(self, tmp_path: Path) -> None:
        values = values_of(tmp_path, pixels=signed([-2000, 24], [1024, 2000]), PixelPaddingValue=-2000)
        np.testing.assert_array_equal(values, [[-1024, -1000], [0, 976]])

    def test_above_the_floor(self, tmp_path: Path) -> None:
        values = values_of(tmp_path, pixels=signed([5000, 24], [5010, 1024]), PixelPaddingValue=5000)
        np.testing.assert_array_equal(values, [[-1024, -1000], [3986, 0]])

    @pytest.mark.parametrize(("first", "last"), [(5000, 5010), (5010, 5000)])
    def test_a_range_may_be_stated_from_either_end(self, tmp_path: Path, first: int, last: int) -> None:
        tags: dict[str, Any] = {"PixelPaddingValue": first, "PixelPaddingRangeLimit": last}
        values = values_of(tmp_path, pixels=signed([4999, 5000], [5010, 5011]), **tags)
        np.testing.assert_array_equal(values, [[3975, -1024], [-1024, 3987]])

    def test_a_range_around_zero(self, tmp_path: Path) -> None:
        tags: dict[str, Any] = {"PixelPaddingValue": -3, "PixelPaddingRangeLimit": 2, "RescaleIntercept": 0.0}
        values = values_of(tmp_path, pixels=signed([-4, -3, 0, 2, 3]), **tags)
        np.testing.assert_array_equal(values, [[-4, -1024, -1024, -1024, 3]])

    @pytest.mark.parametrize("vr", [b"US", b"SS"])
    def test_signed_pixels_whatever_sign_is_stated(self, tmp_path: Path, vr: bytes) -> None:
        tags: dict[str, Any] = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990, "RescaleIntercept": 3000.0}
        path = write_dataset(tmp_path / "a.dcm", make_dataset(pixels=signed([-2001, -2000, -1990, 1]), **tags))
        content = path.read_bytes()
        for element in (b"\x28\x00\x20\x01", b"\x28\x00\x21\x01"):
            assert element + b"SS" in content
            content = content.replace(element + b"SS", element + vr)
        path.write_bytes(content)
        np.testing.assert_array_equal(decoded(path).values, [[999, -1024, -1024, 3001]])

    def test_unsigned_pixels_with_a_value_stated_as_signed(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", make_dataset(pixels=unsigned([63536, 1024]), PixelPaddingValue=63536))
        content = path.read_bytes()
        assert b"\x28\x00\x20\x01US" in content
        path.write_bytes(content.replace(b"\x28\x00\x20\x01US", b"\x28\x00\x20\x01SS"))
        np.testing.assert_array_equal(decoded(path).values, [[-1024, 0]])

    def test_a_value_beyond_the_stored_bits_is_looked_for_in_all_of_them(self, tmp_path: Path) -> None:
        # 63536 is -2000 in 16 bits and 2096 in 12: a pixel of 2096 is bone
        values = values_of(tmp_path, pixels=unsigned([63536, 2096]), PixelPaddingValue=63536, **TWELVE_BITS)
        np.testing.assert_array_equal(values, [[-1024, 1072]])

    def test_padding_under_an_overlay_is_padding(self, tmp_path: Path) -> None:
        values = values_of(
            tmp_path, pixels=unsigned([4000, 0x1000 | 4000, 4001]), PixelPaddingValue=4000, **TWELVE_BITS
        )
        np.testing.assert_array_equal(values, [[-1024, -1024, 2977]])

    def test_signed_12_bits_with_and_without_the_sign_above(self, tmp_path: Path) -> None:
        pixels = unsigned([0xF830, 0x0830, 0x0831]).view(np.int16)
        for stated in (-2000, 0x0830):
            tags: dict[str, Any] = {"PixelPaddingValue": stated, "RescaleIntercept": 3000.0}
            values = values_of(tmp_path, pixels=pixels, **tags, **TWELVE_BITS)
            np.testing.assert_array_equal(values, [[-1024, -1024, 1001]])

    def test_a_negative_slope_makes_the_lowest_value_bright(self, tmp_path: Path) -> None:
        tags: dict[str, Any] = {"PixelPaddingValue": -2000, "RescaleSlope": -1.0}
        values = values_of(tmp_path, pixels=signed([-2000, -1500]), **tags)
        np.testing.assert_array_equal(values, [[-1024, 476]])
        tags["PixelPaddingRangeLimit"] = 3000  # -4024 HU
        values = values_of(tmp_path, pixels=signed([-2001, -2000, 3000]), **tags)
        np.testing.assert_array_equal(values, [[977, -1024, -1024]])

    def test_other_modalities_keep_it(self, tmp_path: Path) -> None:
        values = values_of(tmp_path, pixels=signed([5000, 24]), PixelPaddingValue=5000, Modality="MR")
        np.testing.assert_array_equal(values, [[3976, -1000]])


WRAPPED: dict[str, Any] = {**TWELVE_BITS, "PixelRepresentation": 0, "RescaleIntercept": 0.0}


class TestWrap:
    def test_is_repaired_and_told(self, tmp_path: Path) -> None:
        # 3096 + 1000 wraps to 0, that is -1000 HU; 40 is 40 HU; 3095 is the highest value that does not wrap
        image = decoded(
            write_dataset(tmp_path / "a.dcm", make_dataset(pixels=unsigned([3096, 40], [3095, 4095]), **WRAPPED))
        )
        np.testing.assert_array_equal(image.values, [[-1000, 40], [3095, -1]])
        assert [warning.code for warning in image.warnings] == ["wrapped_12_bit"]

    @pytest.mark.parametrize("intercept", [1.0, -99.9, 0.0])
    def test_any_intercept_above_minus_100_is_replaced(self, tmp_path: Path, intercept: float) -> None:
        tags = WRAPPED | {"RescaleIntercept": intercept, "RescaleSlope": 2.0}
        values = values_of(tmp_path, pixels=unsigned([3096, 1000]), **tags)
        np.testing.assert_array_equal(values, [[-1000, 3000]])

    @pytest.mark.parametrize(
        "change",
        [
            {"BitsStored": 16, "HighBit": 15},
            {"BitsStored": 11, "HighBit": 10},
            {"PixelRepresentation": 1},
            {"RescaleIntercept": -100.0},
            {"RescaleIntercept": -1024.0},
            {"RescaleIntercept": None},
            {"Modality": "MR"},
        ],
    )
    def test_is_not_repaired_under_other_conditions(self, tmp_path: Path, change: dict[str, Any]) -> None:
        tags = WRAPPED | change
        pixels = unsigned([1500, 1500])
        assert values_of(tmp_path, pixels=pixels, **tags)[0, 0] == 1500.0 + (tags["RescaleIntercept"] or 0.0)
        assert "wrapped_12_bit" not in codes_of(tmp_path, pixels=pixels, **tags)

    def test_a_lut_is_no_intercept(self, tmp_path: Path) -> None:
        lut = lut_of(0, [7, 9], 16)["ModalityLUTSequence"]
        image = decoded(
            write_dataset(tmp_path / "a.dcm", make_dataset(pixels=unsigned([0, 1]), ModalityLUTSequence=lut, **WRAPPED))
        )
        np.testing.assert_array_equal(image.values, [[7, 9]])
        assert image.warnings == ()


def test_a_missing_intercept_is_told(tmp_path: Path) -> None:
    missing: dict[str, Any] = {"RescaleIntercept": None, "RescaleSlope": None}
    assert codes_of(tmp_path, **missing) == ["missing_rescale"]
    assert codes_of(tmp_path, RescaleIntercept="", RescaleSlope="") == ["missing_rescale"]
    assert codes_of(tmp_path) == []
    values = values_of(tmp_path, pixels=signed([-5, 40]), **missing)
    np.testing.assert_array_equal(values, [[-5, 40]])
    assert codes_of(tmp_path, Modality="MR", **missing) == []


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": 0.0},
        {"RescaleSlope": 1e9},
        {"RescaleSlope": 1e-300},
        {"RescaleIntercept": 1e9},
        {"RescaleIntercept": -1e9},
        WRAPPED | {"RescaleSlope": 0.0},
        WRAPPED | {"RescaleIntercept": 1e30},
    ],
)
def test_a_rescale_that_is_none(tmp_path: Path, tags: dict[str, Any]) -> None:
    pixels = unsigned([1, 2])
    assert reason_of(write_dataset(tmp_path / "a.dcm", make_dataset(pixels=pixels, **tags))) == "bad_rescale"


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_malformed_rescale(tmp_path: Path, keyword: str) -> None:
    tags: dict[str, Any] = {keyword: 1.25}
    path = write_dataset(tmp_path / "a.dcm", make_dataset(**tags))
    path.write_bytes(path.read_bytes().replace(b"1.25", b"1,25"))
    assert reason_of(path) == "bad_rescale"


FLOATS: dict[str, Any] = {
    "PixelData": None,
    "BitsStored": None,
    "HighBit": None,
    "PixelRepresentation": None,
    "Rows": 2,
    "Columns": 2,
    "RescaleIntercept": 0.0,
}
SINGLE, DOUBLE = ("FloatPixelData", 32, "<f4"), ("DoubleFloatPixelData", 64, "<f8")


@pytest.mark.parametrize(("keyword", "bits", "dtype"), [SINGLE, DOUBLE])
class TestFloatPixels:
    def test_are_read(self, tmp_path: Path, keyword: str, bits: int, dtype: str) -> None:
        pixels = np.array([[1.5, 2.5], [3.5, -1e8]], dtype=dtype)
        tags = FLOATS | {keyword: pixels.tobytes(), "BitsAllocated": bits, "RescaleSlope": 2.0, "RescaleIntercept": 1.0}
        np.testing.assert_array_equal(values_of(tmp_path, **tags), [[4, 6], [8, -1024]])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e9])
    def test_must_be_numbers(self, tmp_path: Path, keyword: str, bits: int, dtype: str, value: float) -> None:
        pixels = np.array([[1.5, 2.5], [3.5, value]], dtype=dtype)
        tags = FLOATS | {keyword: pixels.tobytes(), "BitsAllocated": bits}
        assert reason_of(write_dataset(tmp_path / "a.dcm", make_dataset(**tags))) == "bad_pixels"

    def test_have_no_padding_and_no_other_bits(self, tmp_path: Path, keyword: str, bits: int, dtype: str) -> None:
        pixels = np.array([[5.0, 2.0], [3.5, 70000.25]], dtype=dtype)
        tags = FLOATS | {keyword: pixels.tobytes(), "BitsAllocated": bits, "BitsStored": 12, "HighBit": 11}
        tags |= {"PixelRepresentation": 0, "PixelPaddingValue": 5}
        np.testing.assert_array_equal(values_of(tmp_path, **tags), pixels)
        assert codes_of(tmp_path, **tags) == []


def lut_of(first: int, entries: list[int], bits: int, vr: str = "OW") -> dict[str, Any]:
    """Returns a Modality LUT in place of the rescale; entries of 8 bits stand two in a word."""
    item = sequence(LUTDescriptor=[len(entries), first, bits], ModalityLUTType="US")
    packed = np.array(entries, dtype="u1" if bits == 8 else "<u2").tobytes()
    item[0].add_new("LUTData", vr, packed + b"\0" * (len(packed) % 2) if vr == "OW" else entries)
    return {"ModalityLUTSequence": item, "RescaleIntercept": None, "RescaleSlope": None}


class TestModalityLut:
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    @pytest.mark.parametrize(("bits", "vr"), [(8, "OW"), (8, "US"), (16, "OW"), (16, "US")])
    def test_values_beyond_its_ends_take_those_of_the_ends(
        self, tmp_path: Path, bits: int, vr: str, syntax: UID
    ) -> None:
        pixels = unsigned([3, 10, 11, 12, 13, 60000])
        dataset = make_dataset(pixels=pixels, **lut_of(10, [7, 100, 201], bits, vr))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        image = decoded(write_dataset(tmp_path / "a.dcm", dataset))
        np.testing.assert_array_equal(image.values, [[7, 7, 100, 201, 201, 201]])
        assert image.warnings == ()

    def test_in_big_endian(self, tmp_path: Path) -> None:
        pixels = unsigned([3, 10, 11, 12])
        dataset = make_dataset(pixels=pixels.byteswap(), **lut_of(10, [7, 100, 2001], 16, "US"))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        image = decoded(write_dataset(tmp_path / "a.dcm", dataset))
        np.testing.assert_array_equal(image.values, [[7, 7, 100, 2001]])

    @pytest.mark.parametrize(("bits", "vr"), [(8, "US"), (16, "OW")])  # pydicom knows no packed bytes
    def test_equals_that_of_pydicom(self, tmp_path: Path, bits: int, vr: str) -> None:
        entries = [int(value) for value in np.random.default_rng(3).integers(0, 2**bits, 40)]
        pixels = np.arange(-30, 30, dtype=np.int16).reshape(6, 10)
        path = write_dataset(tmp_path / "a.dcm", make_dataset(pixels=pixels, **lut_of(-20, entries, bits, vr)))
        dataset = pydicom.dcmread(path)
        expected = apply_modality_lut(dataset.pixel_array.copy(), dataset)
        np.testing.assert_array_equal(decoded(path).values, expected)

    def test_a_first_value_with_the_wrong_sign(self, tmp_path: Path) -> None:
        pixels = signed([-1001, -1000, -999, -998, 5])
        path = write_dataset(tmp_path / "a.dcm", make_dataset(pixels=pixels, **lut_of(-1000, [3, 4, 5], 16)))
        content = path.read_bytes()
        descriptor = b"\x28\x00\x02\x30"
        assert descriptor + b"SS" in content
        path.write_bytes(content.replace(descriptor + b"SS", descriptor + b"US"))
        np.testing.assert_array_equal(decoded(path).values, [[3, 3, 4, 5, 5]])

    def test_comes_before_a_rescale_and_applies_to_every_modality(self, tmp_path: Path) -> None:
        tags = lut_of(0, [50, 60], 16) | {"RescaleIntercept": -1024.0, "RescaleSlope": 1.0, "Modality": "MR"}
        np.testing.assert_array_equal(values_of(tmp_path, pixels=signed([0, 1]), **tags), [[50, 60]])

    def test_padding_is_air_all_the_same(self, tmp_path: Path) -> None:
        tags = lut_of(0, [50, 60], 16) | {"PixelPaddingValue": -2000}
        np.testing.assert_array_equal(values_of(tmp_path, pixels=signed([-2000, 1]), **tags), [[-1024, 60]])
