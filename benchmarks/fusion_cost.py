"""What stage 2 costs beside stage 1: milliseconds a slice in training and in prediction, and their ratio.

    python benchmarks/fusion_cost.py RUN DATASET [--runtime openvino] [--series 20] [--repeats 5]

Training: from `steps.csv` of both stages of the run, the median of its rows. Prediction: both graphs on the same
series of the dataset, one after the other, the median over series and repeats.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from slicewise.data.store import Dataset, SeriesRecord
from slicewise.imaging.channels import channel_batches
from slicewise.inference.axial import axial_positions, primary_rows
from slicewise.inference.detector import ENCODER_BATCH, Detector
from slicewise.inference.runtime import EncodedSlices
from slicewise.training.metrics_log import STEPS_FILE, read_log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with both stages")
    parser.add_argument("dataset", type=Path, help="the dataset that it was trained on")
    parser.add_argument("--runtime", default="openvino", help="(%(default)s)")
    parser.add_argument("--series", type=int, default=20, help="series to predict (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(%(default)s)")
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    detector = Detector.load(arguments.run, arguments.runtime)
    manifest = detector.package.manifest
    print(f"{manifest.encoder.name}, {dataset.task.preprocessing.size} px, {manifest.fusion}")
    for name, costs in (
        ("training", training_costs(arguments.run, dataset)),
        ("prediction", prediction_costs(detector, dataset, arguments.series, arguments.repeats)),
    ):
        first, second = costs
        print(
            f"{name:10} stage 1 {first:8.3f} ms a slice, stage 2 {second:8.4f} ms a slice, ratio {first / second:6.0f}"
        )


def training_costs(run: Path, dataset: Dataset) -> tuple[float, float]:
    """Returns milliseconds that a step of either stage takes for each slice that it shows."""
    slices_a_series = float(np.mean([len(record.row_positions_mm) for record in dataset.records]))
    pace = {
        stage: statistics.median(read_log(run / stage / STEPS_FILE)[f"{unit}_per_second"])
        for stage, unit in (("stage1", "slices"), ("stage2", "series"))
    }
    return 1000 / pace["stage1"], 1000 / (pace["stage2"] * slices_a_series)


def prediction_costs(detector: Detector, dataset: Dataset, series: int, repeats: int) -> tuple[float, float]:
    """Returns milliseconds that either graph takes for each slice."""
    times = [_series_costs(detector, dataset, record) for record in dataset.records[:series] for _ in range(repeats)]
    first, second = (statistics.median(values) for values in zip(*times, strict=True))
    return first, second


def _series_costs(detector: Detector, dataset: Dataset, record: SeriesRecord) -> tuple[float, float]:
    model_input = dataset.input(record)
    neighbours = detector.package.manifest.encoder.neighbours
    batches = list(channel_batches(model_input, detector.task, ENCODER_BATCH, neighbours))
    rows = primary_rows(model_input.duplicate_rank)
    positions = axial_positions(model_input.positions_mm[rows], detector.task)
    start = time.perf_counter()
    encoded = [detector.runtime.encode(channels) for channels in batches]
    between = time.perf_counter()
    joined = EncodedSlices(
        *(
            np.concatenate([getattr(item, name) for item in encoded])
            for name in ("descriptors", "slice_logits", "summaries")
        )
    ).take(rows)
    fusing = time.perf_counter()
    detector.runtime.fuse(joined, positions)
    end = time.perf_counter()
    slices = len(model_input.values)
    return 1000 * (between - start) / slices, 1000 * (end - fusing) / slices


if __name__ == "__main__":
    main()
