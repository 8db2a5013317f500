"""Reads an input as `predict` does, up to the network, and tells what is wrong with how that went."""

from __future__ import annotations

import csv
import re
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from planted import MARK
from slicewise.errors import InputError
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.inventory import Inventory, take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.reasons import REASONS
from slicewise.imaging.series import Series, choose_series, rejection_of, rejection_of_error
from slicewise.imaging.walk import walk
from slicewise.results import Rejection
from slicewise.results_csv import write_rejected_csv
from slicewise.source import Source
from slicewise.task import Task, load_task
from slicewise.volume import Volume

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass
class Reading:
    """What became of an input.

    Attributes:
        headers: Every slice that was found.
        volumes: Every series that was decoded.
        rejected: Every file and series that was not.
        told: Every series that would not be chosen without being asked for.
        lost: Slices of the series in `rejected`.
    """

    headers: list[SliceHeader] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    told: list[Rejection] = field(default_factory=list)
    lost: dict[tuple[str, int], str] = field(default_factory=dict)

    def lose(self, series: Series, rejection: Rejection) -> None:
        """Notes that a series is not read."""
        self.rejected.append(rejection)
        self.lost |= {(header.file, header.frame): rejection.reason for header in series.headers}


@dataclass(frozen=True)
class Verdict:
    """How reading an input went.

    Attributes:
        outcome: "decoded", or why the damaged file was not, as codes of `REASONS`.
        problems: What is wrong; each begins with a word that names its kind.
        details: More on them, as the traceback.
    """

    outcome: str
    problems: tuple[str, ...] = ()
    details: str = ""


def judge(path: Path, target: str) -> Verdict:
    """Reads an input.

    Args:
        path: The input.
        target: Which of its files is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reading = read(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the fuzzer looks for
        return Verdict("exception", (_named(error),), traceback.format_exc())
    problems = (
        *_decoder_ends(reading),
        *_unaccounted(path, reading),
        *_bad_rejections(reading),
        *_bad_volumes(reading),
        *_traces(reading),
    )
    return Verdict(_outcome(reading, target), problems, "\n".join(item.message for item in reading.rejected))


def read(path: Path) -> Reading:
    """Reads an input as `slicewise.inference.detector` does; every series is asked for, so that each is decoded."""
    reading = Reading()
    with take_inventory([path], modality=_task().series.modality) as inventory:
        reading.rejected += inventory.rejections()
        for series in _chosen(inventory, reading):
            _load(series, reading)
    return reading


def _chosen(inventory: Inventory, reading: Reading) -> Iterator[Series]:
    parameters = _task().series
    for study in inventory.studies():
        reading.headers += [header for series in study.series for header in series.headers]
        reading.told += [rejection_of(item) for item in choose_series(study, parameters) if not item.chosen]
        for decision in choose_series(study, parameters, {series.series_uid for series in study.series}):
            if decision.chosen:
                yield decision.series
            else:
                reading.lose(decision.series, rejection_of(decision))


def _load(series: Series, reading: Reading) -> None:
    try:
        volume, rejected = load_volume(series)
    except InputError as error:
        reading.lose(series, rejection_of_error(series, error))
        return
    reading.rejected += rejected
    reading.volumes.append(volume)
    preprocess(volume, _task().preprocessing)


@cache
def _task() -> Task:
    return load_task("ich")


def _named(error: Exception) -> str:
    """Returns the kind of an error and where it came from, the same for every file that meets it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "slicewise" in Path(frame.filename).parts] or list(frames)
    return f"exception {type(error).__name__} in {Path(ours[-1].filename).name} {ours[-1].name}"


def _outcome(reading: Reading, target: str) -> str:
    """Returns what became of the damaged file; of an archive, what became of its files."""
    outcomes = [(item.path, item.reason) for item in reading.rejected]
    outcomes += [(file, reason) for (file, _), reason in reading.lost.items()]
    outcomes += [(item.file, "decoded") for volume in reading.volumes for item in volume.slices]
    mine = {outcome for file, outcome in outcomes if file == target}
    return " + ".join(sorted(mine or {outcome for _, outcome in outcomes})) or "nothing"


def _decoder_ends(reading: Reading) -> Iterator[str]:
    """Decoders run in processes of their own; that one crashed or did not return harms nothing, and is to be known."""
    for item in reading.rejected:
        found = re.search(r"its decoder (?:crashed|took more than)", item.message)
        if found:
            yield found[0]


def _unaccounted(path: Path, reading: Reading) -> Iterator[str]:
    """Every file and every slice that was found must be in a volume or in a rejection."""
    rejected = {item.path for item in reading.rejected}
    decoded = {(item.file, item.frame) for volume in reading.volumes for item in volume.slices}
    found = {header.file for header in reading.headers}
    if not reading.rejected and not reading.volumes:
        yield "nothing is said"
    for item in walk([path]):
        if isinstance(item, Source) and item.file not in rejected | found:
            yield f"lost file {Path(item.file).suffix}"
    for header in reading.headers:
        if header.file not in rejected and (header.file, header.frame) not in decoded | reading.lost.keys():
            yield "lost slice"


def _bad_rejections(reading: Reading) -> Iterator[str]:
    """Every rejection must have a known code and a sentence, and come back from `rejected.csv` as it was."""
    names = sorted({header.file for header in reading.headers}, key=len, reverse=True)
    for item in (*reading.rejected, *reading.told):
        if item.reason not in REASONS or item.kind not in ("unreadable", "not_chosen"):
            yield f"unknown reason {item.reason}"
        words = item.message.replace(item.path, "")
        for name in names:  # file names stay as they are, whatever they hold
            words = words.replace(name, "")
        if len(words) > 1000 or _CONTROL.search(words):
            yield f"unfit message of {item.reason}"
        try:
            item.message.encode()
            item.path.encode()
        except UnicodeEncodeError:
            yield f"message of {item.reason} cannot be written"
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rejected.csv"
        write_rejected_csv(table, reading.rejected)
        with table.open(encoding="utf-8", newline="") as stream:
            rows = [row["reason"] for row in csv.DictReader(stream)]
    if rows != [item.reason for item in reading.rejected]:
        yield "rejected.csv is damaged"


def _bad_volumes(reading: Reading) -> Iterator[str]:
    for volume in reading.volumes:
        if volume.values.dtype != np.float32 or not np.isfinite(volume.values).all():
            yield "values are no finite float32"
        if not np.isfinite(volume.positions_mm).all() or not np.isfinite(volume.tilt_degrees):
            yield "positions are not finite"
        if volume.modality == "CT" and volume.values.min(initial=0.0) < -1024.0:
            yield "values below air"
        if len({(item.sop_uid, item.file, item.frame) for item in volume.slices}) < len(volume.slices):
            yield "a slice stands twice"


def _traces(reading: Reading) -> Iterator[str]:
    """The name of the patient must stand in no text, unless the damaged file states it as one of the texts that may."""
    shown = [(item.patient_id, item.study_uid, item.series_uid, item.sop_uid) for item in reading.headers]
    shown += [
        (item.series_description, item.body_part, item.modality, item.convolution_kernel) for item in reading.headers
    ]
    stated = {text for texts in shown for text in texts} | {item.series_uid for item in reading.rejected}
    if any(MARK in text for text in stated):
        return
    texts = [(item.reason, item.message + item.path) for item in (*reading.rejected, *reading.told)]
    texts += [(item.code, item.message) for volume in reading.volumes for item in volume.warnings]
    yield from (f"name of the patient in message of {code}" for code, text in texts if MARK in text)
