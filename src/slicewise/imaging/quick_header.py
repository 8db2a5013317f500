"""The elements of an ordinary DICOM header, some ten times faster than a general parser.

Only what nearly all files are: the DICM prefix, little endian, explicit or implicit value representation, elements in
order, ASCII texts, one frame. For everything else `read_quickly` returns None and `dicom.py` asks pydicom, which stays
the reference: a test holds the two to each other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.datadict import dictionary_VR, tag_for_keyword

_FIRST_BYTES = 1 << 14
_LARGEST_HEADER = 1 << 20
_BEFORE_FIRST = 0x0007FFFF
"""Below the first group of an image; that of the records of a DICOMDIR is lower."""
_DEEPEST = 16
"""Sequences within sequences that are followed."""
_UNDEFINED_LENGTH = 0xFFFFFFFF

_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_TRANSFER_SYNTAX, _META_GROUP = 0x00020010, b"\x02\x00"
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Value representations with a length of four bytes, DICOM PS3.5 7.1.2."""
_SHORT = frozenset(
    f"{vr}".encode()
    for vr in (
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"),
        *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
    )
)
_PRINTABLE = bytes(range(0x20, 0x7F))
"""No escape sequence among them that switches to another character set."""
_ORDINARY = {
    **dict.fromkeys(("CS", "LO", "SH", "UI"), _PRINTABLE),
    "DS": b"0123456789+-.eE \\",
    "IS": b"0123456789+-. \\",
}
"""The characters of values by value representation; other representations are of numbers in binary."""
_NUMBERS = {b"US": "H", b"SS": "h"}
_AS_PIXELS = b"US or SS"
"""Of numbers that are signed if the pixels are; explicit files say which."""

_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
_DICOMDIR = b"1.2.840.10008.1.3.10"

_unpack_tag_and_vr = struct.Struct("<HH2sH").unpack_from
_unpack_tag_and_length = struct.Struct("<HHL").unpack_from
_unpack_length = struct.Struct("<L").unpack_from

Value = str | int
_Reader = Callable[[bytes, int], tuple[int, bytes, int, int]]


class NotOrdinaryError(Exception):
    """The header is not of the kind that is read here."""


@dataclass(frozen=True, eq=False)
class QuickHeader:
    """The elements of one file.

    Attributes:
        values: The values of every wanted element that is there, by keyword; texts as stored, but for padding.
        transfer_syntax: Transfer Syntax UID, (0002,0010).
        pixel_keyword: Which pixel data element the file has.
        pixel_offset: Where its value begins.
        pixel_bytes: Its length, None for encapsulated data.
    """

    values: Mapping[str, tuple[Value, ...]]
    transfer_syntax: str
    pixel_keyword: str
    pixel_offset: int
    pixel_bytes: int | None


@dataclass(frozen=True, slots=True)
class _Wish:
    """One element to read: keyword, value representation, and the characters of its values; None for binary numbers."""

    keyword: str
    vr: bytes
    characters: bytes | None


class Wanted:
    """The elements to read.

    Args:
        keywords: Elements of texts and numbers.
        sequences: Sequences: a file that has one of them is not ordinary.
    """

    def __init__(self, keywords: tuple[str, ...], sequences: tuple[str, ...]) -> None:
        self.tags: list[int] = []
        self.elements: dict[int, _Wish] = {}
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            assert tag is not None, keyword
            vr = dictionary_VR(tag)
            self.elements[tag] = _Wish(keyword, vr.encode(), _ORDINARY.get(vr))
            self.tags.append(tag)
        sequence_tags = [tag for keyword in sequences if (tag := tag_for_keyword(keyword)) is not None]
        self.tags += sequence_tags
        self.stops = frozenset((*_PIXEL_TAGS, *sequence_tags))


def read_quickly(stream: BinaryIO, size: int, wanted: Wanted) -> QuickHeader | None:
    """Reads the header of an ordinary file up to its pixel data.

    Args:
        stream: The file, at its start; it is left anywhere.
        size: Its size in bytes.
        wanted: What to read.

    Returns:
        The header, None if the file is not ordinary, or not sound.
    """
    length = _FIRST_BYTES
    buffer = stream.read(length)
    while True:
        try:
            header = _parse(buffer, wanted)
        except NotOrdinaryError:
            return None
        except (struct.error, IndexError):  # the buffer ends
            if length >= min(size, _LARGEST_HEADER):
                return None
            length *= 8
            buffer += stream.read(length - len(buffer))
            continue
        if header.pixel_offset + (header.pixel_bytes or 0) > size:
            return None
        return header


def _parse(buffer: bytes, wanted: Wanted) -> QuickHeader:
    if buffer[128:132] != b"DICM":
        raise NotOrdinaryError
    syntax, position = _parse_meta(buffer)
    read = _implicit if syntax == _IMPLICIT else _explicit
    if (read is _implicit) == _has_representation(buffer, position):
        raise NotOrdinaryError  # the transfer syntax is wrong
    values, tag, length, position = _read_values(buffer, position, read, wanted)
    if tag not in _PIXEL_TAGS:
        raise NotOrdinaryError
    return QuickHeader(values, syntax, _PIXEL_TAGS[tag], position, None if length == _UNDEFINED_LENGTH else length)


