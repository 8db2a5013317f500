"""`slicewise phantom`: a synthetic head-CT data set with hemorrhages."""

from __future__ import annotations

import argparse
from pathlib import Path

from slicewise.cli.common import add_common_options, terminal_progress
from slicewise.errors import MissingExtraError

_DESCRIPTION = """\
Writes synthetic head CT studies with and without hemorrhages as DICOM, with slice labels. No patient data is involved,
and every file says so. Repeating an interrupted call does only what is missing; more studies can be added later.

A slice is positive from 15 mm2 of blood, unknown (an empty cell of labels.csv) from 4 mm2, negative below. The layout
"rsna" has no unknown: stage_2_train.csv counts slices from 8 mm2 as positive."""

_EPILOG = """\
example:
  slicewise phantom phantom --studies 60 --seed 1 --workers 2 --preview
  slicewise prepare dataset --layout table --images phantom/dicom --labels phantom/labels.csv"""


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
    parser.add_argument("--layout", choices=("clinical", "rsna"), default="clinical", help="default clinical")
    parser.add_argument("--masks", action="store_true", help="also masks of the hemorrhages as NIfTI")
    parser.add_argument("--preview", action="store_true", help="also preview.png with slices of the first studies")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("--matrix", type=int, default=512, metavar="N", help="rows and columns (default 512)")
    parser.add_argument(
        "--positive-share", type=float, default=0.5, metavar="P", help="share of the studies with blood (default 0.5)"
    )
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the data set and prints where it is."""
    try:
        from slicewise.phantom.study import PhantomParameters
        from slicewise.phantom.writer import write_phantom
    except ModuleNotFoundError as error:
        raise MissingExtraError("slicewise phantom", "phantom") from error

    write_phantom(
        arguments.output,
        arguments.studies,
        arguments.seed,
        arguments.layout,
        PhantomParameters(matrix=arguments.matrix, positive_share=arguments.positive_share),
        masks=arguments.masks,
        preview=arguments.preview,
        workers=arguments.workers,
        progress=terminal_progress(quiet=arguments.quiet),
    )
    print(arguments.output)
    return 0
