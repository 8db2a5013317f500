"""How much better stage 1 knows the slices of its training patients than those of the patients of stage 2.

    python benchmarks/stage1_gap.py RUN DATASET [--slices 4000] [--weights network.safetensors best.safetensors]

Single slices, before calibration, on a fixed draw of the slices of either part. A gap says that more patients would
help; none says that the network or its training is too short.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from slicewise.data.datasets import SliceDataset
from slicewise.data.store import Dataset
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.export import load_networks
from slicewise.package import load_package
from slicewise.training.checkpoint import load_weights
from slicewise.training.context import ENCODER_PART, FUSION_PART
from slicewise.training.run_folder import WEIGHTS
from slicewise.training.validation import score_logits

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of split.method='split'")
    parser.add_argument("dataset", type=Path, help="the dataset that it was trained on")
    parser.add_argument("--slices", type=int, default=4000, help="of either part (%(default)s)")
    parser.add_argument("--weights", nargs="+", default=[WEIGHTS], help="files in the folder of stage 1 (%(default)s)")
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    network, _ = load_networks(load_package(arguments.run / "package"))
    print("| weights | patients | slice AUROC, any | weighted log loss before calibration |")
    print("|---|---|---|---|")
    for name in arguments.weights:
        load_weights(network, arguments.run / "stage1" / name)
        for part in (ENCODER_PART, FUSION_PART):
            patients = patients_of(arguments.run, part)
            scores = measure(network.eval(), dataset, patients, arguments.slices)
            auroc, log_loss = scores["auroc_any"], scores["weighted_log_loss"]
            print(f"| {name} | {part} ({len(patients)}) | {auroc:.3f} | {log_loss:.3f} |", flush=True)


def patients_of(run: Path, part: str) -> set[str]:
    with (run / "splits.csv").open(newline="", encoding="utf-8") as stream:
        return {patient for patient, of in csv.reader(stream) if of == part}


@torch.inference_mode()
def measure(network: DescriptorNetwork, dataset: Dataset, patients: set[str], count: int) -> dict[str, float]:
    records = [record for record in dataset.records if record.patient_id in patients]
    slices = SliceDataset(dataset, records, None, seed=0)
    chosen = np.sort(np.random.default_rng(0).permutation(len(slices))[:count])
    logits = [network(batch.channels).slice_logits.numpy() for batch in slices.batches(chosen, BATCH)]
    return score_logits(np.concatenate(logits), slices.labels[chosen], dataset.task)


if __name__ == "__main__":
    main()
