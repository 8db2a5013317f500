"""`slicewise heads`: heads of stage 2 side by side on the descriptors of one stage 1."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.errors import ConfigError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.config import FusionConfig, RunConfig
    from slicewise.evaluation.ranking import RankedModel
    from slicewise.task import Task

EPILOG = """\
example:
  slicewise heads dataset --output heads --seeds 3
  slicewise heads dataset --output heads --folds 5 --head bigru --head bigru,inputs=compact,members=4

A head is a name and settings of [fusion] after commas; without --head, every registered head with its defaults, and the
default head with other inputs. What a head does not say is as in the configuration, and in the [training] of the task:
for `mri_tumor` a `bigru` has its chain. The single-slice baseline, `none`, is always among them.

writes into --output:
  heads.csv, heads.md   the table: log loss, AUROC, differences to `none`, with 95 % intervals (patients resampled)
  runs, or fold-N       stage 1, its descriptors, and what every head said about the test patients

Stage 1 is trained once (once a fold with --folds); heads take seconds to minutes. The same call again goes on where an
earlier one stopped, and trains only heads that are new. A head that was chosen on this table has seen its patients:
measure it on others.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `heads`."""
    parser = subparsers.add_parser(
        "heads",
        help="compare heads of stage 2",
        description="Train several heads of stage 2 on the same descriptors and compare them with single slices.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder made by `slicewise prepare`")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for runs and table")
    parser.add_argument("--head", action="append", default=[], metavar="NAME[,KEY=VALUE]...", help="a head to compare")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of every head (%(default)s)")
    parser.add_argument(
        "--folds", type=int, default=0, metavar="K", help="outer folds over all patients (default: the test patients)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="run configuration (TOML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one setting"
    )
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="of the patients (%(default)s)")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `heads`."""
    _check_call(arguments)
    try:
        from slicewise.data.store import Dataset
        from slicewise.evaluation.ranking import rank_models
        from slicewise.training.comparison import BASELINE, compare_heads
        from slicewise.training.hardware import is_first_process
    except ModuleNotFoundError as error:
        raise MissingExtraError("Training", "train") from error
    from slicewise.files import write_bytes_atomically

    dataset = Dataset.open(arguments.dataset)
    config = _config(arguments, dataset.task)
    tables = compare_heads(
        dataset,
        arguments.output,
        config,
        _heads(arguments, config.fusion, dataset.task),
        seeds=arguments.seeds,
        folds=arguments.folds,
        progress=terminal_progress(quiet=arguments.quiet),
    )
    if not is_first_process():
        return 0
    rows = rank_models(tables, BASELINE, dataset.task, resamples=arguments.resamples)
    some = next(iter(tables.values()))[0]
    caption = f"{len(some.patients)} patients, {len(some)} slices. In brackets: 95 % interval, patients resampled."
    table = _markdown(rows)
    write_bytes_atomically(arguments.output / "heads.md", f"{table}\n\n{caption}\n".encode())
    write_bytes_atomically(arguments.output / "heads.csv", _csv(rows).encode())
    print(table)
    print(caption)
    return 0


def _check_call(arguments: argparse.Namespace) -> None:
    for name, least in (("seeds", 1), ("resamples", 0)):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name} {getattr(arguments, name)}: expected {least} or more")
    if arguments.folds < 0 or arguments.folds == 1:
        raise UsageError(f"--folds {arguments.folds}: expected 2 or more, or 0 for the test patients of the dataset")


def _config(arguments: argparse.Namespace, task: Task, overrides: Sequence[str] = ()) -> RunConfig:
    from slicewise.config import load_config

    return load_config(
        arguments.config,
        (*arguments.overrides, *overrides),
        defaults=task.training,
        source=f"task '{task.name}', training",
    )


def _heads(arguments: argparse.Namespace, default: FusionConfig, task: Task) -> dict[str, FusionConfig]:
    """Returns the configuration of every head by its name in the table."""
    from slicewise.config import FusionInputs
    from slicewise.models.fusion import HEADS

    others = (f"{default.name},inputs={inputs}" for inputs in get_args(FusionInputs) if inputs != default.inputs)
    texts: Sequence[str] = arguments.head or (*HEADS, *others)
    return {text: _head(text, arguments, task) for text in texts}


def _head(text: str, arguments: argparse.Namespace, task: Task) -> FusionConfig:
    name, *settings = text.split(",")
    try:
        return _config(arguments, task, (f"fusion.name={name}", *(f"fusion.{setting}" for setting in settings))).fusion
    except ConfigError as error:
        raise ConfigError(f"--head {text}: {error}") from error


def _markdown(rows: Sequence[RankedModel]) -> str:
    header = ("head", "weighted log loss", "/ none", "- none", "slice AUROC", "- none", "slice AP", "SD over seeds")
    lines = [header, ("---",) * len(header), *(_line(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(row: RankedModel) -> tuple[str, ...]:
    from slicewise.evaluation.summary import estimate_text

    return (
        f"`{row.name}`",
        estimate_text(row.weighted_log_loss),
        estimate_text(row.loss_ratio),
        estimate_text(row.loss_difference, "+"),
        estimate_text(row.auroc),
        estimate_text(row.auroc_difference, "+"),
        estimate_text(row.average_precision),
        "" if row.over_seeds is None else f"{row.over_seeds:.4f} ({row.seeds})",
    )


def _csv(rows: Sequence[RankedModel]) -> str:
    """Returns all rows with all digits, every estimate as three columns."""
    import msgspec

    lines = []
    for row in rows:
        content: dict[str, object] = {}
        for name, value in msgspec.to_builtins(row).items():
            parts = (
                {f"{name}_{part}": found for part, found in value.items()} if isinstance(value, dict) else {name: value}
            )
            content |= parts
        lines.append(content)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()
