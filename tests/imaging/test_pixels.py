from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_files import make_dataset, write_dataset
from slicewise.imaging.discover import read_headers
from slicewise.imaging.header import ModalityLut, PixelDescription, SliceHeader
from slicewise.results import Rejection
from slicewise.source import Source


def pixels(path: Path) -> PixelDescription:
    (found,) = read_headers(Source(str(path), path.name))
    assert isinstance(found, SliceHeader), found
    assert found.pixels is not None
    return found.pixels


def rejection(path: Path) -> Rejection:
    (found,) = read_headers(Source(str(path), path.name))
    assert isinstance(found, Rejection), found
    return found


def with_syntax(dataset: Dataset, syntax: str) -> Dataset:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    return dataset


def test_numbers_are_floating_point_and_several_padding_values_a_range(tmp_path: Path) -> None:
    path = write_dataset(
        tmp_path / "a.dcm",
        make_dataset(
            RescaleSlope="0.5", RescaleIntercept="-1024.25", PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500
        ),
    )
    described = pixels(path)
    assert (described.slope, described.intercept, described.padding) == (0.5, -1024.25, (-2000, -1500))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("dtype", "expected"), [(np.int16, -2000), (np.uint16, 63536)])
def test_padding_is_signed_if_the_pixels_are(tmp_path: Path, syntax: str, dtype: Any, expected: int) -> None:
    dataset = with_syntax(make_dataset(pixels=np.zeros((4, 4), dtype), PixelPaddingValue=expected), syntax)
    assert pixels(write_dataset(tmp_path / "a.dcm", dataset)).padding == (expected, expected)


def with_bytes(tmp_path: Path, old: bytes, new: bytes, **tags: Any) -> Path:
    """Writes an image and replaces bytes, for values that pydicom does not write."""
    assert len(old) == len(new)
    path = write_dataset(tmp_path / "a.dcm", make_dataset(**tags))
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize(("new", "stated", "intercept"), [(b"-1O24.0 ", True, None), (b"        ", False, 0.0)])
def test_a_malformed_intercept_is_stated_and_a_blank_one_is_not(
    tmp_path: Path, new: bytes, *, stated: bool, intercept: float | None
) -> None:
    described = pixels(with_bytes(tmp_path, b"-1024.0 ", new))
    assert (described.states_intercept, described.intercept) == (stated, intercept)


LUT = [10, 20, 30, 65535]


def lut_dataset(values: Any, *, vr: str = "US", descriptor: Any = (4, -2, 16), **tags: Any) -> Dataset:
    dataset, item = make_dataset(RescaleSlope=None, RescaleIntercept=None, **tags), Dataset()
    item.add_new("LUTDescriptor", "SS", list(descriptor))
    item.ModalityLUTType = "HU"
    if values is not None:
        item.add_new("LUTData", vr, values)
    dataset.ModalityLUTSequence = [item]
    return dataset


@pytest.mark.parametrize(
    ("dataset", "syntax"),
    [
        (lut_dataset(LUT), ExplicitVRLittleEndian),
        (lut_dataset(LUT), ImplicitVRLittleEndian),
        (lut_dataset(LUT), ExplicitVRBigEndian),
        (lut_dataset(struct.pack("<4H", *LUT), vr="OW"), ExplicitVRLittleEndian),
        (lut_dataset(struct.pack("<4H", *LUT), vr="OW"), ImplicitVRLittleEndian),
        (lut_dataset(struct.pack(">4H", *LUT), vr="OW"), ExplicitVRBigEndian),
        (lut_dataset(struct.pack("<6H", *LUT, 7, 8), vr="OW"), ExplicitVRLittleEndian),
    ],
    ids=["US", "US implicit", "US big endian", "OW", "OW implicit", "OW big endian", "OW longer than stated"],
)
def test_a_modality_lut(tmp_path: Path, dataset: Dataset, syntax: str) -> None:
    described = pixels(write_dataset(tmp_path / "a.dcm", with_syntax(dataset, syntax)))
    assert described.lut == ModalityLut(-2, tuple(LUT))
    assert (described.states_intercept, described.intercept, described.slope) == (False, 0.0, 1.0)


def test_a_modality_lut_of_bytes_and_one_of_all_values(tmp_path: Path) -> None:
    dataset = lut_dataset(b"\x01\x02\x03\xff", vr="OW", descriptor=(4, 0, 8))
    assert pixels(write_dataset(tmp_path / "a.dcm", dataset)).lut == ModalityLut(0, (1, 2, 3, 255))
    dataset = lut_dataset(np.arange(1 << 16, dtype="<u2").tobytes(), vr="OW", descriptor=(0, 0, 16))
    lut = pixels(write_dataset(tmp_path / "b.dcm", dataset)).lut
    assert lut is not None
    assert (len(lut.values), lut.values[-1]) == (1 << 16, 65535)


@pytest.mark.parametrize(
    "dataset",
    [
        lut_dataset(None),
        lut_dataset(LUT[:3]),
        lut_dataset(b"\x01\x02", vr="OW"),
        lut_dataset(["a", "b", "c", "d"], vr="LO"),
        lut_dataset(LUT, descriptor=(4, -2)),
    ],
    ids=["no values", "too few values", "too few bytes", "texts", "no descriptor"],
)
def test_a_modality_lut_that_is_no_table(tmp_path: Path, dataset: Dataset) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", dataset))
    assert (found.kind, found.reason) == ("unreadable", "bad_rescale")
    assert "Modality LUT Sequence (0028,3000) holds no whole table" in found.message


def test_a_modality_lut_that_states_less_than_no_values(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", lut_dataset(struct.pack("<4H", *LUT), vr="OW"))
    stated = b"\x28\x00\x02\x30SS\x06\x00" + struct.pack("<3h", 4, -2, 16)
    assert stated in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(stated, b"\x28\x00\x02\x30IS\x06\x00-4\\0\\8"))
    assert rejection(path).reason == "bad_rescale"
