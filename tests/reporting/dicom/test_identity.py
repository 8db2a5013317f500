from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_files import head_values, sequence, write_series
from planted import NAMES, identity
from slicewise.errors import InputError
from slicewise.imaging.encoding import open_dataset
from slicewise.imaging.silence import silent_pydicom
from slicewise.reporting.dicom.identity import IDENTITY_KEYWORDS, Identity, _raw, read_identity
from slicewise.reporting.dicom.outcome import DicomOutcome
from slicewise.results import StudyResult

Predict = Callable[..., StudyResult]
Write = Callable[..., DicomOutcome]

HOSTILE = [
    'O\'Neil^"Bob"^^<b>&amp;',
    '=HYPERLINK("x")^\t',
    "^^^^",
    "L" * 70 + "^" + "F" * 70,
    "",
    "..^/../../etc/passwd",
    "A=B=C",
]


def stored(path: Path) -> dict[str, bytes]:
    """Returns the values of the identity as they stand in a file, without padding, and its character set."""
    with silent_pydicom():
        dataset = pydicom.dcmread(path)
        keywords = [keyword for keyword in IDENTITY_KEYWORDS if keyword in dataset]
        values = {keyword: dataset.get_item(keyword).value or b"" for keyword in keywords}
        values["SpecificCharacterSet"] = str(dataset.get("SpecificCharacterSet", "")).encode()
    return {keyword: bytes(value).rstrip(b" \0") for keyword, value in values.items()}


def check_copied(source: Path, outcome: DicomOutcome) -> None:
    assert not outcome.refused
    expected = {keyword: value for keyword, value in stored(source).items() if value}
    for path in outcome.written:
        found = stored(path)
        assert {keyword: value for keyword, value in found.items() if value} == expected
        assert set(IDENTITY_KEYWORDS) - set(found) <= {"IssuerOfPatientID"}


@pytest.mark.parametrize("charset", [name for name in NAMES if "9999" not in name])
def test_names_are_copied_in_their_character_set(tmp_path: Path, predict: Predict, write: Write, charset: str) -> None:
    paths = write_series(tmp_path / "scan", values=head_values(10, 32), **identity(charset))
    outcome = write(predict(tmp_path / "scan", {3: {"any": 0.9}}))
    check_copied(paths[0], outcome)
    for path in outcome.written:
        assert str(pydicom.dcmread(path).PatientName) == str(pydicom.dcmread(paths[0]).PatientName)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_copied_as_they_are(tmp_path: Path, predict: Predict, write: Write, name: str) -> None:
    tags: dict[str, Any] = {"PatientName": name, "StudyID": "x" * 40, "ReferringPhysicianName": name}
    tags |= {"SeriesDescription": "HEAD <script>\\..\\..", "StudyDescription": name}
    paths = write_series(tmp_path / "scan", values=head_values(10, 32), patient_id=f"p{name[:20]}", **tags)
    outcome = write(predict(tmp_path / "scan", {3: {"any": 0.9}}))
    check_copied(paths[0], outcome)
    assert {path.parent.parent for path in outcome.written} == {tmp_path / "results" / "dicom"}


def test_bytes_that_fit_no_character_set_are_copied_as_they_are(tmp_path: Path, predict: Predict, write: Write) -> None:
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Buc^Jérôme"}
    paths = write_series(tmp_path / "scan", values=head_values(10, 32), **tags)  # type: ignore[arg-type]
    for path in paths:  # its encoding is no longer stated
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 6  "))
    check_copied(paths[0], write(predict(tmp_path / "scan", {3: {"any": 0.9}})))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_of_the_images_change_nothing(head: Path, predict: Predict, write: Write, syntax: str) -> None:
    before = write(predict(head, {3: {"any": 0.9}}), kinds=("sr", "kos"))
    contents = [path.read_bytes() for path in before.written]
    for path in head.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.decode()
        again = Dataset()
        again.update(dataset)
        again.file_meta = dataset.file_meta
        again.file_meta.TransferSyntaxUID = UID(syntax)
        if syntax == ExplicitVRBigEndian:
            again.PixelData = dataset.pixel_array.astype(">i2").tobytes()
        again.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    after = write(predict(head, {3: {"any": 0.9}}), kinds=("sr", "kos"))
    assert [path.read_bytes() for path in after.written] == contents


def test_who_issued_the_accession_number_is_copied(tmp_path: Path, predict: Predict, write: Write) -> None:
    issuer = sequence(LocalNamespaceEntityID="RIS")
    paths = write_series(
        tmp_path / "scan", values=head_values(10, 32), AccessionNumber="7", IssuerOfAccessionNumberSequence=issuer
    )
    for path in paths[:5]:
        dataset = pydicom.dcmread(path)
        dataset.decode()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    for path in write(predict(tmp_path / "scan", {3: {"any": 0.9}})).written:
        (found,) = pydicom.dcmread(path).IssuerOfAccessionNumberSequence
        assert found.LocalNamespaceEntityID == "RIS"


CHARACTER_SETS = st.lists(st.sampled_from(["", "ISO_IR 9999", "x" * 20, *python_encoding]), max_size=3)


def parsed(content: bytes) -> Dataset:
    return open_dataset(BytesIO(content)).parse([pydicom.tag.Tag(keyword) for keyword in _READ], lambda *_: False)


_READ = ("SpecificCharacterSet", *IDENTITY_KEYWORDS)


def written(identity: Identity) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName = "1.2", "1.2.3", "Own^Name"
    identity.apply(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


@given(CHARACTER_SETS, st.dictionaries(st.sampled_from(IDENTITY_KEYWORDS), st.binary(max_size=90)))
def test_any_bytes_are_copied_or_refused(character_sets: list[str], values: dict[str, bytes]) -> None:
    with silent_pydicom():
        source = Dataset()
        if character_sets:
            source.SpecificCharacterSet = character_sets
        for keyword, value in values.items():
            element = _raw(keyword, value)
            source[element.tag] = element
        try:
            identity = read_identity(source, "a.dcm")
        except InputError:
            assert not set(character_sets) <= set(python_encoding)
            return
        again = read_identity(parsed(written(identity)), "b.dcm")
    stated = {keyword: value.rstrip(b" \0") for keyword, value in values.items() if value.rstrip(b" \0")}
    assert again.stored == identity.stored == stated
    assert again.differences(identity) == ()
    assert not [text for text in again.shown.values() if text != text.encode("utf-8", "replace").decode("utf-8")]
