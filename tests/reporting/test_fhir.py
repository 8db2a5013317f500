from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicom_files import seeded_uid, write_series
from slicewise.reporting.fhir import write_fhir
from slicewise.results import DISCLAIMER, ModelSummary, StudyResult
from slicewise.source import Source
from slicewise.task import Task

MakeStudy = Callable[..., StudyResult]
RAISED = {2: {"any": 0.9, "subarachnoid": 0.75}}


@pytest.fixture
def make_bundle(tmp_path: Path, make_study: MakeStudy, model: ModelSummary, task: Task) -> Callable[..., Any]:
    """Writes a study whose slice 2 is flagged, reads the bundle back and returns it; `tags` go into the images."""

    def make(raised: Any = RAISED, *, by: ModelSummary = model, **tags: Any) -> Any:
        paths = write_series(tmp_path / "scan", slices=6, **({"StudyDate": "20240203"} | tags))
        first = pydicom.dcmread(paths[0])
        ids = {"study_uid": str(first.StudyInstanceUID), "series_uid": str(first.SeriesInstanceUID)}
        study = make_study(tmp_path / "scan", [path.name for path in paths], raised, **ids)
        study = named(study, paths)
        outcome = write_fhir(tmp_path / "out", study, by, task, software_version="9.8.7")
        assert outcome.written == (tmp_path / "out" / "fhir" / f"{study.study_uid}.json",)
        return json.loads(outcome.written[0].read_bytes())

    return make


def named(study: StudyResult, paths: list[Path]) -> StudyResult:
    """Gives the slices the UIDs of their files."""
    import msgspec

    replace = msgspec.structs.replace
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]
    (series,) = study.series
    slices = tuple(replace(item, sop_uid=uid) for item, uid in zip(series.slices, uids, strict=True))
    sources = {uid: Source(str(path), path.name) for uid, path in zip(uids, paths, strict=True)}
    return replace(study, series=(replace(series, slices=slices),), sources=sources)


def resources(bundle: Any, kind: str) -> list[Any]:
    return [item["resource"] for item in bundle["entry"] if item["resource"]["resourceType"] == kind]


def test_the_bundle_holds_a_preliminary_report(make_bundle: Callable[..., Any]) -> None:
    bundle = make_bundle()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["status"] == "preliminary"
    assert report["effectiveDateTime"] == "2024-02-03"
    assert DISCLAIMER in report["conclusion"]
    assert {item["status"] for item in resources(bundle, "Observation")} == {"preliminary"}


def test_every_reference_leads_to_an_entry(make_bundle: Callable[..., Any]) -> None:
    bundle = make_bundle()
    known = [item["fullUrl"] for item in bundle["entry"]]
    assert len(set(known)) == len(known)
    assert all(item["fullUrl"] == f"urn:uuid:{item['resource']['id']}" for item in bundle["entry"])

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["reference"]] if isinstance(part.get("reference"), str) else []
            return own + [found for value in part.values() for found in references(value)]
        return [found for value in part for found in references(value)] if isinstance(part, list) else []

    assert references(bundle)
    assert set(references(bundle)) <= set(known)
    (report,) = resources(bundle, "DiagnosticReport")
    assert len(report["result"]) == len(resources(bundle, "Observation"))


def test_labels_have_codes_probability_and_threshold(make_bundle: Callable[..., Any], task: Task) -> None:
    observations = resources(make_bundle(), "Observation")
    of_study = {item["code"]["text"]: item for item in observations[: len(task.labels)]}
    for label in task.labels:
        item = of_study[label.display]
        assert item["code"]["coding"][0]["code"] == label.finding.value
        assert ("bodySite" in item) == (label.site is not None)
        assert ("valueCodeableConcept" in item) == (label.name in RAISED[2])
        assert ("no evidence of absence" in item["note"][0]["text"]) == (label.name not in RAISED[2])
        assert DISCLAIMER in item["note"][0]["text"]
    probability, threshold = of_study["Subarachnoid hemorrhage"]["component"]
    assert probability["code"]["coding"][0] == {
        "system": "http://dicom.nema.org/resources/ontology/DCM",
        "code": "122157",
        "display": "Probability",
    }
    assert probability["valueQuantity"]["value"] == 0.75
    assert threshold["valueQuantity"]["value"] == pytest.approx(0.3)


