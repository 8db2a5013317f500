from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, UID, DeflatedExplicitVRLittleEndian, RLELossless

from dicom_files import head_values, make_dataset, write_dataset
from slicewise.errors import UnreadableFileError
from slicewise.imaging.decode import decode_slice
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.results import Rejection


def decoded(tmp_path: Path, **tags: Any) -> np.ndarray:
    return decode_slice(write_dataset(tmp_path / "a.dcm", make_dataset(**tags))).values


def reason(path: Path) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        decode_slice(path)
    assert path.name in str(caught.value)
    return caught.value.reason


def test_values_of_a_real_scan_equal_an_independent_reading(shared_data: Path) -> None:
    for number in (1, 15, 28):
        path = shared_data / "ct_head" / "ge_tilted_variable_spacing" / f"{number:02d}.dcm"
        dataset = pydicom.dcmread(path)
        stored = np.frombuffer(dataset.PixelData, "<i2").reshape(512, 512).astype(np.float64)
        expected = np.clip(stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept), -1024, None)
        image = decode_slice(path)
        assert image.values.dtype == np.float32
        np.testing.assert_array_equal(image.values, expected)
        assert image.warnings == ()


def test_all_decodable_transfer_syntaxes_give_the_same_pixels(shared_data: Path) -> None:
    folder = shared_data / "transfer_syntaxes"
    reference = np.frombuffer(pydicom.dcmread(folder / "1.dcm").PixelData, "<u2").reshape(384, 384)
    plain_or_bundled = {"1.dcm", "2.dcm", "3.dcm", "4.dcm"}
    seen = set()
    for path in sorted(folder.glob("*.dcm")):
        try:
            values = decode_slice(path).values
        except UnreadableFileError as error:
            assert error.reason == "unsupported_transfer_syntax"  # noqa: PT017 - decoders are optional
            assert "no decoder is installed for its transfer syntax JPEG" in str(error)  # noqa: PT017 - likewise
        else:
            np.testing.assert_array_equal(values, reference)
            seen.add(path.name)
    assert plain_or_bundled <= seen


def test_slope_and_intercept_are_fractions(tmp_path: Path) -> None:
    pixels = np.array([[0, 1], [2, 1000]], dtype=np.int16)
    values = decoded(tmp_path, pixels=pixels, RescaleSlope=0.25, RescaleIntercept=-10.5)
    np.testing.assert_array_equal(values, [[-10.5, -10.25], [-10.0, 239.5]])


