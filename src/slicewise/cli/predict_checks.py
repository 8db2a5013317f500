"""What `slicewise predict` refuses before anything is read, and the key of its hashes."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from slicewise.cli.predict_archive import ARCHIVE_FORMATS, check_archive_formats
from slicewise.cli.predict_outputs import DEFAULT_FORMATS, FILES, FORMATS
from slicewise.errors import UsageError
from slicewise.files import is_unfinished

PARTIAL = ".slicewise-partial.sqlite"
"""Outcomes of the studies of a call that has not ended, in its output folder."""


def chosen_formats(text: str, *, anonymous: bool) -> tuple[str, ...]:
    """Returns the formats of `--formats`.

    Raises:
        UsageError: If one is unknown, none is left, or one copies identity into anonymous results.
        MissingExtraError: If one needs a library that is not installed.
    """
    formats = tuple(item.strip() for item in text.split(",") if item.strip())
    copying = [item for item in formats if item in ARCHIVE_FORMATS]
    if anonymous and copying:
        raise UsageError(
            f"--formats {text}: {copying[0]} copies the identity of the patient, which --anonymous leaves out. "
            f"Choose one of the two, or among {', '.join(DEFAULT_FORMATS)}"
        )
    unknown = [item for item in formats if item not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"--formats {text}: expected a list of {', '.join(FORMATS)}")
    check_archive_formats(formats)
    return formats


def check_resume(arguments: argparse.Namespace) -> None:
    """Refuses to go on with what is never kept.

    Raises:
        UsageError: With --resume and --anonymous.
    """
    if arguments.resume and arguments.anonymous:
        raise UsageError(
            "--resume: an anonymous call keeps nothing that names patients, so there is nothing to go on from. Leave "
            "one of --resume and --anonymous out"
        )


def hash_key(arguments: argparse.Namespace, formats: Collection[str]) -> bytes | None:
    """Returns the key of the hashes, None without --anonymous.

    Raises:
        UsageError: If it has no use, lies beside the results, or results that name patients would stay.
    """
    path: Path | None = arguments.anonymous_key
    if not arguments.anonymous:
        if path is not None:
            raise UsageError(f"--anonymous-key {path}: has no use without --anonymous. Add it, or leave the key out")
        return None
    from slicewise.reporting.anonymous import load_or_make_key, random_key

    _refuse_named_results(arguments.output, formats)
    if path is None:
        return random_key()
    if path.resolve().is_relative_to(arguments.output.resolve()):
        raise UsageError(
            f"--anonymous-key {path}: lies in --output, and who has it can tell whose results these are. Choose a file "
            "elsewhere"
        )
    return load_or_make_key(path)


def _refuse_named_results(output: Path, formats: Collection[str]) -> None:
    """Refuses a folder where files of another call, which may name patients, would stay beside anonymous ones."""
    others = [name for item, names in FILES.items() if item not in formats for name in names]
    staying = [name for name in others if (output / name).exists()]
    # What a killed call has left: the journal with SQLite's own files beside it, and files that were being written.
    for folder in (output, output / "report"):
        if folder.is_dir():
            names = (str(path.relative_to(output)) for path in folder.iterdir() if _is_left_over(path.name))
            staying += sorted(names)
    if staying:
        raise UsageError(
            f"--output {output}: {', '.join(dict.fromkeys(staying))} of another call lies there and may name patients. "
            "Choose another folder for --anonymous, or remove all of it"
        )


def _is_left_over(name: str) -> bool:
    return name.startswith(PARTIAL) or is_unfinished(name)
