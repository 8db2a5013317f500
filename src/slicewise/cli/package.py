"""`slicewise package`: a run -> a model package that predicts without torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from slicewise.cli.common import add_common_options
from slicewise.errors import UsageError

NOTICE = "NOTICE"
EPILOG = """\
example:
  slicewise package runs/first my-model.zip
  slicewise predict scans/ --output results --model my-model.zip

with a card, which `slicewise models my-model.zip` then shows:
  slicewise evaluate runs/first dataset --output evaluation
  slicewise package runs/first my-model.zip --evaluation evaluation
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
    parser.add_argument(
        "--evaluation",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="put the figures of `slicewise evaluate` of this model on its card; may be repeated",
    )
    parser.add_argument(
        "--tested-on",
        action="append",
        default=[],
        metavar="TEXT",
        help="what the data of an evaluation are; once for every --evaluation, in their order",
    )
    parser.add_argument("--robustness", type=Path, metavar="FILE", help="and those of benchmarks/phantom_effects.py")
    parser.add_argument("--localisation", type=Path, metavar="FILE", help="and those of benchmarks/localisation.py")
    parser.add_argument("--making", type=Path, metavar="FILE", help="and how it was made: stages.json of a retraining")
    parser.add_argument("--notice", type=Path, metavar="FILE", help="add this text to the NOTICE of the package")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `package`."""
    from slicewise.package import CARD, load_package, write_package

    package = load_package(arguments.source)
    files = dict(package.files)
    measured = {name: getattr(arguments, name) for name in ("robustness", "localisation", "making")}
    if arguments.evaluation:
        from slicewise.evaluation.card_building import build_card
        from slicewise.evaluation.model_card import encode_card

        files[CARD] = encode_card(build_card(package, arguments.evaluation, words=arguments.tested_on, **measured))
    else:
        alone = [name for name, value in {"tested-on": arguments.tested_on, **measured}.items() if value]
        if alone:
            raise UsageError(f"--{alone[0]} goes with --evaluation: a card says first what the model was tested on")
    if arguments.notice is not None:
        files[NOTICE] = files.get(NOTICE, b"") + b"\n" + _read_notice(arguments.notice)
    digest = write_package(arguments.output, package.manifest, files)
    print(f"{arguments.output}  {package.manifest.name} version {package.manifest.version}  {digest}")
    return 0


def _read_notice(path: Path) -> bytes:
    try:
        return path.read_text(encoding="utf-8").encode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--notice {path}: cannot be read as text: {error}") from error
