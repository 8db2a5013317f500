from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    RawDataStorage,
    SecondaryCaptureImageStorage,
)

from archives import write_zip, zip_folder
from dicom_files import make_dataset, seeded_uid, write_dataset, write_series
from planted import MARK, NAMES, identity, plant_malformed, traces
from slicewise.errors import UsageError
from slicewise.imaging.discover import discover, read_headers
from slicewise.imaging.header import PixelDescription, SliceHeader
from slicewise.imaging.load import load_volume
from slicewise.imaging.reasons import REASONS
from slicewise.imaging.series import choose_series, group_studies
from slicewise.results import Rejection
from slicewise.source import Source
from slicewise.task import load_task


def found_in(*inputs: Path, modality: str = "CT") -> list[SliceHeader | Rejection]:
    found = list(discover(inputs, modality=modality))
    assert all(item.reason in REASONS for item in found if isinstance(item, Rejection))
    return found


def headers(*inputs: Path) -> list[SliceHeader]:
    found = [item for item in found_in(*inputs) if isinstance(item, SliceHeader)]
    return sorted(found, key=lambda header: (header.file, header.frame))


def rejections(*inputs: Path) -> list[Rejection]:
    found = [item for item in found_in(*inputs) if isinstance(item, Rejection)]
    return sorted(found, key=lambda rejection: rejection.path)


def header(path: Path) -> SliceHeader:
    (found,) = found_in(path)
    assert isinstance(found, SliceHeader), found
    return found


def rejection(path: Path) -> Rejection:
    (found,) = found_in(path)
    assert isinstance(found, Rejection), found
    assert found.message.startswith(f"{found.path}: ")
    return found


def with_syntax(dataset: Dataset, syntax: str) -> Dataset:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    return dataset


def test_every_field_of_a_header_is_that_of_the_file(shared_data: Path) -> None:
    path = shared_data / "ct_head" / "ge_tilted_variable_spacing" / "05.dcm"
    dataset = pydicom.dcmread(path)
    assert header(path) == SliceHeader(
        source=Source(str(path), "05.dcm"),
        frame=1,
        pixels=PixelDescription(
            transfer_syntax=dataset.file_meta.TransferSyntaxUID,
            keyword="PixelData",
            offset=path.stat().st_size - 2 * 512 * 512,
            length=2 * 512 * 512,
            frames=1,
            samples=1,
            photometric="MONOCHROME2",
            bits_allocated=16,
            bits_stored=16,
            high_bit=15,
            signed=True,
            padding=(dataset.PixelPaddingValue, dataset.PixelPaddingValue),
            states_intercept=True,
            intercept=float(dataset.RescaleIntercept),
            slope=float(dataset.RescaleSlope),
        ),
        patient_id=dataset.PatientID,
        study_uid=dataset.StudyInstanceUID,
        series_uid=dataset.SeriesInstanceUID,
        sop_uid=dataset.SOPInstanceUID,
        modality="CT",
        sop_class_uid=CTImageStorage,
        image_type=("ORIGINAL", "PRIMARY", "AXIAL", "ADD"),
        rows=512,
        columns=512,
        series_number=2,
        instance_number=5,
        series_description=dataset.get("SeriesDescription", ""),
        convolution_kernel="STD+",
        slice_thickness_mm=4.0,
        image_position=tuple(dataset.ImagePositionPatient),
        image_orientation=tuple(dataset.ImageOrientationPatient),
        pixel_spacing_mm=(0.4882812, 0.4882812),
        contrast_agent=dataset.get("ContrastBolusAgent", ""),
        body_part=dataset.get("BodyPartExamined", ""),
    )


def test_what_a_minimal_header_leaves_out_is_absent(tmp_path: Path) -> None:
    dataset = Dataset()
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns"):
        dataset[keyword] = make_dataset()[keyword]
    dataset.add_new("PixelData", "OW", bytes(2 * 64 * 64))
    found = header(write_dataset(tmp_path / "a.dcm", dataset))
    assert (found.patient_id, found.modality, found.sop_class_uid, found.image_type) == ("", "", "", ())
    assert (found.series_number, found.instance_number, found.slice_thickness_mm) == (None, None, None)
    assert (found.image_position, found.image_orientation, found.pixel_spacing_mm) == (None, None, None)
    described = found.pixels
    assert described is not None
    assert (described.samples, described.frames, described.bits_allocated, described.signed) == (1, 1, 0, False)
    assert (described.bits_stored, described.high_bit, described.padding, described.lut) == (None, None, None, None)
    assert (described.states_intercept, described.intercept, described.slope) == (False, 0.0, 1.0)


