"""Heads of stage 2 side by side: one stage 1, many heads, several seeds, measured on patients that none has seen.

With folds, all patients are tested once: each outer fold has a stage 1 of its own, shared by all heads, trained and
calibrated on the patients of the other folds. Nothing is packed; what is stored goes on where it was interrupted.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.config import FusionConfig, RunConfig
from slicewise.data.folds import patient_folds
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import ConfigError, UsageError
from slicewise.evaluation.calibration import fit_platt
from slicewise.evaluation.predictions import PredictionTable, concatenate
from slicewise.evaluation.scoring import prediction_table
from slicewise.files import write_atomically
from slicewise.models.fusion import build_head
from slicewise.package import Probabilities, probabilities_from_logits
from slicewise.progress import Progress, no_progress
from slicewise.training.context import TrainingContext, derived_seed
from slicewise.training.descriptors import SeriesFeatures, describe
from slicewise.training.recipe import DescribedPatients, describe_patients, start_training
from slicewise.training.run_folder import RunFolder
from slicewise.training.stage2 import apply_head, train_stage2

BASELINE = "none"


def compare_heads(
    dataset: Dataset,
    output: Path,
    config: RunConfig,
    heads: Mapping[str, FusionConfig],
    *,
    seeds: int = 1,
    folds: int = 0,
    progress: Progress = no_progress,
) -> dict[str, list[PredictionTable]]:
    """Trains heads on the descriptors of one stage 1 and scores the test patients with each.

    Args:
        dataset: A prepared dataset.
        output: Folder for the runs of stage 1 (`runs` or `fold-N`) and the predictions; it may hold an earlier,
            interrupted call.
        config: The run configuration; its `fusion` is that of no head.
        heads: Configuration of every head by its name. "none" always names the single-slice baseline, which is added
            if it is not among them.
        seeds: Trainings of every head; they differ in `fusion.seed`, which counts up from that of the configuration.
        folds: Outer folds over all patients; 0 tests on the test patients of the dataset.
        progress: Reports on every step of the way.

    Returns:
        By the name of the head, one table of predictions a seed: the same slices in the same order.

    Raises:
        ConfigError: If there is no head of a name, before anything is trained.
        UsageError: If there are no test patients, or a folder holds something else.
    """
    wanted = {BASELINE: FusionConfig(name=BASELINE)}
    wanted |= {name: head for name, head in heads.items() if name != BASELINE}
    for head in wanted.values():
        build_head(head, descriptor_size=1, summary_size=0, labels=len(dataset.task.labels))
    trainings = [(name, seed) for name in wanted for seed in range(1 if wanted[name].is_baseline else seeds)]
    tables: dict[tuple[str, int], list[PredictionTable]] = {training: [] for training in trainings}
    for folder, splits in _outer_splits(dataset, config, folds).items():
        fold = _Fold.start(replace(dataset, splits=splits), output / folder, config, progress)
        work = fold.context.progress(trainings, description=f"Heads, {folder}", total=len(trainings), unit="head")
        for name, seed in work:
            tables[name, seed].append(fold.predictions(name, wanted[name], seed))
    return {name: [concatenate(tables[key]) for key in trainings if key[0] == name] for name in wanted}


def _outer_splits(dataset: Dataset, config: RunConfig, folds: int) -> dict[str, dict[str, str]]:
    """Returns the split of every outer fold by the name of its folder."""
    if folds == 0:
        if "test" not in dataset.splits.values():
            raise UsageError("The dataset holds no test patients. Prepare it with --holdout, or use --folds")
        return {"runs": dict(dataset.splits)}
    if len(dataset.splits) < folds:
        raise UsageError(f"--folds {folds}: the dataset holds {len(dataset.splits)} patients, and each fold needs one")
    positive = dict.fromkeys(dataset.splits, 0)
    for record in dataset.records:
        positive[record.patient_id] |= int((dataset.row_labels(record) == 1).any())
    fold_of = patient_folds(positive, folds, derived_seed(config, "outer folds"))
    return {
        f"fold-{fold + 1}": {patient: "test" if fold_of[patient] == fold else "train" for patient in fold_of}
        for fold in range(folds)
    }


@dataclass(frozen=True, eq=False)
class _Fold:
    """One stage 1, and what it says about the patients of stage 2, calibration and test."""

    context: TrainingContext
    described: DescribedPatients
    tested: Sequence[SeriesRecord]
    features: Sequence[SeriesFeatures]

    @classmethod
    def start(cls, dataset: Dataset, path: Path, config: RunConfig, progress: Progress) -> _Fold:
        begun = (path / "run.json").is_file()
        # Which heads are compared is not part of the run; some of them may read descriptors.
        config = msgspec.structs.replace(config, fusion=FusionConfig(name=BASELINE, inputs="descriptor", members=1))
        try:
            context = start_training(dataset, path, config, resume=begun, progress=progress)
        except ConfigError:
            raise
        except UsageError as error:
            raise UsageError(
                f"{path}: holds something else. Call with the same dataset, folds and configuration of stage 1 as "
                f"before, or choose another --output ({error})"
            ) from error
        described = describe_patients(context)
        tested = [record for record in dataset.records if dataset.splits[record.patient_id] == "test"]
        return cls(context, described, tested, describe(context, described.network, tested))

    def predictions(self, name: str, config: FusionConfig, seed: int) -> PredictionTable:
        """Trains a head, or takes what an earlier call stored, and returns what it says about the test patients."""
        config = msgspec.structs.replace(config, seed=config.seed + seed)
        # Heads are small: one process trains them, whatever their number.
        return self._table(self.context.hardware.on_first(lambda: self._probabilities(name, config)))

    def _probabilities(self, name: str, config: FusionConfig) -> Probabilities:
        folder = self.context.run.path / "heads" / name / f"seed-{config.seed}"
        path = folder / "predictions.npz"
        key = msgspec.json.encode(config).decode()
        probabilities = _load(path, key)
        if probabilities is None:
            shutil.rmtree(folder, ignore_errors=True)  # of another configuration under the same name
            probabilities = self._train(folder, config)
            _store(path, probabilities, key)
        return probabilities

    def _train(self, folder: Path, config: FusionConfig) -> Probabilities:
        record = self.context.run.record
        changed = msgspec.structs.replace(record, config=msgspec.structs.replace(record.config, fusion=config))
        context = replace(self.context, run=RunFolder(folder, changed), progress=no_progress)
        head = train_stage2(context, self.described.network, self.described.features, self.described.unseen)
        calibration = fit_platt(*apply_head(head, self.described.unseen))
        logits, _ = apply_head(head, self.features)
        return probabilities_from_logits(logits, calibration, context.task.any_index)

    def _table(self, probabilities: Probabilities) -> PredictionTable:
        """Puts the probabilities beside every original slice; a duplicate gets that of the slice at its position."""
        ends = np.cumsum([len(series.positions) for series in self.features])
        of_slices = [
            rows[_position_of_slice(record)]
            for record, rows in zip(self.tested, np.split(probabilities, ends[:-1]), strict=True)
        ]
        return prediction_table(self.context.dataset, self.tested, of_slices)


def _position_of_slice(record: SeriesRecord) -> npt.NDArray[np.int64]:
    position = np.cumsum(np.array(record.duplicate_rank) == 0) - 1
    of_slice: npt.NDArray[np.int64] = position[np.array(record.slab_of_slice)]
    return of_slice


def _store(path: Path, probabilities: Probabilities, key: str) -> None:
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, probabilities=probabilities, key=key)


def _load(path: Path, key: str) -> Probabilities | None:
    """Returns what is stored of the same head, None where nothing whole is: it is made again."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return stored["probabilities"] if str(stored["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
