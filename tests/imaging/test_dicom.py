from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
)

from archives import write_zip
from dicom_files import make_dataset, write_dataset
from planted import BIRTH_DATE, MARK, identity
from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import LARGEST_MATRIX, DicomFile, is_compressed, matrix_problem, read_dicom
from slicewise.imaging.quick_header import Wanted
from slicewise.imaging.silence import silent_pydicom
from slicewise.source import Source

WANTED = Wanted(
    ("SOPInstanceUID", "Modality", "PatientID", "Rows", "Columns", "PixelSpacing"), ("ModalityLUTSequence",)
)
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


def read(path: Path, *, quickly: bool = True) -> DicomFile:
    with silent_pydicom():
        return read_dicom(Source(str(path), path.name), WANTED, quickly=quickly)


def values(found: DicomFile) -> tuple[Any, ...]:
    with silent_pydicom():
        elements = found.elements
        return (
            elements.text("PatientID"),
            elements.integer("Rows"),
            elements.integer("Columns"),
            elements.numbers("PixelSpacing", 2),
        )


EXPECTED = ("P1", 64, 64, (3.5, 3.5))


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(UnreadableFileError) as error:
        read(path)
    return error.value.reason, str(error.value)


def write(path: Path, syntax: str, **tags: Any) -> Path:
    dataset = make_dataset(**tags)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    if syntax == JPEG2000Lossless:
        dataset.PixelData = encapsulate([b"a codestream"])
    return write_dataset(path, dataset)


@pytest.mark.parametrize("quickly", [True, False])
@pytest.mark.parametrize("syntax", PLAIN)
def test_plain_transfer_syntaxes(tmp_path: Path, syntax: str, *, quickly: bool) -> None:
    path = write(tmp_path / "a.dcm", syntax)
    found = read(path, quickly=quickly)
    assert values(found) == EXPECTED
    assert (found.transfer_syntax, found.is_compressed, found.is_truncated) == (syntax, False, False)
    assert (found.pixel_keyword, found.pixel_bytes) == ("PixelData", 2 * 64 * 64)
    assert path.stat().st_size - found.pixel_offset == 2 * 64 * 64


def test_compressed_pixel_data_have_no_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", JPEG2000Lossless)
    found = read(path)
    assert (found.is_compressed, found.pixel_bytes, found.is_truncated) == (True, None, False)
    assert path.read_bytes()[found.pixel_offset :] == encapsulate([b"a codestream"]) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def test_in_a_deflated_file_positions_count_in_the_dataset(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian)
    found = read(path)
    assert values(found) == EXPECTED
    assert (found.transfer_syntax, found.is_compressed) == (DeflatedExplicitVRLittleEndian, False)
    plain = write(tmp_path / "b.dcm", ExplicitVRLittleEndian)
    content = plain.read_bytes()
    start = content.index(b"\x08\x00\x08\x00CS")  # the first element of the dataset
    assert found.pixel_offset == read(plain).pixel_offset - start


@pytest.mark.parametrize("syntax", PLAIN)
def test_neither_preamble_nor_meta_information(tmp_path: Path, syntax: str) -> None:
    content = write(tmp_path / "a.dcm", syntax).read_bytes()
    start = content.index(b"\x00\x08\x00\x08CS" if syntax == ExplicitVRBigEndian else b"\x08\x00\x08\x00")
    path = tmp_path / "bare"
    path.write_bytes(content[start:])
    found = read(path)
    assert values(found) == EXPECTED
    assert (found.transfer_syntax, found.pixel_bytes, found.is_truncated) == (syntax, 2 * 64 * 64, False)
    path.write_bytes(content[132:])
    assert (values(read(path)), read(path).transfer_syntax) == (EXPECTED, syntax)
    path.write_bytes(content[:132] + content[start:])
    assert (values(read(path)), read(path).transfer_syntax) == (EXPECTED, syntax)


def test_a_deflated_file_without_preamble(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[132:])
    assert values(read(path)) == EXPECTED


