"""`slicewise train`: a prepared dataset -> a run folder with a model package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.data.store import Dataset
    from slicewise.package import ModelPackage
    from slicewise.task import Task

EPILOG = """\
example:
  slicewise train dataset --output runs/first
  slicewise train dataset --output runs/single --reuse-stage1 runs/first --set fusion.name=none
  slicewise train dataset --output runs/first --resume
  slicewise train dataset --output runs/tuned --init ich-phantom-small --set stage1.learning_rate=1e-4
  torchrun --nproc-per-node 4 -m slicewise.cli train dataset --output runs/first

An interrupted run continues with --resume and the same options. A machine with several GPUs uses them all; several
machines each start the same command with torchrun. RUN/stage1/log.csv and curves.png show how training goes;
so does `tensorboard --logdir RUN`.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `train`."""
    parser = subparsers.add_parser(
        "train",
        help="train both stages on a prepared dataset",
        description="Train the descriptor network, then axial fusion, then calibrate. RUN is a MODEL afterwards.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder made by `slicewise prepare`")
    parser.add_argument("--output", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--task", metavar="NAME|FILE", help="refuse a dataset that was prepared for another task")
    parser.add_argument("--config", type=Path, metavar="FILE", help="run configuration (TOML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one setting"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument("--init", metavar="MODEL", help="start from the networks and weights of this model")
    parser.add_argument("--reuse-stage1", type=Path, metavar="RUN", help="take stage 1 from this run")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `train`."""
    from slicewise.config import load_config
    from slicewise.package import load_package

    init = None if arguments.init is None else load_package(arguments.init)
    try:
        from slicewise.data.store import Dataset
        from slicewise.training.hardware import is_first_process
        from slicewise.training.recipe import train
    except ModuleNotFoundError as error:
        raise MissingExtraError("Training", "train") from error

    dataset = Dataset.open(arguments.dataset)
    if arguments.task is not None:
        _check_task(arguments.task, dataset)
    config = load_config(
        arguments.config,
        arguments.overrides,
        defaults=run_defaults(dataset.task, init),
        source=f"task '{dataset.task.name}', training",
    )
    package = train(
        dataset,
        arguments.output,
        config,
        init=init,
        reuse_stage1=arguments.reuse_stage1,
        resume=arguments.resume,
        progress=terminal_progress(quiet=arguments.quiet),
    )
    if not is_first_process():
        return 0
    manifest = load_package(package).manifest
    print(f"model: {arguments.output} (package: {package})")
    print(f"descriptor: {manifest.descriptor_size} features of '{manifest.encoder.name}'")
    for name, value in manifest.metrics.items():
        print(f"{name}: {value:.4f}")
    return 0


def run_defaults(task: Task, init: ModelPackage | None) -> dict[str, Any]:
    """Returns what a run takes where nobody sets anything: the wishes of the task, and the networks of `--init`.

    Only the same networks can start from the weights of a model; a head starts from them where the labels are the same.
    """
    import msgspec

    defaults = dict(task.training)
    if init is not None:
        networks = {"encoder": msgspec.structs.asdict(init.manifest.encoder)}
        if init.manifest.task.label_names == task.label_names:
            networks["fusion"] = msgspec.structs.asdict(init.manifest.fusion)
        for section, values in networks.items():
            defaults[section] = {**defaults.get(section, {}), **values}
    return defaults


def _check_task(name_or_path: str, dataset: Dataset) -> None:
    from slicewise.task import load_task

    if load_task(name_or_path) != dataset.task:
        raise UsageError(
            f"--task {name_or_path}: the dataset was prepared for another task ('{dataset.task.name}'), or for an "
            "earlier form of this one. Prepare it again"
        )
