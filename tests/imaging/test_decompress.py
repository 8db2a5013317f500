from __future__ import annotations

import io
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000MC,
    MPEG2MPML,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from codestream_samples import IMAGE, SAMPLES, SIGNED_IMAGE
from decoding import by_simpleitk, decoded, headers_of
from dicom_files import encapsulated, head_values, make_dataset, write_dataset
from slicewise.imaging.codestream import find_frames, read_fragments
from slicewise.imaging.decompress import can_decompress, decompress
from slicewise.imaging.header import PixelDescription, SliceHeader

ALL = (
    *(RLELossless, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless),
    *(JPEGLSNearLossless, JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
)


def description(syntax: str, *, allocated: int = 16, stored: int = 12, is_signed: bool = False) -> PixelDescription:
    return PixelDescription(
        transfer_syntax=syntax,
        keyword="PixelData",
        offset=0,
        length=None,
        frames=1,
        samples=1,
        photometric="MONOCHROME2",
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1,
        signed=is_signed,
        padding=None,
        states_intercept=True,
        intercept=0.0,
        slope=1.0,
    )


def first_codestream(header: SliceHeader) -> bytes:
    assert header.pixels is not None
    with header.source.open() as stream:
        stream.seek(header.pixels.offset)
        return read_fragments(stream, find_frames(stream, header.pixels.frames)[0])


def shipped(name: str) -> Path:
    """Returns a file that comes with pydicom."""
    return Path(str(get_testdata_file(name, download=False)))


def in_this_process(path: Path) -> npt.NDArray[Any]:
    (header,) = headers_of(path)
    assert header.pixels is not None
    return decompress(first_codestream(header), header.pixels, header.rows, header.columns)


def noisy(dtype: str, low: int, high: int, shape: tuple[int, int] = (33, 38)) -> npt.NDArray[Any]:
    return np.random.default_rng(7).integers(low, high, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("name", SAMPLES)
def test_images_of_other_encoders_equal_what_independent_decoders_make_of_them(name: str) -> None:
    sample = SAMPLES[name]
    is_signed = name == "jpeg_lossless_signed"
    pixels = description(sample.syntax, stored=16 if is_signed else 12, is_signed=is_signed)
    stored = decompress(sample.codestream, pixels, 16, 16)
    assert stored.dtype == (np.int16 if is_signed else np.uint16)
    expected = (SIGNED_IMAGE if is_signed else IMAGE) + sample.error.astype(np.int32)
    np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize("name", ["jpeg_ls_near", "jpeg_extended", "htj2k_lossy"])
def test_lossy_images_are_near_their_originals(name: str) -> None:
    error = np.abs(SAMPLES[name].error)
    assert 0 < error.max() <= (2 if name == "jpeg_ls_near" else 4)


def compressed(path: Path, pixels: npt.NDArray[Any], syntax: UID, bits: int, **options: Any) -> Path:
    """Writes an image, compressed by pydicom and the encoders that it calls."""
    tags: dict[str, Any] = {"BitsAllocated": 8 * pixels.itemsize, "BitsStored": bits, "HighBit": bits - 1}
    dataset = make_dataset(pixels=pixels, RescaleIntercept=0.0, Modality="MR", **tags)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(syntax, generate_instance_uid=False, **options)
    return write_dataset(path, dataset)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_images_come_back(tmp_path: Path, syntax: UID, is_signed: bool, bits: int) -> None:  # noqa: FBT001
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    pixels = noisy(f"{'i' if is_signed else 'u'}{1 if bits == 8 else 2}", low, high)
    path = compressed(tmp_path / "a.dcm", pixels, syntax, bits)
    stored = in_this_process(path)
    assert stored.dtype == pixels.dtype
    np.testing.assert_array_equal(stored, pixels)
    np.testing.assert_array_equal(decoded(path).values, pixels)


def test_32_bits_in_rle() -> None:
    plain, packed = (shipped(name) for name in ("rtdose_1frame.dcm", "rtdose_rle_1frame.dcm"))
    stored = in_this_process(packed)
    assert stored.dtype == np.uint32
    np.testing.assert_array_equal(stored, pydicom.dcmread(plain).pixel_array)


def test_rle_keeps_the_bits_that_are_not_stored_until_the_header_is_asked(tmp_path: Path) -> None:
    pixels = np.array([[0x4010, 0xFFFF], [0x001F, 0x8000]], dtype=np.uint16)
    dataset = make_dataset(pixels=pixels, BitsStored=12, HighBit=15, RescaleIntercept=-100.0)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.BitsStored, dataset.HighBit = 16, 15  # an encoder would take the lowest bits
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.BitsStored = 12
    path = write_dataset(tmp_path / "a.dcm", dataset)
    np.testing.assert_array_equal(in_this_process(path), pixels)
    np.testing.assert_array_equal(decoded(path).values, [[0x401 - 100, 4095 - 100], [1 - 100, 0x800 - 100]])


def test_lossy_jpeg_2000_equals_simpleitk(tmp_path: Path) -> None:
    pixels = np.rint(head_values(1, 48)[0] + 1024).astype(np.uint16)
    path = compressed(tmp_path / "a.dcm", pixels, JPEG2000, 12, j2k_psnr=[50.0])
    values = decoded(path).values
    np.testing.assert_array_equal(values, by_simpleitk(path))
    error = np.sqrt(np.mean((values - pixels.astype(np.float64)) ** 2))
    assert 0 < error < 1.1 * 4095 / 10 ** (50 / 20)  # what 50 dB mean


def test_near_lossless_jpeg_ls_equals_simpleitk(tmp_path: Path) -> None:
    pixels = noisy("u2", 0, 4095)
    path = compressed(tmp_path / "a.dcm", pixels, JPEGLSNearLossless, 12, jls_error=3)
    values = decoded(path).values
    np.testing.assert_array_equal(values, by_simpleitk(path))
    assert np.abs(values - pixels).max() == 3


def test_baseline_jpeg_equals_simpleitk(tmp_path: Path) -> None:
    content = io.BytesIO()
    pixels = (np.rint(head_values(1, 32)[0] + 1000) // 10).astype(np.uint8)
    Image.fromarray(pixels).save(content, "JPEG", quality=90)
    tags: dict[str, Any] = {
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "RescaleIntercept": 0.0,
    }
    dataset = make_dataset(pixels=pixels.astype(np.uint16), **tags)
    path = write_dataset(tmp_path / "a.dcm", encapsulated(dataset, JPEGBaseline8Bit, [content.getvalue()]))
    values = decoded(path).values
    np.testing.assert_array_equal(values, by_simpleitk(path))
    assert 0 < np.abs(values - pixels).max() < 25


def test_extended_jpeg_of_8_bits() -> None:
    content = io.BytesIO()
    pixels = (np.rint(head_values(1, 32)[0] + 1000) // 10).astype(np.uint8)
    Image.fromarray(pixels).save(content, "JPEG", quality=90)
    baseline = decompress(content.getvalue(), description(JPEGBaseline8Bit, allocated=8, stored=8), 32, 32)
    extended = decompress(content.getvalue(), description(JPEGExtended12Bit, allocated=8, stored=8), 32, 32)
    np.testing.assert_array_equal(extended, baseline)


def test_extended_jpeg_of_12_bits_stays_signed_where_the_header_says_so() -> None:
    sample = SAMPLES["jpeg_extended"]
    stored = decompress(sample.codestream, description(sample.syntax, is_signed=True), 16, 16)
    expected = IMAGE.astype(np.int32) + sample.error
    np.testing.assert_array_equal(stored, np.where(expected > 2047, expected - 4096, expected))
    assert stored.min() < 0


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm", "JPEG2000.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_real_files_equal_simpleitk(name: str) -> None:
    expected = by_simpleitk(shipped(name))
    (header,) = headers_of(shipped(name))
    np.testing.assert_array_equal(
        decoded(shipped(name)).values, np.maximum(expected, -1024) if header.modality == "CT" else expected
    )


@pytest.mark.parametrize(
    ("name", "allocated", "rows", "columns"),
    [
        ("jpeg_lossless_sv1", 16, 16, 17),
        ("jpeg_extended", 16, 15, 16),
        ("jpeg_extended", 8, 16, 16),
        ("jpeg_ls", 16, 256, 1),
        ("jpeg_ls", 8, 16, 16),
        ("htj2k_lossless", 16, 4096, 4096),
    ],
)
def test_images_that_do_not_fit_their_header(name: str, allocated: int, rows: int, columns: int) -> None:
    sample = SAMPLES[name]
    with pytest.raises((ValueError, RuntimeError)):
        decompress(sample.codestream, description(sample.syntax, allocated=allocated, stored=8), rows, columns)


@pytest.mark.parametrize("name", SAMPLES)
def test_half_an_image_is_refused(name: str) -> None:
    sample = SAMPLES[name]
    content = sample.codestream[: len(sample.codestream) // 2]
    with pytest.raises((ValueError, RuntimeError)):
        decompress(content, description(sample.syntax), 16, 16)


@pytest.mark.parametrize(
    ("plugin", "name"), [("gdcm", "jpeg_lossless_sv1"), ("pyjpegls", "jpeg_ls"), ("pylibjpeg", "htj2k_lossless")]
)
def test_no_decoder_is_asked_that_may_be_installed_by_chance(
    monkeypatch: pytest.MonkeyPatch, plugin: str, name: str
) -> None:
    def wrong_pixels(_codestream: bytes, _runner: object) -> bytes:
        return bytes(2 * 16 * 16)

    sample = SAMPLES[name]
    decoder = get_decoder(sample.syntax)
    others = dict.fromkeys({"gdcm", "pylibjpeg", "pillow", "pyjpegls", "pydicom"} - {plugin}, wrong_pixels)
    monkeypatch.setattr(decoder, "_available", others | {plugin: decoder._available[plugin]})
    np.testing.assert_array_equal(decompress(sample.codestream, description(sample.syntax), 16, 16), IMAGE)


@pytest.mark.parametrize("syntax", ALL)
def test_every_transfer_syntax_has_a_decoder_in_the_base_install(syntax: UID) -> None:
    assert can_decompress(syntax)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.9", "nonsense", MPEG2MPML, JPEG2000MC])
def test_other_transfer_syntaxes_have_none(syntax: str) -> None:
    assert not can_decompress(syntax)


def test_a_decoder_under_another_licence_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    only_gpl = SimpleNamespace(available_plugins=("pylibjpeg",))  # pylibjpeg-libjpeg
    monkeypatch.setattr("slicewise.imaging.decompress.get_decoder", lambda _: only_gpl)
    assert not can_decompress(JPEGLosslessSV1)


def test_failures_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    sample = SAMPLES["htj2k_lossless"]
    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError):
        decompress(sample.codestream[:-100], description(sample.syntax), 16, 16)
    assert not caplog.records
