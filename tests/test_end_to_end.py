"""The commands as a user calls them, on a tiny task of its own: no label, channel or size is built in anywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest

from slicewise.cli.main import main
from slicewise.package import load_package
from slicewise.results import results_schema
from tiny import SLICES, write_tiny

TRAINING = (
    "--set=encoder.name=mobilenetv3_small_050",
    "--set=stage1.epochs=3",
    "--set=stage1.batch_size=16",
    "--set=stage1.learning_rate=3e-3",
    "--set=fusion.epochs=4",
    "--set=fusion.hidden_size=8",
    "--quiet",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=24)
    prepare = ["prepare", str(folder / "dataset"), "--layout=table", f"--images={images}", f"--labels={labels}"]
    assert main([*prepare, f"--task={task}", "--holdout=0.25", "--quiet"]) == 0
    assert main(["train", str(folder / "dataset"), "--output", str(folder / "run"), *TRAINING]) == 0
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_run_folder_is_a_model_of_its_own_task(folder: Path) -> None:
    package = load_package(folder / "run")
    assert package.manifest.task.label_names == ("square", "bright", "dark")
    assert package.manifest.provenance.patients == {"calibration": 3, "encoder": 11, "fusion": 4}
    parts = {row["patient_id"]: row["split"] for row in read(folder / "run" / "splits.csv")}
    held_out = {row["patient_id"] for row in read(folder / "dataset" / "splits.csv") if row["split"] == "test"}
    assert len(held_out) == 6
    assert held_out.isdisjoint(parts)
    assert all(package.has_seen(patient) for patient in parts)
    assert not any(package.has_seen(patient) for patient in held_out)


def test_the_same_call_gives_the_same_model(folder: Path) -> None:
    assert main(["train", str(folder / "dataset"), "--output", str(folder / "again" / "run"), *TRAINING]) == 0
    assert load_package(folder / "again" / "run").digest == load_package(folder / "run").digest


def test_stage_one_is_shared_by_runs_that_differ_in_fusion(folder: Path) -> None:
    command = ["train", str(folder / "dataset"), *TRAINING, "--set=fusion.name=none"]
    assert main([*command, "--output", str(folder / "single"), "--reuse-stage1", str(folder / "run")]) == 0
    assert main([*command, "--output", str(folder / "single-alone")]) == 0
    reused, alone, fused = (load_package(folder / name) for name in ("single", "single-alone", "run"))
    assert reused.files["encoder.onnx"] == alone.files["encoder.onnx"] == fused.files["encoder.onnx"]
    assert reused.manifest.calibration == alone.manifest.calibration


def test_another_stage_one_is_not_reused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(folder / "dataset"), "--output", str(folder / "other"), *TRAINING, "--set=stage1.epochs=2"]
    assert main([*command, "--reuse-stage1", str(folder / "run")]) == 2
    assert "config.stage1.epochs is 3 there and 2 here" in capsys.readouterr().err


def test_an_existing_run_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(folder / "dataset"), "--output", str(folder / "run"), *TRAINING]
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--resume", "--set=seed=1"]) == 2
    assert "config.seed is 0 there and 1 here" in capsys.readouterr().err


def test_training_starts_from_another_model(folder: Path) -> None:
    command = ["train", str(folder / "dataset"), "--output", str(folder / "tuned"), *TRAINING, "--set=seed=5"]
    # A learning rate of almost nothing: what comes out is what was put in.
    command += ["--set=stage1.learning_rate=1e-12", "--set=fusion.learning_rate=1e-12", "--init", str(folder / "run")]
    assert main(command) == 0
    from slicewise.models.export import load_networks

    (tuned, tuned_head), (start, start_head) = (load_networks(load_package(folder / name)) for name in ("tuned", "run"))
    for name, values in start.named_parameters():
        np.testing.assert_allclose(tuned.get_parameter(name).detach(), values.detach(), atol=1e-3)
    for name, values in start_head.named_parameters():
        np.testing.assert_allclose(tuned_head.get_parameter(name).detach(), values.detach(), atol=1e-3)


def test_evaluation_is_on_held_out_patients(folder: Path) -> None:
    output = folder / "evaluation"
    command = ["evaluate", str(folder / "run"), str(folder / "dataset"), "--output", str(output), "--resamples=50"]
    assert main([*command, "--quiet"]) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["n_patients"], metrics["n_studies"], metrics["n_slices"]) == (6, 6, 6 * SLICES)
    assert metrics["slice"]["square"]["auroc"]["value"] > 0.5
    rows = read(output / "predictions.csv")
    assert len(rows) == 6 * SLICES
    assert {"square", "label_square", "label_dark"} <= set(rows[0])


def test_patients_of_the_training_set_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(folder / "run"), str(folder / "dataset"), "--output", str(folder / "none")]
    assert main([*command, "--split=all", "--quiet"]) != 0
    assert "18" in capsys.readouterr().err
    assert not (folder / "none" / "metrics.json").exists()


def test_prediction_on_dicom_equals_that_on_the_prepared_dataset(folder: Path) -> None:
    command = ["predict", str(folder / "images"), "--model", str(folder / "run"), "--output", str(folder / "results")]
    assert main([*command, "--quiet"]) == 0
    predicted = {(row["series_uid"], row["slice_index"]): row for row in read(folder / "results" / "slices.csv")}
    assert len(predicted) == 24 * SLICES
    evaluated = read(folder / "evaluation" / "predictions.csv")
    for row in evaluated:
        for label in ("square", "bright", "dark"):
            other = predicted[row["series_uid"], row["slice_index"]]
            assert float(other[label]) == pytest.approx(float(row[label]), abs=2e-6)


def test_every_result_file_is_written_and_valid(folder: Path) -> None:
    results = folder / "results"
    names = {path.name for path in results.iterdir()}
    assert names == {"slices.csv", "series.csv", "studies.csv", "rejected.csv", "results.json", "report.html"}
    content = json.loads((results / "results.json").read_text())
    jsonschema.validate(content, results_schema())
    assert content["model"]["digest"] == load_package(folder / "run").digest
    first = content["studies"][0]["series"][0]
    assert first["probabilities"]["square"] == pytest.approx(
        max(item["probabilities"]["square"] for item in first["slices"])
    )
    report = (results / "report.html").read_text()
    assert "not a medical device" in report
    assert "Any square" in report


def test_every_runtime_gives_the_same_table(folder: Path, tmp_path: Path) -> None:
    tables = []
    for runtime in ("openvino", "onnxruntime", "torch"):
        output = tmp_path / runtime
        command = ["predict", str(folder / "images" / "patient-0-1"), "--model", str(folder / "run"), "--quiet"]
        assert main([*command, "--output", str(output), "--runtime", runtime, "--formats=csv"]) == 0
        assert not (output / "report.html").exists()
        tables.append([[float(row[name]) for name in ("square", "bright")] for row in read(output / "slices.csv")])
    np.testing.assert_allclose(tables[1], tables[0], atol=1e-4)
    np.testing.assert_allclose(tables[2], tables[0], atol=1e-4)


def test_a_duplicate_position_is_scored_in_its_own_row(folder: Path, tmp_path: Path) -> None:
    source = folder / "images" / "patient-0-1"
    for path in source.iterdir():
        (tmp_path / "in" / path.name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    again = pydicom.dcmread(next(iter(sorted(source.iterdir()))))
    again.SOPInstanceUID = f"{again.SOPInstanceUID[:-2]}9"
    again.InstanceNumber = 99
    again.PixelData = np.full_like(again.pixel_array, 1064).tobytes()
    again.save_as(tmp_path / "in" / "again.dcm")
    tables = []
    for images in (source, tmp_path / "in"):
        command = ["predict", str(images), "--model", str(folder / "run"), "--quiet", "--formats=csv"]
        assert main([*command, "--output", str(tmp_path / "out")]) == 0
        tables.append({row["sop_uid"]: row for row in read(tmp_path / "out" / "slices.csv")})
    alone, both = tables
    assert len(both) == SLICES + 1
    # What the neighbours see has not changed, so neither have their probabilities.
    for uid, row in alone.items():
        assert both[uid]["bright"] == row["bright"]
    assert both[again.SOPInstanceUID]["position_mm"] in {row["position_mm"] for row in alone.values()}


def test_a_package_predicts_like_its_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = folder / "model.zip"
    assert main(["package", str(folder / "run"), str(packed)]) == 0
    digest = load_package(folder / "run").digest
    assert digest in capsys.readouterr().out
    assert load_package(packed).digest == digest
    assert main(["models", str(packed)]) == 0
    card = capsys.readouterr().out
    for part in ("Squares in balls", "mobilenetv3_small_050", "bigru", digest, "Not" if "Not" in card else "not"):
        assert part in card
    assert main(["models", str(packed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest
