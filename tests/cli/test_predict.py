from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import nibabel
import numpy as np
import pydicom
import pytest

import odd_scans
from dicom_files import head_values, seeded_uid, write_series
from planted import MALFORMED_SLICES, MARK, NAMES, identity, plant_malformed, traces
from slicewise.cli.main import main
from slicewise.imaging.reasons import REASONS
from synthetic_head import Head

LABELS = ["any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
Predict = Callable[..., int]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled networks go neither into the home of whoever runs the tests nor from one test to the next session."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def predict(tmp_path: Path) -> Predict:
    def call(*arguments: object, formats: str = "csv,json", output: str = "out") -> int:
        options = ["--output", str(tmp_path / output), "--quiet", "--formats", formats]
        return main(["predict", *map(str, arguments), *options])

    return call


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_slice_of_a_series_gets_a_row(tmp_path: Path, predict: Predict) -> None:
    paths = write_series(tmp_path / "in" / "deep" / "er", slices=12)
    assert predict(tmp_path / "in") == 0
    rows = read(tmp_path / "out" / "slices.csv")
    assert list(rows[0])[8:] == LABELS
    assert [row["file"] for row in rows] == [f"deep/er/{path.name}" for path in paths]
    assert [int(row["slice_index"]) for row in rows] == list(range(12))
    for row in rows:
        assert 0 <= float(row["epidural"]) <= float(row["any"]) <= 1
    series = read(tmp_path / "out" / "series.csv")
    assert float(series[0]["any"]) == max(float(row["any"]) for row in rows)
    assert read(tmp_path / "out" / "rejected.csv") == []


def test_the_order_and_names_of_files_do_not_matter(tmp_path: Path, predict: Predict) -> None:
    paths = write_series(tmp_path / "one", slices=10)
    for index, path in enumerate(reversed(paths)):
        target = tmp_path / "two" / f"folder {index % 3}" / f"{index:04d}.IMG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    tables = []
    for name in ("one", "two"):
        assert predict(tmp_path / name) == 0
        tables.append([{**row, "file": ""} for row in read(tmp_path / "out" / "slices.csv")])
    assert tables[0] == tables[1]


def test_bad_files_are_listed_and_the_rest_is_scored(tmp_path: Path, predict: Predict) -> None:
    paths = write_series(tmp_path / "in", slices=12)
    paths[3].write_bytes(paths[3].read_bytes()[:-2000])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert predict(tmp_path / "in") == 3
    rejected = {row["path"]: (row["kind"], row["reason"]) for row in read(tmp_path / "out" / "rejected.csv")}
    assert rejected == {
        paths[3].name: ("unreadable", "truncated"),
        "notes.txt": ("unreadable", "not_dicom"),
    }
    assert len(read(tmp_path / "out" / "slices.csv")) == 11


def test_a_series_without_positions_is_unreadable(tmp_path: Path, predict: Predict) -> None:
    write_series(tmp_path / "in", slices=12, ImagePositionPatient=None)
    assert predict(tmp_path / "in") == 1
    rows = read(tmp_path / "out" / "rejected.csv")
    assert {(row["kind"], row["reason"]) for row in rows} == {("unreadable", "no_position")}
    assert read(tmp_path / "out" / "slices.csv") == []


def test_an_empty_folder_is_nothing_done(tmp_path: Path, predict: Predict) -> None:
    (tmp_path / "in").mkdir()
    assert predict(tmp_path / "in", formats="csv,json,html") == 1
    assert json.loads((tmp_path / "out" / "results.json").read_text())["studies"] == []


def test_a_series_that_is_not_chosen_is_no_failure(tmp_path: Path, predict: Predict) -> None:
    write_series(tmp_path / "in" / "brain", slices=12)
    bone = seeded_uid("bone")
    write_series(tmp_path / "in" / "bone", slices=12, series_uid=bone, ConvolutionKernel="BONE")
    assert predict(tmp_path / "in") == 0
    rows = read(tmp_path / "out" / "rejected.csv")
    assert [(row["kind"], row["reason"], row["series_uid"]) for row in rows] == [
        ("not_chosen", "other_series_preferred", bone)
    ]
    assert predict(tmp_path / "in", "--series", bone) == 0
    assert {row["series_uid"] for row in read(tmp_path / "out" / "slices.csv")} == {bone}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file"),
        (["in", "--series", "1.2.3"], "no such series"),
        (["in", "--formats", "pdf"], "csv, json, html"),
    ],
)
def test_a_wrong_call_is_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write_series(tmp_path / "in", slices=9)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *arguments, "--output", "out", "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blocked", ["file", "file/deeper", "new/folder"])
def test_a_blocked_output_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], blocked: str
) -> None:
    def no_space(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if blocked == "new/folder":
        monkeypatch.setattr("tempfile.TemporaryFile", no_space)
    monkeypatch.setattr("slicewise.package.load_package", lambda *_: pytest.fail("was loaded"))
    monkeypatch.chdir(tmp_path)
    write_series(tmp_path / "in", slices=9)
    (tmp_path / "file").write_text("in the way")
    assert main(["predict", "in", "--output", blocked, "--quiet"]) == 2
    assert f"--output {blocked}: cannot be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"
    assert not (tmp_path / "new").exists()


def test_a_failing_call_leaves_an_output_folder_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in", slices=9)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    for output in ("empty", "new/folder"):
        assert main(["predict", "in", "--output", output, "--model", "none", "--quiet"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"in", "empty"}


def test_formats_of_an_earlier_call_stay(tmp_path: Path, predict: Predict) -> None:
    write_series(tmp_path / "in", slices=9)
    assert predict(tmp_path / "in", formats="json") == 0
    assert predict(tmp_path / "in", formats="csv") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "slices.csv", "series.csv", "studies.csv", "rejected.csv"}


def test_undecodable_names_are_written_visibly(tmp_path: Path, predict: Predict) -> None:
    path = write_series(tmp_path / "in", slices=9, patient_id="P-000")[0]
    for path in (tmp_path / "in").iterdir():
        path.write_bytes(path.read_bytes().replace(b"P-000", b"P-\xff\xfe\x80"))
    (tmp_path / "in" / os.fsdecode(b"notes\xff.txt")).write_text("no image")
    assert predict(tmp_path / "in", formats="csv,json,html") == 3
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["studies"][0]["patient_id"].startswith("P-")
    assert read(tmp_path / "out" / "rejected.csv")[0]["path"] == r"notes\xff.txt"


def test_the_report_shows_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", slices=9)
    monkeypatch.setattr("slicewise.results.ModelSummary.flagged", lambda self, _: self.labels)
    assert main(["predict", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--formats=html"]) == 0
    progress = capsys.readouterr().err
    assert progress.count("9/9") >= 2


def written(folder: Path) -> str:
    """Returns all that a call wrote, the names of the files as well."""
    return "\n".join(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in sorted(folder.iterdir()))


@pytest.fixture
def flag_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags every slice, so that the report shows its picture."""
    monkeypatch.setattr("slicewise.results.ModelSummary.flagged", lambda self, _: self.labels)


@pytest.mark.usefixtures("flag_all")
@pytest.mark.parametrize("charset", NAMES)
def test_results_hold_no_identity_and_no_path_of_this_machine(
    tmp_path: Path, predict: Predict, capfd: pytest.CaptureFixture[str], charset: str
) -> None:
    write_series(tmp_path / "in", slices=9, **identity(charset))
    bad = plant_malformed(tmp_path / "in", charset)
    assert predict(tmp_path / "in", formats="csv,json,html") == 3
    rejected = {row["path"]: row["reason"] for row in read(tmp_path / "out" / "rejected.csv")}
    assert len(rejected) == bad
    assert len(read(tmp_path / "out" / "slices.csv")) == 9 + MALFORMED_SLICES - 5
    assert {"not_dicom", "truncated", "no_position", "bad_rescale", "missing_tag"} <= set(rejected.values())
    captured = capfd.readouterr()
    for text in (written(tmp_path / "out"), captured.out, captured.err):
        assert traces(text, charset) == []
    assert str(tmp_path) not in written(tmp_path / "out")


def plant_everywhere(folder: Path, charset: str) -> None:
    """Writes a scan with identity in the ids and texts that results name otherwise, and in folders and files."""
    name = NAMES[charset].replace("^", " ")
    place = folder / f"{MARK} {name}"
    tags = identity(charset) | {"SeriesDescription": f"{MARK} {name}"}
    patient_id, study_uid = f"{MARK} {name}", f"{MARK}.study"
    scan = write_series(
        place / "scan", slices=9, patient_id=patient_id, study_uid=study_uid, series_uid=f"{MARK}.scan", **tags
    )
    for path in scan:
        path.rename(path.with_name(f"{MARK}{path.name}"))
    write_series(
        place / "bone",
        slices=9,
        patient_id=patient_id,
        study_uid=study_uid,
        series_uid=f"{MARK}.bone",
        ConvolutionKernel="BONE",
        **tags,
    )
    write_series(place / "odd", slices=9, patient_id=patient_id, series_uid="odd", Modality=MARK, **tags)
    write_series(place / "flat", slices=9, patient_id=name, series_uid="flat", ImagePositionPatient=None, **tags)
    plant_malformed(place, charset)
    (place / f"{name}.txt").write_text("no image")
    with zipfile.ZipFile(place / f"{name}.zip", "w") as archive:
        archive.writestr(f"../{MARK}", b"leads out")


@pytest.mark.usefixtures("flag_all")
@pytest.mark.parametrize("charset", NAMES)
def test_anonymous_results_hold_no_identity_at_all(
    tmp_path: Path, predict: Predict, capfd: pytest.CaptureFixture[str], charset: str
) -> None:
    plant_everywhere(tmp_path / "in", charset)
    assert predict(tmp_path / "in", formats="csv,json,html", output="named") == 3
    assert MARK in written(tmp_path / "named")
    capfd.readouterr()
    options = ["--output", str(tmp_path / "out"), "--anonymous"]  # with its progress
    assert main(["predict", str(tmp_path / "in"), *options]) == 3
    captured = capfd.readouterr()
    for text in (written(tmp_path / "out"), captured.out, captured.err):
        assert traces(text, charset) == []
        assert ".dcm" not in text
    for table in ("slices", "series", "studies"):
        for row in read(tmp_path / "out" / f"{table}.csv"):
            assert all(re.fullmatch("[0-9a-f]{32}", row[key]) for key in row if key.endswith(("_id", "_uid")))
    named, anonymous = (read(tmp_path / name / "rejected.csv") for name in ("named", "out"))
    assert Counter(row["reason"] for row in anonymous) == Counter(row["reason"] for row in named)
    assert {row["message"] for row in anonymous} == {REASONS[row["reason"]] for row in named}
    assert json.loads((tmp_path / "out" / "results.json").read_text())["anonymous"] is True


@pytest.mark.usefixtures("flag_all")
def test_anonymous_results_have_the_same_scores_and_pictures(tmp_path: Path, predict: Predict) -> None:
    for patient_id in ("P1", "P2"):
        write_series(tmp_path / "in" / patient_id, slices=9, patient_id=patient_id)
    for output, options in (("named", []), ("out", ["--anonymous"])):
        assert predict(tmp_path / "in", *options, formats="csv,html", output=output) == 0
    named, anonymous = (read(tmp_path / name / "slices.csv") for name in ("named", "out"))
    scores = [sorted(list(row.values())[6:] for row in rows) for rows in (named, anonymous)]
    assert scores[0] == scores[1]
    pictures = [
        Counter(re.findall(r"data:image/jpeg;base64,[^\"]*", (tmp_path / name / "report.html").read_text()))
        for name in ("named", "out")
    ]
    assert pictures[0] == pictures[1]
    assert pictures[0].total() == 2 * 2 * 9
    assert len({row["patient_id"] for row in anonymous}) == 2
    assert len({row["sop_uid"] for row in anonymous}) == 18


def test_calls_agree_on_hashes_with_a_key_and_never_without(tmp_path: Path, predict: Predict) -> None:
    write_series(tmp_path / "in", slices=9)

    def uids(*options: object) -> list[str]:
        assert predict(tmp_path / "in", "--anonymous", *options, formats="csv") == 0
        return [row["sop_uid"] for row in read(tmp_path / "out" / "slices.csv")]

    key = ["--anonymous-key", tmp_path / "secret.key"]
    assert uids(*key) == uids(*key)
    (tmp_path / "secret.key").unlink()
    assert len({tuple(uids(*key)), tuple(uids()), tuple(uids())}) == 3


@pytest.mark.parametrize("formats", ["sr", "csv, fhir", "sc,nonsense"])
def test_anonymous_results_are_refused_in_formats_that_copy_identity(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str], formats: str
) -> None:
    write_series(tmp_path / "in", slices=9)
    assert predict(tmp_path / "in", "--anonymous", formats=formats) == 2
    told = capsys.readouterr().err
    assert (
        "copies the identity of the patient, which --anonymous leaves out. Choose one of the two, or among csv, "
        in told
    )
    assert not (tmp_path / "out").exists()


def test_a_key_is_refused_without_anonymous_results(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", slices=9)
    assert predict(tmp_path / "in", "--anonymous-key", tmp_path / "key") == 2
    assert "has no use without --anonymous" in capsys.readouterr().err
    assert not (tmp_path / "key").exists()


def test_a_key_is_refused_beside_the_results(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", slices=9)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for folder in ("out", "link"):
        assert predict(tmp_path / "in", "--anonymous", "--anonymous-key", tmp_path / folder / "key") == 2
        assert "lies in --output" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_key_that_is_too_short_is_refused_before_anything_is_scored(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", slices=9)
    (tmp_path / "key").write_text("password")
    assert predict(tmp_path / "in", "--anonymous", "--anonymous-key", tmp_path / "key") == 2
    assert "expected a key of 32 to 4096 bytes, found 8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_anonymous_results_do_not_lie_beside_named_ones(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "in", slices=9)
    assert predict(tmp_path / "in", formats="json") == 0
    named = (tmp_path / "out" / "results.json").read_bytes()
    assert predict(tmp_path / "in", "--anonymous", formats="csv") == 2
    assert "results.json of another call lies there and may name patients" in capsys.readouterr().err
    assert (tmp_path / "out" / "results.json").read_bytes() == named
    assert predict(tmp_path / "in", "--anonymous", formats="json") == 0
    assert b"P1" not in (tmp_path / "out" / "results.json").read_bytes()


class _Entries(list[os.DirEntry[str]]):
    """What `os.scandir` returns: entries of a folder, to be closed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_results_do_not_depend_on_the_order_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predict: Predict
) -> None:
    for patient_id in ("A", "B", "C"):
        write_series(tmp_path / "in" / patient_id, slices=9, patient_id=patient_id)
        folder = tmp_path / "in" / patient_id
        write_series(folder / "few", slices=2, patient_id=patient_id, series_uid=f"few.{patient_id}")
        write_series(folder / "flat", slices=9, patient_id=f"{patient_id}2", ImagePositionPatient=None)
        (tmp_path / "in" / patient_id / "notes.txt").write_text("no image")
    shutil.copy(tmp_path / "in" / "B" / "notes.txt", tmp_path / "in")
    ordinary = os.scandir
    outcomes = set()
    for backwards in (False, True):

        def ordered(folder: str, *, reverse: bool = backwards) -> _Entries:
            with ordinary(folder) as entries:
                return _Entries(sorted(entries, key=lambda entry: entry.name, reverse=reverse))

        monkeypatch.setattr("os.scandir", ordered)
        assert predict(tmp_path / "in", formats="csv,json") == 3
        monkeypatch.setattr("os.scandir", ordinary)
        outcomes.add(written(tmp_path / "out"))
    assert len(outcomes) == 1
    paths = [row["path"] for row in read(tmp_path / "out" / "rejected.csv")]
    assert len(paths) >= 3 + 3 + 4
    assert paths == sorted(paths)


def test_an_archive_and_its_folder_have_the_same_outcome(tmp_path: Path, predict: Predict) -> None:
    paths = write_series(tmp_path / "in" / "scan", slices=9)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"scan/{path.name}")
    for source, output in (("in", "folder"), ("scans.zip", "archive")):
        assert predict(tmp_path / source, formats="csv,json,html", output=output) == 0
    assert written(tmp_path / "folder") == written(tmp_path / "archive")


def test_the_real_scan_is_read_ordered_scored_and_reported(shared_data: Path, tmp_path: Path, predict: Predict) -> None:
    assert predict(shared_data / "ct_head" / "ge_tilted_variable_spacing", formats="csv,json,html") == 0
    rows = read(tmp_path / "out" / "slices.csv")
    assert len(rows) == 28
    positions = [float(row["position_mm"]) for row in rows]
    assert positions == sorted(positions)
    warnings = read(tmp_path / "out" / "series.csv")[0]["warnings"]
    assert [row["unlike_training"] for row in read(tmp_path / "out" / "studies.csv")] == ["0"]
    assert "tilted" in warnings
    assert "spacing" in warnings
    report = (tmp_path / "out" / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", report)


def test_the_disc_gives_one_series(shared_data: Path, tmp_path: Path, predict: Predict) -> None:
    assert predict(shared_data / "ct_head" / "philips_disc") == 0
    assert len(read(tmp_path / "out" / "slices.csv")) == 28
    reasons = {row["reason"] for row in read(tmp_path / "out" / "rejected.csv")}
    assert reasons == {"dicomdir", "missing_file", "localizer", "secondary_capture"}
    assert [row["unlike_training"] for row in read(tmp_path / "out" / "series.csv")] == ["1"]  # a test phantom


def test_archives_get_objects_of_every_study(tmp_path: Path, predict: Predict) -> None:
    paths = write_series(tmp_path / "in", slices=9)
    study_uid = pydicom.dcmread(paths[0]).StudyInstanceUID
    code = predict(tmp_path / "in", formats="csv,sr,sc,fhir")
    assert code == 0
    folder = tmp_path / "out" / "dicom" / study_uid
    report, capture = pydicom.dcmread(folder / "sr.dcm"), pydicom.dcmread(folder / "sc-01.dcm")
    assert {report.StudyInstanceUID, capture.StudyInstanceUID} == {study_uid}
    assert (report.Modality, report.PreliminaryFlag, report.VerificationFlag) == ("SR", "PRELIMINARY", "UNVERIFIED")
    bundle = json.loads((tmp_path / "out" / "fhir" / f"{study_uid}.json").read_text())
    assert bundle["resourceType"] == "Bundle"
    assert (tmp_path / "out" / "slices.csv").is_file()


def test_a_study_of_two_patients_gets_no_object_and_the_reason(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_series(tmp_path / "in", slices=9)
    other = pydicom.dcmread(paths[4])
    other.PatientBirthDate = "19010203"
    other.save_as(paths[4])
    assert predict(tmp_path / "in", formats="csv,sr") == 3
    assert "(identity_differs)" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.dcm"))
    assert len(read(tmp_path / "out" / "slices.csv")) == 9


def test_without_highdicom_the_extra_is_named_before_anything_is_read(
    tmp_path: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("slicewise.reporting.dicom.extra.find_spec", lambda _: None)
    assert predict(tmp_path / "missing", formats="sr") == 2
    assert "slicewise[dicom]" in capsys.readouterr().err


def test_two_patients_with_one_study_uid_get_no_object_of_either(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    for patient in ("A", "B"):
        uid = seeded_uid("the same")
        write_series(
            tmp_path / "in" / patient, slices=9, patient_id=patient, study_uid=uid, series_uid=seeded_uid(patient)
        )
    assert predict(tmp_path / "in", formats="csv,sr,fhir") == 3
    told = capsys.readouterr().err
    assert told.count("no sr of study") == told.count("no fhir of study") == 2
    assert "Two patients have this Study Instance UID" in told
    assert not list((tmp_path / "out").rglob("*.dcm"))
    assert len(read(tmp_path / "out" / "studies.csv")) == 2


def test_objects_of_an_earlier_call_do_not_stay(tmp_path: Path, predict: Predict) -> None:
    for patient in ("P1", "P2"):
        write_series(tmp_path / "in" / patient, slices=9, patient_id=patient)
    assert predict(tmp_path / "in", formats="sr,sc,fhir") == 0
    mine = tmp_path / "out" / "dicom" / "notes.txt"
    mine.write_text("mine")
    assert predict(tmp_path / "in" / "P1", formats="sr,fhir") == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.dcm")] == ["sr.dcm"]
    assert len(list((tmp_path / "out" / "fhir").iterdir())) == 1
    assert mine.is_file()


@pytest.mark.parametrize(
    "name", [".slicewise-partial.sqlite-wal", ".results.json.1f.part", "report/.2.html.ab.part", "dicom"]
)
def test_what_a_killed_call_has_left_is_refused_beside_anonymous_results(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_series(tmp_path / "in", slices=9)
    (tmp_path / "out" / "report").mkdir(parents=True)
    (tmp_path / "out" / name).write_text("DOE^JOHN")
    assert predict(tmp_path / "in", "--anonymous", formats="html") == 2
    assert f"{name} of another call lies there and may name patients" in capsys.readouterr().err


def test_an_odd_study_does_not_cost_the_objects_of_the_others(
    tmp_path: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from slicewise.reporting.dicom import write

    for patient in ("P1", "P2"):
        write_series(tmp_path / "in" / patient, slices=9, patient_id=patient)
    build, calls = write._BUILDERS["sr"], []

    def odd(findings: object) -> object:
        calls.append(findings)
        if len(calls) == 1:
            raise AttributeError("no such element")
        return build(findings)  # type: ignore[arg-type]

    monkeypatch.setitem(write._BUILDERS, "sr", odd)
    assert predict(tmp_path / "in", formats="sr") == 3
    assert "(not_written): AttributeError: no such element" in capsys.readouterr().err
    assert len(list((tmp_path / "out").rglob("sr.dcm"))) == 1


def test_scans_unlike_the_training_data_get_no_verdict(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    write_series(tmp_path / "in" / "knee", values=odd_scans.knee(rng), PixelSpacing=[1.8, 1.8], patient_id="P1")
    write_series(tmp_path / "in" / "head", slices=9, patient_id="P2")
    write_series(tmp_path / "in" / "contrast", slices=9, patient_id="P3", ContrastBolusAgent="Iohexol")
    assert predict(tmp_path / "in", formats="csv,json,sr,fhir") == 3  # for the objects that were not written
    shown = capsys.readouterr()
    assert [line.split()[-2] for line in shown.out.splitlines()[1:4]].count("unlike") == 2
    assert shown.out.count("unlike the training data, do not rely on these probabilities.") == 2
    assert "cm2 of soft tissue" in shown.out
    assert shown.err.count("(unlike_training)") == 4
    assert len(list((tmp_path / "out").rglob("sr.dcm"))) == 1
    rows = {row["patient_id"]: row for row in read(tmp_path / "out" / "studies.csv")}
    assert {patient: row["unlike_training"] for patient, row in rows.items()} == {"P1": "1", "P2": "0", "P3": "1"}
    assert "unlike_training: Contrast medium was given" in rows["P3"]["warnings"]
    assert all(0 <= float(row["any"]) <= 1 for row in rows.values())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["model"]["limitations"]
    assert "no head CT without contrast medium" in results["model"]["unlike_rule"]


def test_a_study_is_judged_by_the_series_that_are_not_unlike(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, other = "1.2.3.1", "1.2.3.2"
    ids = {"study_uid": "1.2.3", "patient_id": "P2"}
    write_series(tmp_path / "in" / "plain", slices=9, series_uid=plain, **ids)  # type: ignore[arg-type]
    values = 1.02 * head_values(9)
    contrast = {"ContrastBolusAgent": "Iohexol", **ids}
    write_series(tmp_path / "in" / "contrast", values=values, series_uid=other, **contrast)  # type: ignore[arg-type]
    assert predict(tmp_path / "in", "--series", plain, "--series", other) == 0
    series = {row["series_uid"]: row for row in read(tmp_path / "out" / "series.csv")}
    assert {uid: row["unlike_training"] for uid, row in series.items()} == {plain: "0", other: "1"}
    (study,) = read(tmp_path / "out" / "studies.csv")
    assert study["unlike_training"] == "1"
    assert study["any"] == series[plain]["any"] != series[other]["any"]
    shown = capsys.readouterr().out
    assert "1.2.3: 1 of 2 series unlike the training data, do not rely on their probabilities." in shown


@pytest.mark.parametrize(
    ("lowest", "outcome"), [(0, "not scored"), (-1000, "unlike")], ids=["no air", "something as low as air around it"]
)
def test_an_mr_as_nifti_is_not_scored_or_unlike_the_training_data(
    tmp_path: Path, predict: Predict, lowest: int, outcome: str
) -> None:
    head = Head()
    values = odd_scans.signal_like_mr(head.values())
    values[:, :12] = lowest
    kind: Any = nibabel.Nifti1Image
    image = kind(values.T.astype(np.int16), np.diag([*head.pixel_mm, head.spacing_mm, 1.0]))
    nibabel.save(image, tmp_path / "t2.nii.gz")
    code = predict(tmp_path / "t2.nii.gz")
    if outcome == "not scored":
        assert code == 1
        assert [row["reason"] for row in read(tmp_path / "out" / "rejected.csv")] == ["not_hounsfield"]
    else:
        assert code == 0
        assert [row["unlike_training"] for row in read(tmp_path / "out" / "series.csv")] == ["1"]


def test_the_precision_is_told_and_one_that_the_engine_lacks_is_refused(
    tmp_path: Path, predict: Predict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "scan", slices=12)
    assert predict(tmp_path / "scan", "--precision", "auto", "--no-model-cache", "--profile") == 0
    assert json.loads((tmp_path / "out" / "profile.json").read_bytes())["engine"]["precision"] == "f32"
    capsys.readouterr()
    assert predict(tmp_path / "scan", "--precision", "bf16", "--runtime", "onnxruntime") == 2
    assert "--precision bf16: the runtime 'onnxruntime' computes in f32 alone" in capsys.readouterr().err
