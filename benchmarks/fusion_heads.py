"""Every head and input of stage 2 on the phantom benchmark: one stage 1, several trainings of each head.

Prints the commands that it runs; a second call goes on where the first one stopped. OUT/heads/heads.md is the table.

    python benchmarks/fusion_heads.py OUT [--grid coarse] [--steps 800] [--seeds 2] [--workers 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from phantom_benchmark import GRIDS, call, make_dataset

RECIPE = (
    "encoder.name=mobilenetv3_small_100",
    "encoder.pooling=gem",
    "stage1.negative_share=0.25",
    "stage1.learning_rate=2e-3",
    "split.encoder=0.55",
    "split.fusion=0.3",
    "seed=1",
)
HEADS = (
    "rolling",
    *(f"{name},inputs=descriptor" for name in ("window", "conv", "bigru", "transformer", "chained", "wide-lstm")),
    *(f"bigru,inputs={inputs}" for inputs in ("differences", "pca", "compact")),
    *(f"transformer,inputs={inputs}" for inputs in ("pca", "compact")),
    "chain",
    "bigru,inputs=compact,chain=true",
    "transformer,inputs=compact,chain=true",
    "conv,inputs=descriptor,members=4",
    "bigru,inputs=compact,members=4",
    "transformer,inputs=compact,members=4",
    "transformer,inputs=compact,members=4,chain=true",
)
"""Of one member where nothing else is said."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for dataset and heads")
    parser.add_argument("--grid", choices=GRIDS, default="coarse", help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=800, help="of stage 1, 32 slices each (%(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of every head (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that generate (%(default)s)")
    arguments = parser.parse_args()
    dataset = make_dataset(arguments.output, arguments.grid, arguments.workers)
    settings = (*RECIPE, f"stage1.steps={arguments.steps}")
    call(
        "heads",
        dataset,
        *("--output", arguments.output / "heads", "--seeds", arguments.seeds),
        *(f"--head={head}" for head in HEADS),
        "--set=fusion.members=1",
        *(f"--set={setting}" for setting in settings),
    )


if __name__ == "__main__":
    main()
