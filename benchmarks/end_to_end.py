"""What the two stages replace: networks trained end to end on crops of series, in the time that the run's stages took.

    python benchmarks/end_to_end.py DATASET RUN --output OUT [--models cnn-lstm 3d-cnn] [--minutes 10] [--seed 1]

`cnn-lstm` is the encoder of RUN without maps and a bidirectional LSTM over its descriptors, `3d-cnn` a network of
factorised 3D convolutions. Both learn from the patients of both stages of RUN with the settings of its stage 1 (loss,
schedule, augmentation, and its share of negative slices as one of negative series), are calibrated on its calibration
patients and read whole test series. How many steps fit into the time is measured first. A second call with the same
options goes on where the first one stopped. Prints a table and writes it to OUT/end_to_end.md.
"""

from __future__ import annotations

import argparse
import copy
import csv
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from end_to_end_models import CnnLstm, SliceCnn3d
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from slicewise.cli.common import terminal_progress
from slicewise.data.augment import draw_transform
from slicewise.data.labels import UNKNOWN
from slicewise.data.sampling import draw_epoch, expected_showings
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.evaluation.calibration import fit_platt
from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.evidence import Difference, Estimate
from slicewise.evaluation.prediction_files import write_predictions
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.scoring import predict_dataset
from slicewise.files import write_bytes_atomically
from slicewise.imaging.channels import channel_count
from slicewise.imaging.preprocess import ModelInput
from slicewise.imaging.windows import apply_channels
from slicewise.inference.axial import fusion_passes, primary_rows
from slicewise.inference.detector import Detector
from slicewise.models.encoder import build_encoder
from slicewise.models.export import load_networks
from slicewise.models.losses import bce_total, smooth, weighted_bce
from slicewise.package import load_package, probabilities_from_logits
from slicewise.task import Task
from slicewise.training.context import CALIBRATION_PART, TrainingContext
from slicewise.training.hardware import resolve_hardware
from slicewise.training.loop import STEPS_A_ROW, Stage, fit
from slicewise.training.metrics_log import STEPS_FILE, read_log
from slicewise.training.run_folder import open_run

MODELS = ("cnn-lstm", "3d-cnn")
WARM_UP = 2 * STEPS_A_ROW
"""Steps of the measurement; the second half counts."""


class Options(msgspec.Struct, frozen=True):
    """What a training depends on beside the run."""

    minutes: float
    seed: int
    crop: int
    batch: int
    learning_rate: float

    @property
    def slices(self) -> int:
        """Slices of a step."""
        return self.crop * self.batch


class Plan(msgspec.Struct, frozen=True):
    """How long a network is trained."""

    options: Options
    steps: int
    milliseconds_a_slice: float


@dataclass(frozen=True, eq=False)
class CropBatch:
    """Crops of S adjacent slices.

    Attributes:
        channels: In [0, 1], shape (B, S, C, H, W).
        targets: 0 or 1, shape (B, S, L).
        known: False for unknown labels and repeated slices, shape (B, S, L).
        weights: Weight of every slice in the loss, shape (B, S).
    """

    channels: Tensor
    targets: Tensor
    known: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Result:
    """One row of the table; a slice is one of the dataset's grid."""

    name: str
    table: PredictionTable
    parameters: int
    training: Pace
    prediction_ms: float


class Pace(NamedTuple):
    """How long a training took, and a slice of it."""

    minutes: float
    milliseconds_a_slice: float