def test_monochrome1_changes_the_display_not_the_values(tmp_path: Path) -> None:
    values = decoded(tmp_path, values=head_values(1)[0], PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(values, head_values(1)[0])


@pytest.mark.parametrize("keyword", ["PixelPaddingValue", "RescaleIntercept"])
def test_air_is_the_floor(tmp_path: Path, keyword: str) -> None:
    pixels = np.array([[-2000, 24], [1024, 2000]], dtype=np.int16)
    tags = {"PixelPaddingValue": -2000} if keyword == "PixelPaddingValue" else {}
    np.testing.assert_array_equal(decoded(tmp_path, pixels=pixels, **tags), [[-1024, -1000], [0, 976]])


def test_padding_above_the_floor_is_air(tmp_path: Path) -> None:
    pixels = np.array([[5000, 24], [5010, 1024]], dtype=np.int16)
    one = decoded(tmp_path, pixels=pixels, PixelPaddingValue=5000)
    np.testing.assert_array_equal(one, [[-1024, -1000], [3986, 0]])
    both = decoded(tmp_path, pixels=pixels, PixelPaddingValue=5010, PixelPaddingRangeLimit=5000)
    np.testing.assert_array_equal(both, [[-1024, -1000], [-1024, 0]])


def test_padding_of_signed_pixels_stated_as_unsigned(tmp_path: Path) -> None:
    path = write_dataset(
        tmp_path / "a.dcm", make_dataset(pixels=np.array([[-30000, 1024]], dtype=np.int16), PixelPaddingValue=-30000)
    )
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x20\x01SS")
    path.write_bytes(content[: at + 4] + b"US" + content[at + 6 :])
    np.testing.assert_array_equal(decode_slice(path).values, [[-1024, 0]])


WRAPPED: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": 0.0}


def test_wrapped_12_bit_values_are_repaired_and_told(tmp_path: Path) -> None:
    # 3096 + 1000 wraps to 0, that is -1000 HU; 40 is 40 HU; 3095 is the highest value that does not wrap
    pixels = np.array([[3096, 40], [3095, 4095]], dtype=np.uint16)
    image = decode_slice(write_dataset(tmp_path / "a.dcm", make_dataset(pixels=pixels, **WRAPPED)))
    np.testing.assert_array_equal(image.values, [[-1000, 40], [3095, -1]])
    assert [warning.code for warning in image.warnings] == ["wrapped_12_bit"]


@pytest.mark.parametrize(
    "change",
    [
        {"BitsStored": 16, "HighBit": 15},
        {"PixelRepresentation": 1},
        {"RescaleIntercept": -100.0},
        {"RescaleIntercept": -1024.0},
        {"RescaleIntercept": None},
        {"Modality": "MR"},
    ],
)
def test_nothing_is_unwrapped_under_other_conditions(tmp_path: Path, change: dict[str, Any]) -> None:
    tags = WRAPPED | change
    image = decode_slice(
        write_dataset(tmp_path / "a.dcm", make_dataset(pixels=np.full((2, 2), 1500, dtype=np.uint16), **tags))
    )
    assert image.values[0, 0] == 1500.0 + (tags["RescaleIntercept"] or 0.0)
    assert "wrapped_12_bit" not in [warning.code for warning in image.warnings]


def test_a_missing_intercept_is_told(tmp_path: Path) -> None:
    dataset = make_dataset(RescaleIntercept=None, RescaleSlope=None)
    image = decode_slice(write_dataset(tmp_path / "a.dcm", dataset))
    assert [warning.code for warning in image.warnings] == ["missing_rescale"]


def test_deflated_and_bare_datasets(tmp_path: Path) -> None:
    dataset = make_dataset(values=head_values(1)[0])
    dataset.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(decode_slice(tmp_path / "bare").values, head_values(1)[0])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    np.testing.assert_array_equal(decode_slice(write_dataset(tmp_path / "z", dataset)).values, head_values(1)[0])


def test_truncated_pixel_data(tmp_path: Path) -> None:
    whole = write_dataset(tmp_path / "a.dcm", make_dataset()).read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[:-100])
    assert reason(path) == "truncated"
    assert reason(write_dataset(tmp_path / "short.dcm", make_dataset(PixelData=bytes(100)))) == "truncated"


def compressed(syntax: str, frame: bytes) -> Dataset:
    dataset = make_dataset(PixelData=encapsulate([frame]))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def test_compressed_pixels_that_cannot_be_decoded(tmp_path: Path) -> None:
    assert reason(write_dataset(tmp_path / "a.dcm", compressed(RLELossless, bytes(128)))) == "undecodable"
    path = write_dataset(tmp_path / "b.dcm", compressed(RLELossless, bytes(128)))
    path.write_bytes(path.read_bytes()[:-20])
    assert reason(path) in {"truncated", "undecodable"}


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.9", str(MPEG2MPML)])
def test_an_unknown_transfer_syntax_is_named(tmp_path: Path, syntax: str) -> None:
    path = write_dataset(tmp_path / "a.dcm", compressed(RLELossless, bytes(128)))
    content = path.read_bytes().replace(b"UI\x14\x00" + RLELossless.encode() + b"\0", _stored_uid(syntax))
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=syntax) as caught:
        decode_slice(path)
    assert caught.value.reason == "unsupported_transfer_syntax"


def _stored_uid(uid: str) -> bytes:
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return b"UI" + len(value).to_bytes(2, "little") + value


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelData": None}, "no_pixel_data"),
        ({"Rows": None}, "missing_tag"),
        ({"Rows": 0}, "bad_matrix"),
        ({"Columns": 4097}, "bad_matrix"),
        ({"NumberOfFrames": 2}, "multiframe"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "not_grayscale"),
        ({"RescaleSlope": 0.0}, "bad_rescale"),
        ({"PhotometricInterpretation": None}, "undecodable"),
    ],
)
def test_reasons(tmp_path: Path, tags: dict[str, Any], expected: str) -> None:
    assert reason(write_dataset(tmp_path / "a.dcm", make_dataset(**tags))) == expected