def _read_values(
    buffer: bytes, position: int, read: _Reader, wanted: Wanted
) -> tuple[dict[str, tuple[Value, ...]], int, int, int]:
    """Returns the values of the wanted elements; tag, length and position of the value of the one that stopped it."""
    elements, stops, is_implicit = wanted.elements, wanted.stops, read is _implicit
    values: dict[str, tuple[Value, ...]] = {}
    tag = _BEFORE_FIRST
    while True:
        last = tag
        if is_implicit:
            tag, vr, length, position = _implicit(buffer, position)
        else:  # as in `_explicit`: a hundred calls a file take time
            group, element, vr, length = _unpack_tag_and_vr(buffer, position)
            tag = group << 16 | element
            position += 8
            if vr not in _SHORT:
                if vr not in _LONG:
                    raise NotOrdinaryError
                (length,) = _unpack_length(buffer, position)
                position += 4
        if tag <= last:
            raise NotOrdinaryError
        wish = elements.get(tag)
        if wish is not None:
            content = buffer[position : position + length]
            if len(content) < length:
                raise IndexError
            values[wish.keyword] = _values(content, vr, wish, values)
        elif tag in stops:
            return values, tag, length, position
        elif length == _UNDEFINED_LENGTH:
            position = _skip_sequence(buffer, position, vr, read, _DEEPEST)
            continue
        position += length


def _parse_meta(buffer: bytes) -> tuple[str, int]:
    """Returns the transfer syntax and where the dataset begins, DICOM PS3.10 7.1.

    Raises:
        NotOrdinaryError: If there is no file meta header with a transfer syntax, or one of other files than images.
        struct.error: If the buffer ends.
        IndexError: Likewise.
    """
    position, content = 132, b""
    while buffer.startswith(_META_GROUP, position):
        tag, _, length, position = _explicit(buffer, position)
        if tag == _TRANSFER_SYNTAX:
            content = _content(buffer, position, length)
        position += length
    syntax = content.rstrip(b" \0").decode("ascii", "replace")
    is_uid = syntax.replace(".", "").isdecimal()
    if not is_uid or syntax in (_BIG_ENDIAN, _DEFLATED) or _DICOMDIR in buffer[132:position]:
        raise NotOrdinaryError
    return syntax, position


def _has_representation(buffer: bytes, position: int) -> bool:
    """True if two capital letters stand where those of an explicit value representation would."""
    letters: bytes = _unpack_tag_and_vr(buffer, position)[2]
    return letters.isalpha() and letters.isupper()


def _content(buffer: bytes, position: int, length: int) -> bytes:
    content = buffer[position : position + length]
    if len(content) < length:
        raise IndexError
    return content


def _implicit(buffer: bytes, position: int) -> tuple[int, bytes, int, int]:
    """Returns tag, no value representation, length and position of the value of an element, DICOM PS3.5 7.1.3."""
    group, element, length = _unpack_tag_and_length(buffer, position)
    return group << 16 | element, b"", length, position + 8


def _explicit(buffer: bytes, position: int) -> tuple[int, bytes, int, int]:
    """Returns tag, value representation, length and position of the value of an element, DICOM PS3.5 7.1.2."""
    group, element, vr, length = _unpack_tag_and_vr(buffer, position)
    if vr in _SHORT:
        return group << 16 | element, vr, length, position + 8
    if vr not in _LONG:
        raise NotOrdinaryError
    (length,) = _unpack_length(buffer, position + 8)
    return group << 16 | element, vr, length, position + 12


def _skip_sequence(buffer: bytes, position: int, vr: bytes, read: _Reader, depth: int) -> int:
    """Returns where a sequence of undefined length ends, DICOM PS3.5 7.5."""
    if vr not in (b"SQ", b"") or not depth:
        raise NotOrdinaryError
    while True:
        tag, _, length, position = _implicit(buffer, position)
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise NotOrdinaryError
        position = position + length if length != _UNDEFINED_LENGTH else _skip_item(buffer, position, read, depth)


def _skip_item(buffer: bytes, position: int, read: _Reader, depth: int) -> int:
    while True:
        tag, _, length, end = _implicit(buffer, position)
        if tag == _ITEM_END:
            if length:
                raise NotOrdinaryError
            return end
        _, vr, length, position = read(buffer, position)
        position = (
            position + length if length != _UNDEFINED_LENGTH else _skip_sequence(buffer, position, vr, read, depth - 1)
        )


def _values(content: bytes, stated: bytes, wish: _Wish, before: Mapping[str, tuple[Value, ...]]) -> tuple[Value, ...]:
    """Converts the value of an element; only of the value representation that the dictionary gives it."""
    if wish.characters is None:
        return _numbers(content, stated or _of_implicit(wish, before))
    text = content.rstrip(b"\0 ")
    if (stated and stated != wish.vr) or text.strip(wish.characters):
        raise NotOrdinaryError
    if b"\\" in text:
        return tuple(text.decode("ascii").split("\\"))
    return (text.decode("ascii"),) if text else ()


def _numbers(content: bytes, vr: bytes) -> tuple[Value, ...]:
    code = _NUMBERS.get(vr)
    if code is None or len(content) % 2:
        raise NotOrdinaryError
    return struct.unpack(f"<{len(content) // 2}{code}", content)


def _of_implicit(wish: _Wish, before: Mapping[str, tuple[Value, ...]]) -> bytes:
    if wish.vr != _AS_PIXELS:
        return wish.vr
    signed = before.get("PixelRepresentation")
    if signed == (0,):
        return b"US"
    return b"SS" if signed == (1,) else _AS_PIXELS
