"""Results for archives: what `slicewise predict` writes of every study as DICOM objects and FHIR bundles."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.terminal import printable

if TYPE_CHECKING:
    from slicewise.reporting.dicom.outcome import Refusal
    from slicewise.results import ModelSummary, StudyResult
    from slicewise.task import Task

DICOM_FORMATS = ("sr", "kos", "sc")
"""`slicewise.reporting.dicom.write.KINDS`, whose imports `--help` does without."""

ARCHIVE_FORMATS = (*DICOM_FORMATS, "fhir")
"""Formats whose objects copy the identity of the patient, so that archives can file them."""

NO_FAULT = ("nothing_flagged",)
"""Reasons for which nothing is missing."""


def check_archive_formats(formats: Collection[str]) -> None:
    """Checks before anything is read that DICOM can be written.

    Raises:
        MissingExtraError: If a DICOM format is asked for and highdicom is not installed.
    """
    if any(kind in formats for kind in DICOM_FORMATS):
        from slicewise.reporting.dicom.extra import require_highdicom

        require_highdicom()


def write_archive(
    output: Path, studies: Iterable[StudyResult], model: ModelSummary, *, task: Task, formats: Collection[str]
) -> tuple[Refusal, ...]:
    """Writes the DICOM objects and FHIR bundles that were asked for, one study after the other.

    Returns:
        What was not written although it was asked for and there was something to write.
    """
    from slicewise import __version__

    kinds = [kind for kind in DICOM_FORMATS if kind in formats]
    refused: list[Refusal] = []
    for study in studies:
        outcomes = []
        if kinds:
            from slicewise.reporting.dicom.write import write_dicom_results

            outcomes.append(write_dicom_results(output, study, model, task, kinds, software_version=__version__))
        if "fhir" in formats:
            from slicewise.reporting.fhir import write_fhir

            outcomes.append(write_fhir(output, study, model, task, software_version=__version__))
        refused += [item for outcome in outcomes for item in outcome.refused if item.reason not in NO_FAULT]
    return tuple(refused)


def tell_refusals(refused: Iterable[Refusal]) -> None:
    """Says on stderr what was not written, and why."""
    for item in refused:
        study = printable(item.study_uid)
        print(f"slicewise: no {item.kind} of study {study} ({item.reason}): {printable(item.message)}", file=sys.stderr)
