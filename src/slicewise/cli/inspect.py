"""`slicewise inspect`: what is there, which series would be read and why, which files would not and why."""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from slicewise.cli.common import DEFAULT_TASK, add_common_options, terminal_progress
from slicewise.cli.terminal import INPUT_HELP, printable, shortened, table

if TYPE_CHECKING:
    from slicewise.imaging.inventory import Inventory
    from slicewise.imaging.series import Series, SeriesDecision, Study
    from slicewise.results import Rejection
    from slicewise.task import Task
    from slicewise.volume import ScanWarning

INSPECT_SCHEMA_VERSION = 1
ALL_READABLE, NOTHING_READABLE, SOME_UNREADABLE = 0, 1, 3

EPILOG = """\
example:
  slicewise inspect scans/
  slicewise inspect disc/DICOMDIR scans.zip --json > inventory.json

exit code: 0 all could be read that should be, 3 some input is unreadable,
1 no series would be read, 2 the call is wrong
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `inspect`."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what would be read, and why the rest would not",
        description="Show the series in the inputs, which of them would be read and why, and which files would not. "
        "Reads no pixels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help=INPUT_HELP)
    parser.add_argument(
        "--task", default=DEFAULT_TASK, metavar="NAME|FILE", help="task to read for (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `inspect`."""
    from slicewise.imaging.inventory import Inventory, take_inventory
    from slicewise.task import load_task

    task = load_task(arguments.task)
    progress = terminal_progress(quiet=arguments.quiet)
    with take_inventory(arguments.inputs, progress, modality=task.series.modality) as found, Inventory() as refused:
        inspection = _Inspection(task, found, refused)
        for part in _json(inspection) if arguments.json else _text(inspection):
            print(part, end="")
    if not inspection.chosen:
        return NOTHING_READABLE
    return SOME_UNREADABLE if inspection.unreadable else ALL_READABLE


@dataclass(frozen=True)
class _Examined:
    """A series, whether it would be read, and the geometry that its headers state."""

    decision: SeriesDecision
    spacing_mm: float | None = None
    tilt_degrees: float | None = None
    warnings: tuple[ScanWarning, ...] = ()


@dataclass
class _Inspection:
    """Goes through an inventory once, a study at a time; what it counts is complete when it has.

    Attributes:
        task: What would be read.
        found: The headers.
        refused: Takes what is rejected of the series that would be read, on disk like the headers.
        series: Series that were found.
        chosen: Series that would be read.
        unreadable: Files and series that cannot be read.
    """

    task: Task
    found: Inventory
    refused: Inventory
    series: int = 0
    chosen: int = 0
    unreadable: int = 0

    def studies(self) -> Iterator[tuple[Study, list[_Examined]]]:
        """Yields every study with its series."""
        from slicewise.imaging.series import choose_series

        for study in self.found.studies():
            series = [self._examine(decision) for decision in choose_series(study, self.task.series)]
            self.series += len(series)
            self.chosen += sum(item.decision.chosen for item in series)
            yield study, series

    def rejections(self) -> Iterator[Rejection]:
        """Yields the files and series that would not be read, sorted by path; to be called after `studies`."""
        for item in heapq.merge(self.found.rejections(), self.refused.rejections(), key=lambda item: item.path):
            self.unreadable += item.kind == "unreadable"
            yield item

    def _examine(self, decision: SeriesDecision) -> _Examined:
        """Checks the geometry of a series; what a chosen one would reject goes to `refused`."""
        from slicewise.errors import GeometryError
        from slicewise.imaging.geometry import median_spacing_mm
        from slicewise.imaging.load import stack_headers
        from slicewise.imaging.series import rejection_of, rejection_of_error, series_warnings

        if decision.kind == "unreadable" and not decision.chosen:  # slices that are missed in the chosen series
            self.refused.add(rejection_of(decision))
        try:
            stack = stack_headers(decision.series)
        except GeometryError as error:
            if decision.chosen:
                self.refused.add(rejection_of_error(decision.series, error))
                decision = replace(decision, chosen=False, reason=error.reason, message=str(error))
            return _Examined(decision)
        if decision.chosen:
            for item in stack.rejected:
                self.refused.add(item)
        geometry = stack.geometry
        warnings = (*series_warnings(decision.series), *geometry.warnings)
        return _Examined(decision, median_spacing_mm(geometry.positions_mm), geometry.tilt_degrees, warnings)


