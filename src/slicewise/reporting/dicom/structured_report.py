"""The structured report: a Comprehensive 3D SR by TID 1500, DICOM PS3.16, as IHE AI Results asks for.

One measurement group (TID 1501) a label says what was found in the study, and one a flagged slice and label where. A
label that is not flagged has its probability and no presence: staying below a threshold is no evidence of absence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slicewise.imaging.silence import silent_pydicom
from slicewise.reporting.dicom.codes import (
    COMMENT,
    DEVICE,
    MAXIMUM,
    MEASUREMENT_REPORT,
    NO_UNITS,
    PRESENT,
    PROBABILITY,
    coded,
    label_of,
    plain,
    private_schemes,
    procedure,
)
from slicewise.reporting.dicom.encode import MANUFACTURER, common_arguments, encoded, references
from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.uids import derived_uid
from slicewise.results import DISCLAIMER, SliceResult

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        ObserverContext,
    )

SERIES_NUMBER = 9701
_LONG = 1024


def structured_report(findings: StudyFindings) -> bytes:
    """Returns the report of a study as a DICOM file: preliminary, unverified and complete.

    Complete says that all was written that was to be; preliminary and unverified that nobody has read it yet,
    DICOM PS3.3 C.17.2. All scored images stand in its evidence, those that no group refers to as well.
    """
    from highdicom.sr import Comprehensive3DSR

    with silent_pydicom():
        report = Comprehensive3DSR(
            evidence=references(findings),
            content=_content(findings)[0],
            instance_number=1,
            is_complete=True,
            is_final=False,
            is_verified=False,
            coding_schemes=private_schemes(findings.task),
            **common_arguments(findings, "sr", SERIES_NUMBER, "AI result, research use, not for diagnosis"),
        )
    return encoded(report, findings)


def device_observer(findings: StudyFindings) -> ObserverContext:
    """Returns the model as the observer, TID 1002 and TID 1004."""
    from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext

    model = findings.model
    return ObserverContext(
        observer_type=CodedConcept.from_code(DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=derived_uid("model", model.digest),
            name=plain(f"{MANUFACTURER} {findings.software_version}", _LONG),
            manufacturer_name=MANUFACTURER,
            model_name=plain(model.name, _LONG),
            serial_number=plain(model.digest, _LONG),
        ),
    )


def summary_text(findings: StudyFindings) -> str:
    """Returns what people should know who read an object of the study."""
    return plain(
        f"{DISCLAIMER} {findings.counts} A label that is not flagged may still be there: its probability stayed below "
        "the threshold, which is no evidence of absence.",
        _LONG,
    )


def _content(findings: StudyFindings) -> MeasurementReport:
    from highdicom.sr import (
        CodedConcept,
        MeasurementReport,
        ObservationContext,
        RelationshipTypeValues,
        TextContentItem,
    )

    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device_observer(findings)),
        procedure_reported=procedure(findings.task),
        imaging_measurements=[*_study_groups(findings), *_slice_groups(findings)],
        title=MEASUREMENT_REPORT,
    )
    report[0].ContentSequence.append(
        TextContentItem(CodedConcept.from_code(COMMENT), summary_text(findings), RelationshipTypeValues.CONTAINS)
    )
    return report


def _study_groups(findings: StudyFindings) -> list[MeasurementsAndQualitativeEvaluations]:
    flagged = findings.model.flagged_of(findings.study)
    return [
        _group(findings, label, None, findings.highest(label), is_present=label in flagged)
        for label in findings.model.labels
    ]


def _slice_groups(findings: StudyFindings) -> list[MeasurementsAndQualitativeEvaluations]:
    return [
        _group(findings, label, flagged.item, flagged.item, is_present=True)
        for flagged in findings.flagged
        for label in flagged.labels
    ]


def _group(
    findings: StudyFindings, name: str, item: SliceResult | None, shown: SliceResult, *, is_present: bool
) -> MeasurementsAndQualitativeEvaluations:
    """Returns one group: of a slice, or of the study where `item` is None; `shown` is the slice it refers to."""
    from highdicom.sr import (
        FindingSite,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    label, instance = label_of(findings.task, name), findings.instance(shown)
    place = ("study", "") if item is None else (item.sop_uid, str(item.frame))
    what = "study" if item is None else f"slice {item.slice_index}"
    probability = (findings.study if item is None else item).probabilities[name]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=findings.uid("tracking", name, *place), identifier=plain(f"{label.display}, {what}", _LONG)
        ),
        finding_type=coded(label.finding),
        finding_sites=None if label.site is None else [FindingSite(coded(label.site))],
        algorithm_id=_algorithm(findings, name, of_study=item is None),
        measurements=[
            Measurement(PROBABILITY, probability, NO_UNITS, derivation=MAXIMUM if item is None else None),
        ],
        qualitative_evaluations=[QualitativeEvaluation(coded(label.finding), PRESENT)] if is_present else None,
        source_images=[
            SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_uid, instance.frames(shown.frame))
        ],
    )


def _algorithm(findings: StudyFindings, label: str, *, of_study: bool) -> AlgorithmIdentification:
    """Returns the model as the algorithm, TID 4019, with what tells its results from those of another.

    Without its family: a code, which readers, highdicom among them, list with the evaluations of the group.
    """
    from highdicom.sr import AlgorithmIdentification

    model = findings.model
    thresholds = model.thresholds_of_studies if of_study else model.thresholds
    parameters = (
        f"digest={model.digest}",
        f"label={label}; threshold={thresholds[label]!r}; study_rule={model.study_rule}",
    )
    return AlgorithmIdentification(
        name=plain(model.name, _LONG),
        version=plain(model.version, _LONG),
        parameters=[plain(text, _LONG) for text in parameters],
        manufacturer=MANUFACTURER,
    )
