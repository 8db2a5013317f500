from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from scored_dataset import small
from sites import texture_detector, write_site
from slicewise.cli.main import main
from slicewise.data.store import Dataset
from slicewise.evaluation.shift_summary import shift_schema
from slicewise.evaluation.site import describe_site
from slicewise.inference.detector import Detector
from slicewise.inference.reference import build_reference, encode_reference
from slicewise.package import REFERENCE, load_package
from slicewise.results import DISCLAIMER
from slicewise.task import Task, load_task


@pytest.fixture(scope="module")
def task() -> Task:
    return small(load_task("ich"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, task: Task) -> Path:
    """Datasets: of training, of a site alike, of a noisy one, and of one with few patients."""
    folder = tmp_path_factory.mktemp("sites")
    write_site(folder / "training", task, 80, name="T", test=60)
    write_site(folder / "alike", task, 40, name="A", seed=1)
    write_site(folder / "noisy", task, 40, name="N", seed=2, noise=25.0)
    write_site(folder / "few", task, 3, name="F", seed=3)
    return folder


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, task: Task, folder: Path) -> dict[str, Detector]:
    """Models that `Detector.load` finds by name: one with a reference, one without, one that is damaged."""
    bare = texture_detector(task)
    training = Dataset.open(folder / "training")
    site = describe_site(bare, training, [record for record in training.records if int(record.patient_id[1:]) < 60])
    reference = build_reference(site.series, task.label_names, "tests")
    assert reference is not None
    found = {
        "bare": bare,
        "mine": texture_detector(task, files={REFERENCE: encode_reference(reference)}),
    }

    def load(model: str, runtime: str) -> Detector:
        assert runtime == "openvino"
        return texture_detector(task, files={REFERENCE: b"{}"}) if model == "damaged" else found[model]

    monkeypatch.setattr(Detector, "load", load)
    return found


def run(*arguments: object) -> int:
    return main(["shift", "--quiet", "--resamples=20", *map(str, arguments)])


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((path / "shift.json").read_bytes())
    jsonschema.validate(report, shift_schema())
    assert report["disclaimer"] == DISCLAIMER
    return report


@pytest.mark.usefixtures("models")
def test_a_site_alike_is_not_flagged_and_a_noisy_one_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("mine", folder / "alike", "--output", tmp_path / "alike") == 0
    text = capsys.readouterr().out
    assert "ALIKE" in text
    assert "only labelled patients" in text
    assert DISCLAIMER in text
    assert "calibrated locally" in text
    report = report_of(tmp_path / "alike")
    assert report["verdict"] == "alike"
    assert (report["n_patients"], report["reference"]["patients"]) == (40, 60)
    assert report["local_calibration"]["patients"] == 40
    assert run("mine", folder / "noisy", "--output", tmp_path / "noisy") == 0
    assert "LARGE SHIFT" in capsys.readouterr().out
    noisy = report_of(tmp_path / "noisy")
    assert noisy["verdict"] == noisy["shift"]["descriptor_grade"] == "large"
    assert noisy["shift"]["most_unlike"][0]["patient_id"].startswith("N")


@pytest.mark.usefixtures("models")
def test_json_is_what_the_file_holds(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mine", folder / "few", "--output", tmp_path, "--json") == 0
    report = report_of(tmp_path)
    assert json.loads(capsys.readouterr().out) == report
    assert report["local_calibration"] is None  # three patients
    assert report["warnings"] == ["the site holds 3 patients, fewer than 30: they tell large differences alone, if any"]


def test_a_model_without_reference_takes_a_dataset(
    models: dict[str, Detector], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("bare", folder / "alike", "--output", tmp_path / "own") == 2
    error = capsys.readouterr().err
    assert "has no reference.json" in error
    assert "--reference DATASET" in error
    assert run("bare", folder / "alike", "--output", tmp_path, "--reference", folder / "training") == 0
    given = report_of(tmp_path)
    assert given["reference"]["source"] == "the test patients of the dataset of --reference"
    assert run("mine", folder / "alike", "--output", tmp_path / "own") == 0
    assert given["shift"] == report_of(tmp_path / "own")["shift"]
    assert REFERENCE not in models["bare"].package.files


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    "call",
    [
        (("bare", "alike", "--reference", "few"), 2, "few: holds no test patients. Prepare it with --holdout"),
        (("bare", "training", "--reference", "training"), 2, "60 of its test patients stand in DATASET too"),
        (("damaged", "alike"), 1, "reference.json"),
        (("mine", "alike", "--goal", "accuracy=0.9"), 2, "--goal accuracy=0.9: expected youden"),
        (("mine", "alike", "--split", "test"), 2, "no test patients"),
        (("mine", "few", "--recalibrate", "new"), 1, "3 patients have a label; expected 10 or more"),
        (("mine", "few", "--goal", "youden"), 1, "3 patients have a label"),
        (("mine", "alike", "--recalibrate", "few"), 2, "few: exists"),
        (("mine", "nowhere"), 2, "nowhere: not a prepared dataset"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], call: tuple[tuple[str, ...], int, str]
) -> None:
    arguments, code, message = call
    with contextlib.chdir(folder):
        assert run(*arguments, "--output", tmp_path) == code
    error = capsys.readouterr().err
    assert error.startswith("slicewise: error: ")
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("arguments", [["--resamples", "-1"], ["--seed", "x"], ["--split", "train"]])
def test_a_value_that_does_not_fit_exits_with_2(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("mine", "data", "--output", tmp_path, *arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_recalibrated_model_is_written_and_predicts(
    models: dict[str, Detector], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--goal", "sensitivity=0.9", "--recalibrate", tmp_path / "local.zip")
    assert run("mine", folder / "noisy", "--output", tmp_path, *arguments) == 0
    text = capsys.readouterr().out
    assert f"Model: {tmp_path / 'local.zip'}" in text
    assert "warning: " in text  # 40 studies are few
    local = Detector(load_package(tmp_path / "local.zip"), models["mine"].runtime)
    report = report_of(tmp_path)["local_calibration"]
    manifest, labels = local.package.manifest, report["labels"]
    assert manifest.study_thresholds == {name: label["threshold"] for name, label in labels.items()}
    assert manifest.thresholds == {name: label["slice_threshold"] for name, label in labels.items()}
    # The patients that calibrated it are seen; others are not.
    models["local"] = local
    assert run("local", folder / "noisy", "--output", tmp_path / "again") == 2
    assert "knows it: 40 of 40 patients" in capsys.readouterr().err
    assert run("local", folder / "alike", "--output", tmp_path / "other") == 0
    dataset = Dataset.open(folder / "noisy")
    found = local.predict_input(dataset.input(dataset.records[0]))
    assert np.all((found >= 0) & (found <= 1))


def test_the_base_install_names_the_extra_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "slicewise.data.store", None)
    assert run("mine", "data", "--output", tmp_path) == 2
    assert "slicewise[train]" in capsys.readouterr().err