def _json(inspection: _Inspection) -> Iterator[str]:
    """Yields the parts of one JSON document, so that it is never held as a whole."""
    import json

    import msgspec

    studies = (_study_content(study, series) for study, series in inspection.studies())
    rejected = (msgspec.to_builtins(item) for item in inspection.rejections())
    yield f'{{\n "schema_version": {INSPECT_SCHEMA_VERSION},\n "task": {json.dumps(inspection.task.name)}'
    for key, items in (("studies", studies), ("rejected", rejected)):
        yield f',\n "{key}": ['
        for number, item in enumerate(items):
            yield ("," if number else "") + "\n" + indent(json.dumps(item, indent=1), "  ")
        yield "\n ]"
    yield "\n}\n"


def _study_content(study: Study, series: Sequence[_Examined]) -> dict[str, object]:
    return {
        "patient_id": study.patient_id,
        "study_uid": study.study_uid,
        "series": [_series_content(item) for item in series],
    }


def _series_content(item: _Examined) -> dict[str, object]:
    import msgspec

    series = item.decision.series
    first = series.headers[0]
    return {
        "series_uid": series.series_uid,
        "series_number": series.number,
        "description": series.description,
        "modality": series.modality,
        "body_part": first.body_part,
        "contrast_agent": first.contrast_agent,
        "image_type": first.image_type,
        "folder": series.folder,
        "slices": len(series.headers),
        "matrix": (first.rows, first.columns),
        "pixel_spacing_mm": first.pixel_spacing_mm,
        "slice_thickness_mm": series.slice_thickness_mm,
        "spacing_mm": None if item.spacing_mm is None else round(item.spacing_mm, 3),
        "tilt_degrees": None if item.tilt_degrees is None else round(item.tilt_degrees, 2),
        "convolution_kernel": series.convolution_kernel,
        "chosen": item.decision.chosen,
        "reason": item.decision.reason,
        "message": item.decision.message,
        "warnings": msgspec.to_builtins(item.warnings),
    }


_COLUMNS = ("read", "series", "description", "slices", "thickness", "spacing", "tilt", "kernel", "reason", "from")
_NUMBERS = tuple(_COLUMNS.index(name) for name in ("series", "slices", "thickness", "spacing", "tilt"))
_KIND_WIDTH, _REASON_WIDTH = 10, 16
_LONGEST_DESCRIPTION, _LONGEST_KERNEL, _LONGEST_ORIGIN = 28, 10, 32


def _text(inspection: _Inspection) -> Iterator[str]:
    for study, series in inspection.studies():
        patient = printable(study.patient_id) or "unknown"
        yield f"Study {printable(study.study_uid)}, patient {patient}\n"
        yield indent(table([_COLUMNS, *(_row(item) for item in series)], right=_NUMBERS), "  ") + "\n"
        for item in series:
            if not item.decision.chosen:
                yield f"  not read: {printable(item.decision.message)}\n"
            else:
                yield from (f"  warning: {printable(warning.message)}\n" for warning in item.warnings)
        yield "\n"
    yield from _rejected_lines(inspection.rejections())
    yield f"{inspection.chosen} of {inspection.series} series would be read for the task '{inspection.task.name}'.\n"


def _rejected_lines(rejections: Iterator[Rejection]) -> Iterator[str]:
    number = 0
    for number, item in enumerate(rejections, start=1):
        if number == 1:
            yield "Files and series that would not be read\n"
        yield f"  {item.kind:<{_KIND_WIDTH}}  {item.reason:<{_REASON_WIDTH}}  {printable(_told(item))}\n"
    if number:
        yield "\n"


def _row(item: _Examined) -> tuple[str, ...]:
    series = item.decision.series
    return (
        "yes" if item.decision.chosen else "no",
        "-" if series.number is None else str(series.number),
        shortened(printable(series.description), _LONGEST_DESCRIPTION) or "-",
        str(len(series.headers)),
        _quantity(series.slice_thickness_mm, "mm"),
        _quantity(item.spacing_mm, "mm"),
        _quantity(item.tilt_degrees, "deg"),
        shortened(printable(series.convolution_kernel), _LONGEST_KERNEL) or "-",
        item.decision.reason,
        shortened(printable(_origin(series)), _LONGEST_ORIGIN, keep_end=True),
    )


def _origin(series: Series) -> str:
    """Returns the one file that holds a series, else the folder that its files share."""
    files = {header.file for header in series.headers}
    return files.pop() if len(files) == 1 else series.folder


def _quantity(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _told(item: Rejection) -> str:
    return item.message if item.message.startswith(item.path) else f"{item.path}: {item.message}"
