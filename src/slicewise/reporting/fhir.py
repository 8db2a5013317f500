"""The results of one study as FHIR R4 (4.0.1): a DiagnosticReport and its Observations in one Bundle, as JSON.

The report is preliminary. The patient is named by the identifier of the images alone, the study by its UID. A label
that is not flagged has its probability and no value: staying below a threshold is no evidence of absence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from slicewise.errors import InputError
from slicewise.files import write_bytes_atomically
from slicewise.reporting.dicom.codes import PRESENT, PROBABILITY, as_task_code, label_of, procedure
from slicewise.reporting.dicom.findings import StudyFindings, study_findings
from slicewise.reporting.dicom.outcome import DicomOutcome, Refusal
from slicewise.reporting.dicom.references import UNKNOWN_DATE, read_source_study
from slicewise.reporting.dicom.uids import derived_uuid, is_valid_uid
from slicewise.results import DISCLAIMER, ModelSummary, SliceResult, StudyResult
from slicewise.task import Code, Task

FOLDER = "fhir"
"""Folder of the output that holds a file a study, named by its Study Instance UID."""

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "99SLICEWISE": "urn:slicewise:codes",
}
"""Code systems by coding scheme designator, http://hl7.org/fhir/R4/terminologies-systems.html."""

_UID_SYSTEM, _URI_SYSTEM = "urn:dicom:uid", "urn:ietf:rfc:3986"
_OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_REPORT_CATEGORY = "http://terminology.hl7.org/CodeSystem/v2-0074"

Resource = dict[str, Any]


def write_fhir(
    output: Path, study: StudyResult, model: ModelSummary, task: Task, *, software_version: str
) -> DicomOutcome:
    """Writes the results of one study as `fhir/<Study Instance UID>.json`.

    The images are read again for their identity, by the rules of the DICOM objects; highdicom is not needed.

    Args:
        output: Folder for the results.
        study: Results, with the sources of their images.
        model: The model that made them.
        task: Its task.
        software_version: Version of slicewise.

    Returns:
        The file, or the reason why there is none.
    """
    path = output / FOLDER / f"{study.study_uid}.json"
    if is_valid_uid(study.study_uid):  # others would name any file
        path.unlink(missing_ok=True)
    try:
        findings = study_findings(study, read_source_study(study), model, task, software_version)
    except InputError as error:
        return DicomOutcome(refused=(Refusal(study.study_uid, "fhir", error.reason, str(error)),))
    write_bytes_atomically(path, msgspec.json.format(msgspec.json.encode(fhir_bundle(findings)), indent=1))
    return DicomOutcome(written=(path,))


def fhir_bundle(findings: StudyFindings) -> Resource:
    """Returns the Bundle (type collection): report, device, imaging study, and an observation a finding."""
    imaging, device = _imaging_study(findings), _device(findings)
    observations = [_study_observation(findings, name) for name in findings.model.labels]
    observations += [
        _slice_observation(findings, flagged.item, name) for flagged in findings.flagged for name in flagged.labels
    ]
    return {
        "resourceType": "Bundle",
        "id": str(derived_uuid(findings.digest, "bundle")),
        "type": "collection",
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in (_report(findings, observations), imaging, device, *observations)
        ],
    }


def _report(findings: StudyFindings, observations: list[Resource]) -> Resource:
    return {
        "resourceType": "DiagnosticReport",
        "id": str(derived_uuid(findings.digest, "report")),
        "status": "preliminary",
        "category": [{"coding": [{"system": _REPORT_CATEGORY, "code": "RAD", "display": "Radiology"}]}],
        "code": _concept(as_task_code(procedure(findings.task))),
        **_context(findings),
        "result": [_reference(item) for item in observations],
        "imagingStudy": [{"reference": f"urn:uuid:{_imaging_id(findings)}"}],
        "conclusion": f"{DISCLAIMER} {findings.counts} A label that is not flagged may still be there: its probability "
        "stayed below the threshold, which is no evidence of absence.",
    }


def _imaging_study(findings: StudyFindings) -> Resource:
    series = []
    for item in findings.study.series:
        uids = list(dict.fromkeys(row.sop_uid for row in item.slices))
        instances = [findings.sources.instances[uid] for uid in uids]
        series.append(
            {
                "uid": item.series_uid,
                "modality": {"system": _SYSTEMS["DCM"], "code": instances[0].modality or "OT"},
                "instance": [
                    {
                        "uid": one.sop_uid,
                        "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{one.sop_class_uid}"},
                    }
                    for one in instances
                ],
            }
        )
    context = _context(findings)
    started = {"started": context["effectiveDateTime"]} if "effectiveDateTime" in context else {}
    return {
        "resourceType": "ImagingStudy",
        "id": _imaging_id(findings),
        "identifier": [{"system": _UID_SYSTEM, "value": f"urn:oid:{findings.sources.study_uid}"}],
        "status": "available",
        "subject": context["subject"],
        **started,
        "series": series,
    }


