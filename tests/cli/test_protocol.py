from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from phantom_heads import simple_head
from scored_dataset import grey_value_detector
from slicewise.cli import protocol
from slicewise.cli.protocol import PROTOCOLS
from slicewise.errors import MissingExtraError, UsageError
from slicewise.evaluation.published import ProtocolName
from slicewise.inference.detector import Detector
from slicewise.phantom import study as study_module
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.writer import write_phantom
from slicewise.results import DISCLAIMER
from slicewise.task import load_task

ICH = load_task("ich")
TASK = msgspec.structs.replace(ICH, preprocessing=msgspec.structs.replace(ICH.preprocessing, size=32, pixel_mm=8.0))
SMALL = override_parameters(
    PhantomParameters(),
    [
        *("geometry.matrix=64", "geometry.slices=[6, 8]", "geometry.thin=0.0", "geometry.medium=0.0"),
        "hemorrhage.positive_share=0.5",
    ],
)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "render_head", simple_head)
        folder = tmp_path_factory.mktemp("phantoms")
        write_phantom(folder, 4, seed=2, layout="cq500", parameters=SMALL)
        yield folder


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str, runtime: str) -> Detector:
        assert (model, runtime) == ("mine", "openvino")
        return grey_value_detector(TASK, name="mine")

    monkeypatch.setattr(Detector, "load", load)


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    protocol.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["protocol", "--quiet", "--workers", "1", *map(str, arguments)])
    code: int = parsed.run(parsed)
    return code


def arguments(phantoms: Path, output: Path, name: str = "cq500") -> tuple[object, ...]:
    files = ("--images", phantoms / "cq500", "--labels", phantoms / "reads.csv", "--output", output)
    return (name, "mine", *files, "--resamples", 20)


def test_one_call_writes_all_evidence(phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "evidence"
    assert run(*arguments(phantoms, output)) == 0
    written = {"dataset", "metrics.json", "predictions.csv", "protocol.json", "report.html", "series_used.csv"}
    assert written <= {path.name for path in output.iterdir()}
    report = json.loads((output / "protocol.json").read_text(encoding="utf-8"))
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert report["n_slices"] == metrics["n_slices"]
    assert report["disclaimer"] == DISCLAIMER
    assert str(tmp_path) not in json.dumps(report)
    with (output / "series_used.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["patient_id"] for row in rows] == [f"CQ500-CT-{1000 + number}" for number in range(4)]
    assert all(row["kernel"] and row["series_description"] and row["values_digest"] for row in rows)
    printed = capsys.readouterr().out
    assert "CQ500: studies by the majority of three readers" in printed
    assert "Ngo et al. 2022" in printed
    assert "4 patients, 4 studies" in printed
    assert printed.rstrip().endswith(DISCLAIMER)
    # A second call keeps what is prepared and finds the same; as does one that reads the listed series.
    assert run(*arguments(phantoms, output)) == 0
    assert json.loads((output / "metrics.json").read_text(encoding="utf-8")) == metrics
    again = arguments(phantoms, tmp_path / "again")
    assert run(*again, "--series-manifest", output / "series_used.csv") == 0
    assert json.loads((tmp_path / "again" / "metrics.json").read_text(encoding="utf-8")) == metrics


def test_unreadable_input_is_exit_code_3(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a scan", encoding="utf-8")
    call = list(arguments(phantoms, tmp_path / "out"))
    call.insert(call.index("--labels"), tmp_path / "notes.txt")
    assert run(*call) == 3


def test_a_wrong_call_is_told_before_the_model_is_loaded(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Detector, "load")
    call = arguments(phantoms, tmp_path / "out")
    with pytest.raises(UsageError, match="--reads goes with bhx only"):
        run(*call, "--reads", phantoms / "reads.csv")
    with pytest.raises(UsageError, match=r"--reads .*nowhere\.csv: there is no such file"):
        run(*call, "--reads", tmp_path / "nowhere.csv")
    with pytest.raises(UsageError, match="--holdout goes with rsna only"):
        run(*call, "--holdout", 0.5)
    with pytest.raises(UsageError, match="expected --reads as well"):
        run(*arguments(phantoms, tmp_path / "out", "bhx"))
    with pytest.raises(UsageError, match="--workers 0: expected at least 1"):
        run(*call, "--workers", 0)
    with pytest.raises(SystemExit) as stop:
        run(*arguments(phantoms, tmp_path / "out", "unheard-of"))
    assert stop.value.code == 2
    assert not (tmp_path / "out").exists()


def test_the_protocols_are_those_that_are_built() -> None:
    assert get_args(ProtocolName) == PROTOCOLS


def test_without_the_training_libraries_the_extra_is_named(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "slicewise.evaluation.protocols", None)  # as if polars were not installed
    with pytest.raises(MissingExtraError, match=r"slicewise\[train\]"):
        run(*arguments(phantoms, tmp_path / "out"))
