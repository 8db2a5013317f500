from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_files import seeded_uid, write_series
from slicewise.cli.main import main

LABELS = ["any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
Predict = Callable[..., int]


@pytest.fixture
def predict(tmp_path: Path) -> Predict:
    def call(*arguments: object, formats: str = "csv,json") -> int:
        options = ["--output", str(tmp_path / "out"), "--quiet", "--formats", formats]
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
    monkeypatch.setattr("slicewise.Detector.load", lambda *_: pytest.fail("was loaded"))
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


def test_results_hold_no_name_and_no_path_of_this_machine(tmp_path: Path, predict: Predict) -> None:
    write_series(tmp_path / "in", slices=9, PatientName="Secret^Name")
    assert predict(tmp_path / "in", formats="csv,json,html") == 0
    for path in (tmp_path / "out").iterdir():
        text = path.read_text()
        assert "Secret" not in text, path
        assert str(tmp_path) not in text, path


def test_the_real_scan_is_read_ordered_scored_and_reported(shared_data: Path, tmp_path: Path, predict: Predict) -> None:
    assert predict(shared_data / "ct_head" / "ge_tilted_variable_spacing", formats="csv,json,html") == 0
    rows = read(tmp_path / "out" / "slices.csv")
    assert len(rows) == 28
    positions = [float(row["position_mm"]) for row in rows]
    assert positions == sorted(positions)
    warnings = read(tmp_path / "out" / "series.csv")[0]["warnings"]
    assert "tilted" in warnings
    assert "spacing" in warnings
    report = (tmp_path / "out" / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", report)


def test_the_disc_gives_one_series(shared_data: Path, tmp_path: Path, predict: Predict) -> None:
    assert predict(shared_data / "ct_head" / "philips_disc") == 0
    assert len(read(tmp_path / "out" / "slices.csv")) == 28
    reasons = {row["reason"] for row in read(tmp_path / "out" / "rejected.csv")}
    assert reasons == {"dicomdir", "localizer", "secondary_capture"}
