"""What `evaluate` and `protocol` share: options, the files they write, the tables they print."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.terminal import printable
from slicewise.errors import UsageError
from slicewise.progress import Progress, no_progress

if TYPE_CHECKING:
    from slicewise.data.store import Dataset
    from slicewise.evaluation.attribute_files import AttributeFile
    from slicewise.evaluation.evidence import Differences, Metrics
    from slicewise.evaluation.predictions import PredictionTable
    from slicewise.evaluation.triage import ReadingRoom
    from slicewise.task import Task


@dataclass(frozen=True)
class Evaluation:
    """One or several models on the same slices; the first of them is the one that is measured.

    Attributes:
        task: Their task.
        tables: Predictions by the name of the model.
        metrics: Figures by the name of the model.
        differences: The first model minus the others, by their names.
    """

    task: Task
    tables: dict[str, PredictionTable]
    metrics: dict[str, Metrics]
    differences: dict[str, Differences]

    @property
    def first(self) -> str:
        """Name of the model that is measured."""
        return next(iter(self.tables))


def count(text: str) -> int:
    """Reads a whole number of 0 or more from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def add_room_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of triage."""
    parser.add_argument(
        "--studies-per-hour", type=float, default=6.0, metavar="N", help="for triage: arrivals (default: %(default)g)"
    )
    parser.add_argument(
        "--minutes-per-study", type=float, default=8.0, metavar="M", help="for triage: reading time (%(default)g)"
    )


def room_of(arguments: argparse.Namespace) -> ReadingRoom:
    """Returns for whom triage is worked out.

    Raises:
        UsageError: If more studies come than one reader can read.
    """
    from slicewise.evaluation.triage import ReadingRoom

    return ReadingRoom(arguments.studies_per_hour, arguments.minutes_per_study)


def with_attributes_of(attributes: AttributeFile | None, table: PredictionTable) -> PredictionTable:
    """Adds the attributes of a file, if one is given."""
    return table if attributes is None else attributes.added_to(table)


def read_attributes_of(path: Path | None) -> AttributeFile | None:
    """Reads a file of attributes, if one is given.

    Raises:
        UsageError: If there is no such file.
        InputError: If it cannot be used.
    """
    if path is None:
        return None
    from slicewise.evaluation.attribute_files import read_attributes

    return read_attributes(path)


def refuse_own_inputs(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuses an output folder in which a file to read would be written over.

    Raises:
        UsageError: If it is one.
    """
    written = {(output / name).resolve() for name in ("predictions.csv", "metrics.json", "comparison.json")}
    for path in inputs:
        if path is not None and path.resolve() in written:
            raise UsageError(f"--output {output}: {path} would be written over. Choose another folder")


def write_evaluation(
    output: Path, evaluation: Evaluation, *, dataset: Dataset | None = None, progress: Progress = no_progress
) -> None:
    """Writes predictions, metrics, comparison and the report.

    Args:
        output: The folder.
        evaluation: What was found.
        dataset: Where the images are, for pictures of the worst errors.
        progress: Reports on pictures.
    """
    from slicewise.evaluation.prediction_files import write_predictions
    from slicewise.reporting.evaluation_page import write_evaluation_report

    first = evaluation.first
    for name, table in evaluation.tables.items():
        write_predictions(output / ("predictions.csv" if name == first else f"predictions-{name}.csv"), table)
    write_json(output / "metrics.json", evaluation.metrics[first])
    differences = evaluation.differences
    if differences:
        compared = {
            name: {"metrics": evaluation.metrics[name], "difference": found} for name, found in differences.items()
        }
        write_json(output / "comparison.json", {"model": first, "compared": compared})
    write_evaluation_report(
        output,
        evaluation.tables[first],
        evaluation.task,
        evaluation.metrics[first],
        compared={
            name: (evaluation.tables[name], evaluation.metrics[name], found) for name, found in differences.items()
        },
        dataset=dataset,
        progress=progress,
    )


def write_json(path: Path, content: object) -> None:
    """Writes structures as JSON, whole or not at all."""
    import msgspec

    from slicewise.files import write_bytes_atomically

    write_bytes_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=1))


def print_evaluation(output: Path, evaluation: Evaluation) -> None:
    """Prints what a reader wants first, and where the rest is."""
    from slicewise.evaluation.summary import summarise
    from slicewise.results import DISCLAIMER

    # Groups and ids come out of headers and files: none of them may steer the terminal.
    for line in summarise(evaluation.task, evaluation.metrics, evaluation.differences).splitlines():
        print(printable(line))
    print(f"Results: {output}, report: {output / 'report.html'}")
    print(DISCLAIMER)
