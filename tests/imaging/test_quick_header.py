from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
)

from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import DicomFile, read_dicom
from slicewise.imaging.discover import WANTED
from slicewise.imaging.elements import QuickElements
from slicewise.imaging.quick_header import QuickHeader, Wanted, read_quickly
from slicewise.imaging.silence import silent_pydicom
from slicewise.source import Source

KEYWORDS = {wish.keyword: (tag, wish.vr.decode()) for tag, wish in WANTED.elements.items()}
SEQUENCES = ("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
LONG = ("OB", "OW", "SQ", "UN", "UT", "UC")
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HHL", 0xFFFE, element, 0) for element in (0xE000, 0xE00D, 0xE0DD))


@dataclass(frozen=True)
class Element:
    """One element as it is to be written; `items` are those of a sequence."""

    tag: int
    vr: str
    value: bytes = b""
    items: tuple[tuple[Element, ...], ...] = ()
    undefined: bool = False


def stored(element: Element, *, implicit: bool) -> bytes:
    content = element.value
    if element.vr == "SQ":
        content = b"".join(item_bytes(item, implicit=implicit, undefined=element.undefined) for item in element.items)
    length = UNDEFINED if element.undefined else len(content)
    tag = struct.pack("<HH", element.tag >> 16, element.tag & 0xFFFF)
    if implicit:
        start = tag + struct.pack("<L", length)
    elif element.vr in LONG:
        start = tag + element.vr.encode() + b"\0\0" + struct.pack("<L", length)
    else:
        start = tag + element.vr.encode() + struct.pack("<H", length)
    return start + content + (SEQUENCE_END if element.undefined else b"")


def item_bytes(item: tuple[Element, ...], *, implicit: bool, undefined: bool) -> bytes:
    content = b"".join(stored(element, implicit=implicit) for element in item)
    start = ITEM[:4] + struct.pack("<L", UNDEFINED if undefined else len(content))
    return start + content + (ITEM_END if undefined else b"")


def dicom_bytes(elements: list[Element], syntax: str = ExplicitVRLittleEndian, *, meta: bytes | None = None) -> bytes:
    if meta is None:
        meta = stored(Element(0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2)), implicit=False)
    implicit = syntax == ImplicitVRLittleEndian
    return bytes(128) + b"DICM" + meta + b"".join(stored(element, implicit=implicit) for element in elements)


def element(keyword: str, value: bytes, vr: str = "") -> Element:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Element(tag, vr or dictionary_VR(tag), value)


ORDINARY = [
    element("ImageType", b"ORIGINAL\\PRIMARY\\AXIAL "),
    element("SOPClassUID", CTImageStorage.encode()),
    element("SOPInstanceUID", b"ID_6431af929\0"),
    element("PatientID", b"ID_0002cd41 "),
    element("SliceThickness", b"5.0 "),
    element("InstanceNumber", b" 7"),
    element("ImagePositionPatient", b"-125.5\\-1e2\\ 17.25 "),
    element("Rows", b"\x02\x00"),
    element("Columns", b"\x01\x00"),
    element("PixelRepresentation", b"\x01\x00"),
    element("PixelPaddingValue", struct.pack("<h", -2000), "SS"),
    Element(PIXEL_DATA, "OW", bytes(4)),
]


def quick(content: bytes, wanted: Wanted = WANTED) -> QuickHeader | None:
    return read_quickly(io.BytesIO(content), len(content), wanted)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
def test_an_ordinary_header(syntax: str) -> None:
    content = dicom_bytes(ORDINARY, syntax)
    found = quick(content)
    assert found is not None
    assert found.values == {
        "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "SOPClassUID": (CTImageStorage,),
        "SOPInstanceUID": ("ID_6431af929",),
        "PatientID": ("ID_0002cd41",),
        "SliceThickness": ("5.0",),
        "InstanceNumber": (" 7",),
        "ImagePositionPatient": ("-125.5", "-1e2", " 17.25"),
        "Rows": (2,),
        "Columns": (1,),
        "PixelRepresentation": (1,),
        "PixelPaddingValue": (-2000,),
    }
    assert (found.transfer_syntax, found.pixel_keyword, found.pixel_bytes) == (syntax, "PixelData", 4)
    assert found.pixel_offset == len(content) - 4


