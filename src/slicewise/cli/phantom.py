"""`slicewise phantom`: a synthetic head-CT data set with hemorrhages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from slicewise.phantom.parameters import PhantomParameters

DATASET_MATRIX = 256
"""Matrix of a dataset that is made without DICOM: about as fine as the grid of a task, and four times as fast."""

_DESCRIPTION = """\
Writes synthetic head CT studies with and without hemorrhages as DICOM, with slice labels. No patient data is involved,
and every file says so. Repeating an interrupted call does only what is missing; more studies can be added later.

A slice is positive from 15 mm2 of blood, unknown (an empty cell of labels.csv) from 4 mm2, negative below. The layout
"rsna" has no unknown: stage_2_train.csv counts slices from 8 mm2 as positive. The layout "cq500" has labels of studies
by three readers, who disagree now and then: reads.csv.

With --dataset OUT is a prepared dataset, as `slicewise prepare` makes it of the same studies, and no DICOM is written:
masks.npy in every series folder has the blood on a coarse grid, for training with masks."""

_EPILOG = """\
example:
  slicewise phantom phantom --studies 60 --seed 1 --workers 2 --preview
  slicewise prepare dataset --layout table --images phantom/dicom --labels phantom/labels.csv
  slicewise phantom dataset --studies 3000 --workers 2 --dataset
  slicewise phantom noisy --studies 20 --set 'physics.noise_hu=[5, 6]' --set physics.motion=1

`slicewise phantom --settings` prints every key of --set with its default."""


class _PrintSettings(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        _import_phantom()
        from slicewise.phantom.settings import describe_settings

        for setting in describe_settings():
            print(f"{setting.key} = {setting.default}\n    {setting.description}")
        parser.exit()


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "phantom",
        help="write a synthetic head-CT data set with hemorrhages",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", metavar="OUT", type=Path, help="folder to make, or to complete")
    parser.add_argument("--studies", type=int, required=True, metavar="N", help="number of studies")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of everything random (default 0)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--layout", choices=("clinical", "rsna", "cq500"), default="clinical", help="default clinical")
    kind.add_argument("--dataset", action="store_true", help="a prepared dataset in place of DICOM")
    parser.add_argument("--masks", action="store_true", help="also masks of the hemorrhages as NIfTI")
    parser.add_argument("--preview", action="store_true", help="also preview.png with slices of the first studies")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--matrix", type=int, metavar="N", help="rows and columns (512; with --dataset 256)")
    parser.add_argument("--preset", choices=("training", "clinical"), help="mix of hemorrhages (default training)")
    parser.add_argument("--positive-share", type=float, metavar="P", help="share of the studies with blood")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change one setting"
    )
    parser.add_argument("--settings", nargs=0, action=_PrintSettings, help="print the keys of --set and leave")
    parser.add_argument("--task", default="ich", metavar="NAME|FILE", help="with --dataset: labels and grid (ich)")
    parser.add_argument(
        "--holdout", type=float, default=0.0, metavar="P", help="with --dataset: share of test patients"
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the data set and prints where it is."""
    _import_phantom()
    parameters = parameters_of(arguments)
    if arguments.dataset:
        _write_dataset(arguments, parameters)
    else:
        from slicewise.phantom.writer import write_phantom

        write_phantom(
            arguments.output,
            arguments.studies,
            arguments.seed,
            arguments.layout,
            parameters,
            masks=arguments.masks,
            preview=arguments.preview,
            workers=arguments.workers,
            progress=terminal_progress(quiet=arguments.quiet),
        )
    print(arguments.output)
    return 0


def parameters_of(arguments: argparse.Namespace) -> PhantomParameters:
    """Returns what was chosen: shortcuts first, so that a setting has the last word."""
    from slicewise.phantom.parameters import PhantomParameters, override_parameters

    matrix = arguments.matrix or (DATASET_MATRIX if arguments.dataset else None)
    shortcuts = {
        "geometry.matrix": matrix,
        "hemorrhage.preset": arguments.preset,
        "hemorrhage.positive_share": arguments.positive_share,
    }
    given = [f"{key}={value}" for key, value in shortcuts.items() if value is not None]
    return override_parameters(PhantomParameters(), [*given, *arguments.overrides])


def _write_dataset(arguments: argparse.Namespace, parameters: PhantomParameters) -> None:
    from slicewise.task import load_task

    if arguments.masks:
        raise UsageError("--masks is for DICOM: a dataset has masks.npy in every series folder anyway")
    try:
        from slicewise.phantom.dataset import write_phantom_dataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("slicewise phantom --dataset", "train") from error

    write_phantom_dataset(
        arguments.output,
        arguments.studies,
        load_task(arguments.task),
        arguments.seed,
        parameters,
        holdout=arguments.holdout,
        preview=arguments.preview,
        workers=arguments.workers,
        progress=terminal_progress(quiet=arguments.quiet),
    )


def _import_phantom() -> None:
    """Raises MissingExtraError where the extra is not installed."""
    try:
        import slicewise.phantom.study  # noqa: F401  # what it needs is what the extra installs
    except ModuleNotFoundError as error:
        raise MissingExtraError("slicewise phantom", "phantom") from error
