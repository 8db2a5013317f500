"""The CSV forms of results, one row a slice, a series, a study, or what was not scored.

Columns are the contract of docs/cli.md.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from slicewise.files import write_atomically
from slicewise.results import UNENCODABLE, Rejection, SeriesResult, StudyResult
from slicewise.volume import ScanWarning

_ID_COLUMNS = ("patient_id", "study_uid", "series_uid")
SLICE_COLUMNS = (*_ID_COLUMNS, "sop_uid", "frame", "file", "slice_index", "position_mm")
_LIKENESS_COLUMNS = ("familiarity", "unlike_training")
REJECTED_COLUMNS = ("path", "kind", "reason", "message", "series_uid")


def slice_rows(studies: Iterable[StudyResult]) -> Iterator[dict[str, object]]:
    """Yields one row of `slices.csv` for every original slice."""
    for study in studies:
        for series in study.series:
            for item in series.slices:
                yield {
                    "patient_id": series.patient_id,
                    "study_uid": series.study_uid,
                    "series_uid": series.series_uid,
                    "sop_uid": item.sop_uid,
                    "frame": item.frame,
                    "file": item.file,
                    "slice_index": item.slice_index,
                    "position_mm": round(item.position_mm, 3),
                    **_rounded(item.probabilities),
                }


def write_slices_csv(path: Path, studies: Iterable[StudyResult], labels: Sequence[str]) -> None:
    """Writes one row a slice: ids, file, slice_index, position_mm, then one probability a label."""
    _write_csv(path, (*SLICE_COLUMNS, *labels), slice_rows(studies))


def write_series_csv(path: Path, studies: Iterable[StudyResult], labels: Sequence[str]) -> None:
    """Writes one row a series: ids, number of slices, one probability a label, warnings, familiarity."""
    rows = (
        {
            "patient_id": series.patient_id,
            "study_uid": series.study_uid,
            "series_uid": series.series_uid,
            "slices": len(series.slices),
            **_rounded(series.probabilities),
            "warnings": _joined(series.warnings),
            **_likeness(series),
        }
        for study in studies
        for series in study.series
    )
    _write_csv(path, (*_ID_COLUMNS, "slices", *labels, "warnings", *_LIKENESS_COLUMNS), rows)


def write_studies_csv(path: Path, studies: Iterable[StudyResult], labels: Sequence[str]) -> None:
    """Writes one row a study: ids, number of slices, one probability a label, warnings, familiarity."""
    rows = (
        {
            "patient_id": study.patient_id,
            "study_uid": study.study_uid,
            "slices": sum(len(series.slices) for series in study.series),
            **_rounded(study.probabilities),
            "warnings": _joined(study.warnings),
            **_likeness(study),
        }
        for study in studies
    )
    _write_csv(path, ("patient_id", "study_uid", "slices", *labels, "warnings", *_LIKENESS_COLUMNS), rows)


def write_rejected_csv(path: Path, rejected: Iterable[Rejection]) -> None:
    """Writes one row a file or series that was not scored."""
    _write_csv(path, REJECTED_COLUMNS, (msgspec.structs.asdict(item) for item in rejected))


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in probabilities.items()}


def _likeness(result: SeriesResult | StudyResult) -> dict[str, object]:
    familiarity = "" if result.familiarity is None else round(result.familiarity, 6)
    return dict(zip(_LIKENESS_COLUMNS, (familiarity, int(result.unlike_training)), strict=True))


def _joined(warnings: Iterable[ScanWarning]) -> str:
    return "; ".join(f"{item.code}: {item.message}" for item in warnings)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, object]]) -> None:
    with (
        write_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", errors=UNENCODABLE, newline="") as stream,
    ):
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
