"""Results for archives: what `slicewise predict` writes of every study as DICOM objects and FHIR bundles."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.terminal import printable
from slicewise.errors import SlicewiseError

if TYPE_CHECKING:
    from slicewise.reporting.dicom.outcome import Refusal
    from slicewise.results import ModelSummary, StudyResult
    from slicewise.task import Task

DICOM_FORMATS = ("sr", "kos", "sc")
"""`slicewise.reporting.dicom.write.KINDS`, whose imports `--help` does without."""

ARCHIVE_FORMATS = (*DICOM_FORMATS, "fhir")
"""Formats whose objects copy the identity of the patient, so that archives can file them."""

SHARED_UID = (
    "Two patients have this Study Instance UID, and an archive would file both under one of them. Give every study a "
    "UID of its own"
)

_OWN = re.compile(r"(sr|kos|sc-\d\d)\.dcm")
_UID = re.compile(r"[0-9.]{1,64}")

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

    Args:
        output: The folder; objects of an earlier call in it are removed.
        studies: Are gone through twice.
        model: The model that made them.
        task: Its task.
        formats: Those of `ARCHIVE_FORMATS` are written.

    Returns:
        What was not written although it was asked for and there was something to write.
    """
    from slicewise import __version__

    _remove_earlier(output)
    kinds = [kind for kind in DICOM_FORMATS if kind in formats]
    shared = {uid for uid, count in Counter(study.study_uid for study in studies).items() if count > 1}
    refused: list[Refusal] = []
    for study in studies:
        if study.study_uid in shared:
            refused += _refused(study, formats, "identity_differs", SHARED_UID)
            continue
        outcomes = []
        try:
            if kinds:
                from slicewise.reporting.dicom.write import write_dicom_results

                outcomes.append(write_dicom_results(output, study, model, task, kinds, software_version=__version__))
            if "fhir" in formats:
                from slicewise.reporting.fhir import write_fhir

                outcomes.append(write_fhir(output, study, model, task, software_version=__version__))
        except (OSError, SlicewiseError):
            raise
        except Exception as error:  # noqa: BLE001 - one odd study must not cost the results of all others
            message = f"{type(error).__name__}: {error}. Please report it: the headers of this study are unusual"
            refused += _refused(study, formats, "not_written", message)
        refused += [item for outcome in outcomes for item in outcome.refused if item.reason not in NO_FAULT]
    return tuple(refused)


def _refused(study: StudyResult, formats: Collection[str], reason: str, message: str) -> Iterator[Refusal]:
    from slicewise.reporting.dicom.outcome import Refusal

    for name in ARCHIVE_FORMATS:
        if name in formats:
            yield Refusal(study.study_uid, name, reason, message)


def _remove_earlier(output: Path) -> None:
    """Removes what an earlier call has written: sent to an archive, it would stand beside the results of this one."""
    for path in (*output.glob("dicom/*/*.dcm"), *output.glob("fhir/*.json")):
        if _OWN.fullmatch(path.name) or (path.parent.name == "fhir" and _UID.fullmatch(path.stem)):
            path.unlink()
    for folder in output.glob("dicom/*"):
        with contextlib.suppress(OSError):  # not empty, or no folder: not ours
            folder.rmdir()


def tell_refusals(refused: Iterable[Refusal]) -> None:
    """Says on stderr what was not written, and why."""
    for item in refused:
        study = printable(item.study_uid)
        print(f"slicewise: no {item.kind} of study {study} ({item.reason}): {printable(item.message)}", file=sys.stderr)
