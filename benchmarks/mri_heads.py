"""Axial fusion against single slices on real MRI: lower-grade glioma on FLAIR, five outer folds by patient.

IMAGES holds one NIfTI a patient and LABELS the table beside it (series, slice_index, tumor), as the segmentations of
Buda et al. 2019 on TCGA-LGG give. Stage 1 is trained once a fold and shared by all heads. A second call goes on where
the first one stopped. OUT/heads/heads.md is the table.

    python benchmarks/mri_heads.py OUT --images flair --labels labels.csv [--seeds 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fusion_heads import HEADS
from phantom_benchmark import call

FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for dataset and heads")
    parser.add_argument("--images", type=Path, required=True, help="folder of NIfTI files")
    parser.add_argument("--labels", type=Path, required=True, help="label table")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of every head (%(default)s)")
    arguments = parser.parse_args()
    dataset = arguments.output / "dataset"
    call(
        "prepare",
        dataset,
        *("--layout", "table", "--task", "mri_tumor", "--images", arguments.images, "--labels", arguments.labels),
    )
    call(
        "heads",
        dataset,
        *("--output", arguments.output / "heads", "--folds", FOLDS, "--seeds", arguments.seeds),
        *(f"--head={head}" for head in HEADS),
        *("--set=fusion.members=1", "--set=fusion.chain=false"),
    )


if __name__ == "__main__":
    main()