def test_rsna_identifiers_are_kept_as_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tags = {"SliceThickness": None, "InstanceNumber": None, "SeriesNumber": None, "SeriesDescription": None}
    for number, position in enumerate((55.5, 60.5, 50.5)):
        dataset = make_dataset(
            sop_uid=f"ID_00000{number}a{number}f",
            PatientID="ID_0002cd41",
            StudyInstanceUID="ID_66929e09d4",
            SeriesInstanceUID="ID_e22a5534e6",
            ImagePositionPatient=[-125.0, -141.3, position],
            WindowCenter=["00036", "00036"],
            **tags,
        )
        write_dataset(tmp_path / f"ID_00000{number}a{number}f.dcm", dataset)
    caplog.clear()
    found = headers(tmp_path)
    assert caplog.records == [], "pydicom's complaints about the UIDs"
    assert [item.sop_uid for item in found] == ["ID_000000a0f", "ID_000001a1f", "ID_000002a2f"]
    assert {(item.patient_id, item.study_uid, item.series_uid) for item in found} == {
        ("ID_0002cd41", "ID_66929e09d4", "ID_e22a5534e6")
    }
    assert {(item.instance_number, item.slice_thickness_mm) for item in found} == {(None, None)}
    ((study,),) = [group_studies(found)]
    volume, rejected = load_volume(study.series[0])
    assert rejected == ()
    assert [item.sop_uid for item in volume.slices] == ["ID_000002a2f", "ID_000000a0f", "ID_000001a1f"]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_plain_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    reference = header(write_dataset(tmp_path / "a.dcm", make_dataset()))
    found = header(write_dataset(tmp_path / "b.dcm", with_syntax(make_dataset(), syntax)))
    assert found.pixels is not None
    assert found.pixels.transfer_syntax == syntax
    assert msgspec.structs.replace(found, source=reference.source, pixels=reference.pixels) == reference


def test_a_dataset_without_preamble_is_read(tmp_path: Path) -> None:
    for implicit in (True, False):
        path = tmp_path / "bare"
        make_dataset().save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
        assert header(path).patient_id == "P1"
        assert header(path).pixels is not None


def with_bytes(tmp_path: Path, old: bytes, new: bytes, **tags: Any) -> Path:
    """Writes an image and replaces bytes, for values that pydicom does not write."""
    assert len(old) == len(new)
    path = write_dataset(tmp_path / "a.dcm", make_dataset(**tags))
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


def test_malformed_numbers_count_as_absent(tmp_path: Path) -> None:
    found = header(with_bytes(tmp_path, b"5.0 ", b"5,0 ", PixelSpacing=[0.0, 1.0], ImagePositionPatient=[1.0, 2.0]))
    assert (found.slice_thickness_mm, found.pixel_spacing_mm, found.image_position) == (None, None, None)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns"])
def test_a_missing_tag_is_named(tmp_path: Path, keyword: str) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", make_dataset(**{keyword: None})))
    assert (found.kind, found.reason) == ("unreadable", "missing_tag")
    assert f"has no {keyword}, which" in found.message
    assert found.series_uid == ("" if keyword == "SeriesInstanceUID" else seeded_uid("series"))


def test_an_image_without_pixels(tmp_path: Path) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", make_dataset(PixelData=None)))
    assert (found.kind, found.reason, found.series_uid) == ("unreadable", "no_pixel_data", seeded_uid("series"))


@pytest.mark.parametrize(
    ("sop_class", "told"),
    [
        (BasicTextSRStorage, "Basic Text SR Storage"),
        (GrayscaleSoftcopyPresentationStateStorage, "Grayscale Softcopy Presentation State Storage"),
        (RawDataStorage, "Raw Data Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.1", "Text SR Storage - Trial"),
        ("1.3.12.2.1107.5.9.1", "a class that is not in the standard"),
        ("not^a^UID", "a class that is not in the standard"),
    ],
)
def test_objects_that_are_no_images_are_no_error(tmp_path: Path, sop_class: str, told: str) -> None:
    dataset = make_dataset(SOPClassUID=sop_class, Modality="SR", PixelData=None, Rows=None, Columns=None)
    found = rejection(write_dataset(tmp_path / "a.dcm", dataset))
    assert (found.kind, found.reason) == ("not_chosen", "not_an_image")
    assert found.message == f"a.dcm: is no image but an object of {told}."


