"""`slicewise demo`: the whole story on the built-in phantom, with the commands that a user would call."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from slicewise.cli.common import add_common_options

STUDIES, HOLDOUT, SEED, NEW_SEED = 120, 0.25, 1, 2
MATRIX = 256
CONFIG = Path(__file__).with_name("demo.toml")
# From nothing, stage 1 needs about half an hour to get somewhere (recipes/ has that recipe).
INIT = "ich-phantom-small"

EPILOG = """\
example:
  slicewise demo --output demo

Every step is printed as the command that it is. A second call continues where the first one stopped.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="the whole story on a phantom: DICOM, training, evaluation, prediction, report",
        description="Make phantom DICOM, prepare it, train both stages, predict on a new series and evaluate.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--studies", type=int, default=STUDIES, help="phantom studies in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of phantom, split and training (%(default)s)")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `demo`."""
    started = time.monotonic()
    steps = _steps(arguments.output, arguments.studies, arguments.seed)
    for number, (purpose, command) in enumerate(steps, start=1):
        print(f"\n[{number}/{len(steps)}] {purpose}\n$ slicewise {shlex.join(command)}", flush=True)
        code = _call([*command, "--quiet"] if arguments.quiet else command)
        if code != 0:
            return code
    print(f"\nDone in {time.monotonic() - started:.0f} s. Open the report: {arguments.output / 'results/report.html'}")
    return 0


def _call(command: list[str]) -> int:
    from slicewise.cli.main import main

    return main(command)


def _steps(output: Path, studies: int, seed: int) -> list[tuple[str, list[str]]]:
    phantom, new, dataset, run_folder, single, results, evaluation = (
        shlex.quote(str(output / name))
        for name in ("phantom", "new", "dataset", "run", "run-single-slice", "results", "evaluation")
    )
    steps = (
        (
            "Phantom studies as DICOM, in the layout of the RSNA 2019 challenge, with masks of the blood",
            f"phantom {phantom} --studies {studies} --seed {seed} --layout rsna --masks --matrix {MATRIX} --workers 2",
        ),
        (
            "A prepared dataset; a quarter of the patients is held out",
            (
                f"prepare {dataset} --layout rsna --images {phantom}/stage_2_train "
                f"--labels {phantom}/stage_2_train.csv --masks {phantom}/masks --holdout {HOLDOUT} --workers 2"
            ),
        ),
        (
            "Stage 1 (labels and masks, from the weights of the shipped model), axial fusion, calibration",
            f"train {dataset} --output {run_folder} {_training(output / 'run', seed)}",
        ),
        (
            "The single-slice baseline on the same stage 1",
            (
                f"train {dataset} --output {single} --reuse-stage1 {run_folder} --set fusion.name=none "
                f"{_training(output / 'run-single-slice', seed)}"
            ),
        ),
        (
            "A new patient, as a clinic's DICOM",
            f"phantom {new} --studies 1 --seed {seed + NEW_SEED} --positive-share 1 --matrix {MATRIX}",
        ),
        (
            "Prediction and report",
            f"predict {new}/dicom --model {run_folder} --output {results}",
        ),
        (
            "Evaluation on the held-out patients: axial fusion against single slices",
            f"evaluate {run_folder} {dataset} --compare {single} --output {evaluation}",
        ),
    )
    return [(purpose, shlex.split(command)) for purpose, command in steps]


def _training(run_folder: Path, seed: int) -> str:
    resume = " --resume" if (run_folder / "run.json").is_file() else ""
    return f"--config {shlex.quote(str(CONFIG))} --init {INIT} --set seed={seed}{resume}"
