"""The results of one study as DICOM files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from slicewise.errors import InputError, UsageError
from slicewise.files import write_bytes_atomically
from slicewise.reporting.dicom.extra import require_highdicom
from slicewise.reporting.dicom.findings import StudyFindings, study_findings
from slicewise.reporting.dicom.outcome import DicomOutcome, Refusal
from slicewise.reporting.dicom.references import read_source_study
from slicewise.reporting.dicom.uids import is_valid_uid
from slicewise.results import ModelSummary, StudyResult
from slicewise.task import Task

KINDS = ("sr", "kos", "sc")
"""What can be written: structured report, key object selection, secondary captures."""

FOLDER = "dicom"
"""Folder of the output that holds a folder a study, named by its Study Instance UID."""

Files = Iterator[tuple[str, bytes]]


def write_dicom_results(
    output: Path,
    study: StudyResult,
    model: ModelSummary,
    task: Task,
    kinds: Collection[str],
    *,
    software_version: str,
) -> DicomOutcome:
    """Writes the results of one study for an archive: `dicom/<Study Instance UID>/sr.dcm`, `kos.dcm`, `sc-01.dcm`, ...

    The same results of the same images give the same files, byte by byte; what says anything else has other UIDs. What
    an earlier call left of these kinds in the folder of the study is removed.

    Args:
        output: Folder for the results.
        study: Results, with the sources of their images.
        model: The model that made them.
        task: Its task.
        kinds: Some of `KINDS`.
        software_version: Version of slicewise.

    Returns:
        The files, and the kinds that were not written with the reason.

    Raises:
        MissingExtraError: If highdicom is not installed.
        UsageError: If a kind is not known.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise UsageError(f"There are no DICOM results of kind '{unknown[0]}'; expected some of {', '.join(KINDS)}")
    require_highdicom()
    wanted = [kind for kind in KINDS if kind in kinds]
    if is_valid_uid(study.study_uid):  # others would name any folder
        _remove_earlier(output / FOLDER / study.study_uid, wanted)
    try:
        findings = study_findings(study, read_source_study(study), model, task, software_version)
    except InputError as error:
        return DicomOutcome(refused=tuple(Refusal(study.study_uid, kind, error.reason, str(error)) for kind in wanted))
    written: list[Path] = []
    refused: list[Refusal] = []
    for kind in wanted:
        try:
            written += _write(output / FOLDER / study.study_uid, _BUILDERS[kind](findings))
        except InputError as error:
            refused.append(Refusal(study.study_uid, kind, error.reason, str(error)))
    return DicomOutcome(tuple(written), tuple(refused))


def _write(folder: Path, files: Files) -> list[Path]:
    written: list[Path] = []
    try:
        for name, content in files:
            write_bytes_atomically(folder / name, content)
            written.append(folder / name)
    except BaseException:
        for path in written:  # half a series would look like a whole one
            path.unlink()
        raise
    return written


def _remove_earlier(folder: Path, kinds: Collection[str]) -> None:
    for kind in kinds:
        for path in (*folder.glob(f"{kind}.dcm"), *folder.glob(f"{kind}-[0-9][0-9].dcm")):
            path.unlink()


def _report(findings: StudyFindings) -> Files:
    from slicewise.reporting.dicom.structured_report import structured_report

    yield "sr.dcm", structured_report(findings)


def _selection(findings: StudyFindings) -> Files:
    from slicewise.reporting.dicom.key_objects import key_objects

    content = key_objects(findings)
    if content is None:
        raise InputError(
            "Nothing is flagged in the study, and a key object selection cannot be empty. There is nothing to do.",
            reason="nothing_flagged",
        )
    yield "kos.dcm", content


def _captures(findings: StudyFindings) -> Files:
    from slicewise.reporting.dicom.secondary_capture import secondary_captures

    for number, content in enumerate(secondary_captures(findings), 1):
        yield f"sc-{number:02d}.dcm", content


_BUILDERS: dict[str, Callable[[StudyFindings], Files]] = {"sr": _report, "kos": _selection, "sc": _captures}
