"""Where the content of one file of an input comes from: the disk, or a zip archive that is read without unpacking it.

Archives come from strangers, so an entry is only read after `entry_problem` has found nothing wrong with it, and never
more of it than its directory states.
"""

from __future__ import annotations

import io
import os
import posixpath
import sys
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from slicewise.errors import UnreadableFileError

LARGEST_ENTRY_BYTES = 2 * 1024**3
"""Longest file that is read from an archive; it is held in memory while it is read."""

_BOMB_BYTES, _BOMB_RATIO = 256 * 1024**2, 200
"""An archive that unpacks to more than both so many bytes and so many times its own size is a bomb.

Head CT shrinks to a third; deflate at its best reaches 1032 times.
"""

_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How entries may be packed. Of other methods `zipfile` unpacks more than an entry states, up to all memory."""


class Source(msgspec.Struct, frozen=True, gc=False):
    r"""One file of an input, on disk or in an archive. It holds no open file and may be sent to other processes.

    Attributes:
        path: The file on disk, or the archive that holds it.
        file: To show and to write: path relative to the input, with forward slashes; bytes of a name that are no
            UTF-8 are shown as \xff.
        entry: Place of the file in the directory of the archive, from 0; -1 for a file on disk.
    """

    path: str
    file: str
    entry: int = -1

    @property
    def name(self) -> str:
        """Name of the file, without folders."""
        return posixpath.basename(self.file)

    def open(self) -> BinaryIO:
        """Opens the file for reading; the stream can seek. A file of an archive is unpacked into memory.

        Raises:
            UnreadableFileError: If it cannot be opened (reasons unreadable_path, bad_archive).
        """
        if self.entry >= 0:
            return io.BytesIO(self._unpacked())
        try:
            return open(self.path, "rb")  # noqa: PTH123 - quicker than a Path; the caller closes it
        except OSError as error:
            why = error.strerror or "unknown reason"
            message = f"{self.file}: cannot be opened ({why}). Check the path and its permissions."
            raise UnreadableFileError(message, reason="unreadable_path") from error

    def _unpacked(self) -> bytes:
        archive = open_archive(Path(self.path))
        try:
            entry = archive.infolist()[self.entry]
            with archive.open(entry) as stream:
                return stream.read(entry.file_size)
        except Exception as error:  # zipfile raises nearly anything on damaged entries
            message = f"{self.file}: cannot be unpacked ({type(error).__name__}). Copy the archive again."
            raise UnreadableFileError(message, reason="bad_archive") from error

    def state(self) -> tuple[int, int]:
        """Returns size and time of change (ns) of the file or its archive; (-1, -1) if it has gone."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return -1, -1
        return found.st_size, found.st_mtime_ns


def displayed(name: str) -> str:
    r"""Returns a file name or path as text of UTF-8: bytes that are none are shown as \xff.

    Python holds such bytes as surrogates, which open the file but can be written nowhere.
    """
    return name.encode("utf-8", sys.getfilesystemencodeerrors()).decode("utf-8", "backslashreplace")


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive, or returns it where it is still open; reading from several threads is safe.

    Raises:
        UnreadableFileError: If it is none or cannot be opened (reasons unreadable_path, bad_archive).
    """
    try:
        found = path.stat()
        return _archive(str(path), found.st_size, found.st_mtime_ns, os.getpid())
    except OSError as error:
        message = f"{displayed(path.name)}: cannot be opened ({error.strerror or 'unknown reason'})."
        raise UnreadableFileError(message, reason="unreadable_path") from error
    except Exception as error:  # zipfile raises nearly anything on damaged archives
        why = f"is no zip archive, or a damaged one ({type(error).__name__})"
        message = f"{displayed(path.name)}: {why}. Copy it again."
        raise UnreadableFileError(message, reason="bad_archive") from error


@lru_cache(maxsize=4)
def _archive(path: str, _size: int, _changed: int, _process: int) -> zipfile.ZipFile:
    # Processes do not share an open archive: each would move the position at which the other reads.
    return zipfile.ZipFile(path)  # its finaliser closes the file


def archive_problem(entries: Sequence[zipfile.ZipInfo], packed: int) -> str:
    """Returns why no entry of an archive should be read, "" if nothing speaks against it.

    Args:
        entries: The directory of the archive.
        packed: Size of the archive in bytes.
    """
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(_BOMB_BYTES, _BOMB_RATIO * packed):
        return (
            f"unpacks to {unpacked / 1024**2:.0f} MiB from {packed / 1024**2:.1f} MiB, as archives made to fill a "
            "machine do. Unpack it yourself if you trust it"
        )
    spans = sorted((entry.header_offset, entry.header_offset + entry.compress_size) for entry in entries)
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        return "holds entries that overlap, as archives made to fill a machine do. Unpack it yourself if you trust it"
    return ""


def entry_problem(entry: zipfile.ZipInfo) -> tuple[str, str]:
    """Returns the reason, a code of `imaging.reasons.REASONS`, and why an entry is not read; ("", "") if it can be."""
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        return "unsafe_path", "its path leads out of the archive"
    if entry.flag_bits & _ENCRYPTED:
        return "encrypted", "is encrypted. Unpack the archive with its password first"
    if entry.compress_type not in _METHODS:
        return "bad_archive", f"is packed by method {entry.compress_type}; expected stored or deflated. Pack it again"
    if entry.file_size > LARGEST_ENTRY_BYTES:
        size = f"{entry.file_size / 1024**3:.1f} GiB"
        return "too_large", f"unpacks to {size}; expected up to {LARGEST_ENTRY_BYTES / 1024**3:g}"
    return "", ""
