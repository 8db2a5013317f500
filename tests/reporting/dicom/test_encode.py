"""The objects as other people's software sees them: dicom3tools and DCMTK."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dicom_files import head_values, write_series
from planted import identity
from slicewise.reporting.dicom.outcome import DicomOutcome
from slicewise.results import StudyResult
from slicewise.task import Task

Predict = Callable[..., StudyResult]
Write = Callable[..., DicomOutcome]

RAISED = {3: {"any": 0.9, "subdural": 0.8}, 4: {"any": 0.8}}
_KNOWN = (
    "Unrecognized defined term = <99SLICEWISE>",  # a private scheme, which the object describes
    "Laterality(0020,0060)",  # warns that it is empty: the part of the body is not known
    "needed to build DICOMDIR",  # warns of what the images do not state either
)


def call(arguments: Sequence[str | Path]) -> str:
    program = shutil.which(str(arguments[0]))
    if program is None:
        pytest.skip(f"{arguments[0]} is not installed (Debian: dcmtk, dicom3tools)")
    ended = subprocess.run([program, *map(str, arguments[1:])], capture_output=True, check=False, timeout=60)
    output = (ended.stdout + ended.stderr).decode("utf-8", "replace")
    assert ended.returncode == 0, output
    return output


@pytest.fixture(params=["head", "enhanced", "no flags", "no identity", "Chinese", "beyond ASCII"])
def written(request: pytest.FixtureRequest, tmp_path: Path, predict: Predict, write: Write) -> tuple[Path, ...]:
    folder: Path = tmp_path / "scan"
    if request.param in ("head", "enhanced", "no flags"):
        folder = request.getfixturevalue("enhanced" if request.param == "enhanced" else "head")
    texts = {
        "no identity": {"PatientName": "", "PatientID": ""},
        "Chinese": {key: value for key, value in identity("GB18030").items() if key.startswith(("Pa", "Spec"))},
        "beyond ASCII": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Щукин^Илья"},
    }
    if request.param in texts:
        write_series(folder, values=head_values(10, 32), **texts[request.param])
    return write(predict(folder, None if request.param == "no flags" else RAISED)).written


def test_dciodvfy_finds_no_errors(written: tuple[Path, ...]) -> None:
    for path in written:
        lines = call(["dciodvfy", "-new", path]).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []
        warnings = [line for line in lines if line.startswith("Warning")]
        assert [line for line in warnings if not any(known in line for known in _KNOWN)] == []


def test_dsrdump_reads_the_documents(written: tuple[Path, ...], task: Task) -> None:
    for path in written:
        if path.name.startswith("sc"):
            continue
        output = call(["dsrdump", "+Pl", path])
        assert not [line for line in output.splitlines() if line.startswith(("E:", "F:"))]
        assert "Research software, not a medical device." in output
        if path.name == "sr.dcm":
            assert "Preliminary Flag    : PRELIMINARY" in output
            assert "Verification Flag   : UNVERIFIED" in output
            assert output.count("Measurement Group") >= len(task.labels)


def test_dcm2json_reads_every_object(written: tuple[Path, ...]) -> None:
    for path in written:
        content = json.loads(call(["dcm2json", path]))
        assert content["00080018"]["Value"][0].startswith("2.25.")
        assert len(content["0020000D"]["Value"]) == 1
