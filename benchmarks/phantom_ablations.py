"""Which randomisations of the phantom matter: models trained without one group of them, tested on phantoms with all.

Every model has the same recipe, seed and number of studies; the test studies have another seed. Prints the commands
that it runs; a second call goes on where the first one stopped.

    python benchmarks/phantom_ablations.py OUT [--studies 300] [--test-studies 150] [--epochs 5] [--coarse] [--only ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from phantom_benchmark import call, task_file

from slicewise.phantom.mimics import MimicParameters

TRAINING_SEED, TEST_SEED = 501, 502
COMMON = ("hemorrhage.twins=0.25",)
GROUPS = {
    "everything": (),
    "no-twins": ("hemorrhage.twins=0",),
    "no-mimics": tuple(f"mimics.{name}=0" for name in MimicParameters.__struct_fields__),
    "one-scanner": (
        "physics.noise_hu=[2.8, 2.8]",
        "physics.smooth=0",
        "physics.sharp=0",
        "physics.cupping_hu=[14, 14]",
        "physics.cupping_decay_mm=[11, 11]",
        "physics.hardening_strength=[0.2, 0.2]",
        "physics.starvation=[0.3, 0.3]",
        *(f"physics.{name}=0" for name in ("shading_hu", "offset_hu", "motion", "jump")),
    ),
    "no-cupping": tuple(f"physics.{name}=0" for name in ("cupping", "hardening", "shading_hu")),
    "one-position": (
        "geometry.spacing_mm=[5, 5]",
        *(f"geometry.{name}=0" for name in ("thin", "medium", "thick", "changing", "gap", "overlap", "tilted")),
        *(f"geometry.{name}=0" for name in ("pitch_degrees", "roll_degrees", "yaw_degrees", "off_center_mm")),
    ),
    "one-brain": (
        "anatomy.age=[0.6, 0.6]",
        "anatomy.size_sd=0",
        *(f"anatomy.{name}=[0, 0]" for name in ("shape_mm", "gyri_mm", "warp_mm")),
    ),
}
RECIPE = (
    "encoder.name=mobilenetv3_small_100",
    "stage1.negative_share=0.35",
    "stage1.learning_rate=2e-3",
    "fusion.epochs=30",
    "seed=1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for datasets and runs")
    parser.add_argument("--studies", type=int, default=300, help="training studies of every model (%(default)s)")
    parser.add_argument("--test-studies", type=int, default=150, help="(%(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of stage 1 (%(default)s)")
    parser.add_argument("--coarse", action="store_true", help="pixels of 1.3 mm, 160 x 160: quicker")
    parser.add_argument("--workers", type=int, default=2, help="processes that generate (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="these models alone")
    arguments = parser.parse_args()
    output: Path = arguments.output
    task = task_file(output, "coarse") if arguments.coarse else "ich"
    options = ("--task", task, "--matrix", 256, "--workers", arguments.workers)
    test = output / "test"
    generate(test, arguments.test_studies, TEST_SEED, (), *options, "--holdout", 1)
    for name in arguments.only:
        dataset = output / f"dataset-{name}"
        generate(dataset, arguments.studies, TRAINING_SEED, (*COMMON, *GROUPS[name]), *options)
        run_folder = output / name
        resume = ("--resume",) if (run_folder / "run.json").is_file() else ()
        settings = (*RECIPE, f"stage1.epochs={arguments.epochs}")
        call("train", dataset, "--output", run_folder, *resume, *(f"--set={setting}" for setting in settings))
    first, *others = (output / name for name in GROUPS if name in arguments.only)
    compared = [part for other in others for part in ("--compare", other)]
    call("evaluate", first, test, *compared, "--output", output / "evaluation")


def generate(folder: Path, studies: int, seed: int, settings: tuple[str, ...], *options: object) -> None:
    changes = (f"--set={setting}" for setting in settings)
    call("phantom", folder, "--dataset", "--studies", studies, "--seed", seed, *options, *changes)


if __name__ == "__main__":
    main()