def test_encapsulated_pixel_data_have_no_length() -> None:
    content = (
        dicom_bytes(ORDINARY[:-1], JPEGLSLossless) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + ITEM + SEQUENCE_END
    )
    found = quick(content)
    assert found is not None
    assert found.pixel_bytes is None
    assert content[found.pixel_offset :] == ITEM + SEQUENCE_END


def test_a_header_longer_than_the_first_read() -> None:
    long = Element(0x00091010, "OB", bytes(300_000))
    found = quick(dicom_bytes([*ORDINARY[:3], long, *ORDINARY[3:]]))
    assert found is not None
    assert found.values["Rows"] == (2,)


def test_values_within_sequences_are_not_those_of_the_image() -> None:
    inner = Element(0x00081140, "SQ", items=((element("PatientID", b"another "), element("Rows", b"\x09\x00")),) * 2)
    for undefined in (False, True):
        outer = Element(0x00081115, "SQ", items=((inner, element("SOPInstanceUID", b"1.2.3\0")),), undefined=undefined)
        found = quick(dicom_bytes([*ORDINARY[:3], outer, *ORDINARY[3:]]))
        assert found is not None
        assert (found.values["PatientID"], found.values["Rows"]) == (("ID_0002cd41",), (2,))
        assert found.values["SOPInstanceUID"] == ("ID_6431af929",)


def nested(depth: int) -> bytes:
    """Returns a sequence within a sequence and so on, as stored in an explicit file."""
    start = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + ITEM[:4] + b"\xff\xff\xff\xff"
    return start * depth + (ITEM_END + SEQUENCE_END) * depth


def test_sequences_within_sequences() -> None:
    content = dicom_bytes([])
    found = quick(content + nested(10) + dicom_bytes(ORDINARY[3:])[len(content) :])
    assert found is not None
    assert found.values["Rows"] == (2,)


META = stored(Element(0x00020010, "UI", ExplicitVRLittleEndian.encode() + b"\0"), implicit=False)
NOT_ORDINARY = {
    "big endian": dicom_bytes(ORDINARY, ExplicitVRBigEndian),
    "deflated": dicom_bytes(ORDINARY, DeflatedExplicitVRLittleEndian),
    "no prefix": dicom_bytes(ORDINARY)[132:],
    "no transfer syntax": dicom_bytes(ORDINARY, meta=b""),
    "transfer syntax of no UID": dicom_bytes(ORDINARY, "explicit"),
    "index of files": dicom_bytes(
        ORDINARY, meta=META + stored(Element(0x00020002, "UI", MediaStorageDirectoryStorage.encode()), implicit=False)
    ),
    "directory records": dicom_bytes([Element(0x00041220, "SQ"), *ORDINARY]),
    "implicit, and the meta header says explicit": META.join(
        [bytes(128) + b"DICM", dicom_bytes(ORDINARY, ImplicitVRLittleEndian, meta=b"")[132:]]
    ),
    "explicit, and the meta header says implicit": dicom_bytes([], ImplicitVRLittleEndian)
    + dicom_bytes(ORDINARY)[132 + len(META) :],
    "no order": dicom_bytes([*ORDINARY[1:3], ORDINARY[0], *ORDINARY[3:]]),
    "twice": dicom_bytes([ORDINARY[0], *ORDINARY]),
    "unknown value representation": dicom_bytes([Element(0x00080001, "ZZ"), *ORDINARY]),
    "other value representation": dicom_bytes([element("ImageType", b"ORIGINAL", "LO"), *ORDINARY[1:]]),
    "number of one byte": dicom_bytes([*ORDINARY[:7], element("Rows", b"\x02"), *ORDINARY[8:]]),
    "no ASCII": dicom_bytes([*ORDINARY[:3], element("PatientID", "Zoë ".encode()), *ORDINARY[4:]]),
    "another character set": dicom_bytes([*ORDINARY[:3], element("PatientID", b"\x1b$B;3ED\x1b(B "), *ORDINARY[4:]]),
    "functional groups": dicom_bytes([*ORDINARY[:-1], Element(0x52009230, "SQ"), ORDINARY[-1]]),
    "undefined length of no sequence": dicom_bytes(
        [*ORDINARY[:3], Element(0x00091010, "OB", undefined=True), *ORDINARY[3:]]
    ),
    "no item in a sequence": dicom_bytes(
        [*ORDINARY[:3], Element(0x00091010, "UN", bytes(8), undefined=True), *ORDINARY[3:]]
    ),
    "sequences within sequences without end": dicom_bytes([]) + nested(600) + dicom_bytes(ORDINARY[3:], meta=b"")[132:],
    "no pixel data": dicom_bytes(ORDINARY[:-1]),
    "pixel data that end early": dicom_bytes(ORDINARY)[:-1],
    "header that ends early": dicom_bytes(ORDINARY)[:200],
    "nothing": b"",
}


