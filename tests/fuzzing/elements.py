"""A DICOM file as a tree of raw elements, which is written with whatever is wrong in it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA, TRANSFER_SYNTAX = 0x7FE00010, 0x00020010
LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_GROUP_LENGTH = 0x00020000
_WORD_BYTES = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4, "FD": 8, "OD": 8}


@dataclass
class Element:
    """One element.

    Attributes:
        tag: Group and element number.
        vr: Value representation, two letters or what is to stand there.
        value: What is written as its value, or the items of a sequence.
        is_undefined: It has undefined length.
        stated: The length that is written, whatever the true one is.
    """

    tag: int
    vr: str
    value: bytes | list[Dataset]
    is_undefined: bool = False
    stated: int | None = None


Dataset = list[Element]


@dataclass
class RawFile:
    """One file.

    Attributes:
        start: Preamble and prefix.
        meta: File meta header without its group length, which is worked out unless it is there.
        dataset: The dataset, in memory always as explicit VR little endian.
        syntax: How the dataset is written, whatever the meta header says.
    """

    start: bytes
    meta: Dataset
    dataset: Dataset
    syntax: str = field(default=EXPLICIT)

    def find(self, tag: int) -> Element | None:
        """Returns the first element of the dataset with a tag."""
        return next((element for element in self.dataset if element.tag == tag), None)

    def datasets(self) -> Iterator[Dataset]:
        """Yields the dataset and those within its sequences."""
        yield from _with_items(self.dataset)


def _with_items(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if isinstance(element.value, list):
            for item in element.value:
                yield from _with_items(item)


def parse_file(content: bytes) -> RawFile | None:
    """Reads a valid file in explicit VR little endian, compressed or not; None if it is none."""
    if content[128:132] != b"DICM":
        return None
    try:
        meta, position = _parse(content, 132, len(content), group=2)
        meta = [element for element in meta if element.tag != _GROUP_LENGTH]
        syntax = next(_text(element) for element in meta if element.tag == TRANSFER_SYNTAX)
        if syntax in (IMPLICIT, BIG_ENDIAN, DEFLATED):
            return None
        dataset, _ = _parse(content, position, len(content))
    except (struct.error, StopIteration, UnicodeDecodeError, ValueError):
        return None
    return RawFile(content[:132], meta, dataset)


def _text(element: Element) -> str:
    assert isinstance(element.value, bytes)
    return element.value.decode("ascii").strip("\0 ")


def _parse(content: bytes, position: int, end: int, group: int | None = None) -> tuple[Dataset, int]:
    dataset: Dataset = []
    while position < end:
        high, low = struct.unpack_from("<HH", content, position)
        tag = high << 16 | low
        if tag == _ITEM_END:
            return dataset, position + 8
        if group is not None and high != group:
            break
        vr = content[position + 4 : position + 6].decode("ascii")
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<L", content, position + 8)
            position += 12
        else:
            (length,) = struct.unpack_from("<H", content, position + 6)
            position += 8
        element, position = _parse_value(content, position, tag, vr, length)
        dataset.append(element)
    return dataset, position


def _parse_value(content: bytes, position: int, tag: int, vr: str, length: int) -> tuple[Element, int]:
    is_undefined = length == UNDEFINED
    if vr == "SQ":
        end = len(content) if is_undefined else position + length
        items, position = _parse_items(content, position, end)
        return Element(tag, vr, items, is_undefined), position
    if is_undefined:
        end = content.rindex(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
        return Element(tag, vr, content[position:end], is_undefined), end + 8
    if position + length > len(content):
        raise ValueError("the file ends early")
    return Element(tag, vr, content[position : position + length]), position + length


def _parse_items(content: bytes, position: int, end: int) -> tuple[list[Dataset], int]:
    items: list[Dataset] = []
    while position < end:
        high, low, length = struct.unpack_from("<HHL", content, position)
        position += 8
        if high << 16 | low == _SEQUENCE_END:
            break
        item, position = _parse(content, position, len(content) if length == UNDEFINED else position + length)
        items.append(item)
    return items, position


def encode_file(file: RawFile) -> bytes:
    """Returns the file as it is stored."""
    meta = encode(file.meta, EXPLICIT)
    if all(element.tag != _GROUP_LENGTH for element in file.meta) and file.meta:
        meta = encode([Element(_GROUP_LENGTH, "UL", struct.pack("<L", len(meta)))], EXPLICIT) + meta
    body = encode(file.dataset, file.syntax)
    if file.syntax == DEFLATED:
        body = deflate(body)
    return file.start + meta + body


def deflate(content: bytes) -> bytes:
    """Returns a deflated dataset, DICOM PS3.5 A.5."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def encode(dataset: Dataset, syntax: str) -> bytes:
    """Returns elements as a transfer syntax stores them."""
    return b"".join(_encode_element(element, syntax) for element in dataset)


def _encode_element(element: Element, syntax: str) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    if isinstance(element.value, bytes):
        value = _swapped(element.value, element.vr) if syntax == BIG_ENDIAN else element.value
    else:
        value = b"".join(_encode_item(item, syntax, order) for item in element.value)
    length = UNDEFINED if element.is_undefined else len(value) if element.stated is None else element.stated
    if element.is_undefined:
        value += struct.pack(f"{order}HHL", *divmod(_SEQUENCE_END, 1 << 16), 0)
    start = struct.pack(f"{order}HH", *divmod(element.tag, 1 << 16))
    if syntax == IMPLICIT:
        return start + struct.pack("<L", length & UNDEFINED) + value
    start += element.vr.encode("latin-1")[:2].ljust(2)
    if element.vr in LONG_VRS or element.is_undefined:
        return start + struct.pack(f"{order}HL", 0, length & UNDEFINED) + value
    return start + struct.pack(f"{order}H", min(length, 0xFFFF)) + value


def _encode_item(item: Dataset, syntax: str, order: str) -> bytes:
    content = encode(item, syntax)
    return struct.pack(f"{order}HHL", *divmod(_ITEM, 1 << 16), len(content)) + content


def _swapped(value: bytes, vr: str) -> bytes:
    size = _WORD_BYTES.get(vr, 1)
    whole = len(value) // size * size
    return b"".join(value[at : at + size][::-1] for at in range(0, whole, size)) + value[whole:]
