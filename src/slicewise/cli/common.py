"""What the commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from slicewise.progress import Progress, no_progress

Item = TypeVar("Item")

DEFAULT_TASK = "ich"
"""Task of the commands where none is named; here and not in `slicewise.task`, whose imports `--help` does without."""


class PrintVersion(argparse.Action):
    """Prints the version when it is asked for: looking it up takes longer than the rest of `--help`."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Prints the version and exits."""
        del namespace, values, option_string
        from slicewise import __version__

        print(f"slicewise {__version__}")
        parser.exit()


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every command has."""
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def terminal_progress(*, quiet: bool) -> Progress:
    """Returns a progress bar on stderr, with rate and time left, or silence."""
    return no_progress if quiet else _bar


def _bar(
    items: Iterable[Item],
    *,
    description: str,
    total: int | None = None,
    unit: str = "slice",
    initial: int = 0,
    unit_scale: int = 1,
) -> Iterator[Item]:
    from tqdm import tqdm

    yield from tqdm(
        items,
        desc=description,
        total=total,
        unit=f" {unit}",
        initial=initial,
        unit_scale=unit_scale if unit_scale > 1 else False,
        dynamic_ncols=True,
        # In a log file a bar a second is a flood.
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
    )
