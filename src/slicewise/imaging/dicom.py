"""Reads the header of a DICOM file, whatever state it is in: the many exceptions of pydicom end here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from pydicom.config import IGNORE
from pydicom.tag import BaseTag
from pydicom.uid import UID, MediaStorageDirectoryStorage

from slicewise.errors import UnreadableFileError
from slicewise.imaging.elements import DatasetElements, Elements, QuickElements
from slicewise.imaging.encoding import PREFIX, PREFIX_END, InflateError, found_syntax, open_dataset
from slicewise.imaging.quick_header import QuickHeader, Wanted, read_quickly
from slicewise.source import Source

LARGEST_MATRIX = 4096
"""Rows or columns of the largest image that is read: eight times what CT scanners make."""

_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_LAST_PIXEL_TAG = max(_PIXEL_TAGS)
_DIRECTORY_GROUP = 0x0004
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""The first two bytes of a file without preamble: group 0002 or 0008, the latter also in big endian."""


def matrix_problem(rows: int, columns: int) -> str:
    """Returns what is wrong with Rows and Columns, "" if nothing: they say how much memory the pixels will take."""
    if 0 < rows <= LARGEST_MATRIX and 0 < columns <= LARGEST_MATRIX:
        return ""
    return f"states {rows} x {columns} pixels; expected 1 to {LARGEST_MATRIX} rows and columns"


@dataclass(frozen=True, eq=False)
class DicomFile:
    """What was read of one file.

    Attributes:
        elements: The elements that were asked for.
        transfer_syntax: Transfer Syntax UID, (0002,0010); the plain encoding that was found where it is absent.
        media_class: Media Storage SOP Class UID, (0002,0002), if it is that of a DICOMDIR.
        pixel_keyword: Which pixel data element the file has, None if it has none.
        pixel_offset: Where its value begins; in a deflated file, from the start of the inflated dataset.
        pixel_bytes: Length that this element declares; None without one, and for encapsulated data.
        is_truncated: The file ends within an element.
    """

    elements: Elements
    transfer_syntax: str
    media_class: str
    pixel_keyword: str | None
    pixel_offset: int
    pixel_bytes: int | None
    is_truncated: bool

    @property
    def is_directory(self) -> bool:
        """True for a DICOMDIR, DICOM PS3.3 F.3."""
        return MediaStorageDirectoryStorage in (self.media_class, self.elements.text("SOPClassUID"))

    @property
    def is_compressed(self) -> bool:
        """True unless the pixel data are plain numbers; unknown transfer syntaxes count as compressed."""
        return is_compressed(self.transfer_syntax)


@lru_cache(maxsize=64)
def is_compressed(transfer_syntax: str) -> bool:
    """True unless the pixel data are plain numbers; unknown transfer syntaxes count as compressed."""
    try:
        return UID(transfer_syntax, validation_mode=IGNORE).is_compressed
    except ValueError:
        return True


class _Watch:
    """Notes where the elements of a dataset lie while pydicom reads it, and stops it before the pixel data."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self.pixel_keyword: str | None = None
        self.pixel_offset = 0
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
            self.pixel_keyword, self.pixel_offset, self.pixel_bytes = _PIXEL_TAGS[tag], self._stream.tell(), defined
            return True
        return False

    @property
    def is_truncated(self) -> bool:
        """The dataset ends within an element; what follows a sequence of undefined length cannot be known."""
        if self.pixel_keyword is None:
            return self.end is None or self.end != self._size
        return (self.end or 0) > self._size


def read_dicom(source: Source, wanted: Wanted, *, quickly: bool = True) -> DicomFile:
    """Reads some elements of a DICOM file; must be called within `silent_pydicom`, as must the accessors.

    A file without preamble is read as well, if it begins like a dataset. Reading stops before the pixel data.

    Args:
        source: The file.
        wanted: The elements to read.
        quickly: Try the parser for ordinary headers first; the result is the same.

    Raises:
        UnreadableFileError: If the file cannot be opened, is no DICOM file, or has a header that cannot be parsed
            (reasons unreadable_path, bad_archive, not_dicom, malformed, truncated).
    """
    with source.open() as stream:
        try:
            size = stream.seek(0, 2)
            stream.seek(0)
            header = read_quickly(stream, size, wanted) if quickly else None
            if header is not None:
                return _from_quick(header)
            stream.seek(0)
            return _read(source.file, stream, size, wanted)
        except OSError as error:
            why = error.strerror or "unknown reason"
            message = f"{source.file}: cannot be read ({why}). Check the path and its permissions."
            raise UnreadableFileError(message, reason="unreadable_path") from error


def _from_quick(header: QuickHeader) -> DicomFile:
    return DicomFile(
        elements=QuickElements(header.values),
        transfer_syntax=header.transfer_syntax,
        media_class="",
        pixel_keyword=header.pixel_keyword,
        pixel_offset=header.pixel_offset,
        pixel_bytes=header.pixel_bytes,
        is_truncated=False,
    )


def _read(name: str, stream: BinaryIO, size: int, wanted: Wanted) -> DicomFile:
    start = stream.read(PREFIX_END)
    stream.seek(0)
    has_prefix = start.endswith(PREFIX)
    if not has_prefix and start[:2] not in _FIRST_GROUPS:
        raise _not_dicom(name, "it has neither the DICM prefix nor begins like a dataset")
    try:
        encoded = open_dataset(stream)
        watch = _Watch(encoded.stream, encoded.size)
        dataset = encoded.parse(wanted.tags, watch.stop)
    except InflateError as error:
        message = f"{name}: its deflated dataset cannot be read ({error}). Copy or export the file again."
        raise UnreadableFileError(message, reason=error.reason) from error
    except Exception as error:  # the parser of pydicom raises nearly anything on malformed files
        if isinstance(error, OSError) and error.errno is not None:  # not one of pydicom's own
            raise
        # Its message may quote values of the header, as the name of the patient: the type must do.
        why = f"its header cannot be parsed ({type(error).__name__})"
        if not has_prefix:
            raise _not_dicom(name, why) from error
        reason = "truncated" if stream.tell() >= size else "malformed"
        raise UnreadableFileError(f"{name}: {why}. Copy or export the file again.", reason=reason) from error
    elements = DatasetElements(dataset)
    if not has_prefix and not any(elements.text(keyword) for keyword in ("Modality", "SOPClassUID", "SOPInstanceUID")):
        raise _not_dicom(name, "it has neither the DICM prefix nor the elements that every DICOM object has")
    return DicomFile(
        elements=elements,
        transfer_syntax=encoded.stated_syntax or found_syntax(dataset),
        media_class=encoded.media_class,
        pixel_keyword=watch.pixel_keyword,
        pixel_offset=watch.pixel_offset,
        pixel_bytes=watch.pixel_bytes,
        is_truncated=watch.is_truncated,
    )


def _not_dicom(name: str, why: str) -> UnreadableFileError:
    return UnreadableFileError(f"{name}: expected a DICOM file, but {why}.", reason="not_dicom")
