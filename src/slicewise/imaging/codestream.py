"""Compressed images in encapsulated pixel data: where each of them lies, and what it states about itself.

The latter is what a decoder takes memory for, whatever the DICOM header says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import BinaryIO, NamedTuple

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MOST_FRAGMENTS = 4096
"""Fragments of one frame: no writer splits images so finely, and the list of far more would fill memory."""

_JPEG, _JPEG_2000, _JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xDA)))
_NO_FRAME = frozenset((0xC4, 0xC8, 0xCC))
_JPEG_LS_FRAME = 0xF7


class Fragment(NamedTuple):
    """A piece of encapsulated pixel data: where its content begins in the stream, and how many bytes it has."""

    start: int
    length: int


class StatedImage(NamedTuple):
    """What a compressed image states about itself; `bits` are those of a component."""

    rows: int
    columns: int
    components: int
    bits: int


def find_frames(stream: BinaryIO, frames: int) -> list[list[Fragment]]:
    """Finds the fragments of every frame of encapsulated pixel data, DICOM PS3.5 A.4.

    A frame has one fragment wherever that is possible. Else the Basic Offset Table tells where frames begin, and where
    that is empty or wrong the images themselves do. An Extended Offset Table is not needed: with it, every frame is
    one fragment (PS3.3 C.7.6.3.1.8).

    Args:
        stream: It stands where the value of the pixel data begins.
        frames: Number of Frames, (0028,0008).

    Raises:
        EOFError: If the pixel data end within a fragment: decoders make something of half an image.
        ValueError: If they are not encapsulated, or cannot be divided into so many frames.
    """
    table, *fragments = _items(stream, _MOST_FRAGMENTS * frames)
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if frames == 1 and fragments:
        return [fragments]
    starts = _starts_by_table(stream, table, fragments)
    if len(starts) != frames:
        starts = _starts_by_content(stream, fragments)
    if len(starts) != frames or starts[0] != 0:
        raise ValueError(f"{len(fragments)} fragments cannot be divided into {frames} frames")
    return [fragments[start:end] for start, end in pairwise([*starts, len(fragments)])]


def read_fragments(stream: BinaryIO, fragments: Sequence[Fragment]) -> bytes:
    """Reads the compressed image of one frame."""
    parts = []
    for fragment in fragments:
        stream.seek(fragment.start)
        parts.append(stream.read(fragment.length))
    return b"".join(parts)


def bare_codestream(content: bytes) -> bytes:
    """Returns a JPEG 2000 or HTJ2K codestream without the boxes of a JP2 file, which DICOM forbids and some write.

    A decoder would follow the boxes, maybe to another codestream than the one whose size is looked at.
    """
    start = content.find(_JPEG_2000, 0, 256) if content.startswith(_JP2) else 0
    return content[max(start, 0) :]


def stated_image(codestream: bytes) -> StatedImage | None:
    """Reads the frame header of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream.

    ISO/IEC 10918-1 B.2.2 (SOF), 14495-1 C.2.2 (SOF55), 15444-1 A.5.1 (SIZ).

    Returns:
        None if it is none of them, or states no size where it has to.
    """
    try:
        if codestream.startswith(_JPEG_2000):
            right, lower, left, upper = struct.unpack_from(">4L", codestream, 8)
            components, depth = struct.unpack_from(">HB", codestream, 40)
            return StatedImage(lower - upper, right - left, components, (depth & 0x7F) + 1)
        return _jpeg_image(codestream) if codestream.startswith(_JPEG) else None
    except (struct.error, IndexError):
        return None


def _items(stream: BinaryIO, most: int) -> list[Fragment]:
    """Finds the items up to the Sequence Delimitation Item, which some writers leave out at the end of the file."""
    position = stream.tell()
    size = stream.seek(0, 2)
    items: list[Fragment] = []
    while position < size and len(items) <= most:
        stream.seek(position)
        header = stream.read(8)
        if len(header) < 8:
            raise EOFError("the pixel data end within the header of a fragment")
        tag, length = struct.unpack("<4sL", header)
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM:
            raise ValueError("the pixel data are no sequence of fragments")
        items.append(Fragment(position + 8, length))
        position += 8 + length
    if position > size:
        raise EOFError("the pixel data end within a fragment")
    if not 1 < len(items) <= most:
        raise ValueError("the pixel data have no fragments, or far too many")
    return items


def _starts_by_table(stream: BinaryIO, table: Fragment, fragments: Sequence[Fragment]) -> list[int]:
    """Returns the fragments with which frames begin by the Basic Offset Table, none if it does not fit them."""
    content = read_fragments(stream, [table])
    offsets = [offset for (offset,) in struct.iter_unpack("<L", content[: len(content) // 4 * 4])]
    places = {fragment.start - fragments[0].start: index for index, fragment in enumerate(fragments)}
    starts = [places.get(offset, -1) for offset in offsets]
    return starts if starts[:1] == [0] and all(one < other for one, other in pairwise(starts)) else []


def _starts_by_content(stream: BinaryIO, fragments: Sequence[Fragment]) -> list[int]:
    """Returns the fragments with which compressed images begin."""
    starts = []
    for index, fragment in enumerate(fragments):
        stream.seek(fragment.start)
        if stream.read(min(fragment.length, len(_JPEG_2000))).startswith((_JPEG, _JPEG_2000)):
            starts.append(index)
    return starts


def _jpeg_image(codestream: bytes) -> StatedImage | None:
    position = 2
    while codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == _JPEG_LS_FRAME:
            bits, rows, columns, components = struct.unpack_from(">BHHB", codestream, position + 4)
            return StatedImage(rows, columns, components, bits)
        else:
            position += 2 + int(struct.unpack_from(">H", codestream, position + 2)[0])
    return None
