from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import nibabel
import numpy as np
import pydicom
import pytest

from archives import zip_folder
from dicom_files import head_values, make_dataset, seeded_uid, write_dataset, write_series
from slicewise.errors import InputError
from slicewise.reporting.anonymous import anonymous_results
from slicewise.reporting.dicom.references import UNKNOWN_DATE, UNKNOWN_TIME, read_source_study
from slicewise.results import Results, StudyResult
from slicewise.source import Source

Predict = Callable[..., StudyResult]


def change(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def refused(study: StudyResult) -> str:
    with pytest.raises(InputError) as caught:
        read_source_study(study)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def test_every_image_is_read_again(head: Path, predict: Predict) -> None:
    study = predict(head)
    sources = read_source_study(study)
    assert sources.study_uid == study.study_uid
    assert list(sources.instances) == [item.sop_uid for item in study.series[0].slices]
    assert {item.series_uid for item in sources.instances.values()} == {study.series[0].series_uid}
    assert not any(item.is_multiframe for item in sources.instances.values())
    assert (sources.date, sources.time) == ("20240203", "101112.5")


def test_images_in_an_archive_are_read_as_those_on_disk(head: Path, tmp_path: Path, predict: Predict) -> None:
    archive = zip_folder(tmp_path / "scan.zip", head)
    packed, plain = read_source_study(predict(archive)), read_source_study(predict(head))
    assert packed.instances == plain.instances
    assert packed.identity.stored == plain.identity.stored


def test_an_enhanced_image_is_one_instance_with_frames(enhanced: Path, predict: Predict) -> None:
    study = predict(enhanced)
    (instance,) = read_source_study(study).instances.values()
    assert instance.frames(3) == [3]
    assert len(study.series[0].slices) == 10


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientName": "Other^Name"},
        {"PatientBirthDate": ""},
        {"AccessionNumber": "A-18"},
        {"IssuerOfPatientID": "Elsewhere"},
        {"ReferringPhysicianName": "Doe^John"},
        {"StudyDate": "20240204"},
    ],
)
def test_files_that_disagree_on_identity_are_refused(head: Path, predict: Predict, tags: dict[str, str]) -> None:
    change(sorted(head.iterdir())[3], **tags)
    assert refused(predict(head)) == "identity_differs"


def test_one_name_in_two_encodings_is_one_name(head: Path, predict: Predict) -> None:
    for path in sorted(head.iterdir())[:4]:
        change(path, SpecificCharacterSet="ISO_IR 192")
    assert read_source_study(predict(head)).identity.shown["PatientName"] == "Buc^Jérôme"


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("uid", ["ID_0a1b2c3d", "1.2.03", "1.2." + "3" * 70, "../../etc"])
def test_uids_that_are_none_are_refused(tmp_path: Path, predict: Predict, keyword: str, uid: str) -> None:
    names = {"study_uid": uid} if keyword == "StudyInstanceUID" else {"series_uid": uid}
    write_series(tmp_path / "scan", values=head_values(10, 32), **names)  # type: ignore[arg-type]
    assert refused(predict(tmp_path / "scan")) == "invalid_uid"


def test_instance_uids_that_are_none_are_refused(tmp_path: Path, predict: Predict) -> None:
    for number, values in enumerate(head_values(10, 32)):
        tags: dict[str, Any] = {"ImagePositionPatient": [0.0, 0.0, 5.0 * number], "SOPInstanceUID": f"ID_{number:09x}"}
        write_dataset(tmp_path / "scan" / str(number), make_dataset(values=values, **tags))
    assert refused(predict(tmp_path / "scan")) == "invalid_uid"


def test_nifti_is_refused(tmp_path: Path, predict: Predict) -> None:
    kind: Any = nibabel.Nifti1Image
    image = kind(head_values(10, 32).T.astype(np.int16), np.diag([3.5, 3.5, 5.0, 1.0]))
    nibabel.save(image, tmp_path / "head.nii.gz")
    assert refused(predict(tmp_path / "head.nii.gz")) == "no_dicom"


def test_anonymous_results_are_refused(head: Path, predict: Predict, make_results: Callable[..., Results]) -> None:
    (study,) = anonymous_results(make_results(predict(head)), bytes(32)).studies
    assert refused(study) == "anonymous"


def test_a_file_that_became_another_image_is_refused(head: Path, predict: Predict) -> None:
    study = predict(head)
    change(sorted(head.iterdir())[2], SOPInstanceUID=seeded_uid("other"))
    assert refused(study) == "source_changed"


def test_images_whose_place_is_not_known_are_refused(head: Path, predict: Predict) -> None:
    assert refused(msgspec.structs.replace(predict(head), sources={})) == "source_unknown"


def test_files_that_have_gone_or_are_damaged_are_refused(head: Path, predict: Predict, tmp_path: Path) -> None:
    study = predict(head)
    gone = {uid: Source(str(tmp_path / "gone"), "gone") for uid in study.sources}
    assert refused(msgspec.structs.replace(study, sources=gone)) == "unreadable_path"
    (tmp_path / "noise").write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 4)
    noise = {uid: Source(str(tmp_path / "noise"), "noise") for uid in study.sources}
    assert refused(msgspec.structs.replace(study, sources=noise)) in ("malformed", "source_changed")


def test_character_sets_that_do_not_exist_are_refused(tmp_path: Path, predict: Predict) -> None:
    write_series(tmp_path / "scan", values=head_values(10, 32), SpecificCharacterSet="ISO_IR 9999")
    assert refused(predict(tmp_path / "scan")) == "character_set"


@pytest.mark.parametrize(
    ("tags", "date", "time"),
    [
        ({}, UNKNOWN_DATE, UNKNOWN_TIME),
        ({"StudyDate": "20240230", "StudyTime": "1011"}, UNKNOWN_DATE, UNKNOWN_TIME),
        ({"StudyDate": "", "StudyTime": "1011", "SeriesDate": "20240101"}, "20240101", UNKNOWN_TIME),
        ({"StudyDate": "20240101", "StudyTime": "1:2"}, "20240101", UNKNOWN_TIME),
        ({"StudyDate": "20240101", "StudyTime": "2359"}, "20240101", "2359"),
    ],
)
def test_the_moment_is_that_of_the_study(
    tmp_path: Path, predict: Predict, tags: dict[str, str], date: str, time: str
) -> None:
    write_series(tmp_path / "scan", values=head_values(10, 32), **tags)  # type: ignore[arg-type]
    sources = read_source_study(predict(tmp_path / "scan"))
    assert (sources.date, sources.time) == (date, time)
