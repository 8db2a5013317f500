from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_files import head_values, write_series
from slicewise.errors import InputError
from slicewise.reporting.dicom.capture_page import text_page
from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.secondary_capture import MOST_SLICES, _summary, secondary_captures
from slicewise.results import DISCLAIMER, ModelSummary

Findings = Callable[..., StudyFindings]


def pages(findings: StudyFindings) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(BytesIO(content)) for content in secondary_captures(findings)]


def test_a_summary_comes_first_and_then_the_flagged_slices(head: Path, find: Findings) -> None:
    findings = find(head, {3: {"any": 0.9}, 6: {"any": 0.8}})
    summary, *slices = found = pages(findings)
    rows = findings.study.series[0].slices
    sources = [page.SourceImageSequence[0].ReferencedSOPInstanceUID for page in slices]
    assert sources == [rows[3].sop_uid, rows[6].sop_uid]
    assert rows[3].sop_uid in [item.ReferencedSOPInstanceUID for item in summary.SourceImageSequence]
    assert [page.InstanceNumber for page in found] == [1, 2, 3]
    assert len({page.SeriesInstanceUID for page in found}) == 1
    assert len({page.SOPInstanceUID for page in found}) == 3


def test_pages_are_valid_colour_images_that_say_what_is_burned_in(head: Path, find: Findings) -> None:
    notice = text_page([])[:24]
    for page in pages(find(head, {3: {"any": 0.9}})):
        pixels = page.pixel_array
        assert pixels.shape == (page.Rows, page.Columns, 3)
        assert (page.PhotometricInterpretation, page.BurnedInAnnotation) == ("RGB", "YES")
        assert list(page.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert DISCLAIMER in page.DerivationDescription
        assert np.array_equal(pixels[:24, : notice.shape[1]], notice)
        assert "PixelSpacing" not in page


def test_no_page_shows_who_the_patient_is(tmp_path: Path, find: Findings) -> None:
    write_series(tmp_path / "a" / "scan", values=head_values(10, 32), PatientName="One^Name")
    write_series(tmp_path / "b" / "scan", values=head_values(10, 32), PatientName="Two^Name", PatientAge="033Y")
    raised = {3: {"any": 0.9}}
    one, two = (pages(find(tmp_path / name, raised)) for name in "ab")
    assert [page.PixelData for page in one] == [page.PixelData for page in two]


def test_of_many_flagged_slices_the_highest_are_shown_in_axial_order(tmp_path: Path, find: Findings) -> None:
    write_series(tmp_path / "scan", values=head_values(30, 32))
    raised = {index: {"any": 0.6 + 0.01 * (index * 7 % 20)} for index in range(20)}
    findings = find(tmp_path / "scan", raised)
    _, *slices = pages(findings)
    highest = sorted(sorted(raised, key=lambda index: -raised[index]["any"])[:MOST_SLICES])
    rows = findings.study.series[0].slices
    shown = [page.SourceImageSequence[0].ReferencedSOPInstanceUID for page in slices]
    assert shown == [rows[index].sop_uid for index in highest]


def test_a_study_without_flags_has_a_summary_alone(head: Path, find: Findings) -> None:
    assert len(pages(find(head))) == 1


def test_frames_are_named_and_shown(enhanced: Path, find: Findings) -> None:
    findings = find(enhanced, {2: {"any": 0.9}, 7: {"any": 0.9}})
    _, *slices = pages(findings)
    rows = findings.study.series[0].slices
    frames = [page.SourceImageSequence[0].ReferencedFrameNumber for page in slices]
    assert frames == [rows[2].frame, rows[7].frame]
    assert slices[0].PixelData != slices[1].PixelData


def test_that_a_source_was_compressed_with_loss_is_not_lost(tmp_path: Path, find: Findings) -> None:
    values = {"": "01", "Ratio": "10", "Method": "ISO_10918_1"}
    tags = {f"LossyImageCompression{part}": value for part, value in values.items()}
    write_series(tmp_path / "scan", values=head_values(10, 32), **tags)  # type: ignore[arg-type]
    for page in pages(find(tmp_path / "scan", {3: {"any": 0.9}})):
        assert {keyword: str(page[keyword].value) for keyword in tags} == tags


def test_pixels_that_have_gone_end_the_pages(head: Path, find: Findings) -> None:
    findings = find(head, {3: {"any": 0.9}})
    for path in head.iterdir():
        path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError):
        pages(findings)


def test_the_summary_states_thresholds_of_studies_and_a_page_those_of_slices(
    head: Path, find: Findings, study_model: ModelSummary
) -> None:
    findings = find(head, {3: {"any": 0.9, "subdural": 0.5}, 4: {"any": 0.7}}, by=study_model)
    lines = _summary(findings, 2)
    assert "2 of 10 slices flagged, 2 shown" in lines
    assert not any("more at a threshold" in line for line in lines)
    assert "0.9, flagged (threshold 0.8): Any intracranial hemorrhage" in lines
    assert "0.5, not flagged (threshold 0.55): Subdural hemorrhage" in lines
    assert len(pages(findings)) == 3


def test_the_summary_counts_slices_that_reach_a_threshold_of_slices_alone(
    head: Path, find: Findings, study_model: ModelSummary
) -> None:
    # "any" of studies is 0.8, of slices 0.5: the study is not flagged, two slices reach the latter.
    lines = _summary(find(head, {3: {"any": 0.7}, 4: {"any": 0.6}}, by=study_model), 0)
    assert lines[2:4] == [
        "0 of 10 slices flagged, 0 shown",
        "2 more at a threshold of slices alone, not of studies",
    ]


def test_no_line_of_the_summary_is_cut(head: Path, find: Findings) -> None:
    findings = find(head, {3: {"any": 0.98765, "subarachnoid": 0.91234}})
    lines = _summary(findings, 12)
    for label in findings.task.labels:
        assert any(line.endswith(f": {label.display}") for line in lines)
    assert "0.988, flagged (threshold 0.5): Any intracranial hemorrhage" in lines
    assert "0.1, not flagged (threshold 0.25): Subdural hemorrhage" in lines
    assert " ".join(lines[-2:]) == DISCLAIMER
    pixels = text_page(lines)
    assert pixels[:, -8:].max() == 0  # nor is any wider than the page
