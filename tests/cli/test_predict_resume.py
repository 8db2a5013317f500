from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dicom_files import write_series
from slicewise import Detector
from slicewise.cli.main import INTERRUPTED, main
from slicewise.cli.predict_checks import PARTIAL

PATIENTS = ("A", "B", "C", "D")
TABLES = {"slices.csv", "series.csv", "studies.csv", "rejected.csv", "results.json"}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for patient in PATIENTS:
        write_series(tmp_path / "in" / patient, slices=9, patient_id=patient)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


@pytest.fixture
def predict(tmp_path: Path, scans: Path) -> Callable[..., int]:
    def call(*options: str, output: str = "out") -> int:
        given = ["--output", str(tmp_path / output), "--formats", "csv,json", "--quiet"]
        return main(["predict", str(scans), *given, *options])

    return call


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], None]:
    """Makes the next call stop at a study."""

    def arrange(place: int, error: BaseException) -> None:
        ordinary, seen = Detector.describe_input, [0]

        def describe(self: Detector, *arguments: object) -> object:
            seen[0] += 1
            if seen[0] == place:
                monkeypatch.setattr(Detector, "describe_input", ordinary)
                raise error
            return ordinary(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Detector, "describe_input", describe)

    return arrange


def test_an_interrupted_call_leaves_no_half_file_and_goes_on_to_the_same_bytes(
    tmp_path: Path,
    predict: Callable[..., int],
    interrupted: Callable[[int, BaseException], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert predict(output="whole") == 3
    interrupted(3, KeyboardInterrupt())
    assert predict() == INTERRUPTED
    assert "Studies done: 2." in capsys.readouterr().err
    assert set(written(tmp_path / "out")) == {PARTIAL}
    scored = []
    ordinary = Detector.describe_input

    def counted(self: Detector, *arguments: object) -> object:
        scored.append(1)
        return ordinary(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "describe_input", counted)
    assert predict("--resume") == 3
    assert len(scored) == 2
    assert set(written(tmp_path / "out")) == TABLES
    assert written(tmp_path / "out") == written(tmp_path / "whole")


def test_an_interruption_before_any_study_leaves_nothing(
    tmp_path: Path, predict: Callable[..., int], interrupted: Callable[[int, BaseException], None]
) -> None:
    interrupted(1, KeyboardInterrupt())
    assert predict() == INTERRUPTED
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_written_at_the_end_does_not_cost_the_scores(
    tmp_path: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    assert predict() == 1
    assert "Studies done: 4." in capsys.readouterr().err
    assert (tmp_path / "out" / PARTIAL).is_file()
    (tmp_path / "out" / "results.json").rmdir()
    assert predict("--resume") == 3
    assert set(written(tmp_path / "out")) == TABLES


def test_a_failing_study_is_unreadable_and_the_rest_goes_on(
    tmp_path: Path, predict: Callable[..., int], interrupted: Callable[[int, BaseException], None]
) -> None:
    interrupted(2, RuntimeError("the engine fell over"))
    assert predict() == 3
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert [study["patient_id"] for study in results["studies"]] == ["A", "C", "D"]
    assert [item["reason"] for item in results["rejected"] if item["path"] == "B"] == ["not_scored"]


def test_another_call_is_refused_and_the_same_one_still_goes_on(
    tmp_path: Path,
    predict: Callable[..., int],
    interrupted: Callable[[int, BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted(3, KeyboardInterrupt())
    predict()
    assert predict("--resume", "--runtime", "onnxruntime") == 2
    assert "runtime 'openvino'; this one has 'onnxruntime'" in capsys.readouterr().err
    # The studies that are done have no evidence for the pictures.
    assert predict("--resume", "--formats", "csv,json,html") == 2
    assert "evidence maps not kept (no html); this one has kept (html)" in capsys.readouterr().err
    assert set(written(tmp_path / "out")) == {PARTIAL}
    assert predict("--resume") == 3


def test_without_resume_it_starts_over(
    tmp_path: Path, predict: Callable[..., int], interrupted: Callable[[int, BaseException], None]
) -> None:
    interrupted(3, KeyboardInterrupt())
    predict()
    assert predict() == 3
    assert set(written(tmp_path / "out")) == TABLES


def test_an_anonymous_call_keeps_nothing_that_names_patients(
    tmp_path: Path,
    predict: Callable[..., int],
    interrupted: Callable[[int, BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted(3, KeyboardInterrupt())
    assert predict("--anonymous") == INTERRUPTED
    assert not (tmp_path / "out").exists()
    assert predict("--anonymous", "--resume") == 2
    assert "nothing to go on from" in capsys.readouterr().err
    interrupted(3, KeyboardInterrupt())
    predict()
    assert predict("--anonymous") == 2
    assert f"{PARTIAL} of another call lies there" in capsys.readouterr().err


def test_a_profile_tells_where_the_time_went(
    tmp_path: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("--profile") == 3
    told = capsys.readouterr().err
    profile = json.loads((tmp_path / "out" / "profile.json").read_bytes())
    steps = {step["step"]: step for step in profile["steps"]}
    wanted = {
        *("imports", "reading the model", "compiling or loading the networks", "reading headers", "decoding"),
        *("preprocessing", "windows", "encoding", "fusion", "writing csv", "writing json"),
    }
    assert wanted <= set(steps)
    assert all(name in told for name in wanted)
    assert steps["decoding"]["calls"] == len(PATIENTS)
    assert profile["engine"]["precision"] == "f32"
    assert profile["wall_seconds"] > 0


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="nothing is kept without POSIX owners")
def test_compiled_networks_are_kept_unless_that_is_refused(
    tmp_path: Path, predict: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert predict("--no-model-cache") == 3
    assert not (tmp_path / "cache").exists()
    assert predict(output="again") == 3
    assert len(list((tmp_path / "cache" / "slicewise").iterdir())) == 2
    assert predict(output="kept") == 3
    assert written(tmp_path / "out") == written(tmp_path / "again") == written(tmp_path / "kept")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_call_goes_on_to_the_same_bytes(tmp_path: Path, scans: Path, predict: Callable[..., int]) -> None:
    for place in range(60):
        write_series(scans / f"more {place}", slices=9, patient_id=f"more {place}")
    assert predict(output="whole") == 3
    options = ["--output", str(tmp_path / "out"), "--formats", "csv,json", "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "slicewise.cli", "predict", str(scans), *options]) as process:
        log = tmp_path / "out" / f"{PARTIAL}-wal"
        while process.poll() is None and not (log.exists() and log.stat().st_size > 40_000):
            time.sleep(0.001)
        process.kill()
    assert (tmp_path / "out" / PARTIAL).is_file()
    assert predict("--resume") == 3
    assert written(tmp_path / "out") == written(tmp_path / "whole")
