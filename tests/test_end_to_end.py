"""The commands as a user calls them, on a tiny task of its own: no label, channel or size is built in anywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
import safetensors.torch

from slicewise.cli.main import main
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.export import load_networks
from slicewise.models.fusion import FusionHead
from slicewise.package import load_package
from slicewise.results import results_schema
from slicewise.training import packing
from tiny import SLICES, write_tiny

TRAINING = (
    "--set=encoder.name=resnet10t",
    "--set=stage1.epochs=3",
    "--set=stage1.batch_size=16",
    "--set=stage1.learning_rate=3e-3",
    "--set=fusion.epochs=4",
    "--set=fusion.hidden_size=8",
    "--set=fusion.members=2",
    "--quiet",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, and a dataset made of them."""
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=24)
    prepare = ["prepare", str(folder / "dataset"), "--layout=table", f"--images={images}", f"--labels={labels}"]
    assert main([*prepare, f"--task={task}", "--holdout=0.25", "--workers=1", "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    assert main(["train", str(folder / "dataset"), "--output", str(folder / "run"), *TRAINING]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def evaluated(folder: Path, run: Path) -> Path:
    output = folder / "evaluation"
    command = ["evaluate", str(run), str(folder / "dataset"), "--output", str(output), "--resamples=50", "--quiet"]
    assert main(command) == 0
    return output


@pytest.fixture(scope="module")
def predicted(folder: Path, run: Path) -> Path:
    output = folder / "results"
    assert main(["predict", str(folder / "images"), "--model", str(run), "--output", str(output), "--quiet"]) == 0
    return output


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs weights as they are, for tests about weights alone: the export to ONNX takes longer than all the rest."""

    def weights(network: DescriptorNetwork | FusionHead, **_: int) -> bytes:
        return safetensors.torch.save(network.state_dict())

    monkeypatch.setattr(packing, "export_encoder", weights)
    monkeypatch.setattr(packing, "export_fusion", weights)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_run_folder_is_a_model_of_its_own_task(folder: Path, run: Path) -> None:
    package = load_package(run)
    assert package.manifest.task.label_names == ("square", "bright", "dark")
    assert package.manifest.provenance.patients == {"calibration": 3, "encoder": 11, "fusion": 4}
    parts = {row["patient_id"]: row["split"] for row in read(run / "splits.csv")}
    held_out = {row["patient_id"] for row in read(folder / "dataset" / "splits.csv") if row["split"] == "test"}
    assert len(held_out) == 6
    assert held_out.isdisjoint(parts)
    assert all(package.has_seen(patient) for patient in parts)
    assert not any(package.has_seen(patient) for patient in held_out)


def test_the_same_call_gives_the_same_model(folder: Path, run: Path) -> None:
    again = folder / "again" / run.name
    assert main(["train", str(folder / "dataset"), "--output", str(again), *TRAINING]) == 0
    assert load_package(again).digest == load_package(run).digest


@pytest.mark.usefixtures("quick_export")
def test_stage_one_is_shared_by_runs_that_differ_in_fusion(folder: Path, run: Path) -> None:
    command = ["train", str(folder / "dataset"), *TRAINING, "--set=fusion.name=none"]
    reused, alone = (folder / name / "single" for name in ("reused", "alone"))
    assert main([*command, "--output", str(reused), "--reuse-stage1", str(run)]) == 0
    # What a killed process has left is no run.
    alone.mkdir(parents=True)
    (alone / ".run.json.0123abcd.part").write_text("half")
    assert main([*command, "--output", str(alone)]) == 0
    assert load_package(reused).digest == load_package(alone).digest
    first, second, third = ((path / "stage1" / "network.safetensors").read_bytes() for path in (run, reused, alone))
    assert first == second == third


def test_another_stage_one_is_not_reused(folder: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(folder / "dataset"), "--output", str(folder / "other"), *TRAINING, "--set=stage1.epochs=2"]
    assert main([*command, "--reuse-stage1", str(run)]) == 2
    assert "config.stage1.epochs is 3 there and 2 here" in capsys.readouterr().err


def test_an_existing_run_is_not_overwritten(folder: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(folder / "dataset"), "--output", str(run), *TRAINING]
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--resume", "--set=seed=1"]) == 2
    assert "config.seed is 0 there and 1 here" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_export")
def test_training_starts_from_another_model(folder: Path, run: Path) -> None:
    write_tiny(folder / "new", patients=12, seed=1)
    new = ["prepare", str(folder / "new" / "dataset"), "--layout=table", f"--images={folder / 'new' / 'images'}"]
    new += [f"--labels={folder / 'new' / 'labels.csv'}", f"--task={folder / 'squares.toml'}", "--workers=1", "--quiet"]
    assert main(new) == 0
    # A learning rate of almost nothing: what comes out is what was put in.
    command = ["train", str(folder / "new" / "dataset"), "--output", str(folder / "tuned"), *TRAINING, "--set=seed=5"]
    command += ["--set=stage1.learning_rate=1e-12", "--set=fusion.learning_rate=1e-12", "--init", str(run)]
    assert main(command) == 0
    tuned, start = load_package(folder / "tuned"), load_package(run)
    for network, name in zip(load_networks(start), ("encoder.onnx", "fusion.onnx"), strict=True):
        weights = safetensors.torch.load(tuned.files[name])
        for key, values in network.named_parameters():
            np.testing.assert_allclose(weights[key], values.detach(), atol=1e-3)
    # It has seen the patients of both datasets.
    assert [tuned.has_seen(patient) for patient in ("patient-1-0", "patient-1-11")] == [True, True]
    for row in read(folder / "dataset" / "splits.csv"):
        assert tuned.has_seen(row["patient_id"]) is start.has_seen(row["patient_id"]) is (row["split"] == "train")


def test_evaluation_is_on_held_out_patients(evaluated: Path) -> None:
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert (metrics["n_patients"], metrics["n_studies"], metrics["n_slices"]) == (6, 6, 6 * SLICES)
    assert metrics["slice"]["square"]["auroc"]["value"] > 0.5
    rows = read(evaluated / "predictions.csv")
    assert len(rows) == 6 * SLICES
    assert {"square", "label_square", "label_dark"} <= set(rows[0])


def test_patients_of_the_training_set_are_refused(folder: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(run), str(folder / "dataset"), "--output", str(folder / "none")]
    assert main([*command, "--split=all", "--quiet"]) != 0
    assert "18" in capsys.readouterr().err
    assert not (folder / "none" / "metrics.json").exists()


def test_prediction_on_dicom_equals_that_on_the_prepared_dataset(predicted: Path, evaluated: Path) -> None:
    rows = {(row["series_uid"], row["slice_index"]): row for row in read(predicted / "slices.csv")}
    assert len(rows) == 24 * SLICES
    for row in read(evaluated / "predictions.csv"):
        for label in ("square", "bright", "dark"):
            other = rows[row["series_uid"], row["slice_index"]]
            assert float(other[label]) == pytest.approx(float(row[label]), abs=2e-6)


def test_every_result_file_is_written_and_valid(predicted: Path, run: Path) -> None:
    names = {path.name for path in predicted.iterdir()}
    assert names == {"slices.csv", "series.csv", "studies.csv", "rejected.csv", "results.json", "report.html", "report"}
    assert len(list((predicted / "report").glob("*.html"))) == 24  # so many studies have a page each
    content = json.loads((predicted / "results.json").read_text())
    jsonschema.validate(content, results_schema())
    assert content["model"]["digest"] == load_package(run).digest
    first = content["studies"][0]["series"][0]
    assert first["probabilities"]["square"] == pytest.approx(
        max(item["probabilities"]["square"] for item in first["slices"])
    )
    report = (predicted / "report.html").read_text()
    assert "not a medical device" in report
    assert "Any square" in report


def test_every_runtime_gives_the_same_table(folder: Path, run: Path, tmp_path: Path) -> None:
    tables = []
    for runtime in ("openvino", "onnxruntime", "torch"):
        output = tmp_path / runtime
        command = ["predict", str(folder / "images" / "patient-0-1"), "--model", str(run), "--quiet"]
        assert main([*command, "--output", str(output), "--runtime", runtime, "--formats=csv"]) == 0
        assert not (output / "report.html").exists()
        tables.append([[float(row[name]) for name in ("square", "bright")] for row in read(output / "slices.csv")])
    np.testing.assert_allclose(tables[1], tables[0], atol=1e-4)
    np.testing.assert_allclose(tables[2], tables[0], atol=1e-4)


def test_a_duplicate_position_is_scored_in_its_own_row(folder: Path, run: Path, tmp_path: Path) -> None:
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
        command = ["predict", str(images), "--model", str(run), "--quiet", "--formats=csv"]
        assert main([*command, "--output", str(tmp_path / "out")]) == 0
        tables.append({row["sop_uid"]: row for row in read(tmp_path / "out" / "slices.csv")})
    alone, both = tables
    assert len(both) == SLICES + 1
    # What the neighbours see has not changed, so neither have their probabilities.
    for uid, row in alone.items():
        assert both[uid]["bright"] == row["bright"]
    assert both[again.SOPInstanceUID]["position_mm"] in {row["position_mm"] for row in alone.values()}


def test_a_package_is_its_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "model.zip"
    assert main(["package", str(run), str(packed)]) == 0
    digest = load_package(run).digest
    assert digest in capsys.readouterr().out
    assert load_package(packed).digest == digest
    assert load_package(packed).files == load_package(run).files


def test_the_card_tells_what_a_model_is_and_of_no_patient(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = load_package(run)
    assert main(["models", str(run)]) == 0
    card = capsys.readouterr().out
    for part in ("Squares in balls", "resnet10t", "transformer", package.digest, "not a medical device"):
        assert part in card
    assert main(["models", str(run), "--json"]) == 0
    text = capsys.readouterr().out
    content = json.loads(text)
    assert content["digest"] == package.digest
    assert content["provenance"]["patients"] == package.manifest.provenance.patients
    (seen,) = package.manifest.provenance.seen_patients
    assert len(seen.hashes) == 18
    for secret in (seen.salt, *seen.hashes):
        assert secret not in text + card