@pytest.mark.parametrize("case", NOT_ORDINARY)
def test_what_is_not_ordinary_is_left_to_pydicom(case: str) -> None:
    assert quick(NOT_ORDINARY[case]) is None


def test_the_length_of_padding_in_implicit_files_follows_the_pixels() -> None:
    for representation, expected in ((b"\x00\x00", 63536), (b"\x01\x00", -2000)):
        pixels = element("PixelRepresentation", representation)
        found = quick(dicom_bytes([*ORDINARY[:9], pixels, *ORDINARY[10:]], ImplicitVRLittleEndian))
        assert found is not None
        assert found.values["PixelPaddingValue"] == (expected,)
    unknown = dicom_bytes([*ORDINARY[:9], *ORDINARY[10:]], ImplicitVRLittleEndian)
    assert quick(unknown) is None


def outcome(content: bytes, path: Path, *, quickly: bool) -> Any:
    """Returns all that is ever asked of a header: texts of texts, numbers of numbers."""
    path.write_bytes(content)
    with silent_pydicom():
        try:
            found = read_dicom(Source(str(path), path.name), WANTED, quickly=quickly)
        except UnreadableFileError as error:
            return error.reason
        return _said(found)


def _said(found: DicomFile) -> dict[str, Any]:
    elements = found.elements
    said: dict[str, Any] = {
        "pixels": (found.pixel_keyword, found.pixel_offset, found.pixel_bytes, found.transfer_syntax),
        "kind": (found.is_truncated, found.is_directory, found.is_compressed),
    }
    for keyword in SEQUENCES:
        said[keyword] = len(elements.items(keyword))
    for keyword, (_, vr) in KEYWORDS.items():
        if vr in ("CS", "LO", "SH", "UI"):
            said[keyword] = (elements.text(keyword), elements.texts(keyword), elements.states(keyword))
        else:
            numbers = [elements.numbers(keyword, count) for count in (1, 2, 3, 6)]
            said[keyword] = (elements.number(keyword), elements.integer(keyword), numbers, elements.states(keyword))
    return said


NUMBERS = st.one_of(
    st.floats(allow_nan=True, width=32).map(str),
    st.integers(-(10**12), 10**12).map(str),
    st.text(" 0123456789.,eE+-_xnaif", max_size=12),
)
ODD_BYTES = st.one_of(st.binary(max_size=12), st.text(" \0\t\r\nMüller王\x1b^=\\", max_size=8).map(str.encode))
TEXTS = st.text(" AZaz09_^=\\.~", max_size=16)
PADDING = st.sampled_from([b"", b" ", b"\0", b"  ", b" \0"])


def values(vr: str) -> st.SearchStrategy[bytes]:
    if vr in ("US", "US or SS"):
        whole = st.lists(st.integers(0, 65535), max_size=3).map(lambda found: struct.pack(f"<{len(found)}H", *found))
        return st.one_of(*[whole] * 20, st.binary(max_size=5))
    single = NUMBERS if vr in ("DS", "IS") else TEXTS
    several = st.lists(single, max_size=7).map("\\".join) | st.lists(single, min_size=3, max_size=3).map("\\".join)
    padded = st.tuples(several.map(str.encode), PADDING).map(b"".join)
    return st.one_of(*[single.map(str.encode)] * 16, *[padded] * 24, ODD_BYTES)


