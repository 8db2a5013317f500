"""The base install alone predicts: `make test` builds it and names its Python in SLICEWISE_BASE_PYTHON."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

from dicom_files import write_series


@pytest.fixture(scope="module")
def base_python() -> str:
    python = os.environ.get("SLICEWISE_BASE_PYTHON")
    if not python:
        pytest.skip("SLICEWISE_BASE_PYTHON is not set; `make test` sets it")
    return python


def run(base_python: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([base_python, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("name", ["torch", "timm", "onnx", "polars", "matplotlib", "nilearn", "onnxruntime"])
def test_it_holds_the_base_alone(base_python: str, name: str) -> None:
    run(base_python, "-c", f"import {name}", code=1)


def test_it_is_not_the_source_tree(base_python: str) -> None:
    done = run(base_python, "-P", "-c", "import slicewise; print(slicewise.__file__)")
    assert "site-packages" in done.stdout


def test_it_predicts_with_the_shipped_model(base_python: str, tmp_path: Path) -> None:
    write_series(tmp_path / "in", slices=12)
    command = ("-W", "error", "-m", "slicewise.cli", "predict", str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    run(base_python, *command)
    with (tmp_path / "out" / "slices.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 12
    assert (tmp_path / "out" / "report.html").is_file()
    done = run(base_python, "-m", "slicewise.cli", "inspect", str(tmp_path / "in"))
    assert "1 of 1 series would be read" in done.stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["phantom", "out", "--studies", "1"], "phantom"),
        (["train", "dataset", "--output", "run"], "train"),
        (["prepare", "dataset", "--layout", "table", "--images", "."], "train"),
        (["evaluate", "ich-phantom-small", "dataset", "--output", "out"], "train"),
        (["predict", ".", "--output", "out", "--runtime", "torch"], "train"),
        (["predict", ".", "--output", "out", "--runtime", "onnxruntime"], "onnxruntime"),
    ],
)
def test_what_needs_an_extra_names_it(base_python: str, tmp_path: Path, command: list[str], extra: str) -> None:
    done = subprocess.run(
        [base_python, "-m", "slicewise.cli", *command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert f"slicewise[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
