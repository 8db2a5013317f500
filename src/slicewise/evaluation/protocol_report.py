"""What `protocol.json` holds: what was done, on what, what was left out and why, beside what others report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from slicewise.evaluation.agreement import LabelAgreement
from slicewise.evaluation.evidence import Counts
from slicewise.evaluation.published import ALL, METRIC_NAMES, Comparison, ProtocolName
from slicewise.evaluation.series_used import SeriesCheck
from slicewise.evaluation.summary import NOT_DEFINED, estimate_text
from slicewise.imaging.reasons import REASONS
from slicewise.results import DISCLAIMER, Rejection
from slicewise.task import Task
from slicewise.text import aligned

PROTOCOL_SCHEMA_VERSION = 1
"""Counts the changes of `ProtocolReport` after which a reader of the older form fails; a new key is none."""

_SHOWN = 5


class ExcludedStudy(msgspec.Struct, frozen=True):
    """A labelled study that was not scored.

    Attributes:
        study: Its name in the label file.
        reasons: Codes of `imaging.reasons` of its files and series, or "not_found" where no image is of it.
    """

    study: str
    reasons: tuple[str, ...]


class RejectedCount(msgspec.Struct, frozen=True):
    """Files and series that were left out for one reason.

    Attributes:
        kind: "unreadable" or "not_chosen".
        reason: A code of `imaging.reasons`.
        meaning: What it means.
        count: How many.
    """

    kind: str
    reason: str
    meaning: str
    count: int


class ProtocolReport(msgspec.Struct, frozen=True):
    """What a protocol did and found, beside `metrics.json`.

    Attributes:
        protocol: Its name.
        title: One line for people.
        steps: What was done, in words, in order.
        settings: What the caller chose, as far as it changes the figures.
        model: Name, version and digest of the model.
        software_version: Version of slicewise.
        n_patients: Patients that were scored.
        n_studies: Their studies.
        n_series: Their series.
        n_slices: Their slices.
        counts: Labels behind the figures, by level and label.
        excluded_studies: Labelled studies that were not scored.
        rejected: Files and series that were left out, by reason; `dataset/rejected.csv` lists them.
        series: What became of the list of series; None where none was given.
        readers: Names of the readers, in the order of `LabelAgreement.positive`.
        agreement: How far they agree on the studies that were scored, by label; empty where readers are not known.
        comparison: Our figures beside published ones.
        warnings: What was odd about labels and images.
        disclaimer: What these figures are not.
        schema_version: `PROTOCOL_SCHEMA_VERSION`.
    """

    protocol: ProtocolName
    title: str
    steps: tuple[str, ...]
    settings: dict[str, int | float | str]
    model: dict[str, str]
    software_version: str
    n_patients: int
    n_studies: int
    n_series: int
    n_slices: int
    counts: dict[str, dict[str, Counts]]
    excluded_studies: tuple[ExcludedStudy, ...]
    rejected: tuple[RejectedCount, ...]
    series: SeriesCheck | None
    readers: tuple[str, ...]
    agreement: dict[str, LabelAgreement]
    comparison: Comparison
    warnings: tuple[str, ...]
    disclaimer: str = DISCLAIMER
    schema_version: int = PROTOCOL_SCHEMA_VERSION


def count_rejected(rejected: Iterable[Rejection]) -> tuple[RejectedCount, ...]:
    """Counts files and series by the reason why they were left out, the most frequent first."""
    counts = Counter((item.kind, item.reason) for item in rejected)
    return tuple(
        RejectedCount(kind, reason, REASONS.get(reason, ""), count) for (kind, reason), count in counts.most_common()
    )


def report_text(report: ProtocolReport, task: Task) -> str:
    """Returns a report for the terminal.

    Args:
        report: The report.
        task: Names of the labels for people.
    """
    displays = {label.name: label.display for label in task.labels}
    parts = [
        "\n".join((report.title, *(f"{number}. {step}" for number, step in enumerate(report.steps, start=1)))),
        _left_out(report),
        _readers(report, displays),
        _beside(report.comparison, displays),
        "\n".join(("Not comparable:", *(f"- {line}" for line in _apart(report.comparison)))),
        "\n".join(f"warning: {warning}" for warning in report.warnings),
    ]
    return "\n\n".join(part for part in parts if part)


def _left_out(report: ProtocolReport) -> str:
    lines = [f"{item.count} {item.kind.replace('_', ' ')}: {item.reason}. {item.meaning}" for item in report.rejected]
    if report.excluded_studies:
        shown = (f"{item.study} ({', '.join(item.reasons)})" for item in report.excluded_studies)
        lines.append(f"{len(report.excluded_studies)} labelled studies not scored: {_some(shown)}")
    if report.series is not None:
        lines += _series_lines(report.series)
    return "\n".join(("Left out:", *lines)) if lines else ""


def _series_lines(check: SeriesCheck) -> Iterator[str]:
    yield f"{check.read} of {check.listed} listed series read"
    if check.missing:
        yield f"missing: {_some(f'{item.series_uid} ({item.reason})' for item in check.missing)}"
    if check.changed:
        yield f"{len(check.changed)} hold other values than when they were listed: {_some(check.changed)}"
    if check.not_compared:
        yield f"{check.not_compared} could not be compared: no digest, or one of other preprocessing"


def _readers(report: ProtocolReport, displays: Mapping[str, str]) -> str:
    if not report.agreement:
        return ""
    rows: list[Sequence[str]] = [("Readers", *report.readers, "studies", "unanimous", "Fleiss' kappa", "Cohen's kappa")]
    for name, found in report.agreement.items():
        kappas = sorted(pair.cohen_kappa for pair in found.pairs if pair.cohen_kappa is not None)
        cohen = f"{kappas[0]:.3f} to {kappas[-1]:.3f}" if kappas else NOT_DEFINED
        unanimous = NOT_DEFINED if found.unanimous is None else f"{100 * found.unanimous:.1f} %"
        counts = (*map(str, found.positive), str(found.subjects))
        rows.append((displays[name], *counts, unanimous, estimate_text(found.fleiss_kappa), cohen))
    return aligned(rows, left=1)


def _beside(comparison: Comparison, displays: Mapping[str, str]) -> str:
    if not comparison.figures:
        return ""
    systems = [system.system for system in comparison.systems]
    rows: list[Sequence[str]] = [("Beside published figures", "ours", *systems)]
    for figure in comparison.figures:
        name = f"{METRIC_NAMES[figure.metric]}, {displays.get(figure.label, ALL)}"
        others = (f"{figure.published[item]:g}" if item in figure.published else "" for item in systems)
        rows.append((name, estimate_text(figure.ours), *others))
    return aligned(rows, left=1)


def _apart(comparison: Comparison) -> Iterator[str]:
    yield from comparison.not_comparable
    for system in comparison.systems:
        yield f"{system.system}: {system.not_comparable}"


def _some(items: Iterable[str]) -> str:
    found = list(items)
    more = "" if len(found) <= _SHOWN else f" and {len(found) - _SHOWN} more"
    return f"{', '.join(found[:_SHOWN])}{more}"