def test_an_image_of_a_private_class_is_one(tmp_path: Path) -> None:
    private = "1.2.840.113619.4.30"
    path = write_dataset(tmp_path / "a.dcm", make_dataset(SOPClassUID=private))
    assert header(path).sop_class_uid == private
    path.write_bytes(path.read_bytes()[:900])
    assert rejection(path).reason == "truncated"
    assert rejection(write_dataset(path, make_dataset(SOPClassUID=private, PixelData=None))).reason == "no_pixel_data"


def test_several_frames_without_places_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(NumberOfFrames=2, PixelData=bytes(2 * 2 * 64 * 64))
    found = rejection(write_dataset(tmp_path / "a.dcm", dataset))
    assert (found.kind, found.reason) == ("unreadable", "multiframe")
    assert "has 2 frames and no Per-Frame Functional Groups (5200,9230)" in found.message


@pytest.mark.parametrize(
    ("sop_class", "modality", "reason"),
    [
        (MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "CT", "secondary_capture"),
        (NuclearMedicineImageStorage, "NM", "wrong_modality"),
    ],
)
def test_several_frames_of_what_would_not_be_read_are_no_error(
    tmp_path: Path, sop_class: str, modality: str, reason: str
) -> None:
    dataset = make_dataset(SOPClassUID=sop_class, Modality=modality, NumberOfFrames=2, PixelData=bytes(2 * 2 * 64 * 64))
    found = rejection(write_dataset(tmp_path / "a.dcm", dataset))
    assert (found.kind, found.reason) == ("not_chosen", reason)
    (as_nm,) = found_in(tmp_path, modality="NM")
    assert isinstance(as_nm, Rejection)
    assert as_nm.reason == ("multiframe" if modality == "NM" else "secondary_capture")


def frame_group(position: float) -> Dataset:
    group, plane = Dataset(), Dataset()
    plane.ImagePositionPatient = [0.0, 0.0, position]
    group.PlanePositionSequence = [plane]
    return group


def test_a_header_a_frame(tmp_path: Path) -> None:
    dataset = make_dataset(NumberOfFrames=2, PixelData=bytes(2 * 2 * 64 * 64))
    dataset.PerFrameFunctionalGroupsSequence = [frame_group(0.0), frame_group(5.0)]
    found = headers(write_dataset(tmp_path / "a.dcm", dataset))
    assert [(item.frame, item.image_position) for item in found] == [(1, (0.0, 0.0, 0.0)), (2, (0.0, 0.0, 5.0))]
    assert len({item.sop_uid for item in found}) == 1


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
    assert (found.kind, found.reason, found.series_uid) == ("unreadable", "truncated", seeded_uid("series"))
    assert "6400 bytes of pixel data; 64 x 64 pixels need 8192" in found.message


@pytest.mark.parametrize(
    ("photometric", "count", "is_enough"),
    [("YBR_FULL_422", 8192, True), ("YBR_FULL_422", 8190, False), ("RGB", 8192, False), ("RGB", 12288, True)],
)
def test_bytes_of_colours(tmp_path: Path, photometric: str, count: int, *, is_enough: bool) -> None:
    dataset = make_dataset(
        SOPClassUID=SecondaryCaptureImageStorage,
        SamplesPerPixel=3,
        PhotometricInterpretation=photometric,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=bytes(count),
    )
    (found,) = found_in(write_dataset(tmp_path / "a.dcm", dataset))
    assert isinstance(found, SliceHeader) is is_enough


@pytest.mark.parametrize("tags", [{"Rows": 0}, {"Columns": 0}, {"Rows": 4097}, {"Columns": 65535}])
def test_a_matrix_of_no_scanner(tmp_path: Path, tags: dict[str, Any]) -> None:
    found = rejection(write_dataset(tmp_path / "a.dcm", make_dataset(**tags)))
    assert (found.kind, found.reason) == ("unreadable", "bad_matrix")
    assert "expected 1 to 4096" in found.message


