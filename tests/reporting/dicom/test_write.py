from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pydicom
import pytest

from dicom_files import head_values, write_series
from slicewise.errors import MissingExtraError, UsageError
from slicewise.reporting.dicom.outcome import DicomOutcome
from slicewise.results import ModelSummary, StudyResult

Predict = Callable[..., StudyResult]
Write = Callable[..., DicomOutcome]
HOST = "127.0.0.1"
RAISED = {3: {"any": 0.9}, 4: {"any": 0.8}}


def contents(outcome: DicomOutcome) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in outcome.written}


def uids(outcome: DicomOutcome) -> set[str]:
    found = set()
    for path in outcome.written:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.SOPInstanceUID.is_valid
        found |= {str(dataset.SOPInstanceUID), str(dataset.SeriesInstanceUID)}
    return found


def test_a_study_has_a_folder_with_its_objects(head: Path, tmp_path: Path, predict: Predict, write: Write) -> None:
    study = predict(head, RAISED)
    outcome = write(study)
    names = ["sr.dcm", "kos.dcm", "sc-01.dcm", "sc-02.dcm", "sc-03.dcm"]
    assert outcome.written == tuple(tmp_path / "results" / "dicom" / study.study_uid / name for name in names)
    assert not outcome.refused
    assert len(uids(outcome)) == 5 + 3
    assert {pydicom.dcmread(path).StudyInstanceUID for path in outcome.written} == {study.study_uid}


def test_only_what_was_asked_for_is_written(head: Path, predict: Predict, write: Write) -> None:
    assert list(contents(write(predict(head, RAISED), kinds=("kos",)))) == ["kos.dcm"]


def test_the_same_call_writes_the_same_bytes(
    head: Path, tmp_path: Path, predict: Predict, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = contents(write(predict(head, RAISED)))
    head.rename(tmp_path / "moved")
    later = time.time() + 100_000
    monkeypatch.setattr(time, "time", lambda: later)
    assert contents(write(predict(tmp_path / "moved", RAISED), output="again")) == first


@pytest.mark.parametrize(
    "change",
    [
        {"software_version": "9.8.8"},
        {"digest": "0b" * 32},
        {"thresholds": 0.3},
        {"raised": {3: {"any": 0.9}, 4: {"any": 0.8000001}}},
        {"tags": {"PatientName": "Changed^Name"}},
    ],
)
def test_whatever_changes_gives_new_uids(
    head: Path, predict: Predict, write: Write, model: ModelSummary, change: dict[str, Any]
) -> None:
    before = uids(write(predict(head, RAISED)))
    if "tags" in change:
        for path in head.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.update(change["tags"])
            dataset.save_as(path)
    options: dict[str, Any] = {}
    if "software_version" in change:
        options["software_version"] = change["software_version"]
    if "digest" in change:
        options["model"] = msgspec.structs.replace(model, digest=change["digest"])
    if "thresholds" in change:
        options["model"] = msgspec.structs.replace(model, thresholds=dict.fromkeys(model.labels, change["thresholds"]))
    after = uids(write(predict(head, change.get("raised", RAISED)), output="again", **options))
    assert not before & after


def test_what_an_earlier_call_left_does_not_stay(head: Path, predict: Predict, write: Write) -> None:
    folder = write(predict(head, {index: {"any": 0.9} for index in range(9)})).written[0].parent
    (folder / "notes.txt").write_text("mine")
    outcome = write(predict(head))
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "sc-01.dcm", "sr.dcm"]
    assert [(item.kind, item.reason) for item in outcome.refused] == [("kos", "nothing_flagged")]