FLOATS: dict[str, Any] = {
    "PixelData": None,
    "BitsAllocated": 32,
    "BitsStored": None,
    "HighBit": None,
    "PixelRepresentation": None,
    "Rows": 2,
    "Columns": 2,
    "RescaleIntercept": 0.0,
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e9])
def test_float_pixels_must_be_numbers(tmp_path: Path, value: float) -> None:
    pixels = np.array([[1.5, 2.5], [3.5, value]], dtype="<f4")
    path = write_dataset(tmp_path / "a.dcm", make_dataset(FloatPixelData=pixels.tobytes(), **FLOATS))
    assert reason(path) == "bad_pixels"


def test_float_pixels_are_read(tmp_path: Path) -> None:
    pixels = np.array([[1.5, 2.5], [3.5, -1e8]], dtype="<f4")
    values = decoded(tmp_path, FloatPixelData=pixels.tobytes(), **FLOATS)
    np.testing.assert_array_equal(values, [[1.5, 2.5], [3.5, -1024]])


class PanicError(BaseException):
    """As a panic in a plug-in written in Rust reaches Python (pyo3)."""


@pytest.mark.parametrize("error", [PanicError, MemoryError, ZeroDivisionError, OSError, StopIteration])
def test_whatever_a_decoder_raises_concerns_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def refuse(_: object) -> None:
        raise error("of the plug-in")

    monkeypatch.setattr("slicewise.imaging.decode.pixel_array", refuse)
    assert reason(write_dataset(tmp_path / "a.dcm", make_dataset())) == "undecodable"


def test_an_interruption_is_no_error_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slicewise.imaging.decode.pixel_array", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_slice(write_dataset(tmp_path / "a.dcm", make_dataset()))


def test_a_decoder_that_gives_another_shape_than_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slicewise.imaging.decode.pixel_array", lambda _: np.zeros((64, 1), dtype=np.int16))
    assert reason(write_dataset(tmp_path / "a.dcm", make_dataset())) == "undecodable"


def test_a_malformed_slope(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", make_dataset(RescaleSlope=1.25))
    path.write_bytes(path.read_bytes().replace(b"1.25", b"1,25"))
    assert reason(path) == "bad_rescale"


def test_what_is_not_there_or_not_dicom(tmp_path: Path) -> None:
    assert reason(tmp_path / "nowhere.dcm") == "unreadable_path"
    (tmp_path / "text.dcm").write_text("a note")
    assert reason(tmp_path / "text.dcm") == "not_dicom"


def test_threads_decode_without_a_warning(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"StudyInstanceUID": "ID_1", "SeriesInstanceUID": "ID_2", "sop_uid": "ID_3"}
    paths = [write_dataset(tmp_path / f"{index}.dcm", make_dataset(**tags)) for index in range(20)]
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(decode_slice, paths))
    assert len(images) == 20
    assert list(warnings.filters) == before


def test_mutated_files_give_a_header_a_rejection_or_pixels_and_nothing_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(20240229)
    original = write_dataset(tmp_path / "original", make_dataset(values=head_values(1, 16)[0], PixelPaddingValue=-5))
    whole = original.read_bytes()
    header_length = len(whole) - 2 * 16 * 16
    path = tmp_path / "mutated.dcm"
    headers = rejections = 0
    for _ in range(200):
        content = bytearray(whole)
        for position in generator.integers(128, header_length, generator.integers(1, 6)):
            content[position] = generator.integers(0, 256)
        path.write_bytes(content)
        (found,) = discover([path])
        if isinstance(found, Rejection):
            rejections += 1
            assert found.reason
            continue
        assert isinstance(found, SliceHeader)
        headers += 1
        try:
            image = decode_slice(path)
        except UnreadableFileError as error:
            assert error.reason  # noqa: PT017 - either outcome is right
        else:
            assert image.values.shape == (found.rows, found.columns)
            assert np.isfinite(image.values).all()
    assert headers > 20
    assert rejections > 20
