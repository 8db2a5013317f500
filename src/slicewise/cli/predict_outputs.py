"""What `slicewise predict` writes and says: files by format, the table and the summary for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.predict_archive import ARCHIVE_FORMATS, DICOM_FORMATS, write_archive
from slicewise.cli.terminal import printable
from slicewise.text import aligned

if TYPE_CHECKING:
    from slicewise.inference.timing import Timer
    from slicewise.progress import Progress
    from slicewise.reporting.dicom.outcome import Refusal
    from slicewise.results import Results, StudyResult
    from slicewise.task import Task

_UNLIKE = "unlike"
"""What the table for the terminal has in the place of a verdict that the model cannot give."""

DEFAULT_FORMATS = ("csv", "json", "html")
FORMATS = (*DEFAULT_FORMATS, *ARCHIVE_FORMATS)

FILES = {
    "csv": ("slices.csv", "series.csv", "studies.csv", "rejected.csv"),
    "json": ("results.json",),
    "html": ("report.html", "report"),
    **dict.fromkeys(DICOM_FORMATS, ("dicom",)),
    "fhir": ("fhir",),
}


def write_outputs(
    output: Path,
    results: Results,
    studies: Iterable[StudyResult],
    *,
    task: Task,
    formats: Collection[str],
    progress: Progress,
    timer: Timer,
) -> tuple[Refusal, ...]:
    """Writes the formats that were asked for.

    Args:
        output: The folder.
        results: All but the studies.
        studies: Are gone through several times; only the report holds them all in memory.
        task: The task of the model.
        formats: Of `FORMATS`.
        progress: Reports the pictures of the report.
        timer: Is told of every format.

    Returns:
        What was not written for archives, and why.
    """
    if "csv" in formats:
        with timer("writing csv"):
            _write_tables(output, results, studies)
    if "json" in formats:
        from slicewise.results import write_results_json

        with timer("writing json"):
            write_results_json(output / "results.json", results, studies)
    if "html" in formats:
        from msgspec.structs import replace

        with timer("imports"):
            from slicewise.reporting.html import write_report
        with timer("writing html"):
            write_report(output / "report.html", replace(results, studies=tuple(studies)), task, progress)
    if not any(name in formats for name in ARCHIVE_FORMATS):
        return ()
    with timer("writing for archives"):
        return write_archive(output, studies, results.model, task=task, formats=formats)


def results_table(results: Results, studies: Iterable[StudyResult]) -> tuple[str, int]:
    """Returns a table with a line a study, and how many studies there are."""
    model = results.model
    rows = [("study", "slices", *model.labels, "flagged", "flagged slices")]
    for study in studies:
        count = sum(len(series.slices) for series in study.series)
        flagged = str(sum(len(model.flagged_slices(series)) for series in study.series))
        probabilities = (f"{study.probabilities[name]:.3f}" for name in model.labels)
        verdict = "yes" if model.flagged_of(study) else _UNLIKE if study.unlike_training else "no"
        judged = (verdict, "-" if verdict == _UNLIKE else flagged)
        rows.append((printable(study.study_uid[-24:]), str(count), *probabilities, *judged))
    return aligned(rows, left=1), len(rows) - 1


def unlike_note(studies: Iterable[StudyResult]) -> str:
    """Returns a line for every study that is unlike the training data, "" where there is none."""
    from slicewise.results import UNLIKE_TRAINING

    lines = []
    for study in studies:
        reasons = dict.fromkeys(item.message for item in study.warnings if item.code == UNLIKE_TRAINING)
        if study.unlike_training:
            name = printable(study.study_uid[-24:])
            odd = sum(series.unlike_training for series in study.series)
            which = "" if odd == len(study.series) else f"{odd} of {len(study.series)} series "
            lines.append(
                f"{name}: {which}unlike the training data, do not rely on "
                f"{'their' if which else 'these'} probabilities. {' '.join(reasons)}"
            )
    return "\n".join(lines)


def summary(results: Results, scored: int) -> str:
    """Returns one sentence that counts what was scored and what was not."""
    unreadable = sum(item.kind == "unreadable" for item in results.rejected)
    not_chosen = len(results.rejected) - unreadable
    studies = "1 study" if scored == 1 else f"{scored} studies"
    return f"{studies} scored, {unreadable} unreadable, {not_chosen} not chosen."


def _write_tables(output: Path, results: Results, studies: Iterable[StudyResult]) -> None:
    from slicewise import results_csv as writers

    labels = results.model.labels
    writers.write_slices_csv(output / "slices.csv", studies, labels)
    writers.write_series_csv(output / "series.csv", studies, labels)
    writers.write_studies_csv(output / "studies.csv", studies, labels)
    writers.write_rejected_csv(output / "rejected.csv", results.rejected)
