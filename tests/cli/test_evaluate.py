from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from scored_dataset import grey_value_detector, small, write_dataset
from slicewise.cli import evaluate
from slicewise.data.store import Dataset
from slicewise.errors import MissingExtraError, UsageError
from slicewise.inference.detector import Detector
from slicewise.results import DISCLAIMER
from slicewise.results_csv import SLICE_COLUMNS
from slicewise.task import Task, load_task


@pytest.fixture
def task() -> Task:
    return small(load_task("ich"))


@pytest.fixture
def dataset(tmp_path: Path, task: Task) -> Dataset:
    return write_dataset(tmp_path / "dataset", task, patients=30, test=24)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, task: Task) -> dict[str, Detector]:
    """Models that `Detector.load` finds by name."""
    found = {
        "fusion": grey_value_detector(task, name="fusion"),
        "single": grey_value_detector(task, name="single", gain=2.0),
        "twin": grey_value_detector(task, name="fusion", gain=4.0),
        "leaky": grey_value_detector(task, name="leaky", seen=("P29",)),
    }

    def load(model: str, runtime: str) -> Detector:
        assert runtime == "openvino"
        return found[model]

    monkeypatch.setattr(Detector, "load", load)
    return found


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["evaluate", "--quiet", *map(str, arguments)])
    code: int = parsed.run(parsed)
    return code


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def column(rows: Sequence[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


@pytest.mark.usefixtures("models")
def test_a_model_on_the_test_patients_of_a_dataset(
    tmp_path: Path, dataset: Dataset, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results"
    assert run("fusion", dataset.path, "--output", output, "--resamples", 50) == 0
    rows = rows_of(output / "predictions.csv")
    labels = task.label_names
    columns = (*SLICE_COLUMNS, *labels, *(f"label_{name}" for name in labels))
    assert tuple(rows[0])[: len(columns)] == columns
    assert {"attribute_spacing_mm", "attribute_matrix", "attribute_axial_place"} <= set(rows[0])
    assert len(rows) == 24 * 6
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["n_patients"], metrics["n_studies"], metrics["n_slices"]) == (24, 24, 144)
    expected = sklearn.metrics.roc_auc_score(column(rows, f"label_{labels[0]}"), column(rows, labels[0]))
    assert metrics["slice"][labels[0]]["auroc"]["value"] == pytest.approx(expected)
    assert metrics["slice"][labels[0]]["sensitivity"]["value"] is not None
    assert metrics["model"] == {"name": "fusion", "version": "1", "digest": "0123abc"}
    assert metrics["dataset"] == {"layout": "table", "split": "test", "digest": dataset.digest()}
    printed = capsys.readouterr().out
    assert "24 patients, 24 studies, 144 slices" in printed
    assert f"{metrics['weighted_log_loss']['value']:.4f}" in printed
    assert printed.rstrip().endswith(DISCLAIMER)
    assert sorted(item.name for item in output.iterdir()) == [
        "figures",
        "metrics.json",
        "predictions.csv",
        "report.html",
    ]
    page = (output / "report.html").read_text(encoding="utf-8")
    assert DISCLAIMER in page
    assert "No overlap of these data with the training data was found: patients, by their ids alone," in page


@pytest.mark.usefixtures("models")
def test_models_are_compared_on_the_same_patients(
    tmp_path: Path, dataset: Dataset, task: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results"
    arguments = ("fusion", dataset.path, "--output", output, "--resamples", 50)
    assert run(*arguments, "--compare", "single", "--compare", "twin") == 0
    assert sorted(item.name for item in output.iterdir()) == [
        "comparison.json",
        "figures",
        "metrics.json",
        "predictions-fusion-3.csv",
        "predictions-single.csv",
        "predictions.csv",
        "report.html",
    ]
    own = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    comparison = json.loads((output / "comparison.json").read_text(encoding="utf-8"))
    single = comparison["compared"]["single"]
    difference = single["difference"]["weighted_log_loss"]
    assert comparison["model"] == "fusion"
    assert difference["value"] == pytest.approx(
        own["weighted_log_loss"]["value"] - single["metrics"]["weighted_log_loss"]["value"]
    )
    assert difference["low"] <= difference["value"] <= difference["high"]
    # A gain changes the probabilities, not their order.
    assert single["difference"]["slice"][task.label_names[0]]["auroc"] == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p_value": 1.0,
    }
    assert any(line.startswith("fusion - single") for line in capsys.readouterr().out.splitlines())


@pytest.mark.usefixtures("models")
def test_predictions_of_one_call_can_be_evaluated_from_their_files(tmp_path: Path, dataset: Dataset) -> None:
    run("fusion", dataset.path, "--output", tmp_path / "first", "--resamples", 20)
    predictions, labels = tmp_path / "first" / "predictions.csv", dataset.path / "slices.csv"
    second = tmp_path / "second"
    arguments = ("--predictions", predictions, "--labels", labels, "--output", second, "--resamples", 20)
    assert run(*arguments) == 0
    first_metrics, second_metrics = (
        json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8")) for name in ("first", "second")
    )
    assert second_metrics["weighted_log_loss"] == pytest.approx(first_metrics["weighted_log_loss"], rel=1e-6)
    assert second_metrics["study"].keys() == first_metrics["study"].keys()
    # 6 patients of the dataset are no test patients.
    assert second_metrics["warnings"] == ["36 of 180 labelled slices have no prediction and enter no metric"]
    assert len(rows_of(second / "predictions.csv")) == 144


@pytest.mark.usefixtures("models")
def test_a_submission_follows_the_sample(tmp_path: Path, dataset: Dataset, task: Task) -> None:
    sop_uid, missing = dataset.records[29].slices[2].sop_uid, "ID_fffffffff"
    wanted = [f"{uid}_{name}" for uid in (missing, sop_uid) for name in reversed(task.label_names)]
    sample = tmp_path / "sample.csv"
    sample.write_text("\n".join(("ID,Label", *(f"{name},0.5" for name in wanted), "")), encoding="utf-8")
    submission = tmp_path / "submission.csv"
    arguments: tuple[Any, ...] = ("fusion", dataset.path, "--output", tmp_path / "results", "--resamples", 0)
    assert run(*arguments, "--submission", submission, "--sample", sample) == 0
    rows = rows_of(submission)
    assert [row["ID"] for row in rows] == wanted
    scored = next(row for row in rows_of(tmp_path / "results" / "predictions.csv") if row["sop_uid"] == sop_uid)
    np.testing.assert_allclose(
        column(rows, "Label")[6:], [float(scored[name]) for name in reversed(task.label_names)], rtol=1e-5
    )


@pytest.mark.usefixtures("models")
def test_seen_patients_are_refused_before_anything_is_written(tmp_path: Path, dataset: Dataset) -> None:
    output = tmp_path / "results"
    with pytest.raises(UsageError, match="--allow-seen-patients"):
        run("fusion", dataset.path, "--output", output, "--compare", "leaky")
    assert not output.exists()
    assert run("leaky", dataset.path, "--output", output, "--allow-seen-patients", "--resamples", 0) == 0
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["weighted_log_loss"]["low"] is None
    assert metrics["leakage"] == ["1 of 24 patients were seen in training"]


@pytest.mark.usefixtures("models")
def test_ids_of_training_data_are_refused(tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    run("fusion", dataset.path, "--output", tmp_path / "first", "--resamples", 0)
    training = tmp_path / "training.csv"
    training.write_text("patient_id,sop_uid\nP29,x\nP0,y\n", encoding="utf-8")
    output = tmp_path / "second"
    arguments = ("--predictions", tmp_path / "first" / "predictions.csv", "--output", output, "--training", training)
    with pytest.raises(UsageError, match=r"1 of 24 patients were trained on \(as 'P29'\).*--allow-seen-patients"):
        run(*arguments)
    assert not output.exists()
    capsys.readouterr()
    assert run(*arguments, "--allow-seen-patients", "--resamples", 0) == 0
    assert capsys.readouterr().out.startswith("LEAKAGE: 1 of 24 patients were trained on (as 'P29')")


@pytest.mark.usefixtures("models")
def test_predictions_alone_say_all_that_was_evaluated(tmp_path: Path, dataset: Dataset) -> None:
    run("fusion", dataset.path, "--output", tmp_path / "first", "--resamples", 20)
    again = ("--predictions", tmp_path / "first" / "predictions.csv", "--output", tmp_path / "second")
    assert run(*again, "--resamples", 20) == 0
    first, second = (
        json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8")) for name in ("first", "second")
    )
    assert (second["n_patients"], second["counts"]) == (first["n_patients"], first["counts"])
    assert second["weighted_log_loss"] == pytest.approx(first["weighted_log_loss"])
    assert second["study_rules"].keys() == first["study_rules"].keys()
    assert second["subgroups"].keys() == first["subgroups"].keys()


@pytest.mark.usefixtures("models")
def test_an_input_is_never_written_over(tmp_path: Path, dataset: Dataset) -> None:
    run("fusion", dataset.path, "--output", tmp_path, "--resamples", 0)
    with pytest.raises(UsageError, match=r"predictions\.csv would be written over"):
        run("--predictions", tmp_path / "predictions.csv", "--output", tmp_path)


@pytest.mark.usefixtures("models")
def test_a_wrong_option_is_told_before_anything_is_scored(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "predict_input", lambda *_: pytest.fail("scored"))
    with pytest.raises(UsageError, match="more than one reader can read"):
        run("fusion", dataset.path, "--output", tmp_path / "a", "--studies-per-hour", 10)
    with pytest.raises(UsageError, match=r"missing\.csv: there is no such file"):
        run("fusion", dataset.path, "--output", tmp_path / "a", "--attributes", tmp_path / "missing.csv")


@pytest.mark.usefixtures("models")
def test_a_group_cannot_steer_the_terminal(
    tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    attributes = tmp_path / "wards.csv"
    attributes.write_text("patient_id,ward\nP29,\x1b[2Jicu\n", encoding="utf-8")
    run("fusion", dataset.path, "--output", tmp_path / "a", "--attributes", attributes, "--resamples", 0)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[2Jicu" in printed


@pytest.mark.usefixtures("models")
def test_attributes_and_arrivals_come_from_a_file(tmp_path: Path, dataset: Dataset) -> None:
    patients = sorted({record.patient_id for record in dataset.records})
    attributes = tmp_path / "wards.csv"
    rows = (f"{patient},{'icu' if place % 2 else 'er'},{7 * place}" for place, patient in enumerate(patients))
    attributes.write_text("\n".join(("patient_id,ward,arrival_minutes", *rows, "")), encoding="utf-8")
    output = tmp_path / "results"
    arguments = ("fusion", dataset.path, "--output", output, "--attributes", attributes, "--resamples", 20)
    assert run(*arguments, "--minutes-per-study", 6) == 0
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert [part["group"] for part in metrics["subgroups"]["ward"]] == ["er", "icu"]
    assert "arrival_minutes" not in metrics["subgroups"]
    assert (metrics["triage"]["arrivals"], metrics["triage"]["minutes_per_study"]) == ("recorded", 6.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give MODEL and DATASET, or"),
        (["model"], "give MODEL and DATASET, or"),
        (["--labels", "l.csv"], "--labels goes with --predictions only"),
        (["--predictions", "p.csv", "--studies-per-hour", "9"], r"p\.csv: there is no such file"),
        (["model", "data", "--training", "t.csv"], "--training goes with --predictions"),
        (["model", "data", "--predictions", "p.csv", "--labels", "l.csv"], "not both"),
        (["--predictions", "p.csv", "--labels", "l.csv", "--split", "all"], "--split goes with MODEL and DATASET only"),
        (["--predictions", "p.csv", "--labels", "l.csv", "--allow-seen-patients"], "--allow-seen-patients goes with"),
        (["--predictions", "p.csv", "--labels", "l.csv", "--compare", "m"], "--compare goes with MODEL"),
        (["model", "data", "--task", "ich"], "--task goes with --predictions"),
        (["model", "data", "--sample", "s.csv"], "--sample goes with --submission only"),
        (["--predictions", "missing.csv", "--labels", "l.csv"], r"missing\.csv: there is no such file"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*arguments, "--output", tmp_path)


@pytest.mark.parametrize("arguments", [["--resamples", "-1"], ["--resamples", "many"], ["--split", "train"]])
def test_a_value_that_does_not_fit_exits_with_2(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("model", "data", "--output", tmp_path, *arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("slicewise.data.store", ["model", "data"]),
        ("slicewise.evaluation.prediction_files", ["--predictions", "p.csv", "--labels", "l.csv"]),
    ],
)
def test_the_base_install_names_the_extra_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, arguments: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"slicewise\[train\]"):
        run(*arguments, "--output", tmp_path)