def wanted_elements() -> st.SearchStrategy[Element]:
    def of(keyword: str) -> st.SearchStrategy[Element]:
        tag, vr = KEYWORDS[keyword]
        stated = {"US or SS": ["US", "SS"]}.get(vr, [vr])
        others = st.sampled_from([*stated * 200, "UN", "LO", "SS", "DS", "UL"])
        return st.builds(Element, st.just(tag), others, values(vr))

    return st.sampled_from(sorted(KEYWORDS)).flatmap(of)


OTHERS = st.one_of(
    st.builds(
        Element,
        st.sampled_from([0x00080005]),
        st.just("CS"),
        st.sampled_from([b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"GB18030 ", b"ISO_IR 13 ", b"NONE", b""]),
    ),
    st.builds(Element, st.sampled_from([0x00080000, 0x00180000]), st.just("UL"), st.just(bytes(4))),
    st.builds(
        Element,
        st.sampled_from([*[0x00090010, 0x00191008, 0x00431029] * 5, 0x7FE10010, 0x00041220]),
        st.sampled_from(["LO", "OB", "UN", "UT", "FD", "AE"]),
        st.binary(max_size=40),
    ),
)
LEAVES = st.lists(wanted_elements() | OTHERS, max_size=4).map(tuple)
SEQUENCE_TAGS = st.sampled_from(
    [*[0x00081115, 0x00081140, 0x00321064, 0x00400275, 0x00091002] * 4, 0x00283000, 0x52009229]
)


def sequences(items: st.SearchStrategy[tuple[Element, ...]]) -> st.SearchStrategy[Element]:
    return st.builds(
        Element,
        SEQUENCE_TAGS,
        st.just("SQ"),
        st.just(b""),
        st.lists(items, max_size=3).map(tuple),
        st.booleans(),
    )


NESTED = sequences(st.recursive(LEAVES, lambda inner: st.tuples(sequences(inner)), max_leaves=4))
PIXELS = st.one_of(
    st.builds(Element, st.just(PIXEL_DATA), st.sampled_from(["OW", "OB"]), st.just(bytes(8))),
    st.builds(Element, st.sampled_from([0x7FE00008, 0x7FE00009]), st.just("OB"), st.just(bytes(8))),
    st.just(Element(PIXEL_DATA, "OB", ITEM, undefined=True)),
)


MOSTLY = st.sampled_from([*[True] * 15, False])


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    elements = draw(st.lists(st.one_of(*[wanted_elements()] * 4, OTHERS, NESTED), max_size=20))
    if draw(MOSTLY):
        elements = sorted({element.tag: element for element in elements}.values(), key=lambda element: element.tag)
    pixels = [draw(PIXELS)] if draw(MOSTLY) else []
    syntax = draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless]))
    return dicom_bytes([*elements, *pixels], syntax)


@settings(max_examples=120)
@given(headers())
def test_any_header_reads_as_pydicom_reads_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "header.dcm"
    assert outcome(content, path, quickly=True) == outcome(content, path, quickly=False)


@settings(max_examples=60)
@given(headers(), st.randoms(use_true_random=False), st.binary(min_size=1, max_size=4))
def test_any_damage_reads_as_pydicom_reads_it(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, random: Random, damage: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    place = random.randrange(128, len(content))
    damaged = content[:place] + damage + content[place + random.choice([0, len(damage)]) :]
    assert outcome(damaged, path, quickly=True) == outcome(damaged, path, quickly=False)


@pytest.mark.parametrize("case", NOT_ORDINARY)
def test_what_is_not_ordinary_reads_as_pydicom_reads_it(tmp_path: Path, case: str) -> None:
    path = tmp_path / "header.dcm"
    assert outcome(NOT_ORDINARY[case], path, quickly=True) == outcome(NOT_ORDINARY[case], path, quickly=False)


def test_every_real_file_reads_as_pydicom_reads_it(shared_data: Path) -> None:
    folders = [shared_data / "ct_head", shared_data / "transfer_syntaxes"]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != "LICENSE"]
    quickly_read = 0
    for path in paths:
        source = Source(str(path), path.name)
        with silent_pydicom():
            found = read_dicom(source, WANTED)
            assert _said(found) == _said(read_dicom(source, WANTED, quickly=False)), path
        quickly_read += isinstance(found.elements, QuickElements)
    assert (quickly_read, len(paths)) == (71, 77)  # not the five indexes, nor the one in big endian
