"""The entry point: parses the call, runs the command, turns errors into a message and an exit code."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence

from slicewise.cli import (
    demo,
    evaluate,
    heads,
    inspect,
    models,
    package,
    phantom,
    predict,
    prepare,
    protocol,
    shift,
    train,
)
from slicewise.cli.common import PrintVersion
from slicewise.errors import SlicewiseError

COMMANDS = (demo, phantom, inspect, prepare, train, heads, evaluate, protocol, shift, predict, models, package)

EPILOG = """\
first steps:
  slicewise demo                              the whole story on a phantom, in minutes
  slicewise predict SCANS --output results    score a folder of DICOM with the shipped model

Research software, not a medical device. Not for diagnosis or any other clinical use.
"""

FAILED, INTERRUPTED = 1, 130
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="slicewise",
        description="Slice-level detection in CT and MRI series from deep descriptors of adjacent slices.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=PrintVersion, help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The arguments after the program's name, None for those of the process.

    Returns:
        The exit code: 0 all was done, 1 nothing could be done, 2 the call is wrong, 3 some input was unreadable.
    """
    parsed = build_parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except SlicewiseError as error:
        print(f"slicewise: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("slicewise: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `slicewise inspect ... | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        advice = ". Free some space and repeat the call" if error.errno in _NO_SPACE else ""
        print(f"slicewise: error: {error.filename or 'file'}: {error.strerror or error}{advice}", file=sys.stderr)
        return FAILED
    return code


if __name__ == "__main__":
    raise SystemExit(main())
