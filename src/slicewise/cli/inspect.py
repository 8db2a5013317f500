"""`slicewise inspect`: what is there, which series would be read and why, which files would not and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from slicewise.cli.common import DEFAULT_TASK, add_common_options, terminal_progress
from slicewise.text import aligned

if TYPE_CHECKING:
    from slicewise.imaging.series import SeriesDecision, Study
    from slicewise.results import Rejection
    from slicewise.task import Task
    from slicewise.volume import ScanWarning

INSPECT_SCHEMA_VERSION = 1
ALL_READABLE, NOTHING_READABLE, SOME_UNREADABLE = 0, 1, 3

EPILOG = """\
example:
  slicewise inspect scans/
  slicewise inspect scans/ --json > inventory.json

exit code: 0 all could be read that should be, 3 some input is unreadable,
1 no series would be read, 2 the call is wrong
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `inspect`."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what would be read, and why the rest would not",
        description="Show the series in files and folders, which of them would be read and why, and which files would "
        "not. Reads no pixels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="DICOM file or folder of any depth")
    parser.add_argument(
        "--task", default=DEFAULT_TASK, metavar="NAME|FILE", help="task to read for (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `inspect`."""
    import json

    from slicewise.imaging.discover import discover
    from slicewise.imaging.series import choose_series, group_studies
    from slicewise.results import Rejection
    from slicewise.task import load_task

    task = load_task(arguments.task)
    found = list(discover(arguments.inputs, terminal_progress(quiet=arguments.quiet)))
    rejected = [item for item in found if isinstance(item, Rejection)]
    studies = group_studies(item for item in found if not isinstance(item, Rejection))
    inventory = [
        (study, [_examine(decision, rejected) for decision in choose_series(study, task.series)]) for study in studies
    ]
    if arguments.json:
        print(json.dumps(_content(task, inventory, rejected), indent=1))
    else:
        print("\n".join(_lines(task, inventory, rejected)))
    if not any(item.decision.chosen for _, series in inventory for item in series):
        return NOTHING_READABLE
    return SOME_UNREADABLE if any(item.kind == "unreadable" for item in rejected) else ALL_READABLE


@dataclass(frozen=True)
class _Examined:
    """A series, whether it would be read, and the geometry that its headers state."""

    decision: SeriesDecision
    spacing_mm: float | None
    tilt_degrees: float | None
    warnings: tuple[ScanWarning, ...]


_Inventory = Sequence[tuple["Study", Sequence[_Examined]]]


def _examine(decision: SeriesDecision, rejected: list[Rejection]) -> _Examined:
    """Checks the geometry of a series; what a chosen one would reject is added to `rejected`."""
    from dataclasses import replace

    from slicewise.errors import GeometryError
    from slicewise.imaging.geometry import median_spacing_mm
    from slicewise.imaging.load import stack_headers
    from slicewise.imaging.series import rejection_of_error

    try:
        stack = stack_headers(decision.series)
    except GeometryError as error:
        if decision.chosen:
            rejected.append(rejection_of_error(decision.series, error))
            decision = replace(decision, chosen=False, reason=error.reason, message=str(error))
        return _Examined(decision, None, None, ())
    if decision.chosen:
        rejected.extend(stack.rejected)
    geometry = stack.geometry
    return _Examined(decision, median_spacing_mm(geometry.positions_mm), geometry.tilt_degrees, geometry.warnings)


def _content(task: Task, inventory: _Inventory, rejected: Sequence[Rejection]) -> dict[str, object]:
    import msgspec

    return {
        "schema_version": INSPECT_SCHEMA_VERSION,
        "task": task.name,
        "studies": [
            {
                "patient_id": study.patient_id,
                "study_uid": study.study_uid,
                "series": [_series_content(item) for item in series],
            }
            for study, series in inventory
        ],
        "rejected": msgspec.to_builtins(rejected),
    }


def _series_content(item: _Examined) -> dict[str, object]:
    import msgspec

    series = item.decision.series
    return {
        "series_uid": series.series_uid,
        "series_number": series.number,
        "description": series.description,
        "modality": series.modality,
        "folder": series.folder,
        "slices": len(series.headers),
        "slice_thickness_mm": series.slice_thickness_mm,
        "spacing_mm": None if item.spacing_mm is None else round(item.spacing_mm, 3),
        "tilt_degrees": None if item.tilt_degrees is None else round(item.tilt_degrees, 2),
        "convolution_kernel": series.convolution_kernel,
        "chosen": item.decision.chosen,
        "reason": item.decision.reason,
        "message": item.decision.message,
        "warnings": msgspec.to_builtins(item.warnings),
    }


_COLUMNS = ("read", "series", "description", "slices", "thickness", "spacing", "tilt", "kernel", "reason")


def _lines(task: Task, inventory: _Inventory, rejected: Sequence[Rejection]) -> Iterator[str]:
    for study, series in inventory:
        yield f"Study {study.study_uid}, patient {study.patient_id or 'unknown'}"
        yield _table([_COLUMNS, *(_row(item) for item in series)])
        for item in series:
            if not item.decision.chosen:
                yield f"  not read: {item.decision.message}"
            else:
                yield from (f"  warning: {warning.message}" for warning in item.warnings)
        yield ""
    if rejected:
        yield "Files and series that would not be read"
        yield _table([("kind", "reason", "message"), *((item.kind, item.reason, _told(item)) for item in rejected)])
        yield ""
    chosen = sum(item.decision.chosen for _, series in inventory for item in series)
    total = sum(len(series) for _, series in inventory)
    yield f"{chosen} of {total} series would be read for the task '{task.name}'."


def _row(item: _Examined) -> tuple[str, ...]:
    series = item.decision.series
    return (
        "yes" if item.decision.chosen else "no",
        "" if series.number is None else str(series.number),
        series.description,
        str(len(series.headers)),
        _quantity(series.slice_thickness_mm, "mm"),
        _quantity(item.spacing_mm, "mm"),
        _quantity(item.tilt_degrees, "deg"),
        series.convolution_kernel,
        item.decision.reason,
    )


def _quantity(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _told(item: Rejection) -> str:
    return item.message if item.message.startswith(item.path) else f"{item.path}: {item.message}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return indent(aligned(rows, left=len(rows[0])), "  ")
