"""Files -> Hounsfield units.

The header was read before: a slice is decoded from its `PixelDescription` and the bytes of its pixel data alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from pydicom.config import IGNORE
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from slicewise.errors import UnreadableFileError
from slicewise.imaging.codestream import Fragment, find_frames, read_fragments
from slicewise.imaging.decoder_process import DecoderError, decompress_apart
from slicewise.imaging.decompress import Stored, can_decompress
from slicewise.imaging.dicom import is_compressed, matrix_problem
from slicewise.imaging.elements import LONGEST_SHOWN
from slicewise.imaging.encoding import InflateError, read_inflated
from slicewise.imaging.header import PixelDescription, SliceHeader
from slicewise.imaging.hounsfield import DecodedSlice, convert

_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_TAGS = {"FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009, "PixelData": 0x7FE00010}
_BITS_ALLOCATED = {"FloatPixelData": (32,), "DoubleFloatPixelData": (64,), "PixelData": (8, 16, 32)}


@dataclass(frozen=True, eq=False)
class _PixelData:
    """The pixel data of an open file.

    Attributes:
        stream: In which `PixelDescription.offset` counts.
        swapped: Words of 16 bits carry pixels of 8, the second one first.
        frames: Where the compressed image of every frame lies, None for plain numbers.
    """

    stream: BinaryIO
    swapped: bool
    frames: Sequence[Sequence[Fragment]] | None


def decode_file(headers: Sequence[SliceHeader]) -> Iterator[DecodedSlice | UnreadableFileError]:
    """Decodes frames of one DICOM file, which is opened once. Safe to call from several threads.

    CT values below -1024 HU and pixel padding, DICOM PS3.3 C.7.5.1.1.2, become -1024 HU. MONOCHROME1 asks for an
    inverted display (C.7.6.3.1.2) and leaves the values as they are.

    Args:
        headers: Frames of the file, at least one.

    Yields:
        For every header, in order, its pixels, or why it has none that can be used; `reason` is a code of `REASONS`.
    """
    with ExitStack() as stack:
        try:
            _check(headers[0])
            file = stack.enter_context(headers[0].source.open())
            data = _pixel_data(headers[0], file)
        except (UnreadableFileError, OSError) as error:
            yield from [_as_unreadable(headers[0], error)] * len(headers)
            return
        for header in headers:
            try:
                image = convert(header, _stored_values(header, data))
            except (UnreadableFileError, OSError) as error:
                yield _as_unreadable(header, error)
            else:
                yield image


def decode_slice(header: SliceHeader) -> DecodedSlice:
    """Decodes one frame of a DICOM file; see `decode_file`.

    Raises:
        UnreadableFileError: If the file has no usable pixels.
    """
    outcome = next(decode_file([header]))
    if isinstance(outcome, UnreadableFileError):
        raise outcome
    return outcome


def _as_unreadable(header: SliceHeader, error: UnreadableFileError | OSError) -> UnreadableFileError:
    if isinstance(error, UnreadableFileError):
        return error
    message = (
        f"{header.file}: cannot be read ({error.strerror or 'unknown reason'}). Check the path and its permissions."
    )
    return UnreadableFileError(message, reason="unreadable_path")


def _description(header: SliceHeader) -> PixelDescription:
    assert header.pixels is not None  # None is for NIfTI
    return header.pixels


def _check(header: SliceHeader) -> None:
    """Refuses what cannot be decoded, with a reason that tells more than the decoder would."""
    pixels = _description(header)
    if pixels.samples != 1 or pixels.photometric == "PALETTE COLOR":
        message = f"{header.file}: has colours; expected one grey value a pixel."
        raise UnreadableFileError(message, reason="not_grayscale")
    problem = matrix_problem(header.rows, header.columns)
    if problem:
        raise UnreadableFileError(f"{header.file}: {problem}.", reason="bad_matrix")
    usable = _BITS_ALLOCATED[pixels.keyword]
    if pixels.bits_allocated not in usable:
        message = f"{header.file}: Bits Allocated (0028,0100) is {pixels.bits_allocated}; expected one of {usable}."
        raise UnreadableFileError(message, reason="undecodable")
    compressed = is_compressed(pixels.transfer_syntax)
    if compressed and not can_decompress(pixels.transfer_syntax):
        syntax = UID(pixels.transfer_syntax[:LONGEST_SHOWN], validation_mode=IGNORE)
        raise UnreadableFileError(
            f"{header.file}: no decoder is installed for its transfer syntax {syntax.name} ({syntax}). Store the "
            "images uncompressed.",
            reason="unsupported_transfer_syntax",
        )
    if compressed != (pixels.length is None):
        stored, stated = ("plain", "compressed") if compressed else ("encapsulated", "plain")
        message = f"{header.file}: its pixel data are {stored}, and its transfer syntax says that they are {stated}."
        raise UnreadableFileError(message, reason="undecodable")


def _pixel_data(header: SliceHeader, file: BinaryIO) -> _PixelData:
    """Finds the pixel data of an open file, and the frames in them if they are compressed."""
    pixels = _description(header)
    stream = _stream(header, file)
    vr = _vr(header, stream)
    if not is_compressed(pixels.transfer_syntax):
        big_endian = pixels.transfer_syntax == ExplicitVRBigEndian
        return _PixelData(stream, swapped=big_endian and vr == b"OW" and pixels.bits_allocated == 8, frames=None)
    try:
        return _PixelData(stream, swapped=False, frames=find_frames(stream, pixels.frames))
    except (EOFError, ValueError) as error:
        reason = "truncated" if isinstance(error, EOFError) else "undecodable"
        raise UnreadableFileError(f"{header.file}: {error}. Copy the file again.", reason=reason) from error


def _stream(header: SliceHeader, file: BinaryIO) -> BinaryIO:
    if _description(header).transfer_syntax != DeflatedExplicitVRLittleEndian:
        return file
    try:
        return BytesIO(read_inflated(file))
    except InflateError as error:
        message = f"{header.file}: its deflated dataset cannot be read ({error}). Copy or export the file again."
        raise UnreadableFileError(message, reason=error.reason) from error


def _vr(header: SliceHeader, stream: BinaryIO) -> bytes:
    """Returns the value representation of the pixel data, and leaves the stream where their value begins.

    Raises:
        UnreadableFileError: If the element is no longer where it was when the header was read.
    """
    pixels = _description(header)
    order = ">" if pixels.transfer_syntax == ExplicitVRBigEndian else "<"
    tag = _PIXEL_TAGS[pixels.keyword]
    stored_tag = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    length = struct.pack(f"{order}L", _UNDEFINED_LENGTH if pixels.length is None else pixels.length)
    stream.seek(max(pixels.offset - 12, 0))
    element = stream.read(pixels.offset - stream.tell()).rjust(12, b"\0")
    if element.endswith(length) and element.startswith(stored_tag):  # explicit, DICOM PS3.5 7.1.2
        return element[4:6]
    if element.endswith(length) and element[4:8] == stored_tag:  # implicit, 7.1.3
        return b""
    message = f"{header.file}: was changed after its header had been read. Run again."
    raise UnreadableFileError(message, reason="undecodable")


def _stored_values(header: SliceHeader, data: _PixelData) -> Stored:
    if data.frames is None:
        return _plain(header, data)
    codestream = read_fragments(data.stream, data.frames[header.frame - 1])
    try:
        return decompress_apart(codestream, _description(header), header.rows, header.columns)
    except DecoderError as error:
        message = f"{header.file}: its pixel data cannot be decoded ({error})."
        raise UnreadableFileError(message, reason="undecodable") from error


def _plain(header: SliceHeader, data: _PixelData) -> Stored:
    """Reads the numbers of one frame, DICOM PS3.5 8.1.1 and A.1 to A.3."""
    pixels = _description(header)
    kind = "f" if pixels.keyword != "PixelData" else "i" if pixels.signed else "u"
    order = ">" if pixels.transfer_syntax == ExplicitVRBigEndian else "<"
    dtype = np.dtype(f"{order}{kind}{pixels.bits_allocated // 8}")
    size = header.rows * header.columns * dtype.itemsize
    start = (header.frame - 1) * size
    # A frame of swapped pixels may begin and end within a word.
    before = start % 2 if data.swapped else 0
    after = (before + size) % 2 if data.swapped else 0
    data.stream.seek(pixels.offset + start - before)
    content = data.stream.read(before + size + after)
    if len(content) < before + size + after:
        message = (
            f"{header.file}: {len(content)} bytes of pixel data; {header.rows} x {header.columns} pixels need {size}."
        )
        raise UnreadableFileError(message, reason="truncated")
    if data.swapped:
        content = np.frombuffer(content, np.uint16).byteswap().tobytes()[before : before + size]
    stored: Stored = np.frombuffer(content, dtype).reshape(header.rows, header.columns)
    return stored.astype(dtype.newbyteorder("="), copy=False)
