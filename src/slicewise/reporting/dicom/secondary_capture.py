"""The secondary captures: a page with the results, and the flagged slices with what was found in them.

They name no patient in their pixels: the elements of the objects do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

from slicewise.imaging.load import load_slice
from slicewise.imaging.silence import silent_pydicom
from slicewise.reporting.dicom.capture_page import Page, slice_page, text_page
from slicewise.reporting.dicom.codes import SOURCE_IMAGE, label_of, plain
from slicewise.reporting.dicom.directions import patient_orientation
from slicewise.reporting.dicom.encode import common_arguments, encoded
from slicewise.reporting.dicom.findings import FlaggedSlice, StudyFindings
from slicewise.results import DISCLAIMER, SliceResult

SERIES_NUMBER = 9703

MOST_SLICES = 12
"""Flagged slices that have a page; of more, those that lie furthest above a threshold."""

_LINE_LENGTH = 74


def secondary_captures(findings: StudyFindings) -> Iterator[bytes]:
    """Yields the pages as DICOM files, RGB, in their order: the summary, then the slices in axial order.

    Raises:
        InputError: If the pixels of a flagged slice cannot be read again.
    """
    shown = _shown(findings)
    summary = _capture(findings, text_page(_summary(findings, len(shown))), 1, "Summary of the results")
    _refer(summary, findings, [findings.highest(name) for name in findings.model.labels])
    yield encoded(summary, findings)
    for number, flagged in enumerate(shown, 2):
        yield encoded(_slice_capture(findings, flagged, number), findings)


def _shown(findings: StudyFindings) -> list[FlaggedSlice]:
    def excess(flagged: FlaggedSlice) -> float:
        thresholds = findings.model.thresholds
        return max(flagged.item.probabilities[name] - thresholds[name] for name in flagged.labels)

    highest = sorted(range(len(findings.flagged)), key=lambda place: -excess(findings.flagged[place]))[:MOST_SLICES]
    return [findings.flagged[place] for place in sorted(highest)]


def _slice_capture(findings: StudyFindings, flagged: FlaggedSlice, number: int) -> Dataset:
    task, item = findings.task, flagged.item
    header, image = load_slice(findings.study.sources[item.sop_uid], item.frame, task.series.modality)
    values = image.values * np.float32(flagged.series.intensity_scale)
    above = [
        f"Slice {item.slice_index}, position {item.position_mm:.1f} mm",
        f"{task.channels[0].name} window {task.channels[0].center:g}/{task.channels[0].width:g}",
    ]
    thresholds = findings.model.thresholds
    below = [_line(findings, name, item.probabilities, thresholds, is_flagged=True) for name in flagged.labels]
    page = slice_page(values, header, task.channels[0], _cut(above), _cut(below))
    capture = _capture(findings, page, number, "Flagged slice in one window, with its probabilities")
    if header.image_orientation is not None:
        capture.PatientOrientation = list(patient_orientation(header.image_orientation))
    _refer(capture, findings, [item])
    return capture


def _capture(findings: StudyFindings, page: Page, number: int, derivation: str) -> Dataset:
    """Returns one page, DICOM PS3.3 A.8.1, that refers to no image yet."""
    from highdicom.sc import SCImage

    with silent_pydicom():
        capture = SCImage(
            pixel_array=page,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            study_instance_uid=findings.sources.study_uid,
            instance_number=number,
            **common_arguments(findings, "sc", SERIES_NUMBER, "AI pictures, research use, not for diagnosis"),
        )
        capture.PatientOrientation = []  # type 2C: a page of text has none
        capture.Laterality = ""  # type 2C: validators ask for it where they do not know the part of the body
        capture.ConversionType = "WSD"  # workstation
        capture.BurnedInAnnotation = "YES"
        capture.DerivationDescription = plain(f"{derivation}. {DISCLAIMER}", 1024)
    return capture


def _refer(capture: Dataset, findings: StudyFindings, slices: list[SliceResult]) -> None:
    """Names the images that a page was made of, DICOM PS3.3 C.7.6.1.1.4."""
    from highdicom.sr import CodedConcept

    with silent_pydicom():
        items: dict[tuple[str, int], Dataset] = {}
        for item in slices:
            instance = findings.instance(item)
            named = Dataset()
            named.ReferencedSOPClassUID = instance.sop_class_uid
            named.ReferencedSOPInstanceUID = instance.sop_uid
            if instance.is_multiframe:
                named.ReferencedFrameNumber = item.frame
            named.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(SOURCE_IMAGE)]
            items[item.sop_uid, item.frame] = named
            for keyword, value in instance.lossy.items():
                setattr(capture, keyword, value)
        capture.SourceImageSequence = list(items.values())


def _summary(findings: StudyFindings, shown: int) -> list[str]:
    model, study = findings.model, findings.study
    slices = sum(len(series.slices) for series in study.series)
    flagged = model.flagged_of(study)
    labels = [
        _line(findings, name, study.probabilities, model.thresholds_of_studies, is_flagged=name in flagged)
        for name in model.labels
    ]
    return _cut(
        [
            f"slicewise {findings.software_version}, model {model.name} {model.version}",
            f"Digest {model.digest[:16]}",
            f"{len(findings.flagged)} of {slices} slices flagged, {shown} shown",
            *([f"{findings.alone} more at a threshold of slices alone, not of studies"] if findings.alone else []),
            "",
            "Highest probability of a slice:",
            *labels,
            "",
            "What is not flagged may still be there.",
            "Preliminary: nobody has read this result.",
            DISCLAIMER[: DISCLAIMER.index(".") + 1],
            DISCLAIMER[DISCLAIMER.index(".") + 2 :],
        ]
    )


def _line(
    findings: StudyFindings,
    name: str,
    probabilities: dict[str, float],
    thresholds: dict[str, float],
    *,
    is_flagged: bool,
) -> str:
    # The numbers first: a long name is cut at its end.
    state = "flagged" if is_flagged else "not flagged"
    display = label_of(findings.task, name).display
    return f"{probabilities[name]:.3g}, {state} (threshold {thresholds[name]:.3g}): {display}"


def _cut(lines: list[str]) -> list[str]:
    return [plain(line, _LINE_LENGTH) if line else "" for line in lines]
