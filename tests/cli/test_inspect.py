from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicom_files import head_values, write_dataset, write_series
from planted import NAMES, identity, plant_malformed, traces
from slicewise.cli import inspect
from slicewise.cli.terminal import display_width
from slicewise.errors import TaskError, UsageError
from slicewise.imaging.series import SeriesDecision, Study, choose_series
from slicewise.task import SeriesParameters


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
    reasons = Counter((item["kind"], item["reason"]) for item in content["rejected"])
    assert reasons == {("not_chosen", "dicomdir"): 5, ("not_chosen", "missing_file"): 3}


def test_the_table_tells_geometry_and_warnings(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shared_data / "ct_head" / "ge_tilted_variable_spacing") == 0
    output = capsys.readouterr()
    row = next(line.split() for line in output.out.splitlines() if line.startswith("  yes"))
    assert row == ["yes", "2", "-", "28", "5.5", "mm", "4.0", "mm", "18.5", "deg", "STD+", "chosen", "."]
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
    assert "  unreadable  not_dicom         notes.txt: expected a DICOM file" in capsys.readouterr().out


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
    monkeypatch.setattr("slicewise.imaging.load.decode_file", calls.append)
    assert run(tmp_path) == 0
    assert calls == []


def test_json_tells_what_the_headers_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = head_values(9, 64)[:, :, :48]
    write_series(
        tmp_path / "a",
        values=values,
        PixelSpacing=[0.5, 0.75],
        ContrastBolusAgent="Iohexol",
        BodyPartExamined="HEAD",
        ImageType=["DERIVED", "PRIMARY", "AXIAL", "AVERAGE"],
    )
    write_series(tmp_path / "b", slices=9, PixelSpacing=None, patient_id="other")
    _, content = run_json(capsys, tmp_path)
    first, second = (study["series"][0] for study in content["studies"])
    assert first["matrix"] == [64, 48]
    assert first["pixel_spacing_mm"] == [0.5, 0.75]
    assert (first["contrast_agent"], first["body_part"]) == ("Iohexol", "HEAD")
    assert first["image_type"] == ["DERIVED", "PRIMARY", "AXIAL", "AVERAGE"]
    assert (second["pixel_spacing_mm"], second["contrast_agent"], second["body_part"]) == (None, "", "")


def test_json_is_one_document_however_much_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run_json(capsys, tmp_path / "empty") == (
        1,
        {"schema_version": 1, "task": "ich", "studies": [], "rejected": []},
    )
    for number in range(3):
        write_series(tmp_path / "in" / f"s{number}", slices=9, patient_id=f"P{number}")
        (tmp_path / "in" / f"{number}.txt").write_text("no image")
    code, content = run_json(capsys, tmp_path / "in")
    assert code == 3
    assert [study["patient_id"] for study in content["studies"]] == ["P0", "P1", "P2"]
    assert [item["path"] for item in content["rejected"]] == ["0.txt", "1.txt", "2.txt"]


def test_what_is_rejected_is_sorted_whenever_it_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "b", slices=9, patient_id="B", ImagePositionPatient=None)
    for path in write_series(tmp_path / "d", slices=12, patient_id="D")[2:4]:
        dataset = dcmread(path)
        del dataset.ImagePositionPatient
        write_dataset(path, dataset)
    for name in ("a", "c", "e"):
        (tmp_path / name).write_text("no image")
    _, content = run_json(capsys, tmp_path)
    found = [(item["path"][:1], item["reason"]) for item in content["rejected"]]
    flat = [("d", "no_position")] * 2
    assert found == [("a", "not_dicom"), ("b", "no_position"), ("c", "not_dicom"), *flat, ("e", "not_dicom")]


def test_studies_are_shown_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the end: the first study is printed before the second is looked at."""
    for name in ("A", "B"):
        write_series(tmp_path / name, slices=9, patient_id=name)
    events: list[str] = []

    def choose(study: Study, parameters: SeriesParameters) -> tuple[SeriesDecision, ...]:
        events.append(f"look at {study.patient_id}")
        return choose_series(study, parameters)

    def show(text: str, *, end: str) -> None:
        del end
        events.extend(f"show {name}" for name in ("A", "B") if f"patient {name}" in text or f'"{name}"' in text)

    monkeypatch.setattr("slicewise.imaging.series.choose_series", choose)
    monkeypatch.setattr("builtins.print", show)
    for options in ([], ["--json"]):
        events.clear()
        assert run(tmp_path, *options) == 0
        assert events == ["look at A", "show A", "look at B", "show B"]


def test_the_table_stays_in_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Long and wide texts, and characters that would move the cursor."""
    descriptions = ("HEAD", "頭部 単純CT 5mm", "x" * 64, "a\x1b[2Jb\nc", "Cerebro^áé")
    for number, description in enumerate(descriptions):
        write_series(
            tmp_path / "deep" / f"{'folder' * 10}{number}",
            slices=9,
            series_uid=f"1.2.{number}",
            SeriesNumber=10 * number,
            SeriesDescription=description,
            SpecificCharacterSet="ISO_IR 192",
            ConvolutionKernel="LONGEST KERNEL NAME",
        )
    assert run(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    head, *rows = lines[1 : 2 + len(descriptions)]
    assert max(map(display_width, rows)) <= 155
    places = {display_width(row[: row.index("LONGEST")]) for row in rows}
    assert places == {head.index("kernel")}
    assert {row[row.index("LONGEST") :].split("  ")[0] for row in rows} == {"LONGEST..."}
    assert all(row.endswith(f"folder{number}") for number, row in enumerate(sorted(rows, key=lambda row: row[-1])))
    assert any("x" * 25 + "... " in row for row in rows)
    assert any("頭部 単純CT 5mm " in row for row in rows)
    assert all(line.isprintable() for line in lines)


def test_a_single_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "scout", slices=1)
    assert run(tmp_path) == 1
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  no "))
    assert row.endswith("  scout/IM0000.dcm")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    write_series(tmp_path, slices=9, SeriesDescription="頭部" * 9, SpecificCharacterSet="ISO_IR 192")
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding=encoding, write_through=True))
    assert run(tmp_path) == 0
    assert rb"\u982d\u90e8" in output.getvalue()


@pytest.mark.parametrize("charset", NAMES)
def test_neither_output_names_a_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str], charset: str) -> None:
    write_series(tmp_path, slices=9, **identity(charset))
    bad = plant_malformed(tmp_path, charset)
    _, content = run_json(capfd, tmp_path)
    assert len(content["studies"]) == 2
    assert len(content["rejected"]) == bad - 1  # one shows its fault in the pixels alone, which are not read
    assert traces(json.dumps(content, ensure_ascii=False), charset) == []
    assert run(tmp_path) == 3
    captured = capfd.readouterr()
    assert traces(captured.out + captured.err, charset) == []


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