class CropDataset(TorchDataset[CropBatch]):
    """Random crops of series, by keys as in `SliceDataset`; an epoch shows every slice about once.

    Args:
        context: The run whose patients and settings are taken.
        length: Slices of a crop. A shorter series repeats its last slice, whose labels then are unknown.
        seed: Seeds crops, random changes and their order.
    """

    def __init__(self, context: TrainingContext, length: int, seed: int) -> None:
        self.context, self.length, self.seed, self.epoch = context, length, seed, 0
        records = [
            record
            for record in context.dataset.records
            if context.parts.get(record.patient_id, CALIBRATION_PART) != CALIBRATION_PART
            and (context.dataset.row_labels(record) != UNKNOWN).any()
        ]
        self.records = [record for record in records for _ in range(max(1, round(len(primary(record)) / length)))]
        self.showings = expected_showings(
            np.stack([context.dataset.row_labels(record).max(axis=0) for record in self.records]),
            negative_share=context.config.stage1.negative_share,
            repeat_below=0.0,
        )

    def keys(self) -> npt.NDArray[np.int64]:
        """Returns the keys of the crops of the epoch in their random order."""
        return draw_epoch(self.showings, (self.seed, self.epoch, 0, 2))

    def __getitem__(self, key: int) -> CropBatch:
        rng = np.random.default_rng((self.seed, self.epoch, key))
        index = key % len(self.records)
        record, task = self.records[index], self.context.task
        rows = primary(record)
        # Starts beyond the ends count as the ends, whose slices would else be in few crops.
        start = int(rng.integers(len(rows))) - self.length // 2
        start = max(0, min(start, len(rows) - self.length))
        taken = np.arange(start, start + self.length)
        chosen = rows[np.minimum(taken, len(rows) - 1)]
        values = self.context.dataset.input_rows(record, chosen.tolist()).astype(np.float32)
        augment = self.context.config.stage1.augment
        transform = draw_transform(rng, augment, task.preprocessing.pixel_mm, len(task.channels))
        channels = apply_channels(transform.apply(values), transform.apply_to_windows(task.channels))
        labels = self.context.dataset.row_labels(record)[chosen]
        return CropBatch(
            channels=torch.from_numpy(channels),
            targets=torch.from_numpy((labels == 1).astype(np.float32)),
            known=torch.from_numpy((labels != UNKNOWN) & (taken < len(rows))[:, None]),
            weights=torch.full((self.length,), 1 / self.showings[index], dtype=torch.float32),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="prepared dataset with test patients")
    parser.add_argument("run", type=Path, help="finished run on it")
    parser.add_argument("--output", type=Path, required=True, help="folder for trainings, predictions and the table")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--minutes", type=float, help="of training each (what the stages of RUN took by their logs)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--crop", type=int, default=12, help="adjacent slices of a crop (%(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="crops a step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, help="(that of stage 1 of RUN)")
    arguments = parser.parse_args()
    context = open_context(arguments.dataset, arguments.run)
    stages = two_stages(context)
    options = Options(
        arguments.minutes or stages.training.minutes,
        arguments.seed,
        arguments.crop,
        arguments.batch,
        arguments.learning_rate or context.config.stage1.learning_rate,
    )
    if options.minutes == 0:
        parser.error(f"{arguments.run}: has no log of its stage 1. Give --minutes")
    rows, lines = [stages], described(context, options)
    for name in arguments.models:
        network, folder = build(name, context, options.seed), arguments.output / name
        plan = train(name, network, context, options, folder)
        lines.append(f"- {name}: {plan.steps} steps, of {plan.milliseconds_a_slice:.2f} ms a slice when warmed up")
        rows.append(measure(name, network, context, pace([folder], options.slices), stages.table))
    for row in rows:
        write_predictions(arguments.output / f"predictions-{row.name}.csv", row.table)
    text = "\n".join((*lines, "", *markdown(rows, context.task)))
    write_bytes_atomically(arguments.output / "end_to_end.md", f"{text}\n".encode())
    print(text)


def open_context(dataset_path: Path, run_path: Path) -> TrainingContext:
    """Returns the run on its dataset, with its hardware but one device."""
    dataset, run = Dataset.open(dataset_path), open_run(run_path)
    if dataset.digest() != run.record.dataset_digest:
        raise SystemExit(f"{run_path}: is a run on another dataset than {dataset_path}")
    with (run_path / "splits.csv").open(encoding="utf-8", newline="") as stream:
        parts = {row["patient_id"]: row["split"] for row in csv.DictReader(stream)}
    hardware = resolve_hardware(msgspec.structs.replace(run.record.config.hardware, devices=1))
    return TrainingContext(dataset, parts, run, hardware, None, terminal_progress(quiet=False))


def two_stages(context: TrainingContext) -> Result:
    """Returns what the run predicts, on the engine of the others; its pace is that of stage 1."""
    config, run = context.config, context.run
    detector = Detector.load(run.path, "torch")
    start = time.perf_counter()
    table = predict_dataset(detector, context.dataset, progress=context.progress)
    seconds = time.perf_counter() - start
    stage1 = pace(list(run.path.glob("stage1*")), config.stage1.batch_size)
    # Without stage 1, which was taken from another run, the time of stage 2 alone says nothing.
    minutes = stage1.minutes and stage1.minutes + pace([run.stage2], config.fusion.batch_size).minutes
    parameters = sum(count_parameters(network) for network in load_networks(detector.package))
    training = stage1._replace(minutes=minutes)
    return Result(detector.package.manifest.name, table, parameters, training, per_slice(seconds, context.dataset))


def pace(folders: Sequence[Path], batch_size: int) -> Pace:
    """Returns how long trainings took by their logs, and one of their slices."""
    logs = [read_log(folder / STEPS_FILE) for folder in folders]
    rates = [rate for log in logs for name in log if name.endswith("_per_second") for rate in log[name]]
    seconds = sum(STEPS_A_ROW * batch_size / rate for rate in rates)
    return Pace(seconds / 60, 1000 * seconds / (STEPS_A_ROW * batch_size * len(rates)) if rates else 0.0)


def build(name: str, context: TrainingContext, seed: int) -> nn.Module:
    """Returns a network as its training starts."""
    task, labels = context.task, len(context.task.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "3d-cnn":
            return SliceCnn3d(channel_count(task), labels)
        config = msgspec.structs.replace(context.config.encoder, map_channels=0, neighbours=0)
        size = task.preprocessing.size
        return CnnLstm(build_encoder(config, channels=channel_count(task), size=size, labels=labels), labels)


def train(name: str, network: nn.Module, context: TrainingContext, options: Options, folder: Path) -> Plan:
    """Trains a network in place for the given time, or goes on with it; leaves it on the CPU."""
    crops, file = CropDataset(context, options.crop, options.seed), folder / "plan.json"
    if not file.is_file():
        milliseconds = measured_pace(stage_of(name, copy.deepcopy(network), crops, options, WARM_UP), context)
        steps = max(1, round(60_000 * options.minutes / (milliseconds * options.slices)))
        write_bytes_atomically(file, msgspec.json.encode(Plan(options, steps, milliseconds)))
    plan = msgspec.json.decode(file.read_bytes(), type=Plan)
    if plan.options != options:
        raise SystemExit(f"{folder}: was trained with other options: {plan.options}. Choose another --output")
    fit(
        stage_of(name, network, crops, options, plan.steps),
        hardware=context.hardware,
        seed=options.seed,
        folder=folder,
        checkpoint_minutes=context.config.hardware.checkpoint_minutes,
        progress=context.progress,
    )
    network.to("cpu").eval()
    return plan


def measured_pace(stage: Stage[CropBatch], context: TrainingContext) -> float:
    """Returns the milliseconds that a slice takes in training."""
    with tempfile.TemporaryDirectory() as folder:
        fit(stage, hardware=context.hardware, seed=0, folder=Path(folder), checkpoint_minutes=60)
        return 1000 / read_log(Path(folder) / STEPS_FILE)["slices_per_second"][-1]


def stage_of(name: str, network: nn.Module, crops: CropDataset, options: Options, steps: int) -> Stage[CropBatch]:
    """Returns the training of a network as the training loop takes it."""
    context, settings = crops.context, crops.context.config.stage1
    label_weights = torch.tensor(context.task.loss_weights)
    steps_an_epoch = len(crops.keys()) // options.batch

    def batches(epoch: int, first: int) -> Iterator[CropBatch]:
        crops.epoch = epoch
        parts = crops.keys()[first * options.batch : steps_an_epoch * options.batch].reshape(-1, options.batch)
        loader: DataLoader[CropBatch] = DataLoader(
            crops,
            batch_sampler=parts.tolist(),
            num_workers=context.config.hardware.workers,
            collate_fn=stack,
            generator=torch.Generator(),
        )
        return iter(loader)

    def totals(batch: CropBatch) -> Tensor:
        return bce_total(batch.known, label_weights, batch.weights)[None]

    def loss(network: nn.Module, batch: CropBatch, totals: Tensor) -> Tensor:
        device = context.hardware.device
        return weighted_bce(
            network(batch.channels.to(device)).float(),
            smooth(batch.targets.to(device), settings.label_smoothing),
            batch.known.to(device),
            label_weights.to(device),
            batch.weights.to(device),
            total=totals[0],
        )

    return Stage(
        name=name,
        network=network,
        batches=batches,
        steps=steps_an_epoch,
        batch_size=options.slices,
        unit="slice",
        totals=totals,
        loss=loss,
        schedule=msgspec.structs.replace(settings, steps=steps, learning_rate=options.learning_rate, accumulate=1),
    )


def stack(crops: list[CropBatch]) -> CropBatch:
    """Makes one batch of several crops."""
    return CropBatch(*(torch.stack([getattr(crop, field.name) for crop in crops]) for field in fields(CropBatch)))


def measure(name: str, network: nn.Module, context: TrainingContext, training: Pace, other: PredictionTable) -> Result:
    """Calibrates a trained network and predicts on the test series, the slices of `other`."""
    dataset, task, any_index = context.dataset, context.task, context.task.any_index
    unseen = context.records(CALIBRATION_PART)
    logits = [predict(network, dataset.input(record), task)[primary(record)] for record in unseen]
    labels = [dataset.row_labels(record)[primary(record)] for record in unseen]
    calibration = fit_platt(np.concatenate(logits), np.concatenate(labels))
    found, records = [], test_records(dataset)
    start = time.perf_counter()
    for record in context.progress(records, description="Scoring", total=len(records), unit="series"):
        series = dataset.input(record)
        probabilities = probabilities_from_logits(predict(network, series, task), calibration, any_index)
        found.append(probabilities[series.slab_of_slice])
    milliseconds = per_slice(time.perf_counter() - start, dataset)
    table = replace(other, probabilities=np.concatenate(found))
    return Result(name, table, count_parameters(network), training, milliseconds)


@torch.inference_mode()
def predict(network: nn.Module, series: ModelInput, task: Task) -> npt.NDArray[np.float32]:
    """Returns uncalibrated logits of a whole series, shape (rows, labels)."""
    logits = np.empty((len(series.values), len(task.labels)), dtype=np.float32)
    for rows, kept in fusion_passes(series.duplicate_rank):
        channels = torch.from_numpy(apply_channels(series.values[rows], task.channels))
        logits[rows[kept]] = network(channels[None])[0].numpy()[kept]
    return logits


def described(context: TrainingContext, options: Options) -> list[str]:
    """Says how the figures came about."""
    parts, config, record = list(context.parts.values()), context.config, context.run.record
    manifest = load_package(context.run.path).manifest
    return [
        f"`{shlex.join(sys.argv)}`",
        "",
        f"- {len(parts)} patients, {parts.count(CALIBRATION_PART)} of them calibrate",
        f"- training: {context.hardware}; prediction: torch, CPU; {torch.get_num_threads()} threads",
        f"- {config.encoder.name}; end to end: {options}",
        *["- the run also learns from masks, the others do not"] * (manifest.encoder.map_channels > 0),
        *["- the run started from the weights of a model, the others did not"] * bool(record.init_digest),
    ]


def markdown(rows: Sequence[Result], task: Task) -> list[str]:
    """Returns the lines of the table: every model, then every difference to the first one."""
    label = task.label_names[task.main_index]
    first, *others = rows
    columns = (
        "model", "weighted log loss", f"slice AUROC, {label}", "parameters", "training, minutes",
        "training, ms a slice", "prediction, ms a slice",
    )  # fmt: skip
    cells: list[Sequence[str]] = [columns, ["---"] * len(columns)]
    for row in rows:
        metrics = evaluate(row.table, task)
        scores = (shown(metrics.weighted_log_loss), shown(metrics.slice[label]["auroc"]))
        costs = (row.training.minutes, row.training.milliseconds_a_slice, row.prediction_ms)
        cells.append((row.name, *scores, f"{row.parameters:,}", *(f"{cost:.1f}" for cost in costs)))
    for row in others:
        found = compare(row.table, first.table, task)
        scores = (shown(found.weighted_log_loss, "+"), shown(found.slice[label]["auroc"], "+"))
        cells.append((f"{row.name} - {first.name}", *scores, "", "", "", ""))
    count = f"{len(first.table.patients)} test patients, {len(first.table)} slices; 95 % intervals, patients resampled."
    return [*(f"| {' | '.join(line)} |" for line in cells), "", count]


def shown(estimate: Estimate | Difference, sign: str = "") -> str:
    values = (estimate.value, estimate.low, estimate.high)
    value, low, high = ("n/a" if number is None else f"{number:{sign}.3f}" for number in values)
    return f"{value} [{low}, {high}]"


def test_records(dataset: Dataset) -> list[SeriesRecord]:
    return [record for record in dataset.records if dataset.splits[record.patient_id] == "test"]


def per_slice(seconds: float, dataset: Dataset) -> float:
    """Returns the milliseconds that a slice of the test series took."""
    return 1000 * seconds / sum(len(record.row_positions_mm) for record in test_records(dataset))


def count_parameters(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())


def primary(record: SeriesRecord) -> npt.NDArray[np.int64]:
    return primary_rows(np.array(record.duplicate_rank))


if __name__ == "__main__":
    main()
