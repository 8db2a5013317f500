from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_files import make_dataset, seeded_uid, write_dataset, write_series
from slicewise.errors import UnreadableFileError, UsageError
from slicewise.imaging.decode import decode_slice
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.results import Rejection


def only(path: Path) -> SliceHeader | Rejection:
    found = list(discover([path]))
    assert len(found) == 1
    return found[0]


def header(path: Path) -> SliceHeader:
    found = only(path)
    assert isinstance(found, SliceHeader), found
    return found


def rejection(path: Path) -> Rejection:
    found = only(path)
    assert isinstance(found, Rejection), found
    return found


def test_every_field_of_a_header_is_that_of_the_file(shared_data: Path) -> None:
    path = shared_data / "ct_head" / "ge_tilted_variable_spacing" / "05.dcm"
    dataset = pydicom.dcmread(path)
    found = header(path)
    assert (found.file, found.path) == ("05.dcm", path)
    assert found.patient_id == dataset.PatientID
    assert found.study_uid == dataset.StudyInstanceUID
    assert found.series_uid == dataset.SeriesInstanceUID
    assert (found.sop_uid, found.frame) == (dataset.SOPInstanceUID, 1)
    assert found.sop_class_uid == dataset.SOPClassUID
    assert found.image_type == ("ORIGINAL", "PRIMARY", "AXIAL", "ADD")
    assert (found.modality, found.rows, found.columns) == ("CT", 512, 512)
    assert (found.series_number, found.instance_number) == (2, 5)
    assert (found.convolution_kernel, found.slice_thickness_mm) == ("STD+", 4.0)
    assert found.image_position == tuple(dataset.ImagePositionPatient)
    assert found.image_orientation == tuple(dataset.ImageOrientationPatient)
    assert found.pixel_spacing_mm == (0.4882812, 0.4882812)


def test_folders_of_any_depth_are_walked_in_sorted_order(tmp_path: Path) -> None:
    deep = tmp_path / "b" / "c" / "d"
    write_series(deep, slices=3)
    write_series(tmp_path / "a", slices=2, patient_id="P2")
    files = [item.file for item in discover([tmp_path]) if isinstance(item, SliceHeader)]
    assert len(files) == 5
    assert files == sorted(files)
    assert files[0].startswith("a/")
    assert files[-1].startswith("b/c/d/")


def test_inputs_are_read_one_after_the_other(tmp_path: Path) -> None:
    last, first = write_series(tmp_path / "z", slices=1)[0], write_series(tmp_path / "a", slices=1)[0]
    found = list(discover([last, first.parent]))
    assert [item.path if isinstance(item, SliceHeader) else None for item in found] == [last, first]


def test_rsna_identifiers_are_kept_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(
        tmp_path,
        slices=2,
        patient_id="ID_0002cd41",
        study_uid="ID_66929e09d4",
        series_uid="ID_e22a5534e6",
        SliceThickness=None,
        InstanceNumber=None,
        WindowCenter=[40, 400],
    )
    caplog.clear()
    found = [item for item in discover([tmp_path]) if isinstance(item, SliceHeader)]
    assert caplog.records == [], "pydicom's complaints about the UIDs"
    assert [item.series_uid for item in found] == ["ID_e22a5534e6"] * 2
    assert [(item.instance_number, item.slice_thickness_mm) for item in found] == [(None, None)] * 2


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_plain_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    dataset = make_dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    assert header(write_dataset(tmp_path / "a.dcm", dataset)).rows == 64


@pytest.mark.parametrize("implicit", [True, False])
def test_a_dataset_without_preamble_is_read(tmp_path: Path, implicit: bool) -> None:  # noqa: FBT001 - parametrised
    path = tmp_path / "bare"
    make_dataset().save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"
    assert header(path).patient_id == "P1"


def test_the_indexes_of_a_disc_are_no_error(shared_data: Path) -> None:
    found = list(discover([shared_data / "ct_head" / "philips_disc"]))
    indexes = [item for item in found if isinstance(item, Rejection)]
    assert [item.path for item in indexes] == [
        "DICOMDIR",
        "S21570/DIRFILE",
        "S21570/S1000/DIRFILE",
        "S21570/S2010/DIRFILE",
        "S21570/S4010/DIRFILE",
    ]
    assert {(item.kind, item.reason) for item in indexes} == {("not_chosen", "dicomdir")}
    assert len(found) - len(indexes) == 35


