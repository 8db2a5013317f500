"""A run folder: what a training run was, and how far it is.

RUN/run.json      configuration, dataset digest, git commit, versions
RUN/splits.csv    which patients trained the encoder, trained fusion, calibrated
RUN/stage1/       network.safetensors, and of the training: checkpoint.pt (last), best.safetensors, steps.csv, log.csv,
                  curves.png, tensorboard/
RUN/stage1-foldN/ the same of the encoder that has not seen fold N; alignment.csv, how well its descriptors align
RUN/descriptors/  what stage 1 says about the patients of stage 2
RUN/stage2/       as stage1/
RUN/package/      the model package: makes RUN a MODEL
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from slicewise.config import CalibrationConfig, FusionConfig, HardwareConfig, RunConfig
from slicewise.errors import UsageError
from slicewise.files import is_unfinished, write_atomically, write_bytes_atomically

WEIGHTS = "network.safetensors"
LIBRARIES = ("slicewise", "torch", "timm", "onnx", "numpy", "scipy", "pydicom")


class RunRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `run.json` holds.

    Attributes:
        config: The run configuration.
        task: Name of the task.
        dataset_digest: Digest of the prepared dataset.
        init_digest: Digest of the package that the run started from, "" without one.
        hardware: Device, precision and number of processes of stage 1: others give other weights.
        versions: Versions of the libraries.
        commit: Git commit of slicewise, "" where it is not known.
    """

    config: RunConfig
    task: str
    dataset_digest: str
    init_digest: str
    hardware: str
    versions: dict[str, str]
    commit: str = ""

    def key(self) -> dict[str, object]:
        """Returns all that the weights depend on: everything but names, and settings that only change the pace."""
        config = msgspec.structs.replace(
            self.config, name="", version="", description="", license="", hardware=HardwareConfig()
        )
        content: dict[str, object] = msgspec.to_builtins(
            msgspec.structs.replace(self, config=config, versions={}, commit="")
        )
        return content

    def stage1_key(self) -> dict[str, object]:
        """Returns all that stage 1 depends on: the same without the fusion head and the calibration."""
        config = msgspec.structs.replace(self.config, fusion=FusionConfig(), calibration=CalibrationConfig())
        return msgspec.structs.replace(self, config=config).key()


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: The folder.
        record: What the run is.
    """

    path: Path
    record: RunRecord

    @property
    def stage1(self) -> Path:
        """Folder of stage 1."""
        return self.path / "stage1"

    def fold(self, number: int) -> Path:
        """Folder of stage 1 without one fold."""
        return self.path / f"stage1-fold{number + 1}"

    @property
    def stage1_weights(self) -> Path:
        """Weights of the trained stage 1, rounded to what the package stores."""
        return self.stage1 / WEIGHTS

    @property
    def stage2(self) -> Path:
        """Folder of stage 2."""
        return self.path / "stage2"

    @property
    def descriptors(self) -> Path:
        """Folder of stored descriptors."""
        return self.path / "descriptors"

    @property
    def package(self) -> Path:
        """The model package."""
        return self.path / "package"

    def write_splits(self, parts: Mapping[str, str]) -> None:
        """Writes `splits.csv` from the part of every patient."""
        with (
            write_atomically(self.path / "splits.csv") as temporary,
            temporary.open("w", encoding="utf-8", newline="") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(("patient_id", "split"))
            writer.writerows(sorted(parts.items()))

    def take_stage1(self, other: RunFolder) -> None:
        """Copies stage 1 and its descriptors from another run.

        Raises:
            UsageError: If that run has no finished stage 1 or its stage 1 would not be the same.
        """
        if not other.stage1_weights.is_file():
            raise UsageError(f"--reuse-stage1 {other.path}: stage 1 of that run is not finished")
        ours, theirs = self.record.stage1_key(), other.record.stage1_key()
        if ours != theirs:
            raise UsageError(
                f"--reuse-stage1 {other.path}: stage 1 of that run is another one: {_difference(theirs, ours)}. "
                "Only settings of fusion may differ"
            )
        if self.stage1_weights.is_file():
            return
        if other.descriptors.is_dir():
            shutil.copytree(other.descriptors, self.descriptors, dirs_exist_ok=True)
        # The folds first: the weights of stage 1 itself say that all is here.
        for weights in sorted(other.path.glob(f"stage1*/{WEIGHTS}"), reverse=True):
            write_bytes_atomically(self.path / weights.relative_to(other.path), weights.read_bytes())


def start_run(path: Path, record: RunRecord, *, resume: bool) -> RunFolder:
    """Makes a run folder, or opens the one of an interrupted run.

    Raises:
        UsageError: If the folder exists and `resume` is not set, or if it is the folder of another run.
    """
    file = path / "run.json"
    if not file.is_file():
        if path.is_dir() and not all(is_unfinished(item.name) for item in path.iterdir()):
            raise UsageError(f"{path}: exists and is not the folder of a run. Choose another --output")
        write_bytes_atomically(file, msgspec.json.format(msgspec.json.encode(record), indent=1))
        return RunFolder(path, record)
    if not resume:
        raise UsageError(f"{path}: holds a run already. Continue it with --resume, or choose another --output")
    stored = open_run(path)
    ours, theirs = record.key(), stored.record.key()
    if ours != theirs:
        raise UsageError(f"--resume {path}: that run is another one: {_difference(theirs, ours)}")
    return stored


def open_run(path: Path) -> RunFolder:
    """Opens the folder of a run.

    Raises:
        UsageError: If it is not one.
    """
    file = path / "run.json"
    if not file.is_file():
        raise UsageError(f"{path}: not a run folder: run.json is missing")
    try:
        return RunFolder(path, msgspec.json.decode(file.read_bytes(), type=RunRecord))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not a valid run record: {error}") from error


def library_versions() -> dict[str, str]:
    """Returns the versions of the libraries that shape a model."""
    return {name: metadata.version(name) for name in LIBRARIES}


def _difference(theirs: Mapping[str, object], ours: Mapping[str, object], prefix: str = "") -> str:
    for key in sorted({*theirs, *ours}):
        left, right = theirs.get(key), ours.get(key)
        if isinstance(left, dict) and isinstance(right, dict) and left != right:
            return _difference(left, right, f"{prefix}{key}.")
        if left != right:
            return f"{prefix}{key} is {left!r} there and {right!r} here"
    return "nothing"
