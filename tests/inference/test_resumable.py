from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_files import write_series
from slicewise import Detector
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.series import Study
from slicewise.inference.journal import Call, Journal, KeptStudies
from slicewise.inference.resumable import score_into, study_key
from slicewise.results import StudyResult

CALL = Call(("/scans",), (), "digest", "openvino", "1")
PATIENTS = ("A", "B", "C", "D")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for patient in PATIENTS:
        write_series(tmp_path / "in" / patient, slices=9, patient_id=patient)
    return tmp_path / "in"


def studies_of(scans: Path) -> dict[str, Study]:
    with take_inventory([scans]) as inventory:
        return {study.patient_id: study for study in inventory.studies()}


def score(path: Path, detector: Detector, scans: Path, **options: Any) -> tuple[StudyResult, ...]:
    with take_inventory([scans]) as inventory, Journal(path, CALL, resume=True) as journal:
        keys = score_into(journal, detector, inventory, **options)
        return tuple(KeptStudies(journal, keys))


class _StoppedError(Exception):
    pass


def stops_after(count: int) -> Any:
    def progress(items: Iterable[Any], **_: object) -> Iterator[Any]:
        for place, item in enumerate(items):
            if place == count:
                raise _StoppedError
            yield item

    return progress


def test_it_is_predict(tmp_path: Path, detector: Detector, scans: Path) -> None:
    assert score(tmp_path / "journal", detector, scans) == tuple(detector.predict(scans))


def test_an_interrupted_call_goes_on_and_scores_nothing_twice(
    tmp_path: Path, detector: Detector, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(tmp_path / "other", detector, scans)
    with pytest.raises(_StoppedError):
        score(tmp_path / "journal", detector, scans, progress=stops_after(2))
    ordinary = Detector.score
    scored: list[str] = []

    def counted(self: Detector, studies: Iterable[Study], requested: Any = ()) -> Iterator[Any]:
        for outcome in ordinary(self, studies, requested):
            assert outcome.result is not None
            scored.append(outcome.result.patient_id)
            yield outcome

    monkeypatch.setattr(Detector, "score", counted)
    seen: dict[str, object] = {}

    def progress(items: Iterable[Any], **options: object) -> Iterator[Any]:
        seen.update(options)
        yield from items

    assert score(tmp_path / "journal", detector, scans, progress=progress) == whole
    assert scored == ["C", "D"]
    assert (seen["initial"], seen["total"]) == (2, 4)


def test_a_study_whose_files_changed_is_scored_again(tmp_path: Path, detector: Detector, scans: Path) -> None:
    with pytest.raises(_StoppedError):
        score(tmp_path / "journal", detector, scans, progress=stops_after(3))
    next((scans / "A").iterdir()).unlink()
    shutil.rmtree(scans / "B")
    found = score(tmp_path / "journal", detector, scans)
    assert found == tuple(detector.predict(scans))
    assert [(study.patient_id, len(study.series[0].slices)) for study in found] == [("A", 8), ("C", 9), ("D", 9)]


def test_what_failed_in_passing_is_tried_again(
    tmp_path: Path, detector: Detector, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary = Detector.predict_volume

    def away(self: Detector, volume: Any) -> Any:
        if volume.patient_id == "A":
            raise MemoryError
        return ordinary(self, volume)

    with monkeypatch.context() as patch, pytest.raises(_StoppedError):
        patch.setattr(Detector, "predict_volume", away)
        score(tmp_path / "journal", detector, scans, progress=stops_after(2))
    assert score(tmp_path / "journal", detector, scans) == tuple(detector.predict(scans))


def test_the_key_of_a_study_tells_its_files_and_their_versions(scans: Path) -> None:
    before = studies_of(scans)
    keys = {patient: study_key(study) for patient, study in before.items()}
    assert len(set(keys.values())) == len(PATIENTS)
    assert {patient: study_key(study) for patient, study in studies_of(scans).items()} == keys
    touched = next((scans / "A").iterdir())
    os.utime(touched, (1, 1))
    truncated = next((scans / "B").iterdir())
    truncated.write_bytes(truncated.read_bytes()[:-100])
    after = {patient: study_key(study) for patient, study in studies_of(scans).items()}
    assert {patient for patient in PATIENTS if after[patient] != keys[patient]} == {"A", "B"}
    shutil.rmtree(scans)
    assert study_key(before["C"]) != keys["C"]