def test_a_refused_study_leaves_nothing(tmp_path: Path, predict: Predict, write: Write) -> None:
    write_series(tmp_path / "scan", values=head_values(10, 32), study_uid="ID_0123")
    outcome = write(predict(tmp_path / "scan", RAISED))
    assert not outcome.written
    assert [(item.study_uid, item.kind, item.reason) for item in outcome.refused] == [
        ("ID_0123", kind, "invalid_uid") for kind in ("sr", "kos", "sc")
    ]
    assert "ID_0123" in outcome.refused[0].message
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("uid", ["../../escaped", "/escaped", "..", ".", ""])
def test_no_study_uid_leads_out_of_the_folder(
    head: Path, tmp_path: Path, predict: Predict, write: Write, uid: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    outcome = write(msgspec.structs.replace(predict(head, RAISED), study_uid=uid))
    assert {item.reason for item in outcome.refused} == {"invalid_uid"}
    assert sorted(tmp_path.rglob("*")) == before


def test_half_a_series_of_pictures_is_taken_back(head: Path, predict: Predict, write: Write) -> None:
    study = predict(head, RAISED)
    path = Path(study.sources[study.series[0].slices[4].sop_uid].path)
    path.write_bytes(path.read_bytes()[:-500])
    outcome = write(study)
    assert list(contents(outcome)) == ["sr.dcm", "kos.dcm"]
    assert [item.kind for item in outcome.refused] == ["sc"]
    assert not list(outcome.written[0].parent.glob("sc-*"))


def test_unknown_kinds_are_refused(head: Path, predict: Predict, write: Write) -> None:
    with pytest.raises(UsageError, match="'seg'"):
        write(predict(head), kinds=("sr", "seg"))


def test_a_missing_extra_is_named(head: Path, predict: Predict, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slicewise.reporting.dicom.extra.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"slicewise\[dicom\]"):
        write(predict(head))


def program(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed (Debian: dcmtk)")


def rest(port: int, path: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", body, timeout=30) as answer:
        return json.load(answer)


def store(port: int, paths: list[Path]) -> None:
    command = [program("storescu"), "-v", "-R", HOST, str(port), *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=60)
    output = (ended.stdout + ended.stderr).decode("utf-8", "replace")
    assert ended.returncode == 0, output
    assert output.count("Received Store Response (Success)") == len(paths), output


def find(port: int, folder: Path, study_uid: str) -> list[pydicom.Dataset]:
    folder.mkdir()
    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study_uid}", "Modality", "SeriesInstanceUID", "PatientID"]
    arguments = [part for key in keys for part in ("-k", key)]
    subprocess.run(
        [program("findscu"), "-S", "-X", "-od", str(folder), *arguments, HOST, str(port)], check=True, timeout=60
    )
    return [pydicom.dcmread(path, force=True) for path in sorted(folder.glob("*.dcm"))]


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_an_archive_files_the_results_with_the_images(
    head: Path, tmp_path: Path, predict: Predict, write: Write, orthanc: tuple[int, int]
) -> None:
    dicom_port, http_port = orthanc
    study = predict(head, {3: {"any": 0.9}, 4: {"any": 0.8}})
    outcome = write(study)
    store(dicom_port, [*sorted(head.iterdir()), *outcome.written])

    found = find(dicom_port, tmp_path / "found", study.study_uid)
    assert sorted(item.Modality for item in found) == ["CT", "KO", "OT", "SR"]
    assert {item.PatientID for item in found} == {"P1"}
    objects = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in outcome.written}
    expected = {str(item.SeriesInstanceUID) for item in objects.values()} | {study.series[0].series_uid}
    assert {str(item.SeriesInstanceUID) for item in found} == expected
    assert len(rest(http_port, "/patients")) == len(rest(http_port, "/studies")) == 1

    for path, item in objects.items():
        (known,) = rest(http_port, "/tools/lookup", str(item.SOPInstanceUID).encode())
        assert known["Type"] == "Instance"
        with urllib.request.urlopen(f"http://{HOST}:{http_port}/instances/{known['ID']}/file", timeout=30) as answer:
            assert pydicom.dcmread(BytesIO(answer.read())) == pydicom.dcmread(path)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_second_call_adds_nothing_to_the_archive(
    head: Path, predict: Predict, write: Write, orthanc: tuple[int, int]
) -> None:
    _, http_port = orthanc
    for output in ("first", "second"):
        for path in write(predict(head, {3: {"any": 0.9}}), output=output).written:
            answer = rest(http_port, "/instances", path.read_bytes())
            assert answer["Status"] == ("Success" if output == "first" else "AlreadyStored")
    assert rest(http_port, "/statistics")["CountInstances"] == 4


def test_a_study_unlike_the_training_data_is_refused(head: Path, predict: Predict, write: Write) -> None:
    study = predict(head, {2: {"any": 0.9}})
    series = tuple(msgspec.structs.replace(item, unlike_training=True) for item in study.series)
    outcome = write(msgspec.structs.replace(study, series=series))
    assert [(item.kind, item.reason) for item in outcome.refused] == [
        (kind, "unlike_training") for kind in ("sr", "kos", "sc")
    ]
    assert not outcome.written
