from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pydicom

from slicewise.reporting.dicom.findings import StudyFindings
from slicewise.reporting.dicom.key_objects import key_objects
from slicewise.results import DISCLAIMER, ModelSummary

Findings = Callable[..., StudyFindings]
RAISED = {3: {"any": 0.9, "subdural": 0.8}, 7: {"any": 0.7}}


def test_exactly_the_flagged_slices_are_selected(head: Path, find: Findings) -> None:
    from highdicom.ko import KeyObjectSelectionDocument

    findings = find(head, RAISED)
    content = key_objects(findings)
    assert content is not None
    document = KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(BytesIO(content)))
    series = findings.study.series[0]
    found = [str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in document.content.get_references()]
    assert found == [series.slices[3].sop_uid, series.slices[7].sop_uid]
    for uid in found:
        assert tuple(document.resolve_reference(uid)) == (series.study_uid, series.series_uid, uid)
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 2
    assert document.Modality == "KO"
    assert document.ConceptNameCodeSequence[0].CodeValue == "113000"
    assert DISCLAIMER in document.to_json()


def test_nothing_is_selected_where_nothing_is_flagged(head: Path, find: Findings) -> None:
    assert key_objects(find(head)) is None


def test_nothing_is_selected_where_single_slices_alone_are_flagged(
    head: Path, find: Findings, study_model: ModelSummary
) -> None:
    findings = find(head, {3: {"any": 0.79, "subdural": 0.5}}, by=study_model)
    assert key_objects(findings) is None
    assert findings.counts == (
        "0 of 10 slices are flagged. 1 more reaches the threshold of a slice for a label whose threshold of a study is "
        "not reached."
    )


def test_an_enhanced_image_is_selected_once_with_its_frames(enhanced: Path, find: Findings) -> None:
    findings = find(enhanced, RAISED)
    content = key_objects(findings)
    assert content is not None
    document = pydicom.dcmread(BytesIO(content))
    (image,) = [item for item in document.ContentSequence if item.ValueType == "IMAGE"]
    rows = findings.study.series[0].slices
    assert list(image.ReferencedSOPSequence[0].ReferencedFrameNumber) == [rows[3].frame, rows[7].frame]
