from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_files import head_values, make_enhanced, write_dataset, write_series
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.series import choose_series
from slicewise.reporting.dicom.findings import StudyFindings, study_findings
from slicewise.reporting.dicom.outcome import DicomOutcome
from slicewise.reporting.dicom.references import read_source_study
from slicewise.reporting.dicom.write import KINDS, write_dicom_results
from slicewise.results import ModelSummary, SeriesResult, SliceResult, StudyResult, aggregate
from slicewise.source import Source
from slicewise.task import Task
from slicewise.volume import FloatImages

IDENTITY: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Buc^Jérôme",
    "PatientBirthDate": "19600102",
    "PatientSex": "M",
    "IssuerOfPatientID": "Hospital",
    "StudyID": "S1",
    "AccessionNumber": "A-17",
    "ReferringPhysicianName": "Doe^Jane",
    "StudyDate": "20240203",
    "StudyTime": "101112.5",
}

HOST = "127.0.0.1"

Raised = Mapping[int, Mapping[str, float]]
Rule = Callable[[FloatImages], dict[str, float]]
Predict = Callable[..., StudyResult]
Findings = Callable[..., StudyFindings]
Write = Callable[..., DicomOutcome]


@pytest.fixture(autouse=True)
def highdicom_here() -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom' is not installed")


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A folder with a series of ten slices that states a whole identity."""
    write_series(tmp_path / "head", values=head_values(10, 32), **IDENTITY)
    return tmp_path / "head"


@pytest.fixture
def predict(task: Task) -> Predict:
    """Scores all studies below a path, without a model, and returns the only one.

    `raised` gives probabilities above 0.1 by slice index and label; `rule` gives them by the HU of a slice;
    `series_uids` are read instead of the series that the rules choose.
    """

    def make(
        path: Path, raised: Raised | None = None, *, rule: Rule | None = None, series_uids: Collection[str] = ()
    ) -> StudyResult:
        series: list[SeriesResult] = []
        sources: dict[str, Source] = {}
        with take_inventory([path]) as inventory:
            (study,) = inventory.studies()
            for decision in choose_series(study, task.series, series_uids):
                if not decision.chosen:
                    continue
                volume, _ = load_volume(decision.series)
                places = {(header.sop_uid, header.file): header.source for header in decision.series.headers}
                slices = tuple(
                    SliceResult(
                        sop_uid=item.sop_uid,
                        frame=item.frame,
                        file=item.file,
                        slice_index=item.slice_index,
                        position_mm=float(volume.positions_mm[place]),
                        probabilities=dict.fromkeys(task.label_names, 0.1)
                        | dict((raised or {}).get(item.slice_index, {}))
                        | ({} if rule is None else rule(volume.values[place])),
                    )
                    for place, item in enumerate(volume.slices)
                )
                sources |= {item.sop_uid: places[item.sop_uid, item.file] for item in volume.slices}
                whole = aggregate([item.probabilities for item in slices], "max")
                series.append(
                    SeriesResult(volume.patient_id, volume.study_uid, volume.series_uid, slices, whole, 0.0, ())
                )
        whole = aggregate([item.probabilities for item in series], "max")
        return StudyResult(study.patient_id, study.study_uid, tuple(series), whole, (), sources)

    return make


@pytest.fixture
def find(predict: Predict, model: ModelSummary, task: Task) -> Findings:
    """Scores the study below a path and reads its images again; `by` is the model, if not `model`."""

    def make(
        path: Path, raised: Raised | None = None, *, by: ModelSummary | None = None, **options: Any
    ) -> StudyFindings:
        study = predict(path, raised, **options)
        return study_findings(study, read_source_study(study), by or model, task, "9.8.7")

    return make


@pytest.fixture
def write(tmp_path: Path, model: ModelSummary, task: Task) -> Write:
    """Writes all DICOM results of a study into tmp_path / "results"."""

    def make(
        study: StudyResult, kinds: tuple[str, ...] = KINDS, output: str = "results", **options: Any
    ) -> DicomOutcome:
        arguments: dict[str, Any] = {"model": model, "software_version": "9.8.7"} | options
        return write_dicom_results(tmp_path / output, study, task=task, kinds=kinds, **arguments)

    return make


@pytest.fixture
def enhanced(tmp_path: Path) -> Path:
    """A folder with one enhanced image of ten frames."""
    pixels = np.rint(head_values(10, 32) + 1024).astype(np.int16)
    write_dataset(tmp_path / "enhanced" / "all", make_enhanced(pixels, **IDENTITY))
    return tmp_path / "enhanced"


@pytest.fixture
def orthanc(tmp_path: Path, socket_enabled: None) -> Iterator[tuple[int, int]]:
    """Starts an empty archive that nobody else can reach; yields the ports of its DICOM and HTTP servers."""
    del socket_enabled
    server = _program("Orthanc")
    dicom_port, http_port = _free_port(), _free_port()
    configuration = {
        "StorageDirectory": str(tmp_path / "archive"),
        "IndexDirectory": str(tmp_path / "archive"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {name: [name, HOST, 104] for name in ("STORESCU", "FINDSCU")},
        "Plugins": [],
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    with (
        (tmp_path / "orthanc.log").open("wb") as log,
        subprocess.Popen([server, str(tmp_path / "orthanc.json")], stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for(http_port)
            yield dicom_port, http_port
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/system", timeout=30).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.skip("Orthanc did not start within ten seconds")


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: orthanc, dcmtk)")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])
