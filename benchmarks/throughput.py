"""Training throughput: stage 1 from a dataset against a bare loop over random tensors with the same network.

    python benchmarks/throughput.py DATASET [--set KEY=VALUE ...] [--steps 30] [--repeats 3]

Both are measured in turn, in one run on one machine: slices a second, their ratio, how long training waited for data,
and the most memory that the process took.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from slicewise.config import RunConfig, load_config
from slicewise.data.batches import SliceBatch
from slicewise.data.store import Dataset
from slicewise.progress import no_progress
from slicewise.task import OCCUPANCY_STRIDE
from slicewise.training.context import TrainingContext
from slicewise.training.hardware import Hardware, resolve_hardware
from slicewise.training.loop import Stage, fit
from slicewise.training.metrics_log import STEPS_FILE, read_log
from slicewise.training.recipe import split_training_patients
from slicewise.training.run_folder import RunFolder, RunRecord
from slicewise.training.stage1 import descriptor_stage, initial_network

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--steps", type=int, default=30, help="of every measurement, a multiple of 10 (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="(%(default)s)")
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    options = ("stage1.validation_slices=0", f"stage1.steps={arguments.steps + 10}")
    config = load_config(None, (*options, *arguments.overrides))
    hardware = resolve_hardware(config.hardware)
    found = [measure(dataset, config, hardware, arguments.steps) for _ in range(arguments.repeats)]
    bare, training, waiting = (statistics.median(values) for values in zip(*found, strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{config.encoder.name}, {hardware}, {torch.get_num_threads()} threads, batch {config.stage1.batch_size}")
    print(f"bare loop    {bare:8.1f} slices/s")
    print(f"training     {training:8.1f} slices/s, {waiting:.1%} of the time without data")
    print(f"ratio        {statistics.median(trained / plain for plain, trained, _ in found):8.3f}")
    print(f"memory       {memory:8.0f} MiB")
    if hardware.device.type == "cuda":
        print(f"GPU memory   {torch.cuda.max_memory_allocated() / 2**20:8.0f} MiB")


def measure(dataset: Dataset, config: RunConfig, hardware: Hardware, steps: int) -> tuple[float, float, float]:
    """Returns slices a second of the bare loop and of training, and the share of the time it waits for data."""
    with tempfile.TemporaryDirectory() as folder:
        parts = split_training_patients(dataset, config)
        record = RunRecord(config, dataset.task.name, "", "", str(hardware), {})
        context = TrainingContext(dataset, parts, RunFolder(Path(folder), record), hardware, None, no_progress)
        bare = bare_loop(stage_of(context), config, hardware, steps)
        stage = stage_of(context)
        fit(stage, hardware=hardware, seed=0, folder=Path(folder), checkpoint_minutes=60)
        # The first row has the warm-up.
        log = read_log(Path(folder) / STEPS_FILE)
        seconds = [10 * stage.batch_size / rate for rate in log["slices_per_second"][1:]]
        waiting = sum(share * lap for share, lap in zip(log["share_waiting_for_data"][1:], seconds, strict=True))
        return bare, len(seconds) * 10 * stage.batch_size / sum(seconds), waiting / sum(seconds)


def stage_of(context: TrainingContext) -> Stage[SliceBatch]:
    network = initial_network(context).to(context.hardware.device)
    return descriptor_stage(context, network, context.encoder_records(), (), "Stage 1")


def bare_loop(stage: Stage[SliceBatch], config: RunConfig, hardware: Hardware, steps: int) -> float:
    """Trains on one batch of random tensors that is there already."""
    batch = random_batch(next(stage.batches(0, 0)))
    totals = stage.totals(batch).to(hardware.device)
    batch = SliceBatch(**{name: values.to(hardware.device) for name, values in vars(batch).items()})
    optimizer = torch.optim.AdamW(stage.network.parameters())
    network, optimizer = hardware.fabric.setup(stage.network.train(), optimizer)
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            synchronise(hardware)
            start = time.perf_counter()
        with hardware.fabric.autocast():
            hardware.fabric.backward(stage.loss(network, batch, totals))
        nn.utils.clip_grad_norm_(stage.network.parameters(), config.stage1.gradient_clip or float("inf"))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    synchronise(hardware)
    return steps * len(batch.labels) / (time.perf_counter() - start)


def random_batch(batch: SliceBatch) -> SliceBatch:
    slices, labels = batch.labels.shape
    cells = batch.channels.shape[-1] // OCCUPANCY_STRIDE
    has_masks = bool(batch.has_masks.any())
    return SliceBatch(
        channels=torch.rand_like(batch.channels).to(memory_format=torch.channels_last),
        labels=torch.randint(2, (slices, labels)).float(),
        known=torch.ones(slices, labels, dtype=torch.bool),
        weights=torch.ones(slices),
        occupancy=torch.rand(slices, labels, cells, cells),
        has_masks=torch.full((slices,), has_masks),
    )


def synchronise(hardware: Hardware) -> None:
    if hardware.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