def _device(findings: StudyFindings) -> Resource:
    model = findings.model
    of_studies = f" Thresholds of studies: {model.study_threshold_rule}." if model.study_thresholds else ""
    return {
        "resourceType": "Device",
        "id": _device_id(findings),
        "identifier": [{"system": "urn:slicewise:model-digest", "value": model.digest}],
        "manufacturer": "slicewise",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "version": [
            {"type": {"text": "model"}, "value": model.version},
            {"type": {"text": "software"}, "value": findings.software_version},
        ],
        "note": [{"text": f"{DISCLAIMER} Thresholds: {model.threshold_rule}.{of_studies}"}],
    }


def _study_observation(findings: StudyFindings, name: str) -> Resource:
    flagged = name in findings.model.flagged_of(findings.study)
    note = f"Highest probability of a slice in the study. {DISCLAIMER}"
    if not flagged:
        note = f"Not flagged, which is no evidence of absence. {note}"
    threshold = findings.model.thresholds_of_studies[name]
    probabilities = findings.study.probabilities
    return _observation(findings, name, probabilities, ("study",), note, threshold=threshold, is_present=flagged)


def _slice_observation(findings: StudyFindings, item: SliceResult, name: str) -> Resource:
    place = (item.sop_uid, str(item.frame))
    observation = _observation(
        findings,
        name,
        item.probabilities,
        place,
        f"One slice, number {item.slice_index}. {DISCLAIMER}",
        threshold=findings.model.thresholds[name],
        is_present=True,
    )
    observation["component"].append(_text_component("SOP Instance UID", f"urn:oid:{item.sop_uid}"))
    if findings.instance(item).is_multiframe:
        observation["component"].append({"code": {"text": "Frame number"}, "valueInteger": item.frame})
    return observation


def _observation(
    findings: StudyFindings,
    name: str,
    probabilities: dict[str, float],
    place: tuple[str, ...],
    note: str,
    *,
    threshold: float,
    is_present: bool,
) -> Resource:
    label = label_of(findings.task, name)
    value = {"valueCodeableConcept": _concept(as_task_code(PRESENT))} if is_present else {}
    site = {} if label.site is None else {"bodySite": _concept(label.site)}
    return {
        "resourceType": "Observation",
        "id": str(derived_uuid(findings.digest, "observation", name, *place)),
        "status": "preliminary",
        "category": [{"coding": [{"system": _OBSERVATION_CATEGORY, "code": "imaging", "display": "Imaging"}]}],
        "code": _concept(label.finding) | {"text": label.display},
        **_context(findings),
        **value,
        **site,
        "note": [{"text": note}],
        "device": {"reference": f"urn:uuid:{_device_id(findings)}"},
        "derivedFrom": [{"reference": f"urn:uuid:{_imaging_id(findings)}"}],
        "component": [
            {"code": _concept(as_task_code(PROBABILITY)), "valueQuantity": _ratio(probabilities[name])},
            {"code": {"text": "Threshold"}, "valueQuantity": _ratio(threshold)},
        ],
    }


def _context(findings: StudyFindings) -> Resource:
    """Returns whose study it is and when it was made; a study without a valid date states none."""
    identity, date = findings.sources.identity.shown, findings.sources.date
    subject: Resource = {"type": "Patient", "display": "Patient without identifier"}
    if identity["PatientID"]:
        assigner = identity["IssuerOfPatientID"]
        issuer = {"assigner": {"display": assigner}} if assigner else {}
        subject = {"type": "Patient", "identifier": {"value": identity["PatientID"], **issuer}}
    when = {} if date == UNKNOWN_DATE else {"effectiveDateTime": f"{date[:4]}-{date[4:6]}-{date[6:]}"}
    return {"subject": subject, **when}


def _concept(code: Code) -> Resource:
    system = _SYSTEMS.get(code.scheme, f"urn:dicom:scheme:{code.scheme}")
    return {"coding": [{"system": system, "code": code.value, "display": code.meaning}]}


def _ratio(value: float) -> Resource:
    return {"value": value, "system": "http://unitsofmeasure.org", "code": "1"}


def _text_component(name: str, value: str) -> Resource:
    return {"code": {"text": name}, "valueString": value}


def _reference(resource: Resource) -> Resource:
    return {"reference": f"urn:uuid:{resource['id']}"}


def _imaging_id(findings: StudyFindings) -> str:
    return str(derived_uuid(findings.digest, "imaging-study"))


def _device_id(findings: StudyFindings) -> str:
    return str(derived_uuid("device", findings.model.digest, findings.software_version))
