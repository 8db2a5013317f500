from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from slicewise.imaging.elements import DatasetElements, Elements, QuickElements
from slicewise.imaging.silence import silent_pydicom

STORED: dict[str, str | int] = {
    "ImageType": "ORIGINAL\\PRIMARY ",
    "SeriesDescription": " two  words ",
    "PatientID": "  ",
    "SeriesNumber": "x",
    "InstanceNumber": " 7 ",
    "NumberOfFrames": "3.0",
    "SliceThickness": "5,0",
    "PixelSpacing": "0.5\\-1e1",
    "RescaleSlope": "nan",
    "RescaleIntercept": "1e999",
    "Rows": 512,
}
"""Texts as they stand in a file."""


def of_dataset() -> Elements:
    content = b""
    for keyword, value in STORED.items():
        tag = tag_for_keyword(keyword) or 0
        stored = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        content += struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(stored)) + stored
    with silent_pydicom():
        return DatasetElements(read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True))


def of_quick_header() -> Elements:
    values = {key: tuple(text.split("\\")) for key, text in STORED.items() if isinstance(text, str) and text.strip()}
    return QuickElements({**values, "Rows": (512,)})


@pytest.mark.parametrize("elements_of", [of_dataset, of_quick_header])
def test_accessors_give_none_for_what_is_absent_or_malformed(elements_of: Callable[[], Elements]) -> None:
    with silent_pydicom():
        elements = elements_of()
        assert elements.text("SeriesDescription") == "two  words"
        assert elements.text("ImageType") == "ORIGINAL\\PRIMARY"
        assert elements.texts("ImageType") == ("ORIGINAL", "PRIMARY")
        assert (elements.text("PatientID"), elements.text("Modality"), elements.texts("Modality")) == ("", "", ())
        assert elements.integer("Rows") == 512
        assert elements.integer("InstanceNumber") == 7
        assert elements.integer("NumberOfFrames") == 3
        assert elements.integer("SeriesNumber") is None
        assert elements.integer("Columns") is None
        assert elements.numbers("PixelSpacing", 2) == (0.5, -10.0)
        assert elements.numbers("PixelSpacing", 3) is None
        assert elements.number("PixelSpacing") == 0.5
        assert elements.number("SliceThickness") is None
        assert elements.number("RescaleSlope") is None, "not a number"
        assert elements.number("RescaleIntercept") is None, "infinite"
        assert elements.numbers("ImageType", 2) is None
        assert elements.items("ImageType") == ()


@pytest.mark.parametrize("elements_of", [of_dataset, of_quick_header])
def test_a_malformed_value_is_stated_and_blanks_are_not(elements_of: Callable[[], Elements]) -> None:
    with silent_pydicom():
        elements = elements_of()
        stated = [keyword for keyword in (*STORED, "Columns") if elements.states(keyword)]
    assert stated == [keyword for keyword in STORED if keyword != "PatientID"]


def test_a_value_that_pydicom_cannot_convert_is_stated() -> None:
    content = b"\x28\x00\x08\x00\x04\x00\x00\x00inf "
    with silent_pydicom():
        dataset = read_dataset(BytesIO(content), is_implicit_VR=True, is_little_endian=True)
        elements = DatasetElements(dataset)
        assert elements.values("NumberOfFrames") == ()
        assert elements.states("NumberOfFrames")
        assert not elements.states("Rows")


def test_the_items_of_a_sequence() -> None:
    dataset, item = Dataset(), Dataset()
    item.PixelSpacing = [1, 2]
    dataset.PixelMeasuresSequence = [item, Dataset()]
    first, second = DatasetElements(dataset).items("PixelMeasuresSequence")
    assert first.numbers("PixelSpacing", 2) == (1.0, 2.0)
    assert second.numbers("PixelSpacing", 2) is None
    assert DatasetElements(dataset).items("PlanePositionSequence") == ()
    assert QuickElements({}).items("PixelMeasuresSequence") == ()


def test_what_is_stored_as_a_sequence_or_as_bytes_is_no_text() -> None:
    dataset, item = Dataset(), Dataset()
    item.PatientName = "Doe^Jane"
    dataset.add_new("SeriesDescription", "SQ", [item])
    dataset.add_new("PatientID", "OB", b"Doe^Jane")
    dataset.add_new("ImageType", "SQ", [item, item])
    elements = DatasetElements(dataset)
    assert (elements.text("SeriesDescription"), elements.text("PatientID")) == ("", "")
    assert elements.texts("ImageType") == ("", "")
    assert elements.number("SeriesDescription") is None


@pytest.mark.parametrize("content", [b"\x20\x00\x13\x00MM\x00\x00", b"\x20\x00\x13\x00MM\x02\x0012"])
def test_an_unknown_value_representation_does_no_harm(content: bytes) -> None:
    with silent_pydicom():
        dataset = read_dataset(BytesIO(content), is_implicit_VR=False, is_little_endian=True)
        elements = DatasetElements(dataset)
        assert (elements.text("InstanceNumber"), elements.integer("InstanceNumber")) == ("", None)
        assert elements.states("InstanceNumber") is (len(content) > 8)
        assert elements.items("InstanceNumber") == ()