def _write_bytes(content: bytes) -> Any:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")


@pytest.mark.parametrize(
    "write",
    [
        _write_bytes(b""),
        _write_bytes(b"Study notes\n" * 50),
        _write_bytes(b"\x08\x00"),
        _write_bytes(b"\x08\x00" + bytes(range(256)) * 4),
        _write_bytes(np.random.default_rng(0).bytes(5000)),
        _write_zip,
    ],
    ids=["empty", "text", "two bytes", "like a dataset", "noise", "zip"],
)
def test_what_is_not_dicom(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "file"
    write(path)
    found = rejection(path)
    assert (found.kind, found.reason, found.path) == ("unreadable", "not_dicom", "file")
    assert "expected a DICOM file" in found.message


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns"])
def test_a_missing_tag_is_named(tmp_path: Path, keyword: str) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", make_dataset(**{keyword: None})))
    assert (found.kind, found.reason) == ("unreadable", "missing_tag")
    assert keyword in found.message


def test_an_image_without_pixels(tmp_path: Path) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", make_dataset(PixelData=None)))
    assert (found.kind, found.reason) == ("unreadable", "no_pixel_data")


def test_a_report_is_no_error(tmp_path: Path) -> None:
    dataset = make_dataset(SOPClassUID=BasicTextSRStorage, Modality="SR", PixelData=None, Rows=None, Columns=None)
    found = rejection(write_dataset(tmp_path / "a.dcm", dataset))
    assert (found.kind, found.reason) == ("not_chosen", "not_an_image")


def test_several_frames_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(NumberOfFrames=2, PixelData=bytes(2 * 2 * 64 * 64))
    assert rejection(write_dataset(tmp_path / "a.dcm", dataset)).reason == "multiframe"


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_dataset(tmp_path / "whole.dcm", make_dataset()).read_bytes()
    header_length = len(whole) - 2 * 64 * 64
    cut = tmp_path / "cut.dcm"
    reasons = []
    for length in [*range(140, header_length, 3), header_length + 1, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        reasons.append(rejection(cut).reason)
    # Between two elements a cut cannot be told from an incomplete header.
    assert set(reasons) <= {"truncated", "missing_tag", "no_pixel_data"}
    assert reasons.count("truncated") > 0.9 * len(reasons)
    assert reasons[-2:] == ["truncated"] * 2


def test_too_few_bytes_of_pixels_as_in_rsna(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", make_dataset(PixelData=bytes(2 * 64 * 50)))
    found = rejection(path)
    assert found.reason == "truncated"
    assert "6400 bytes of pixel data; 64 x 64 pixels need 8192" in found.message


def test_malformed_numbers_count_as_absent(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a.dcm", make_dataset(SliceThickness=5.0, PixelSpacing=[0.0, 1.0]))
    content = path.read_bytes()
    assert content.count(b"5.0 ") == 1
    path.write_bytes(content.replace(b"5.0 ", b"5,0 "))
    found = header(path)
    assert found.slice_thickness_mm is None
    assert found.pixel_spacing_mm is None


def test_an_input_that_does_not_exist_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        list(discover([tmp_path, tmp_path / "nowhere"]))


def test_an_empty_folder_gives_nothing(tmp_path: Path) -> None:
    assert list(discover([tmp_path])) == []


def test_broken_links_and_pipes_are_listed(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = [item for item in discover([tmp_path]) if isinstance(item, Rejection)]
    assert [(item.path, item.kind, item.reason) for item in found] == [
        ("broken", "unreadable", "unreadable_path"),
        ("pipe", "unreadable", "unreadable_path"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    path = write_series(tmp_path, slices=1)[0]
    folder.mkdir(mode=0o000)
    path.chmod(0o000)
    found = [item for item in discover([tmp_path]) if isinstance(item, Rejection)]
    assert {(item.path, item.reason) for item in found} == {
        (path.name, "unreadable_path"),
        ("closed", "unreadable_path"),
    }


def test_a_file_that_cannot_be_opened_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = write_series(tmp_path, slices=2)
    really_open = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == bad:
            raise PermissionError(13, "Permission denied")
        return really_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    found = {item.path if isinstance(item, Rejection) else item.file: item for item in discover([tmp_path])}
    problem = found[bad.name]
    assert isinstance(problem, Rejection)
    assert (problem.kind, problem.reason) == ("unreadable", "unreadable_path")
    assert "Permission denied" in problem.message
    assert isinstance(found[good.name], SliceHeader)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere", slices=2)
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "link").symlink_to(tmp_path / "elsewhere")
    (scans / "loop").symlink_to(scans)
    found = list(discover([scans]))
    assert [item.file for item in found if isinstance(item, SliceHeader)] == ["link/IM0000.dcm", "link/IM0856.dcm"]
    assert [item.path for item in found if isinstance(item, Rejection)] == ["loop"]


def test_links_that_lead_nowhere_do_not_end_the_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "b", slices=1)
    (tmp_path / "a").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "d")
    (tmp_path / "d").symlink_to(tmp_path / "c")
    found = list(discover([tmp_path]))
    assert [item.file for item in found if isinstance(item, SliceHeader)] == ["b/IM0000.dcm"]
    assert [(item.path, item.kind, item.reason) for item in found if isinstance(item, Rejection)] == [
        (name, "unreadable", "unreadable_path") for name in "acd"
    ]


def test_a_folder_that_cannot_be_resolved_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "good", slices=1)
    (tmp_path / "bad").mkdir()
    really_resolve = Path.resolve

    def resolve(self: Path, strict: bool = False) -> Path:  # noqa: FBT001, FBT002 - as pathlib has it
        if self.name == "bad":
            raise RuntimeError("Symlink loop")
        return really_resolve(self, strict)

    monkeypatch.setattr(Path, "resolve", resolve)
    found = list(discover([tmp_path]))
    assert [(item.path, item.reason) for item in found if isinstance(item, Rejection)] == [("bad", "unreadable_path")]
    assert len(found) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_file_names_that_are_no_utf_8_can_be_written_and_opened(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    path = write_series(folder, slices=1)[0].rename(folder / os.fsdecode(b"\xff.dcm"))
    (folder / os.fsdecode(b"\xfe.txt")).write_text("a note")
    (folder / "ünï.txt").write_text("a note")
    headers = [item for item in discover([tmp_path]) if isinstance(item, SliceHeader)]
    assert [(item.file, item.path) for item in headers] == [(r"stra\xdfe/\xff.dcm", path)]
    assert decode_slice(headers[0].path).values.shape == (64, 64)
    rejected = [item for item in discover([tmp_path]) if isinstance(item, Rejection)]
    assert [item.path for item in rejected] == ["stra\\xdfe/ünï.txt", r"stra\xdfe/\xfe.txt"]
    msgspec.json.encode([(item.path, item.message) for item in rejected])
    found = header(path)
    assert (found.file, found.path) == (r"\xff.dcm", path)
    path.write_bytes(b"changed")
    with pytest.raises(UnreadableFileError, match=r"^\\xff\.dcm: expected a DICOM file"):
        decode_slice(path)


@pytest.mark.parametrize("tags", [{"Rows": 0}, {"Columns": 0}, {"Rows": 4097}, {"Columns": 65535}])
def test_a_matrix_of_no_scanner(tmp_path: Path, tags: dict[str, Any]) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", make_dataset(**tags)))
    assert (found.kind, found.reason) == ("unreadable", "bad_matrix")
    assert "expected 1 to 4096" in found.message


def test_progress_sees_every_file(tmp_path: Path) -> None:
    write_series(tmp_path, slices=4)
    seen: list[int | None] = []

    def progress(items: Any, *, description: str, total: int | None = None, unit: str = "", initial: int = 0) -> Any:
        seen.extend([total, initial])
        assert (description, unit) == ("reading headers", "file")
        yield from items

    assert len(list(discover([tmp_path], progress))) == 4
    assert seen == [4, 0]


def test_uids_do_not_depend_on_the_call() -> None:
    assert seeded_uid("a", 1) == seeded_uid("a", 1) != seeded_uid("a", 2)
