from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from dicom_files import write_series
from slicewise.cli import inspect
from slicewise.errors import TaskError, UsageError


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    inspect.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["inspect", "--quiet", *map(str, arguments)])
    code: int = parsed.run(parsed)
    return code


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    code = run("--json", *arguments)
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, content


def test_the_disc_of_a_scanner(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, content = run_json(capsys, shared_data / "ct_head" / "philips_disc")
    assert code == 0
    (study,) = content["studies"]
    assert study["patient_id"] == "PLASTIC"
    assert [(item["series_number"], item["slices"], item["chosen"], item["reason"]) for item in study["series"]] == [
        (100, 1, False, "localizer"),
        (201, 28, True, "chosen"),
        (401, 6, False, "secondary_capture"),
    ]
    chosen = study["series"][1]
    assert chosen["description"] == "STD BRAIN 5MM"
    assert (chosen["spacing_mm"], chosen["slice_thickness_mm"], chosen["tilt_degrees"]) == (5.0, 5.0, 0.0)
    assert chosen["folder"] == "S21570/S2010"
    assert [item["reason"] for item in content["rejected"]] == ["dicomdir"] * 5


def test_the_table_tells_geometry_and_warnings(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shared_data / "ct_head" / "ge_tilted_variable_spacing") == 0
    output = capsys.readouterr()
    row = next(line.split() for line in output.out.splitlines() if line.startswith("  yes"))
    assert row == ["yes", "2", "28", "5.5", "mm", "4.0", "mm", "18.5", "deg", "STD+", "chosen"]
    assert "warning: The slices are tilted by 18.5 degrees" in output.out
    assert "warning: The distance between slices varies from 1.1 to 7.0 mm" in output.out
    assert "1 of 1 series would be read for the task 'ich'." in output.out
    assert output.err == ""


def test_an_unreadable_file_beside_a_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, slices=12)
    (tmp_path / "notes.txt").write_text("not an image")
    code, content = run_json(capsys, tmp_path)
    assert code == 3
    assert [(item["path"], item["kind"], item["reason"]) for item in content["rejected"]] == [
        ("notes.txt", "unreadable", "not_dicom")
    ]
    assert run(tmp_path) == 3
    assert "notes.txt: expected a DICOM file" in capsys.readouterr().out


def test_a_series_without_positions_would_be_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, slices=12, ImagePositionPatient=None)
    code, content = run_json(capsys, tmp_path)
    assert code == 1
    (series,) = content["studies"][0]["series"]
    assert (series["chosen"], series["reason"], series["spacing_mm"]) == (False, "no_position", None)
    assert [(item["kind"], item["reason"]) for item in content["rejected"]] == [("unreadable", "no_position")]


def test_an_empty_folder_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 1
    assert "0 of 0 series would be read" in capsys.readouterr().out


def test_nothing_that_the_task_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path, slices=3)
    assert run(tmp_path) == 1
    assert "the task needs 8 slices" in capsys.readouterr().out


def test_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        run(tmp_path / "nowhere")
    with pytest.raises(TaskError, match="no task 'knee'"):
        run(tmp_path, "--task", "knee")


def test_a_task_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "scan", slices=3)
    shipped = Path(inspect.__file__).parents[1] / "tasks" / "ich.toml"
    own = tmp_path / "own.toml"
    own.write_text(shipped.read_text(encoding="utf-8").replace("minimum_slices = 8", "minimum_slices = 3"))
    assert run(tmp_path / "scan", "--task", own) == 0
    assert "yes" in capsys.readouterr().out


def test_no_pixels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, slices=12)

    calls: list[object] = []
    monkeypatch.setattr("slicewise.imaging.decode.pixel_array", calls.append)
    assert run(tmp_path) == 0
    assert calls == []


def test_two_patients_under_one_study_uid_are_both_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for patient_id, slices in (("A", 12), ("B", 9)):
        write_series(
            tmp_path / patient_id, slices=slices, patient_id=patient_id, study_uid="1.2", series_uid=patient_id
        )
    code, content = run_json(capsys, tmp_path)
    assert code == 0
    assert [(study["patient_id"], [item["reason"] for item in study["series"]]) for study in content["studies"]] == [
        ("A", ["chosen"]),
        ("B", ["chosen"]),
    ]


def test_a_series_of_impossible_pixel_spacing_would_be_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path, slices=8, PixelSpacing=[20.0, 20.0])
    code, content = run_json(capsys, tmp_path)
    assert code == 1
    assert [(item["kind"], item["reason"]) for item in content["rejected"]] == [("unreadable", "bad_spacing")]