@pytest.mark.parametrize(("stated", "stored"), [PLAIN[:2], PLAIN[1::-1]])
def test_a_transfer_syntax_that_is_wrong_about_the_value_representation(
    tmp_path: Path, stated: str, stored: str
) -> None:
    content = write(tmp_path / "a.dcm", stored).read_bytes()
    path = tmp_path / "b.dcm"
    old, new = (uid.encode().ljust(20, b"\0") for uid in (stored, stated))
    if old not in content:
        old, new = stored.encode() + b"\0", (stated.encode() + b"\0\0\0")[:18]
    path.write_bytes(content.replace(old, new))
    assert path.read_bytes() != content
    assert values(read(path)) == EXPECTED


def test_a_file_in_an_archive(tmp_path: Path) -> None:
    content = write(tmp_path / "a.dcm", ExplicitVRLittleEndian).read_bytes()
    path = write_zip(tmp_path / "a.zip", {"s/a.dcm": content})
    with silent_pydicom():
        found = read_dicom(Source(str(path), "s/a.dcm", 0), WANTED)
    assert values(found) == EXPECTED
    assert len(content) - found.pixel_offset == 2 * 64 * 64


def test_elements_that_were_not_asked_for_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ExplicitVRLittleEndian)
    for quickly in (True, False):
        with silent_pydicom():
            assert read(path, quickly=quickly).elements.text("SeriesDescription") == ""


def test_an_index_of_files(tmp_path: Path) -> None:
    for tags in ({}, {"PixelData": None}):
        dataset = make_dataset(**tags)
        path = write_dataset(tmp_path / "a.dcm", dataset)
        content = path.read_bytes()
        assert not read(path).is_directory
        media = MediaStorageDirectoryStorage.encode()
        uid = b"1.2.840.10008.5.1.4.1.1.2\0"
        path.write_bytes(content.replace(uid, media.ljust(len(uid), b"\0"), 1))
        assert read(path).is_directory


def test_other_elements_of_pixels(tmp_path: Path) -> None:
    for keyword, form in (("FloatPixelData", "f"), ("DoubleFloatPixelData", "d")):
        path = write(tmp_path / "a.dcm", ExplicitVRLittleEndian, PixelData=None, **{keyword: struct.pack(form, 1.0)})
        for quickly in (True, False):
            found = read(path, quickly=quickly)
            assert (found.pixel_keyword, found.pixel_bytes) == (keyword, struct.calcsize(form))


@pytest.mark.parametrize("syntax", PLAIN)
def test_a_file_cut_anywhere(tmp_path: Path, syntax: str) -> None:
    whole = write(tmp_path / "whole.dcm", syntax).read_bytes()
    path = tmp_path / "cut.dcm"
    for length in [*range(0, len(whole) - 2 * 64 * 64, 5), len(whole) - 1]:
        path.write_bytes(whole[:length])
        try:
            found = read(path)
        except UnreadableFileError as error:
            assert error.reason == "not_dicom" if length < 132 else error.reason == "truncated"  # noqa: PT017
        else:
            # Between two elements a cut cannot be told from the end.
            assert found.is_truncated or found.pixel_keyword is None


def test_what_follows_the_pixels_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x08\0\0\0" + bytes(8) + b"garbage")
    for quickly in (True, False):
        assert not read(path, quickly=quickly).is_truncated