def test_flagged_slices_name_their_image(make_bundle: Callable[..., Any], task: Task) -> None:
    bundle = make_bundle()
    slices = resources(bundle, "Observation")[len(task.labels) :]
    assert [item["code"]["text"] for item in slices] == ["Any intracranial hemorrhage", "Subarachnoid hemorrhage"]
    (imaging,) = resources(bundle, "ImagingStudy")
    (series,) = imaging["series"]
    expected = f"urn:oid:{series['instance'][2]['uid']}"
    assert {item["component"][2]["valueString"] for item in slices} == {expected}
    assert imaging["identifier"][0]["value"].startswith("urn:oid:")
    assert len(series["instance"]) == 6


def test_slices_of_a_label_that_the_study_does_not_reach_are_no_observations(
    make_bundle: Callable[..., Any], study_model: ModelSummary
) -> None:
    # Subarachnoid hemorrhage reaches 0.30 for a slice, not 0.60 for the study.
    bundle = make_bundle({2: {"any": 0.9, "subarachnoid": 0.5}}, by=study_model)
    observations = resources(bundle, "Observation")
    of_study, slices = observations[: len(study_model.labels)], observations[len(study_model.labels) :]
    assert [item["code"]["text"] for item in of_study if "valueCodeableConcept" in item] == [study_model.displays[0]]
    assert [item["code"]["text"] for item in slices] == [study_model.displays[0]]
    assert [item["component"][1]["valueQuantity"]["value"] for item in (of_study[0], slices[0])] == [0.8, 0.5]
    (device,) = resources(bundle, "Device")
    assert device["note"][0]["text"].endswith("Thresholds of studies: raised for this test.")


@pytest.mark.parametrize(("patient_id", "issuer"), [("P1", ""), ("<b>\"'&", "Hospital"), ("山田", "")])
def test_the_patient_is_an_identifier_alone(make_bundle: Callable[..., Any], patient_id: str, issuer: str) -> None:
    bundle = make_bundle(
        PatientID=patient_id, PatientName="Secret^Name", IssuerOfPatientID=issuer, SpecificCharacterSet="ISO_IR 192"
    )
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["subject"]["identifier"]["value"] == patient_id
    assert ("assigner" in report["subject"]["identifier"]) == bool(issuer)
    assert "Secret" not in json.dumps(bundle)


def test_what_is_not_stated_is_left_out(make_bundle: Callable[..., Any]) -> None:
    bundle = make_bundle(PatientID="", StudyDate="")
    (report,) = resources(bundle, "DiagnosticReport")
    assert "identifier" not in report["subject"]
    assert "effectiveDateTime" not in report
    assert None not in report.values()


def test_the_same_call_writes_the_same_bytes(tmp_path: Path, make_bundle: Callable[..., Any]) -> None:
    make_bundle()
    (path,) = (tmp_path / "out" / "fhir").iterdir()
    before = path.read_bytes()
    make_bundle()
    assert path.read_bytes() == before
    make_bundle({2: {"any": 0.91}})
    first, second = json.loads(before), json.loads(path.read_bytes())
    assert first["id"] != second["id"]


def test_studies_without_valid_uids_are_refused(
    tmp_path: Path, make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    paths = write_series(tmp_path / "scan", slices=6, study_uid="ID_1", series_uid=seeded_uid("series"))
    for study_uid in ("ID_1", "../../escaped"):
        study = named(make_study(tmp_path / "scan", [path.name for path in paths], study_uid=study_uid), paths)
        outcome = write_fhir(tmp_path / "out", study, model, task, software_version="1")
        assert [(item.kind, item.reason) for item in outcome.refused] == [("fhir", "invalid_uid")]
        assert not outcome.written
    assert not (tmp_path / "out").exists()


def test_a_study_unlike_the_training_data_is_refused(
    tmp_path: Path, make_study: MakeStudy, model: ModelSummary, task: Task
) -> None:
    paths = write_series(tmp_path / "scan", slices=6)
    first = pydicom.dcmread(paths[0])
    ids = {"study_uid": str(first.StudyInstanceUID), "series_uid": str(first.SeriesInstanceUID)}
    made = make_study(tmp_path / "scan", [path.name for path in paths], RAISED, unlike=True, **ids)
    outcome = write_fhir(tmp_path / "out", named(made, paths), model, task, software_version="1")
    assert [(item.kind, item.reason) for item in outcome.refused] == [("fhir", "unlike_training")]
    assert not (tmp_path / "out").exists()
