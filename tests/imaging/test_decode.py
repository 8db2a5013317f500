from __future__ import annotations

import io
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from msgspec.structs import replace
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from codestream_samples import IMAGE, SAMPLES
from decoding import by_pydicom, by_simpleitk, decoded, headers_of, reason_of
from dicom_files import encapsulated, head_values, make_dataset, make_enhanced, write_dataset, write_series
from slicewise.errors import UnreadableFileError
from slicewise.imaging.decode import decode_file, decode_slice
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.hounsfield import DecodedSlice
from slicewise.imaging.reasons import REASONS
from slicewise.results import Rejection
from slicewise.source import Source

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def stored_as(path: Path, pixels: npt.NDArray[Any], syntax: UID, **tags: Any) -> Path:
    """Writes an image of any number of bits in a plain transfer syntax."""
    bits = 8 * pixels.itemsize
    description = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    content = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    dataset = make_dataset(pixels=pixels, **(description | {"PixelData": content + b"\0" * (len(content) % 2)} | tags))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return write_dataset(path, dataset)


def noisy(dtype: str, shape: tuple[int, ...] = (6, 10)) -> npt.NDArray[Any]:
    limits = np.iinfo(dtype)
    return np.random.default_rng(5).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_plain_numbers_equal_those_of_pydicom(tmp_path: Path, dtype: str, syntax: UID) -> None:
    path = stored_as(tmp_path / "a.dcm", noisy(dtype), syntax, RescaleIntercept=20.5, RescaleSlope=0.5)
    np.testing.assert_allclose(decoded(path).values, by_pydicom(path), rtol=1e-6)


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("shape", [(4, 6), (3, 5)])
def test_pixels_of_8_bits_in_big_endian(tmp_path: Path, shape: tuple[int, int], vr: str) -> None:
    pixels = noisy("u1", shape)
    content = pixels.tobytes() + b"\0" * (pixels.size % 2)
    if vr == "OW":  # the words of 16 bits are swapped
        content = np.frombuffer(content, "<u2").astype(">u2").tobytes()
    path = stored_as(tmp_path / "a.dcm", pixels, ExplicitVRBigEndian, PixelData=content, RescaleIntercept=0.0)
    dataset = pydicom.dcmread(path)
    dataset["PixelData"].VR = vr
    path = write_dataset(path, dataset)
    np.testing.assert_array_equal(decoded(path).values, pixels)
    np.testing.assert_array_equal(by_pydicom(path), pixels)


def test_frames_of_an_odd_number_of_swapped_pixels(tmp_path: Path) -> None:
    pixels = noisy("u1", (3, 3, 5))
    content = np.frombuffer(pixels.tobytes() + b"\0", "<u2").astype(">u2").tobytes()
    tags: dict[str, Any] = {
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelData": content,
        "PixelRepresentation": 0,
    }
    dataset = make_enhanced(pixels.astype(np.uint16), **tags)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    headers = headers_of(write_dataset(tmp_path / "a.dcm", dataset))
    for header, frame in zip(headers, pixels, strict=True):
        np.testing.assert_array_equal(decode_slice(header).values, frame - 1024.0)


def test_a_file_without_preamble_and_meta_header(tmp_path: Path) -> None:
    whole = write_dataset(tmp_path / "a.dcm", make_dataset()).read_bytes()
    start = whole.index(b"\x08\x00\x08\x00CS")
    (tmp_path / "bare").write_bytes(whole[start:])
    np.testing.assert_array_equal(decoded(tmp_path / "bare").values, head_values(1)[0])


@pytest.mark.parametrize("folder", ["ct_head/ge_tilted_variable_spacing", "ct_head/philips_disc"])
def test_every_real_ct_equals_simpleitk(shared_data: Path, folder: str) -> None:
    headers = [item for item in discover([shared_data / folder]) if isinstance(item, SliceHeader)]
    scans = [header for header in headers if header.modality == "CT" and header.pixels and header.pixels.samples == 1]
    assert len(scans) >= 28
    for header in scans:
        image = decode_slice(header)
        assert image.warnings == ()
        np.testing.assert_array_equal(image.values, np.maximum(by_simpleitk(Path(header.source.path)), -1024))


