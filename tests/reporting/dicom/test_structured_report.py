from __future__ import annotations

import dataclasses
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pydicom

from dicom_files import head_values, seeded_uid, write_series
from slicewise.reporting.dicom.codes import MAXIMUM, PRESENT, PROBABILITY, coded
from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.structured_report import structured_report
from slicewise.results import DISCLAIMER, ModelSummary
from slicewise.task import Task

Findings = Callable[..., StudyFindings]
RAISED = {3: {"any": 0.9, "subdural": 0.8}, 4: {"any": 0.7}}


def read(content: bytes) -> Any:
    from highdicom.sr import srread

    return srread(BytesIO(content))


def groups(report: Any) -> list[Any]:
    return list(report.content.get_image_measurement_groups())


def test_every_flagged_slice_and_label_has_a_group_after_those_of_the_study(
    head: Path, find: Findings, task: Task
) -> None:
    findings = find(head, RAISED)
    found = groups(read(structured_report(findings)))
    study, slices = found[: len(task.labels)], found[len(task.labels) :]
    rows = findings.study.series[0].slices
    expected = [(3, "any", 0.9), (3, "subdural", 0.8), (4, "any", 0.7)]
    for group, (index, name, probability) in zip(slices, expected, strict=True):
        label = next(item for item in task.labels if item.name == name)
        assert group.finding_type == coded(label.finding)
        assert [site.value for site in group.finding_sites] == ([] if label.site is None else [coded(label.site)])
        (measurement,) = group.get_measurements(name=PROBABILITY)
        assert measurement.value == probability
        assert [(item.name, item.value) for item in group.get_qualitative_evaluations()] == [
            (coded(label.finding), PRESENT)
        ]
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == rows[index].sop_uid
        assert image.referenced_frame_numbers is None
    assert [group.finding_type for group in study] == [coded(label.finding) for label in task.labels]


def test_a_label_that_is_not_flagged_is_neither_present_nor_absent(
    head: Path, find: Findings, model: ModelSummary
) -> None:
    study = groups(read(structured_report(find(head, RAISED))))[: len(model.labels)]
    for name, group in zip(model.labels, study, strict=True):
        evaluations = [item.value for item in group.get_qualitative_evaluations()]
        assert evaluations == ([PRESENT] if name in ("any", "subdural") else [])
        (measurement,) = group.get_measurements(name=PROBABILITY)
        assert measurement.derivation == MAXIMUM


def test_the_algorithm_is_named_with_digest_and_threshold(head: Path, find: Findings, model: ModelSummary) -> None:
    text = pydicom.dcmread(BytesIO(structured_report(find(head, RAISED)))).to_json()
    for part in (model.name, model.version, f"digest={model.digest}", "label=subdural; threshold=0.25"):
        assert part in text
    assert DISCLAIMER in text


def test_slices_of_a_label_that_the_study_does_not_reach_are_counted_alone(
    head: Path, find: Findings, study_model: ModelSummary
) -> None:
    # The study reaches 0.80 for any hemorrhage, not 0.55 for a subdural one; slices reach 0.50 and 0.25.
    findings = find(head, {3: {"any": 0.9, "subdural": 0.5}, 4: {"any": 0.7}, 5: {"subdural": 0.3}}, by=study_model)
    report = read(structured_report(findings))
    found = groups(report)
    present = [group.finding_type for group in found if group.get_qualitative_evaluations()]
    assert present == [coded(findings.task.labels[0].finding)] * 3
    assert len(found) == len(study_model.labels) + 2
    text = report.to_json()
    assert "2 of 10 slices are flagged. 1 more reaches the threshold of a slice for a label" in text
    for part in ("label=subdural; threshold=0.55", "label=any; threshold=0.8", "label=any; threshold=0.5;"):
        assert part in text


def test_a_study_without_flags_has_a_report_that_claims_nothing(head: Path, find: Findings, task: Task) -> None:
    report = read(structured_report(find(head)))
    found = groups(report)
    assert len(found) == len(task.labels)
    assert not any(group.get_qualitative_evaluations() for group in found)
    assert "no evidence of absence" in report.to_json()


def test_the_report_is_preliminary_unverified_and_complete(head: Path, find: Findings) -> None:
    report = pydicom.dcmread(BytesIO(structured_report(find(head, RAISED))))
    assert (report.PreliminaryFlag, report.VerificationFlag, report.CompletionFlag) == (
        "PRELIMINARY",
        "UNVERIFIED",
        "COMPLETE",
    )
    assert report.Modality == "SR"
    assert (report.ContentDate, report.ContentTime) == ("20240203", "101112.5")
    assert "research use" in report.SeriesDescription
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_all_scored_images_are_evidence(head: Path, find: Findings) -> None:
    findings = find(head, RAISED)
    evidence = read(structured_report(findings)).get_evidence()
    series = findings.study.series[0]
    expected = [(series.study_uid, series.series_uid, item.sop_uid) for item in series.slices]
    assert [tuple(map(str, item[:3])) for item in evidence] == expected


def test_frames_of_an_enhanced_image_are_named(enhanced: Path, find: Findings, task: Task) -> None:
    findings = find(enhanced, RAISED)
    report = read(structured_report(findings))
    slices = groups(report)[len(task.labels) :]
    frames = [group.source_images[0].referenced_frame_numbers for group in slices]
    rows = findings.study.series[0].slices
    assert frames == [[rows[3].frame], [rows[3].frame], [rows[4].frame]]
    assert len(report.get_evidence()) == 1


def test_texts_of_a_task_beyond_ascii_do_not_break_the_character_set(head: Path, find: Findings) -> None:
    findings = find(head, RAISED)
    labels = tuple(
        msgspec.structs.replace(
            label, display="出血\\größer", finding=msgspec.structs.replace(label.finding, meaning="出血" * 50)
        )
        for label in findings.task.labels
    )
    findings = dataclasses.replace(findings, task=msgspec.structs.replace(findings.task, labels=labels))
    report = pydicom.dcmread(BytesIO(structured_report(findings)))
    assert str(report.PatientName) == "Buc^Jérôme"
    assert "??/gr" in report.to_json()


def test_the_series_of_a_study_are_told_apart(tmp_path: Path, find: Findings, task: Task) -> None:
    uids = [seeded_uid("one"), seeded_uid("two")]
    for uid, brighter in zip(uids, (0, 3), strict=True):
        write_series(tmp_path / "scan" / uid, values=head_values(10, 32) + brighter, series_uid=uid)
    findings = find(tmp_path / "scan", RAISED, series_uids=uids)
    report = pydicom.dcmread(BytesIO(structured_report(findings)))
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    for series in findings.study.series:
        (item,) = [item for item in study.ReferencedSeriesSequence if item.SeriesInstanceUID == series.series_uid]
        expected = [row.sop_uid for row in series.slices]
        assert [image.ReferencedSOPInstanceUID for image in item.ReferencedSOPSequence] == expected
    slices = groups(read(structured_report(findings)))[len(task.labels) :]
    shown = [str(group.source_images[0].referenced_sop_instance_uid) for group in slices]
    assert shown == [series.slices[index].sop_uid for series in findings.study.series for index in (3, 3, 4)]