def test_other_files(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("letter.txt", b"Study notes\n" * 50), ("scan.nii", b"no NIfTI")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert [(item.path, item.kind, item.reason) for item in rejections(tmp_path)] == [
        ("broken", "unreadable", "unreadable_path"),
        ("empty", "unreadable", "not_dicom"),
        ("letter.txt", "unreadable", "not_dicom"),
        ("pipe", "unreadable", "unreadable_path"),
        ("scan.nii", "unreadable", "truncated"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write_series(tmp_path, slices=1)[0]
    path.chmod(0o000)
    assert [(item.path, item.reason) for item in rejections(tmp_path)] == [(path.name, "unreadable_path")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_names_that_are_no_utf_8_can_be_written_and_opened(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    write_series(folder, slices=1)[0].rename(folder / os.fsdecode(b"\xff.dcm"))
    (folder / os.fsdecode(b"\xfe.txt")).write_text("a note")
    (found,) = headers(tmp_path)
    assert found.file == r"stra\xdfe/\xff.dcm"
    volume, _ = load_volume(group_studies([found])[0].series[0])
    assert volume.values.shape == (1, 64, 64)
    (note,) = rejections(tmp_path)
    msgspec.json.encode([found.file, note.path, note.message])


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a" / "b", slices=3)
    write_series(tmp_path / "in", slices=2, patient_id="P2")
    (tmp_path / "in" / "note").write_text("a note")
    zip_folder(tmp_path / "scans.zip", tmp_path / "in")
    zip_folder(tmp_path / "outer" / "scans.ZIP", tmp_path / "in", within="x/")
    expected = headers(tmp_path / "in")
    assert len(expected) == 5
    for found, prefix in (
        (headers(tmp_path / "scans.zip"), ""),
        (headers(tmp_path / "outer"), "scans.ZIP/x/"),
    ):
        assert [item.file for item in found] == [prefix + item.file for item in expected]
        assert [msgspec.structs.replace(item, source=expected[0].source) for item in found] == [
            msgspec.structs.replace(item, source=expected[0].source) for item in expected
        ]
    assert [item.path for item in rejections(tmp_path / "outer")] == ["scans.ZIP/x/note"]


def test_a_damaged_entry_of_an_archive_is_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "in", slices=3)
    path = write_zip(tmp_path / "a.zip", {item.name: item.read_bytes() for item in paths}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF  # within the pixels of the second one
    path.write_bytes(content)
    assert [item.file for item in headers(path)] == sorted([paths[0].name, paths[2].name])
    (found,) = rejections(path)
    assert (found.path, found.kind, found.reason) == (paths[1].name, "unreadable", "bad_archive")


def test_nifti_files_are_of_the_modality_of_the_task(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 3), np.int16), np.eye(4))  # type: ignore[no-untyped-call]
    image.to_filename(tmp_path / "a.nii.gz")
    write_zip(tmp_path / "b.zip", {"c/a.nii.gz": (tmp_path / "a.nii.gz").read_bytes()})
    found = found_in(tmp_path, modality="MR")
    assert {(item.file, item.modality, item.pixels) for item in found if isinstance(item, SliceHeader)} == {
        ("a.nii.gz", "MR", None),
        ("b.zip/c/a.nii.gz", "MR", None),
    }
    assert len(found) == 6


@pytest.mark.parametrize("charset", NAMES)
def test_names_of_every_character_set_do_no_harm(tmp_path: Path, charset: str) -> None:
    write_series(tmp_path / "good", slices=2, patient_id="A1", **identity(charset))
    unreadable = plant_malformed(tmp_path, charset)
    found = found_in(tmp_path)
    assert sum(isinstance(item, SliceHeader) and item.patient_id == "A1" for item in found) == 2
    told = [item.message for item in found if isinstance(item, Rejection)]
    assert 0 < len(told) <= unreadable
    assert [trace for message in told for trace in traces(message, charset)] == []


@pytest.mark.parametrize(
    ("charset", "text", "stored"),
    [
        ("ISO_IR 192", "Köpfchen 頭", "Köpfchen 頭".encode()),
        ("ISO_IR 100", "Tête", "Tête".encode("latin-1")),
        ("GB18030", "头部", "头部".encode("gb18030")),
        ("\\ISO 2022 IR 87", "頭部", b"\x1b$BF,It\x1b(B"),
    ],
)
def test_descriptions_are_read_in_their_character_set(tmp_path: Path, charset: str, text: str, stored: bytes) -> None:
    long = b"D" * (len(stored) + len(stored) % 2)
    path = write_dataset(
        tmp_path / "a.dcm", make_dataset(SpecificCharacterSet=charset.split("\\"), SeriesDescription=long.decode())
    )
    path.write_bytes(path.read_bytes().replace(long, stored.ljust(len(long))))
    assert header(path).series_description == text


def test_messages_hold_nothing_of_a_class_that_is_no_uid(tmp_path: Path) -> None:
    dataset = make_dataset(SOPClassUID=MARK, PixelData=None, Rows=None, Columns=None)
    assert MARK not in rejection(write_dataset(tmp_path / "a.dcm", dataset)).message


def test_missing_files_of_a_disc_are_told_with_its_index(shared_data: Path) -> None:
    disc = shared_data / "ct_head" / "philips_disc"
    for inputs in ([disc], [disc / "DICOMDIR"]):
        found = rejections(*inputs)
        assert [(item.path, item.kind, item.reason) for item in found] == [
            ("DICOMDIR", "not_chosen", "dicomdir"),
            ("S21570/DIRFILE", "not_chosen", "dicomdir"),
            ("S21570/S1000/DIRFILE", "not_chosen", "dicomdir"),
            ("S21570/S2010/DIRFILE", "not_chosen", "dicomdir"),
            ("S21570/S2020/DIRFILE", "not_chosen", "missing_file"),
            ("S21570/S2030/DIRFILE", "not_chosen", "missing_file"),
            ("S21570/S4010/DIRFILE", "not_chosen", "dicomdir"),
            ("S21610/DIRFILE", "not_chosen", "missing_file"),
        ]


def test_a_disc_has_the_same_outcome_by_its_index_as_a_folder_and_as_an_archive(
    tmp_path: Path, shared_data: Path
) -> None:
    disc = shared_data / "ct_head" / "philips_disc"
    as_folder, by_index = headers(disc), headers(disc / "DICOMDIR")
    assert as_folder == by_index
    (study,) = group_studies(as_folder)
    decisions = choose_series(study, load_task("ich").series)
    assert [(item.series.folder, len(item.series.headers), item.reason) for item in decisions] == [
        ("S21570/S1000", 1, "localizer"),
        ("S21570/S2010", 28, "chosen"),
        ("S21570/S4010", 6, "secondary_capture"),
    ]
    in_archive = headers(zip_folder(tmp_path / "disc.zip", disc))
    (study,) = group_studies(in_archive)
    assert [
        (item.series.folder, item.reason, item.message) for item in choose_series(study, load_task("ich").series)
    ] == [(item.series.folder, item.reason, item.message) for item in decisions]


def test_a_damaged_index_of_a_disc_is_told_and_its_images_are_read(tmp_path: Path) -> None:
    write_series(tmp_path / "A", slices=2)
    record = Dataset()
    record.ReferencedFileID = ["A", "IM0000"]
    index = Dataset()
    index.DirectoryRecordSequence = [record] * 5
    index.SOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    path = write_dataset(tmp_path / "DICOMDIR", index)
    path.write_bytes(path.read_bytes()[:-7])
    assert len(headers(tmp_path)) == 2
    assert [(item.path, item.kind, item.reason) for item in rejections(tmp_path)] == [
        ("DICOMDIR", "unreadable", "malformed")
    ]


def test_an_input_that_does_not_exist_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        list(discover([tmp_path, tmp_path / "nowhere"]))


def test_an_empty_folder_gives_nothing(tmp_path: Path) -> None:
    assert found_in(tmp_path) == []


def test_progress_sees_every_file(tmp_path: Path) -> None:
    write_series(tmp_path, slices=4)
    (tmp_path / "note").write_text("a note")
    seen: list[int | None] = []

    def progress(
        items: Iterable[Any],
        *,
        description: str,
        total: int | None = None,
        unit: str = "",
        initial: int = 0,
        **_: object,
    ) -> Iterator[Any]:
        seen.extend([total, initial])
        assert (description, unit) == ("reading headers", "file")
        for item in items:
            seen.append(None)
            yield item

    assert len(list(discover([tmp_path], progress))) == 5
    assert seen == [5, 0, *[None] * 5]


def test_files_are_read_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, slices=6, matrix=4)
    opened: list[str] = []
    really_open = Source.open

    def counting(self: Source) -> Any:
        opened.append(self.file)
        return really_open(self)

    monkeypatch.setattr(Source, "open", counting)
    found = discover([tmp_path])
    next(found)
    next(found)
    assert len(opened) == 2
    assert len(list(found)) == 4
    assert len(opened) == 6


def test_one_file_is_read_again_as_discover_reads_it(tmp_path: Path) -> None:
    path = write_series(tmp_path, slices=1)[0]
    (found,) = found_in(tmp_path)
    assert isinstance(found, SliceHeader)
    assert list(read_headers(found.source)) == [found]
    path.unlink()
    (gone,) = read_headers(found.source)
    assert isinstance(gone, Rejection)
    assert gone.reason == "unreadable_path"


def test_a_contrast_agent_may_be_coded(tmp_path: Path) -> None:
    agent = Dataset()
    agent.CodeValue, agent.CodingSchemeDesignator, agent.CodeMeaning = "385420005", "SCT", "Contrast agent"
    write_series(tmp_path, slices=1, ContrastBolusAgentSequence=[agent])
    (header,) = discover([tmp_path])
    assert isinstance(header, SliceHeader)
    assert header.contrast_agent == "Contrast agent"
