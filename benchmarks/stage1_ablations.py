"""What each ingredient of stage 1 brings on the phantom benchmark: one change at a time, single slices, one recipe.

Every variant differs from `base` in what its line says. The encoders of other families train for as long as `base`
does: their steps follow from `--rates`, how many slices a second each trains where `base` trains one. Prints the
commands that it runs; a second call goes on where the first one stopped.

    python benchmarks/stage1_ablations.py OUT [--grid coarse] [--steps 500] [--seed 1] [--only base 2.5d ...]
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from phantom_benchmark import GRIDS, call, make_dataset

RECIPE = (
    "encoder.name=mobilenetv3_small_100",
    "stage1.negative_share=0.25",
    "stage1.learning_rate=2e-3",
    "split.encoder=0.7",
    "split.fusion=0.15",
    "fusion.name=none",
)
ONE_WINDOW = "one-window"
VARIANTS = {
    "base": (),
    "base-again": (),  # with another seed, which also deals the training patients anew
    ONE_WINDOW: (),  # brain instead of brain, subdural and bone
    "2.5d": ("encoder.neighbours=1",),
    "labels-only": ("encoder.map_channels=0",),
    "gem": ("encoder.pooling=gem",),
    "max": ("encoder.pooling=max",),
    "all-negatives": ("stage1.negative_share=1",),
    "rare-repeated": ("stage1.repeat_below=0.05",),
    "ema": ("stage1.ema=0.99",),
    "mixup": ("stage1.mixup=0.2",),
    "regnetx_002": ("encoder.name=regnetx_002",),
    "convnext_atto": ("encoder.name=convnext_atto",),
    "resnet18": ("encoder.name=resnet18",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for dataset, runs and evaluation")
    parser.add_argument("--grid", choices=GRIDS, default="coarse", help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="of 32 slices, where no rate is given (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that generate (%(default)s)")
    parser.add_argument(
        "--rates", nargs="*", default=[], metavar="VARIANT=R", help="slices a second in units of base's"
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="these and base alone")
    arguments = parser.parse_args()
    dataset = make_dataset(arguments.output, arguments.grid, arguments.workers)
    rates = {name: float(rate) for name, _, rate in (item.partition("=") for item in arguments.rates)}
    for name in dict.fromkeys(("base", *arguments.only)):  # the others are compared with it
        run = arguments.output / "runs" / name
        steps = round(arguments.steps * rates.get(name, 1.0))
        seed = arguments.seed + (1 if name == "base-again" else 0)
        settings = (*RECIPE, *VARIANTS[name], f"stage1.steps={steps}", f"seed={seed}")
        data = one_window(dataset) if name == ONE_WINDOW else dataset
        if not (run / "package").is_dir():
            resume = ("--resume",) if (run / "run.json").is_file() else ()
            call("train", data, "--output", run, *resume, *(f"--set={setting}" for setting in settings))
        base = arguments.output / "runs" / "base"
        # A model of other windows has scores on the dataset that shows them.
        compared = ("--compare", base) if name not in {"base", ONE_WINDOW} else ()
        call("evaluate", run, data, *compared, "--output", arguments.output / "evaluation" / name)


def one_window(dataset: Path) -> Path:
    """Makes the same dataset for the task with the first window alone; the stored values are before windows."""
    other = dataset.with_name(f"{dataset.name}-{ONE_WINDOW}")
    if not other.is_dir():
        shutil.copytree(dataset, other, copy_function=_link)
        manifest = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
        manifest["task"]["channels"] = manifest["task"]["channels"][:1]
        (other / "dataset.json").unlink()
        (other / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")
    return other


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target


if __name__ == "__main__":
    main()
