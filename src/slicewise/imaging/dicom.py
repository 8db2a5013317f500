"""The one door to pydicom for reading: neither its warnings nor its many exceptions pass it."""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from slicewise.errors import UnreadableFileError

LARGEST_MATRIX = 4096
"""Rows or columns of the largest image that is read: eight times what CT scanners make."""

_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_LAST_PIXEL_TAG = max(_PIXEL_TAGS)
_DIRECTORY_GROUP = 0x0004
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""The first two bytes of a file without preamble: group 0002 or 0008, the latter also in big endian."""


_LOGGER = logging.getLogger("pydicom")


def _drop(_record: logging.LogRecord) -> bool:
    return False


class _Silence:
    """Silences warnings, and their copies in pydicom's log, while at least one thread is inside.

    `warnings.catch_warnings` alone is not safe in threads: overlapping blocks restore each other's filters.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters: warnings.catch_warnings[None] | None = None

    def enter(self) -> None:
        with self._lock:
            if self._filters is None:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                _LOGGER.addFilter(_drop)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._filters is not None:
                _LOGGER.removeFilter(_drop)
                self._filters.__exit__(None, None, None)
                self._filters = None


_SILENCE = _Silence()


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keeps pydicom's warnings about nonconforming values, as invalid UIDs, from the caller; safe in threads.

    They quote values of the header, which may name a patient.
    """
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()


def displayed(name: str) -> str:
    r"""Returns a file name or path as text of UTF-8: bytes that are none are shown as \xff.

    Python holds such bytes as surrogates, which open the file but can be written nowhere.
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def matrix_problem(rows: int, columns: int) -> str:
    """Returns what is wrong with Rows and Columns, "" if nothing: they say how much memory the pixels will take."""
    if 0 < rows <= LARGEST_MATRIX and 0 < columns <= LARGEST_MATRIX:
        return ""
    return f"states {rows} x {columns} pixels; expected 1 to {LARGEST_MATRIX} rows and columns"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """What was read of one file. Accessors give None (or nothing) for what is absent or malformed.

    Attributes:
        dataset: The elements that were asked for.
        transfer_syntax: Transfer Syntax UID, (0002,0010); the plain encoding that was found where it is absent.
        pixel_keyword: Which pixel data element the file has, None if it has none.
        pixel_bytes: Length that this element declares; None without one, and for encapsulated data.
        is_truncated: The file ends within an element.
    """

    dataset: FileDataset
    transfer_syntax: UID
    pixel_keyword: str | None
    pixel_bytes: int | None
    is_truncated: bool

    @property
    def is_directory(self) -> bool:
        """True for a DICOMDIR, DICOM PS3.3 F.3."""
        meta_class = _values(self.dataset.file_meta, "MediaStorageSOPClassUID")
        return MediaStorageDirectoryStorage in (*meta_class, *self.texts("SOPClassUID"))

    @property
    def is_compressed(self) -> bool:
        """True unless the pixel data are plain numbers; unknown transfer syntaxes count as compressed."""
        try:
            return self.transfer_syntax.is_compressed
        except ValueError:
            return True

    def states(self, keyword: str) -> bool:
        """True if an element has a value, even a malformed one."""
        return keyword in self.dataset and self.dataset.get_item(keyword).value not in (None, "", b"")

    def text(self, keyword: str) -> str:
        """Returns an element as text; several values stay joined by backslashes, as stored."""
        return "\\".join(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Returns the values of an element as texts, without padding."""
        return tuple(str(value).strip(" \0") for value in _values(self.dataset, keyword))

    def number(self, keyword: str) -> float | None:
        """Returns the first value of an element as a finite number."""
        values = _values(self.dataset, keyword)
        try:
            number = float(values[0])
        except (IndexError, TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def integer(self, keyword: str) -> int | None:
        """Returns the first value of an element as a whole number."""
        number = self.number(keyword)
        return None if number is None else round(number)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Returns the values of an element as finite numbers, None unless there are exactly `count`."""
        try:
            numbers = tuple(float(value) for value in _values(self.dataset, keyword))
        except (TypeError, ValueError, OverflowError):
            return None
        return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _values(dataset: Dataset, keyword: str) -> tuple[Any, ...]:
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - converters of pydicom raise nearly anything on malformed values
        return ()
    if value is None or value == "":
        return ()
    return tuple(value) if isinstance(value, MutableSequence) else (value,)


class _Watch:
    """Notes where the elements of a dataset lie while pydicom reads it."""

    def __init__(self, stream: BinaryIO, size: int, *, with_pixels: bool) -> None:
        self._stream = stream
        self._size = size
        self._with_pixels = with_pixels
        self.pixel_keyword: str | None = None
        self.pixel_bytes: int | None = None
        self.end: int | None = 0

    def stop(self, tag: BaseTag, _vr: str | None, length: int) -> bool:
        """Tells pydicom to stop before the pixel data, or behind them; an index of files is not read at all."""
        if tag > _LAST_PIXEL_TAG or tag.group == _DIRECTORY_GROUP:
            self.end = self._size
            return True
        defined = None if length == _UNDEFINED_LENGTH else length
        self.end = None if defined is None else self._stream.tell() + defined
        if tag in _PIXEL_TAGS:
            self.pixel_keyword, self.pixel_bytes = _PIXEL_TAGS[tag], defined
            return not self._with_pixels
        return False


def read_dicom(path: Path, keywords: Iterable[str], *, with_pixels: bool = False) -> DicomFile:
    """Reads some elements of a DICOM file; must be called within `silent_pydicom`, as must the accessors.

    A file without preamble is read as well, if it begins like a dataset.

    Args:
        path: The file.
        keywords: The elements to read.
        with_pixels: Read the pixel data too; without, reading stops before them.

    Raises:
        UnreadableFileError: If the path cannot be opened, is no DICOM file, or has a header that cannot be parsed
            (reasons unreadable_path, not_dicom, malformed, truncated).
    """
    try:
        with path.open("rb") as stream:
            return _read(path, stream, keywords, with_pixels=with_pixels)
    except OSError as error:
        raise UnreadableFileError(
            f"{displayed(path.name)}: cannot be opened ({error.strerror or 'unknown reason'}). Check the path and its "
            "permissions.",
            reason="unreadable_path",
        ) from error


def _read(path: Path, stream: BinaryIO, keywords: Iterable[str], *, with_pixels: bool) -> DicomFile:
    size = stream.seek(0, 2)
    stream.seek(0)
    start = stream.read(132)
    stream.seek(0)
    has_prefix = start[128:] == b"DICM"
    if not has_prefix and start[:2] not in _FIRST_GROUPS:
        raise _not_dicom(path, "it has neither the DICM prefix nor begins like a dataset")
    pixel_keywords = tuple(_PIXEL_TAGS.values()) if with_pixels else ()
    tags: list[BaseTag | int] = [tag_for_keyword(keyword) or 0 for keyword in (*keywords, *pixel_keywords)]
    watch = _Watch(stream, size, with_pixels=with_pixels)
    try:
        dataset = read_partial(stream, watch.stop, force=True, specific_tags=tags)
        transfer_syntax = _transfer_syntax(dataset)
    except OSError:
        raise
    except Exception as error:  # the parser of pydicom raises nearly anything on malformed files
        why = f"its header cannot be parsed ({type(error).__name__}: {error})"
        if not has_prefix:
            raise _not_dicom(path, why) from error
        reason = "truncated" if stream.tell() >= size else "malformed"
        raise UnreadableFileError(
            f"{displayed(path.name)}: {why}. Copy or export the file again.", reason=reason
        ) from error
    deflated = transfer_syntax == DeflatedExplicitVRLittleEndian  # positions count in the inflated dataset there
    ends_early = watch.end is None or watch.end != size if watch.pixel_keyword is None else (watch.end or 0) > size
    found = DicomFile(
        dataset, transfer_syntax, watch.pixel_keyword, watch.pixel_bytes, is_truncated=ends_early and not deflated
    )
    if not has_prefix and not (found.text("Modality") or found.text("SOPClassUID") or found.text("SOPInstanceUID")):
        raise _not_dicom(path, "it has neither the DICM prefix nor the elements that every DICOM object has")
    return found


def _not_dicom(path: Path, why: str) -> UnreadableFileError:
    return UnreadableFileError(f"{displayed(path.name)}: expected a DICOM file, but {why}.", reason="not_dicom")


def _transfer_syntax(dataset: FileDataset) -> UID:
    stored = _values(dataset.file_meta, "TransferSyntaxUID")
    if stored:
        return UID(str(stored[0]))
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