def sequence_start(depth: int) -> bytes:
    return (b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth


@pytest.mark.parametrize(
    ("inserted", "reason"),
    [(sequence_start(1), "truncated"), (sequence_start(5000), "malformed")],
    ids=["a sequence without end", "endless nesting"],
)
def test_headers_that_cannot_be_parsed(tmp_path: Path, inserted: bytes, reason: str) -> None:
    content = write(tmp_path / "a.dcm", ExplicitVRLittleEndian).read_bytes()
    place = content.index(b"\x08\x00\x16\x00UI")
    path = tmp_path / "b.dcm"
    for damaged in (content[:place] + inserted + content[place:], content[:place] + inserted):
        path.write_bytes(damaged)
        found, message = refusal(path)
        assert found == reason
        assert message.startswith("b.dcm: its header cannot be parsed (")
    path.write_bytes(content + inserted)
    assert values(read(path)) == EXPECTED, "behind the pixels"


@pytest.mark.parametrize("place", range(0, 600, 7))
def test_a_damaged_byte_does_no_harm(tmp_path: Path, place: int) -> None:
    content = bytearray(write(tmp_path / "a.dcm", ExplicitVRLittleEndian).read_bytes())
    path = tmp_path / "b.dcm"
    for value in (0x00, 0xFF, 0x41):
        content[place] = value
        path.write_bytes(content)
        try:
            values(read(path))
        except UnreadableFileError as error:
            assert error.reason in {"not_dicom", "malformed", "truncated"}  # noqa: PT017 - it may also be read


@pytest.mark.parametrize(
    ("dataset", "reason", "message"),
    [
        (b"", "truncated", "its deflated dataset cannot be read (it ends early)"),
        (b"\xff" * 50, "malformed", "its deflated dataset cannot be read (Error -3"),
        (zlib.compress(bytes(100 << 20), wbits=-15), "malformed", "it inflates to more than 64 MiB"),
    ],
    ids=["nothing", "damaged", "bomb"],
)
def test_deflated_files_that_cannot_be_read(tmp_path: Path, dataset: bytes, reason: str, message: str) -> None:
    content = write(tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian).read_bytes()
    length = int.from_bytes(content[140:144], "little")  # File Meta Information Group Length
    path = tmp_path / "b.dcm"
    path.write_bytes(content[: 144 + length] + dataset)
    found, text = refusal(path)
    assert found == reason
    assert message in text


def test_a_bomb_behind_a_long_meta_header(tmp_path: Path) -> None:
    syntax = DeflatedExplicitVRLittleEndian.encode()
    long = b"\x02\x00\x02\x01OB\0\0" + struct.pack("<L", 100_000) + bytes(100_000)
    meta = long + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(128) + b"DICM" + meta + zlib.compress(bytes(100 << 20), wbits=-15))
    reason, message = refusal(path)
    assert reason == "malformed"
    assert "inflates to more than 64 MiB" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\x00",
        b"Study notes\n" * 50,
        b"\x08\x00" + bytes(range(256)) * 4,
        b"\x00\x08" * 500,
        b"\x02\x00" * 500,
        np.random.default_rng(0).bytes(5000),
        bytes(5000),
    ],
    ids=["empty", "two bytes", "text", "like a dataset", "like big endian", "like meta information", "noise", "zeros"],
)
def test_what_is_not_dicom(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    reason, message = refusal(path)
    assert reason == "not_dicom"
    assert message.startswith("file: expected a DICOM file, but ")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone")[0] == "unreadable_path"


class FailingStream(BytesIO):
    """A file on a damaged disc: it opens, and cannot be read."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


class FailingSource(Source, frozen=True):
    """A file on a damaged disc."""

    def open(self) -> BytesIO:
        return FailingStream(bytes(1000))


def test_a_drive_that_gives_up() -> None:
    with pytest.raises(UnreadableFileError, match=r"IM1: cannot be read \(Input/output error\)") as error:
        read_dicom(FailingSource("IM1", "IM1"), WANTED)
    assert error.value.reason == "unreadable_path"


def test_messages_name_no_patient(tmp_path: Path) -> None:
    content = write(tmp_path / "a.dcm", ExplicitVRLittleEndian, **identity("ISO_IR 100")).read_bytes()
    path = tmp_path / "b.dcm"
    place = content.index(MARK.encode())
    for damaged in (
        content[: place + 4],
        content[132 : place + 40],
        content[: place - 2] + b"\x02\x00" + content[place:],
        content[:place] + sequence_start(1) + content[place:],
    ):
        path.write_bytes(damaged)
        try:
            read(path)
        except UnreadableFileError as error:
            assert MARK not in str(error)  # noqa: PT017 - it may also be read
            assert BIRTH_DATE not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [
        *((syntax, False) for syntax in (*PLAIN, DeflatedExplicitVRLittleEndian)),
        (JPEG2000Lossless, True),
        ("1.2.840.113619.5.2", True),
        ("", True),
        ("nonsense", True),
    ],
)
def test_whether_pixels_are_compressed(syntax: str, *, expected: bool) -> None:
    with silent_pydicom():
        assert is_compressed(syntax) is expected


def test_a_matrix_of_no_scanner() -> None:
    largest = LARGEST_MATRIX
    assert matrix_problem(1, 1) == matrix_problem(512, 512) == matrix_problem(largest, largest) == ""
    for rows, columns in ((0, 512), (512, 0), (largest + 1, 512), (512, 65535), (-1, 512)):
        expected = f"states {rows} x {columns} pixels; expected 1 to 4096 rows and columns"
        assert matrix_problem(rows, columns) == expected
