"""How many labelled studies of one's own it takes: fine-tuning from a model against training from scratch.

The hospital is a phantom one whose scanner is none that the shipped model was trained on: settings beyond the default
ranges of the generator (`HOSPITAL`). Its first 5, 10, 25, 50 and 100 studies train a model from the weights of MODEL
(`slicewise train --init`) and one from random weights, with the same recipe, steps and split; fine-tuning learns at a
tenth of the rates. Both are measured on further patients of that hospital, beside MODEL as it is. In brackets: 95 %
intervals, patients resampled; differences are paired. Prints the commands that it runs; a second call goes on where
the first one stopped.

    python benchmarks/init_curve.py OUT --model MODEL [--sizes 5 10 25 50 100] [--steps 60] [--init-rate 0.1]

Writes OUT/curve.md and OUT/curve.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phantom_benchmark import call

from slicewise.config import FusionConfig
from slicewise.data.store import Dataset
from slicewise.files import write_bytes_atomically
from slicewise.package import load_package

HOSPITAL = (
    "geometry.spacing_mm=[5.7, 5.95]",  # between routine and thick series
    "geometry.fov_mm=[258, 285]",
    "geometry.tilted=1",
    "geometry.tilt_degrees=[25, 29]",
    *(f"geometry.{name}=0" for name in ("thin", "medium", "thick", "changing", "gap", "overlap")),
    "physics.noise_hu=[4.4, 5.6]",
    "physics.smooth=0",
    "physics.standard=0",
    "physics.sharp=1",
    "physics.cupping_hu=[29, 36]",
    "physics.cupping_decay_mm=[4, 5.5]",
    "physics.hardening_strength=[0.55, 0.75]",
    "physics.offset_hu=7",
)
"""Settings of the hospital. Ranges share nothing with those that the generator draws from by default; the sharp kernel
and the tilt are there always rather than at times, and HU are off by 7 (SD) rather than 4."""

STUDY_SEED, TEST_SEED = 8101, 8102
ARMS = ("init", "scratch")
STAGE1_RATE = 1e-3
"""Learning rate of stage 1 from scratch; fine-tuning takes a tenth of it and of that of stage 2, as is usual."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for datasets, runs and the curve")
    parser.add_argument("--model", required=True, help="name or path of the model to start from")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 10, 25, 50, 100], help="studies (%(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="of stage 1, 32 slices each, in both arms (%(default)s)")
    parser.add_argument(
        "--init-rate",
        type=float,
        default=0.1,
        help="learning rates from the model, over those from scratch (%(default)s)",
    )
    parser.add_argument("--test-studies", type=int, default=60, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of split and training (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that generate (%(default)s)")
    parser.add_argument("--resamples", type=int, default=1000, help="of the patients (%(default)s)")
    arguments = parser.parse_args()
    output: Path = arguments.output
    test = hospital(output / "test", arguments.test_studies, TEST_SEED, arguments.workers, "--holdout", 1)
    rows: list[dict[str, Any]] = []
    for size in arguments.sizes:
        dataset = hospital(output / f"studies-{size}", size, STUDY_SEED, arguments.workers)
        tuned, scratch = (train(output, dataset, size, arm, arguments) for arm in ARMS)
        folder = output / f"evaluation-{size}"
        models = (tuned, scratch, arguments.model)
        if not is_evaluated(folder, models, test, arguments.resamples):
            others = (part for model in models[1:] for part in ("--compare", model))
            call("evaluate", tuned, test, *others, "--output", folder, "--resamples", arguments.resamples)
        rows.append({"studies": size, **read_evaluation(folder)})
        write(output, arguments, rows)
    print((output / "curve.md").read_text(encoding="utf-8"))


def hospital(folder: Path, studies: int, seed: int, workers: int, *options: object) -> Path:
    """Makes studies of the hospital, or what is missing of them; the first ones are the same however many there are."""
    settings = (f"--set={setting}" for setting in HOSPITAL)
    call(
        "phantom", folder, "--dataset", "--studies", studies, "--seed", seed, "--workers", workers, *options, *settings
    )  # fmt: skip
    return folder


def train(output: Path, dataset: Path, size: int, arm: str, arguments: argparse.Namespace) -> Path:
    """Trains one arm, or goes on with it; what is finished is only checked to be the same run."""
    run = output / "runs" / f"{arm}-{size}"
    resume = ("--resume",) if (run / "run.json").is_file() else ()
    rate = arguments.init_rate if arm == "init" else 1.0
    chosen = recipe(arguments.model, run.name, arguments.steps, rate, arguments.seed)
    settings = (f"--set={setting}" for setting in chosen)
    start = ("--init", arguments.model) if arm == "init" else ()
    call("train", dataset, "--output", run, *start, *resume, *settings)
    return run


def recipe(model: str, name: str, steps: int, rate: float, seed: int) -> tuple[str, ...]:
    """Returns the settings of an arm: the networks of the model, one schedule but for its height, one split.

    Calibration is that of a plain `slicewise train`: on patients of the hospital, with no stated prior.
    """
    manifest = load_package(model).manifest
    encoder, fusion = manifest.encoder, manifest.fusion
    return (
        f"name={name}",
        f"seed={seed}",
        f"encoder.name={encoder.name}",
        f'encoder.pooling="{encoder.pooling}"',
        f"encoder.map_channels={encoder.map_channels}",
        f"encoder.neighbours={encoder.neighbours}",
        f"stage1.steps={steps}",
        "stage1.negative_share=0.5",
        f"stage1.learning_rate={rate * STAGE1_RATE:g}",
        f"fusion.learning_rate={rate * FusionConfig().learning_rate:g}",
        "split.encoder=0.5",  # of 4 patients, one is left for each of the other parts
        "split.fusion=0.25",
        f"fusion.name={fusion.name}",
        f"fusion.inputs={fusion.inputs}",
        f"fusion.hidden_size={fusion.hidden_size}",
        f"fusion.neighbours={fusion.neighbours}",
        f"fusion.components={fusion.components}",
        f"fusion.chain={str(fusion.chain).lower()}",
        f"fusion.members={fusion.members}",
    )


def is_evaluated(folder: Path, models: Sequence[Path | str], test: Path, resamples: int) -> bool:
    """Tells whether a folder holds the evaluation of these models on these data."""
    if not (folder / "report.html").is_file():  # written last
        return False
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    compared = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["compared"].values()
    digests = [found["model"]["digest"] for found in (metrics, *(item["metrics"] for item in compared))]
    return (
        digests == [load_package(model).digest for model in models]
        and metrics["dataset"]["digest"] == Dataset.open(test).digest()
        and metrics["resamples"] == resamples
    )


def read_evaluation(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the figures of fine-tuning, of training from scratch and of the model as it is, and their differences."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    compared = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["compared"].values()
    scratch, model = compared
    return {
        "init": figures(metrics),
        "scratch": figures(scratch["metrics"]),
        "model": figures(model["metrics"]),
        "init_minus_scratch": figures(scratch["difference"]),
        "init_minus_model": figures(model["difference"]),
    }


def figures(found: dict[str, Any]) -> dict[str, Any]:
    return {"weighted_log_loss": found["weighted_log_loss"], "slice_auroc": found["slice"]["any"]["auroc"]}


def write(output: Path, arguments: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the curve as far as it is."""
    content = {
        "model": arguments.model,
        "model_digest": load_package(arguments.model).digest,
        "steps": arguments.steps,
        "init_rate": arguments.init_rate,
        "seed": arguments.seed,
        "test_studies": arguments.test_studies,
        "hospital": HOSPITAL,
        "rows": rows,
    }
    write_bytes_atomically(output / "curve.json", json.dumps(content, indent=1).encode())
    lines = []
    for name, title in (("slice_auroc", "slice AUROC, any"), ("weighted_log_loss", "weighted log loss")):
        lines += [
            f"| {title}, by studies | from the model | from scratch | difference | the model as it is |",
            "|---|---|---|---|---|",
        ]
        for row in rows:
            cells = (text(row[arm][name]) for arm in ("init", "scratch"))
            difference = text(row["init_minus_scratch"][name], "+")
            lines.append(f"| {row['studies']} | {' | '.join(cells)} | {difference} | {text(row['model'][name])} |")
        lines.append("")
    write_bytes_atomically(output / "curve.md", "\n".join(lines).encode())


def text(found: dict[str, float | None], sign: str = "") -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "not defined"
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


if __name__ == "__main__":
    main()