def test_all_transfer_syntaxes_give_the_same_pixels(shared_data: Path) -> None:
    paths = sorted((shared_data / "transfer_syntaxes").glob("*.dcm"))
    assert len({pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in paths}) > 5
    reference = np.frombuffer(pydicom.dcmread(paths[0]).PixelData, "<u2").reshape(384, 384)
    for path in paths:
        np.testing.assert_array_equal(decoded(path).values, reference)
    assert len(paths) == 9


class TestTruncated:
    def test_too_few_pixels(self, tmp_path: Path) -> None:
        whole = write_dataset(tmp_path / "whole.dcm", make_dataset())
        (tmp_path / "cut.dcm").write_bytes(whole.read_bytes()[:-100])
        assert reason_of(tmp_path / "cut.dcm") == "truncated"
        assert reason_of(write_dataset(tmp_path / "short.dcm", make_dataset(PixelData=bytes(100)))) == "truncated"

    def test_a_file_that_became_shorter(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", make_dataset())
        (header,) = headers_of(path)
        path.write_bytes(path.read_bytes()[:-1])
        assert reason_to_decode(header) == "truncated"

    @pytest.mark.parametrize("cut", [1, 20, 200])
    def test_compressed_pixels(self, tmp_path: Path, cut: int) -> None:
        path = write_dataset(tmp_path / "a.dcm", jpeg_ls())
        content = path.read_bytes()
        end = content.rindex(b"\xfe\xff\xdd\xe0")
        path.write_bytes(content[: end - cut])
        assert reason_of(path) == "truncated"

    def test_a_deflated_dataset(self, tmp_path: Path) -> None:
        path = stored_as(tmp_path / "a.dcm", noisy("i2"), DeflatedExplicitVRLittleEndian)
        (header,) = headers_of(path)
        path.write_bytes(path.read_bytes()[:-20])
        assert reason_to_decode(header) == "truncated"


def reason_to_decode(header: SliceHeader) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        decode_slice(header)
    assert header.file in str(caught.value)
    assert caught.value.reason in REASONS
    return caught.value.reason


def jpeg_ls(**tags: Any) -> pydicom.Dataset:
    dataset = make_dataset(pixels=IMAGE, BitsStored=12, HighBit=11, **tags)
    return encapsulated(dataset, JPEGLSLossless, [SAMPLES["jpeg_ls"].codestream])


class TestFilesThatChange:
    """Files that are not the same any more when their pixels are read."""

    def test_the_pixels_moved(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", make_dataset())
        (header,) = headers_of(path)
        write_dataset(path, make_dataset(SeriesDescription="HEAD 5MM THIN"))
        with pytest.raises(UnreadableFileError, match="was changed after its header had been read") as caught:
            decode_slice(header)
        assert caught.value.reason == "undecodable"

    def test_the_number_of_pixels_changed(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", make_dataset())
        (header,) = headers_of(path)
        write_dataset(path, make_dataset(pixels=np.zeros((64, 128), np.int16)))
        assert reason_to_decode(header) == "undecodable"

    @pytest.mark.parametrize("syntax", PLAIN)
    def test_something_else_stands_there(self, tmp_path: Path, syntax: UID) -> None:
        path = stored_as(tmp_path / "a.dcm", noisy("i2"), syntax)
        (header,) = headers_of(path)
        (tmp_path / "other").mkdir()
        other = write_series(tmp_path / "other", slices=1, matrix=32)[0]
        shutil.copy(other, path)
        assert reason_to_decode(header) in {"undecodable", "malformed", "truncated"}

    def test_it_is_gone(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", make_dataset())
        (header,) = headers_of(path)
        path.unlink()
        assert reason_to_decode(header) == "unreadable_path"


class BrokenStream(io.BytesIO):
    """A file on a disk that cannot be read where one frame lies."""

    bad = range(0)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() in self.bad:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_frame_that_the_disk_cannot_read_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noisy("i2", (4, 6, 8))
    headers = headers_of(write_dataset(tmp_path / "a.dcm", make_enhanced(pixels)))
    assert headers[0].pixels is not None
    start, size = headers[0].pixels.offset, 2 * 6 * 8

    def broken(source: Source) -> BinaryIO:
        stream = BrokenStream(Path(source.path).read_bytes())
        stream.bad = range(start + size, start + 2 * size)
        return stream

    monkeypatch.setattr(Source, "open", broken)
    found = list(decode_file(headers))
    assert [isinstance(item, DecodedSlice) for item in found] == [True, False, True, True]
    assert isinstance(found[1], UnreadableFileError)
    assert found[1].reason == "unreadable_path"
    assert "Input/output error" in str(found[1])


def test_a_file_that_cannot_be_opened_tells_so_for_every_frame(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", make_enhanced(noisy("i2", (3, 4, 4))))
    headers = headers_of(path)
    path.unlink()
    found = list(decode_file(headers))
    assert [getattr(item, "reason", "") for item in found] == ["unreadable_path"] * 3


def test_frames_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    pixels = noisy("i2", (4, 6, 8))
    headers = headers_of(write_dataset(tmp_path / "a.dcm", make_enhanced(pixels)))
    for order in ([2, 0, 3], [1], [3, 3]):
        images = [
            image.values
            for image in decode_file([headers[index] for index in order])
            if isinstance(image, DecodedSlice)
        ]
        np.testing.assert_array_equal(images, np.maximum(pixels[order] - 1024.0, -1024))


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelData": None}, "no_pixel_data"),
        ({"Rows": None}, "missing_tag"),
        ({"Rows": 0}, "bad_matrix"),
        ({"Columns": 4097}, "bad_matrix"),
        ({"NumberOfFrames": 2, "PixelData": bytes(2 * 2 * 64 * 64)}, "multiframe"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PixelData": bytes(3 * 2 * 64 * 64)},
            "not_grayscale",
        ),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not_grayscale"),
        ({"BitsAllocated": 12}, "undecodable"),
        ({"BitsAllocated": 1}, "undecodable"),
    ],
)
def test_reasons(tmp_path: Path, tags: dict[str, Any], expected: str) -> None:
    assert reason_of(write_dataset(tmp_path / "a.dcm", make_dataset(**tags))) == expected


def test_a_missing_photometric_interpretation_is_grey(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", make_dataset(PhotometricInterpretation=None))
    np.testing.assert_array_equal(decoded(path).values, head_values(1)[0])
    compressed = write_dataset(tmp_path / "b.dcm", jpeg_ls(PhotometricInterpretation=None))
    np.testing.assert_array_equal(decoded(compressed).values, IMAGE - 1024.0)


class TestTransferSyntaxes:
    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.9", str(MPEG2MPML), "1.2.3"])
    def test_an_unknown_one_is_named(self, tmp_path: Path, syntax: str) -> None:
        path = write_dataset(tmp_path / "a.dcm", jpeg_ls())
        (header,) = headers_of(path)
        assert header.pixels is not None
        with pytest.raises(UnreadableFileError, match=rf"transfer syntax .*\({syntax}\)") as caught:
            decode_slice(replace(header, pixels=replace(header.pixels, transfer_syntax=syntax)))
        assert caught.value.reason == "unsupported_transfer_syntax"

    def test_fragments_are_no_plain_numbers(self, tmp_path: Path) -> None:
        dataset = jpeg_ls()
        dataset.file_meta.TransferSyntaxUID = RLELossless
        path = write_dataset(tmp_path / "a.dcm", dataset)
        stated = b"UI\x14\0" + RLELossless.encode() + b"\0"
        assert stated in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(stated, b"UI\x14\0" + ExplicitVRLittleEndian.encode() + b"\0"))
        assert reason_of(path) == "undecodable"

    def test_plain_numbers_are_no_fragments(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", make_dataset())
        (header,) = headers_of(path)
        assert header.pixels is not None
        wrong = replace(header, pixels=replace(header.pixels, transfer_syntax=RLELossless))
        with pytest.raises(
            UnreadableFileError, match="are plain, and its transfer syntax says that they are compressed"
        ):
            decode_slice(wrong)

    @pytest.mark.parametrize("content", [b"", bytes(16), b"\xfe\xff\x00\xe0\0\0\0\0"])
    def test_pixel_data_without_an_image(self, tmp_path: Path, content: bytes) -> None:
        path = write_dataset(tmp_path / "a.dcm", jpeg_ls())
        whole = path.read_bytes()
        start = whole.rindex(b"\xe0\x7f\x10\x00") + 12
        path.write_bytes(whole[:start] + content + b"\xfe\xff\xdd\xe0\0\0\0\0")
        assert reason_of(path) == "undecodable"

    def test_an_image_that_is_none(self, tmp_path: Path) -> None:
        path = write_dataset(tmp_path / "a.dcm", encapsulated(make_dataset(), RLELossless, [bytes(128)]))
        assert reason_of(path) == "undecodable"

    def test_fragments_of_one_image(self, tmp_path: Path) -> None:
        dataset = make_dataset(pixels=IMAGE, BitsStored=12, HighBit=11)
        sample = SAMPLES["jpeg_ls"]
        path = write_dataset(tmp_path / "a.dcm", encapsulated(dataset, sample.syntax, [sample.codestream], fragments=3))
        np.testing.assert_array_equal(decoded(path).values, IMAGE - 1024.0)


def multiframe(syntax: str, codestreams: list[bytes], **options: Any) -> pydicom.Dataset:
    pixels = np.zeros((len(codestreams), 16, 16), np.uint16)
    return encapsulated(make_enhanced(pixels, BitsStored=12, HighBit=11), syntax, codestreams, **options)


@pytest.mark.parametrize("has_offsets", [True, False])
@pytest.mark.parametrize("fragments", [1, 2])
def test_compressed_frames(tmp_path: Path, fragments: int, has_offsets: bool) -> None:  # noqa: FBT001 - a case
    lossless, near = SAMPLES["jpeg_ls"], SAMPLES["jpeg_ls_near"]  # one decoder reads both
    codestreams = [near.codestream, lossless.codestream, near.codestream]
    dataset = multiframe(near.syntax, codestreams, fragments=fragments, has_offsets=has_offsets)
    images = [decode_slice(header).values for header in headers_of(write_dataset(tmp_path / "a.dcm", dataset))]
    expected = [IMAGE + near.error - 1024.0, IMAGE - 1024.0, IMAGE + near.error - 1024.0]
    np.testing.assert_array_equal(images, expected)


def test_a_damaged_frame_leaves_the_others(tmp_path: Path) -> None:
    sample = SAMPLES["jpeg_ls"]
    damaged = sample.codestream[:40] + b"\xff\xd9"
    dataset = multiframe(sample.syntax, [sample.codestream, damaged, sample.codestream])
    found = list(decode_file(headers_of(write_dataset(tmp_path / "a.dcm", dataset))))
    assert [getattr(item, "reason", "") for item in found] == ["", "undecodable", ""]


def test_a_missing_frame_is_told_for_all_of_them(tmp_path: Path) -> None:
    sample = SAMPLES["jpeg_ls"]
    dataset = multiframe(sample.syntax, [sample.codestream] * 3)
    dataset.PixelData = encapsulate([sample.codestream] * 2)
    dataset["PixelData"].is_undefined_length = True
    found = list(decode_file(headers_of(write_dataset(tmp_path / "a.dcm", dataset))))
    assert [getattr(item, "reason", "") for item in found] == ["undecodable"] * 3


def test_threads_decode_without_a_warning(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"StudyInstanceUID": "ID_1", "SeriesInstanceUID": "ID_2", "sop_uid": "ID_3"}
    paths = [write_dataset(tmp_path / f"{index}.dcm", make_dataset(**tags)) for index in range(20)]
    headers = headers_of(*paths)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(decode_slice, headers))
    assert len(images) == 20
    assert list(warnings.filters) == before


@pytest.mark.parametrize("make", [lambda: make_dataset(values=head_values(1, 16)[0], PixelPaddingValue=-5), jpeg_ls])
def test_mutated_files_give_a_header_a_rejection_or_pixels_and_nothing_else(
    tmp_path: Path, make: Callable[[], pydicom.Dataset]
) -> None:
    generator = np.random.default_rng(20240229)
    whole = write_dataset(tmp_path / "original", make()).read_bytes()
    header_length = whole.rindex(b"\xe0\x7f\x10\x00") + 12
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
            assert found.reason in REASONS
            continue
        headers += 1
        (image,) = decode_file([found])
        if isinstance(image, UnreadableFileError):
            assert image.reason in REASONS
        else:
            assert image.values.shape == (found.rows, found.columns)
            assert np.isfinite(image.values).all()
    assert headers > 20
    assert rejections > 20
