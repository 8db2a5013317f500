from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from carded import make_card
from conftest import ManifestMaker
from evaluated import simulated_table
from slicewise.cli.main import main
from slicewise.evaluation.evaluate import evaluate
from slicewise.evaluation.model_card import read_card
from slicewise.package import CARD, load_package, write_package
from slicewise.task import load_task

FILES = {"encoder.onnx": b"1", "fusion.onnx": b"2", "NOTICE": b"A model.\n"}


@pytest.fixture
def run_folder(tmp_path: Path, make_manifest: ManifestMaker) -> Path:
    """A run folder with its evaluation in `evaluation`."""
    digest = write_package(tmp_path / "run" / "package", make_manifest(), FILES)
    task = load_task("ich")
    metrics = evaluate(
        simulated_table(task),
        task,
        thresholds=dict.fromkeys(task.label_names, 0.3),
        model={"name": "test-model", "version": "1", "digest": digest},
        resamples=20,
    )
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "metrics.json").write_bytes(msgspec.json.encode(metrics))
    return tmp_path / "run"


def test_a_run_becomes_a_package_with_a_card(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notice = tmp_path / "notice.txt"
    notice.write_text("Where the data come from.\n", encoding="utf-8")
    call = ["package", str(run_folder), str(tmp_path / "out.zip"), "--evaluation", str(run_folder / "evaluation")]
    assert main([*call, "--notice", str(notice), "--tested-on", "simulated patients"]) == 0
    package = load_package(tmp_path / "out.zip")
    assert package.digest in capsys.readouterr().out
    card = read_card(package)
    assert card is not None
    assert card.evaluations[0].data == "simulated patients"
    assert card.evaluated_digest == load_package(run_folder).digest != package.digest
    assert package.files["NOTICE"] == b"A model.\n\nWhere the data come from.\n"
    # Packed again from the packed model, with the same evaluation.
    again = [
        "package",
        str(tmp_path / "out.zip"),
        str(tmp_path / "again"),
        *call[3:],
        "--tested-on",
        "simulated patients",
    ]
    assert main(again) == 0
    assert load_package(tmp_path / "again").digest == package.digest


def test_without_figures_the_package_is_a_copy(tmp_path: Path, run_folder: Path) -> None:
    assert main(["package", str(run_folder), str(tmp_path / "out")]) == 0
    assert load_package(tmp_path / "out").digest == load_package(run_folder).digest


def test_a_card_that_was_changed_is_refused(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["package", str(run_folder), str(tmp_path / "out"), "--evaluation", str(run_folder / "evaluation")]
    assert main(call) == 0
    path = tmp_path / "out" / CARD
    path.write_bytes(path.read_bytes().replace(b'"patients": 40', b'"patients": 4000'))
    capsys.readouterr()
    assert main(["models", str(tmp_path / "out")]) != 0
    assert "card.json is not what manifest.json says" in capsys.readouterr().err


def test_figures_of_another_model_are_refused(
    tmp_path: Path, run_folder: Path, make_manifest: ManifestMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    write_package(tmp_path / "other", make_manifest(version="2"), FILES)
    call = ["package", str(tmp_path / "other"), str(tmp_path / "out"), "--evaluation", str(run_folder / "evaluation")]
    assert main(call) == 2
    assert "Measure this model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--tested-on", "--robustness", "--localisation", "--making"])
def test_a_card_needs_an_evaluation(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    file = tmp_path / "robustness.json"
    file.write_bytes(msgspec.json.encode(make_card(load_task("ich")).robustness))
    assert main(["package", str(run_folder), str(tmp_path / "out"), option, str(file)]) == 2
    assert f"{option} goes with --evaluation" in capsys.readouterr().err


def test_a_notice_that_cannot_be_read_is_named(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["package", str(run_folder), str(tmp_path / "out"), "--notice", str(tmp_path / "missing")]) == 2
    assert "--notice" in capsys.readouterr().err
