"""`slicewise package`: a run -> a model package that predicts without torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from slicewise.cli.common import add_common_options

EPILOG = """\
example:
  slicewise package runs/first my-model.zip
  slicewise predict scans/ --output results --model my-model.zip
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `package`."""
    parser = subparsers.add_parser(
        "package",
        help="copy the model of a run into a package",
        description="Check the model of a run and write it as a package: a folder, or one file if OUT ends with .zip.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="RUN", help="run folder (or any model)")
    parser.add_argument("output", type=Path, metavar="OUT", help="folder or .zip file to make")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `package`."""
    from slicewise.package import load_package, write_package

    package = load_package(arguments.source)
    digest = write_package(arguments.output, package.manifest, package.files)
    print(f"{arguments.output}  {package.manifest.name} version {package.manifest.version}  {digest}")
    return 0
