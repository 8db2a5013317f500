"""Finds the files of the inputs: folders of any depth, zip archives, discs with a DICOMDIR, single files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from slicewise.errors import UnreadableFileError, UsageError
from slicewise.imaging.dicomdir import disc_files, is_dicomdir
from slicewise.results import Rejection
from slicewise.source import Source, archive_problem, displayed, entry_problem, open_archive

_ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip archive begins: with its first entry, or with its directory where it is empty."""

_OPEN_FOLDERS = 64
"""Folders above the present one whose listing stays open; of deeper ones the names are read at once."""


def check_inputs(inputs: Sequence[Path]) -> None:
    """Checks that all inputs are there.

    Raises:
        UsageError: If one does not exist.
    """
    for item in inputs:
        try:
            exists = item.exists()
        except OSError:
            exists = False
        if not exists:
            raise UsageError(f"{item}: there is no such file or folder, or it may not be read")


def walk(inputs: Sequence[Path]) -> Iterator[Source | Rejection]:
    """Yields the files under the inputs, in no particular order, and rejections for what cannot be opened or listed.

    Nothing is held in memory but the path from the input to the present folder, and the directory of an archive.

    Args:
        inputs: Files and folders; of a DICOMDIR the files that it names; of a zip archive its entries.
    """
    for item in inputs:
        if item.is_dir():
            yield from _folder(str(item))
        elif not item.is_file():
            yield _rejection(displayed(item.name), "unreadable_path", "is not a regular file")
        elif _is_archive(item):
            yield from _archive(item, displayed(item.name), "")
        elif is_dicomdir(item):
            yield from disc_files(item)
        else:
            yield Source(str(item), displayed(item.name))


@dataclass(frozen=True, eq=False)
class _Listing:
    """A folder that is being listed.

    Attributes:
        prefix: Its path from the input on, "" or with a slash at its end.
        identity: Device and number by which the system knows it.
        entries: What is left to list.
    """

    prefix: str
    identity: tuple[int, int]
    entries: Iterator[os.DirEntry[str]]


def _folder(top: str) -> Iterator[Source | Rejection]:
    """Yields the files of a folder. No recursion: folders may be nested more deeply than calls."""
    listings: list[_Listing] = []  # from the input to the present folder
    yield from _enter(top, "", listings)
    while listings:
        prefix = listings[-1].prefix
        try:
            entry = next(listings[-1].entries, None)
        except OSError as error:
            yield _rejection(prefix.rstrip("/") or ".", "unreadable_path", f"cannot be listed ({error.strerror})")
            entry = None
        if entry is None:
            listings.pop()
            continue
        shown = prefix + displayed(entry.name)
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:  # as for a link to itself
            yield _rejection(shown, "unreadable_path", f"cannot be followed ({error.strerror})")
            continue
        if is_folder:
            yield from _enter(entry.path, shown, listings)
        elif not is_file:  # could block the reader, as a pipe does
            yield _rejection(shown, "unreadable_path", "is a broken link or not a regular file")
        elif shown.lower().endswith(".zip"):
            yield from _archive(Path(entry.path), shown, f"{shown}/")
        else:
            yield Source(entry.path, shown)


def _enter(folder: str, shown: str, listings: list[_Listing]) -> Iterator[Rejection]:
    """Begins to list a folder, or yields why it is not listed."""
    try:
        found = os.stat(folder)  # noqa: PTH116 - quicker than a Path
    except OSError as error:  # it has just gone
        yield _rejection(shown or ".", "unreadable_path", f"cannot be listed ({error.strerror})")
        return
    identity = (found.st_dev, found.st_ino)
    if found.st_ino and any(identity == above.identity for above in listings):
        yield _rejection(shown, "unreadable_path", "is a link to a folder that contains it, and is not followed")
        return
    listings.append(_Listing(f"{shown}/" if shown else "", identity, _entries(folder, len(listings))))


def _entries(folder: str, depth: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        if depth < _OPEN_FOLDERS:
            yield from entries
            return
        names = list(entries)
    yield from names


def _is_archive(path: Path) -> bool:
    if path.suffix.lower() == ".zip":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _ARCHIVE_STARTS
    except OSError:
        return False  # opening it will tell


def _archive(path: Path, shown: str, prefix: str) -> Iterator[Source | Rejection]:
    """Yields the files of an archive; `prefix` is where its content stands in the input, as in a folder."""
    try:
        archive = open_archive(path)
        entries = archive.infolist()
        problem = archive_problem(entries, path.stat().st_size)
    except UnreadableFileError as error:
        yield Rejection(shown, "unreadable", error.reason, str(error))
        return
    except OSError as error:  # it has just gone
        yield _rejection(shown, "unreadable_path", f"cannot be opened ({error.strerror})")
        return
    if problem:
        yield _rejection(shown, "archive_bomb", problem)
        return
    if not entries and archive.start_dir:  # an empty archive begins with its directory
        yield _rejection(shown, "bad_archive", "its directory lists none of its files. Copy the archive again")
    for index, entry in enumerate(entries):
        name = displayed(entry.filename.replace("\\", "/"))  # some archives have the separator of Windows
        if name.endswith("/"):
            continue
        reason, problem = entry_problem(entry)
        if not problem and name.lower().endswith(".zip"):
            reason, problem = "nested_archive", "is an archive within an archive. Unpack the outer one"
        yield _rejection(prefix + name, reason, problem) if problem else Source(str(path), prefix + name, index)


def _rejection(file: str, reason: str, message: str) -> Rejection:
    return Rejection(file, "unreadable", reason, f"{file}: {message}.")
