"""Where the dataset of a DICOM file begins and how it is encoded, DICOM PS3.10 7 and PS3.5 A."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Literal

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from slicewise.imaging.elements import DatasetElements, Elements
from slicewise.imaging.silence import silent_pydicom
from slicewise.source import LARGEST_ENTRY_BYTES

PREFIX, PREFIX_END = b"DICM", 132

StopWhen = Callable[[BaseTag, str | None, int], bool]
"""Is told tag, value representation and length of every element; True ends the reading before it."""

_META_GROUP = 0x0002
_META_TAGS = (Tag("TransferSyntaxUID"), Tag("MediaStorageSOPClassUID"))

_FIRST_GROUP_END = 0x0400
"""The first group of a dataset is lower, unless its bytes are swapped."""

_INFLATED_BYTES, _INFLATED_RATIO = 64 * 1024**2, 50
"""A deflated dataset may be so large, or so many times its file; one that grows further is made to fill memory."""


class InflateError(ValueError):
    """A deflated dataset cannot be inflated.

    Args:
        message: Why.
        reason: A code of `REASONS`.
    """

    def __init__(self, message: str, *, reason: Literal["truncated", "malformed"]) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class EncodedDataset:
    """A dataset before it is parsed.

    Attributes:
        stream: The file, or the inflated dataset if it is deflated; at the start of the dataset.
        size: Size of the stream in bytes.
        stated_syntax: Transfer Syntax UID, (0002,0010), "" where it is absent.
        media_class: Media Storage SOP Class UID, (0002,0002), "" where it is absent.
        is_implicit: Its value representations are implicit; the parser corrects it by the first element.
        is_little_endian: Its numbers are little endian.
    """

    stream: BinaryIO
    size: int
    stated_syntax: str
    media_class: str
    is_implicit: bool
    is_little_endian: bool

    def parse(self, tags: Sequence[int], stop_when: StopWhen) -> Dataset:
        """Reads some elements; of every other one the value is skipped."""
        return read_dataset(
            self.stream, self.is_implicit, self.is_little_endian, stop_when=stop_when, specific_tags=[*tags]
        )


def open_dataset(stream: BinaryIO) -> EncodedDataset:
    """Reads the file meta information up to the dataset; must be called within `silent_pydicom`.

    pydicom would do so itself, but inflates without limit.

    Raises:
        InflateError: If the dataset is deflated and cannot be inflated.
        Exception: Nearly any, as pydicom raises them on malformed files.
    """
    size = stream.seek(0, 2)
    meta = _read_meta(stream)
    syntax = meta.text("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        inflated = inflate(stream.read())
        stream, size = BytesIO(inflated), len(inflated)
    return EncodedDataset(
        stream=stream,
        size=size,
        stated_syntax=syntax,
        media_class=meta.text("MediaStorageSOPClassUID"),
        is_implicit=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian if syntax else _begins_little_endian(stream),
    )


def found_syntax(dataset: Dataset) -> str:
    """Returns the plain transfer syntax that the parser found."""
    is_implicit, is_little_endian = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian


def inflate(content: bytes) -> bytes:
    """Inflates a deflated dataset, DICOM PS3.5 A.5, up to a size that its own suggests.

    Raises:
        InflateError: If it is damaged, ends early or grows further.
    """
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = min(max(_INFLATED_BYTES, _INFLATED_RATIO * len(content)), LARGEST_ENTRY_BYTES)
    try:
        inflated = decompressor.decompress(content, limit)
    except zlib.error as error:
        raise InflateError(str(error), reason="malformed") from error
    if decompressor.unconsumed_tail:
        raise InflateError(f"it inflates to more than {limit / 1024**2:.0f} MiB", reason="malformed")
    if not decompressor.eof:
        raise InflateError("it ends early", reason="truncated")
    return inflated


def read_inflated(stream: BinaryIO) -> bytes:
    """Reads the dataset of a deflated file.

    Raises:
        InflateError: If it cannot be inflated, or the file has no meta header that says where it begins.
    """
    try:
        with silent_pydicom():
            _read_meta(stream)
    except Exception as error:  # pydicom raises nearly anything on malformed files
        raise InflateError("the file meta information is damaged", reason="malformed") from error
    return inflate(stream.read())


def _read_meta(stream: BinaryIO) -> Elements:
    """Reads the file meta information, which is explicit VR little endian; leaves the stream behind it."""
    stream.seek(0)
    if not stream.read(PREFIX_END).endswith(PREFIX):
        stream.seek(0)
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag.group != _META_GROUP,
        specific_tags=[*_META_TAGS],
    )
    return DatasetElements(meta)


def _begins_little_endian(stream: BinaryIO) -> bool:
    start = stream.tell()
    group = int.from_bytes(stream.read(2), "little")
    stream.seek(start)
    return group < _FIRST_GROUP_END
