"""The log of a training stage: what was measured over steps and epochs, as CSV and for TensorBoard.

FOLDER/steps.csv      step, then the values: every few steps
FOLDER/log.csv        epoch, step, then the values: every epoch
FOLDER/tensorboard/   the same values as event files, one for every start of the run

A killed run leaves rows after its last checkpoint, the last one perhaps half written. The run that goes on from the
checkpoint drops them and writes them again: its CSV files become those of a run without interruption.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from slicewise.errors import TrainingError
from slicewise.files import write_atomically

STEPS_FILE = "steps.csv"
EPOCHS_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"


class MetricsLog:
    """Writes the log of one stage. One process of a run does so.

    Nothing waits in memory: a process that is killed loses no row. A file whose columns are not those of the next row,
    which another version of slicewise may have written, is started afresh.

    Args:
        folder: Folder of the stage.
        step: Step of the checkpoint that training goes on from, 0 without one. Steps count from 1.

    Raises:
        TrainingError: If a file cannot be written, here and in every method.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self._folder = folder
        with writing_to(folder):
            self._steps = _Table(folder / STEPS_FILE, step)
            self._epochs = _Table(folder / EPOCHS_FILE, step)
            self._events = _EventFile(folder / TENSORBOARD_FOLDER, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            # What ended the training is what has to be reported.
            with suppress(TrainingError):
                self.close()

    def write_step(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row to `steps.csv` and the scalars "step/NAME".

        Args:
            step: Steps trained so far.
            values: Value of every column, in order; NaN where there is none.
        """
        with writing_to(self._folder):
            self._steps.append({"step": str(step), **_cells(values)})
            self._events.write("step", step, values)

    def write_epoch(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Adds a row to `log.csv` and the scalars "epoch/NAME".

        Args:
            epoch: Epochs trained so far.
            step: Steps trained so far.
            values: Value of every column, in order; NaN where there is none.
        """
        with writing_to(self._folder):
            self._epochs.append({"epoch": str(epoch), "step": str(step), **_cells(values)})
            self._events.write("epoch", step, values)

    def close(self) -> None:
        """Closes the files. Closing twice is fine."""
        with writing_to(self._folder):
            self._events.close()


def read_log(path: Path) -> dict[str, list[float]]:
    """Reads `steps.csv` or `log.csv`, also while it is written.

    Args:
        path: The file.

    Returns:
        The values of every column, NaN for an empty cell. Nothing if there is no such file.
    """
    columns, rows = _read_rows(path)
    return {name: [float(row[index] or "nan") for row in rows] for index, name in enumerate(columns)}


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes an error of the file system one that says what to do.

    Raises:
        TrainingError: If the block cannot write its files.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{folder}: the log of the training cannot be written: {error.strerror or error}. The last checkpoint "
            "is kept. Free space there (or allow writing), then go on with --resume"
        ) from error


class _Table:
    """A CSV file that grows by rows; those after `step` are dropped at the start."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._columns, rows = _read_rows(path)
        if self._columns:
            place = self._columns.index("step") if "step" in self._columns else None
            self._start([row for row in rows if place is not None and float(row[place]) <= step])

    def append(self, row: Mapping[str, str]) -> None:
        if list(row) != self._columns:
            self._columns = list(row)
            self._start([])
        with self._path.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(row.values())

    def _start(self, rows: Sequence[Sequence[str]]) -> None:
        with (
            write_atomically(self._path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as stream,
        ):
            csv.writer(stream, lineterminator="\n").writerows([self._columns, *rows])


class _EventFile:
    """An event file of TensorBoard.

    It is written record by record: `SummaryWriter` writes in a thread, which a full disk ends, and whoever adds the
    next scalars then waits for ever.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names.
        self._records = RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}"))
        self._add(file_version="brain.Event:2")
        # From this step on TensorBoard forgets what earlier files hold.
        self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        scalars = [Summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in values.items()]
        self._add(step=step, summary=Summary(value=scalars))
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _add(self, **content: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())


def _cells(values: Mapping[str, float]) -> dict[str, str]:
    return {name: "" if math.isnan(value) else f"{value:.6g}" for name, value in values.items()}


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    # Columns and whole rows: a row of which a killed process wrote only half lacks its end of line or cells.
    if not path.is_file():
        return [], []
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole, newline="")))
    columns = lines[0] if lines else []
    return columns, [row for row in lines[1:] if len(row) == len(columns) and all(map(_is_number, row))]


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True
