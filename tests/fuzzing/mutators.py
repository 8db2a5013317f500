"""Ways to damage a DICOM file: byte by byte, or element by element."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from copy import deepcopy

from pydicom.datadict import dictionary_VR, tag_for_keyword

from fuzzing.elements import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, TRANSFER_SYNTAX, Dataset, Element, RawFile
from fuzzing.hostile import hostile_value
from slicewise.imaging.discover import WANTED

_VRS = (
    *(
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FL",
        "FD",
        "IS",
        "LO",
        "LT",
        "OB",
        "OD",
        "OF",
        "OL",
        "OV",
        "OW",
        "PN",
        "SH",
    ),
    *(
        "SL",
        "SQ",
        "SS",
        "ST",
        "SV",
        "TM",
        "UC",
        "UI",
        "UL",
        "UN",
        "UR",
        "US",
        "UT",
        "UV",
        "ZZ",
        "ob",
        "\0\0",
        "  ",
        "??",
    ),
)
_LENGTHS = (0, 1, 2, 7, 254, 65534, 65535, 65536, 1 << 24, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_DEPTHS = (2, 20, 150, 400, 1200, 5000, 60000)

_OF_ITEMS = (
    *(
        "LUTDescriptor",
        "LUTData",
        "FrameType",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
    ),
    *("PixelValueTransformationSequence", "CTReconstructionSequence", "CTImageFrameTypeSequence", "ReferencedFileID"),
    *("ReferencedFileIDInFile", "DirectoryRecordType", "OffsetOfTheNextDirectoryRecord", "SpecificCharacterSet"),
)
_READ = (*WANTED.tags, *(tag for keyword in _OF_ITEMS if (tag := tag_for_keyword(keyword)) is not None))

_SYNTAXES = (
    *(
        IMPLICIT,
        EXPLICIT,
        BIG_ENDIAN,
        DEFLATED,
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
    ),
    *("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"),
    *(
        "1.2.840.10008.1.2.4.100",
        "1.2.840.10008.1.2.8.1",
        "1.2.840.10008.1.2.7.1",
        "1.2.840.10008.1.2.4.94",
        "1.2.3",
        "x",
    ),
    *("", "1.2.840.10008.1.2.1\\1.2.840.10008.1.2", "\xff\xfe", "1.2.840.10008.1.1", "1.2.840.10008.1.2.1.98"),
)

ByteMutator = Callable[[bytes, random.Random], bytes]
FileMutator = Callable[[RawFile, random.Random], None]


def flip_bits(content: bytes, rng: random.Random) -> bytes:
    """Flips a few bits, mostly near the start, where the header is."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 40))):
        if changed:
            changed[_place(changed, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_run(content: bytes, rng: random.Random) -> bytes:
    """Overwrites a run of bytes with one value."""
    start, length = _place(content, rng), rng.choice((1, 2, 4, 8, 100))
    return content[:start] + bytes([rng.choice((0, 255, 0x20, 0x5C, 0xFE))]) * length + content[start + length :]


def set_number(content: bytes, rng: random.Random) -> bytes:
    """Overwrites four bytes with a number, as a length or an offset."""
    start, order = _place(content, rng) & ~1, rng.choice("<>")
    return content[:start] + struct.pack(f"{order}L", rng.choice(_LENGTHS)) + content[start + 4 :]


def truncate(content: bytes, rng: random.Random) -> bytes:
    """Cuts the end off."""
    return content[: rng.choice((_place(content, rng), max(len(content) - rng.randrange(20), 0)))]


def insert_bytes(content: bytes, rng: random.Random) -> bytes:
    """Inserts random bytes."""
    start = _place(content, rng)
    return content[:start] + rng.randbytes(rng.choice((1, 2, 3, 8, 64, 3000))) + content[start:]


def delete_bytes(content: bytes, rng: random.Random) -> bytes:
    """Takes some bytes out."""
    start = _place(content, rng)
    return content[:start] + content[start + rng.choice((1, 2, 3, 8, 64, 3000)) :]


def repeat_bytes(content: bytes, rng: random.Random) -> bytes:
    """Repeats a part of the file."""
    start, length = _place(content, rng), rng.choice((1, 8, 64, 1000))
    return (
        content[: start + length] + content[start : start + length] * rng.choice((1, 2, 50)) + content[start + length :]
    )


def drop_preamble(content: bytes, rng: random.Random) -> bytes:
    """Leaves out the preamble, or the meta header too."""
    return content[rng.choice((128, 132, max(content.find(b"\x08\x00", 132), 0))) :]


def append_bytes(content: bytes, rng: random.Random) -> bytes:
    """Adds a tail, as some transfers do."""
    return content + rng.choice(
        (b"\0", b"\xfc\xff\xfc\xff\0\0", b"\r\n", rng.randbytes(100), b"PK\x05\x06" + bytes(18))
    )


BYTE_MUTATORS: tuple[ByteMutator, ...] = (
    *(flip_bits, flip_bits, set_run, set_number, truncate, insert_bytes, delete_bytes, repeat_bytes, drop_preamble),
    append_bytes,
)


def set_value(file: RawFile, rng: random.Random) -> None:
    """Gives an element that is read a hostile value, wherever it stands; adds it where it is missing."""
    tag = rng.choice(_READ)
    vr = dictionary_VR(tag).split(" ", maxsplit=1)[0]
    places = [(dataset, at) for dataset in file.datasets() for at, item in enumerate(dataset) if item.tag == tag]
    element = Element(tag, vr, hostile_value(vr, rng))
    if places:
        dataset, at = rng.choice(places)
        element.vr = dataset[at].vr if vr != "SQ" else vr
        dataset[at] = element
    else:
        insert_sorted(rng.choice(list(file.datasets())), element)


def set_lut(file: RawFile, rng: random.Random) -> None:
    """Adds a Modality LUT whose descriptor or data lie, DICOM PS3.3 C.11.1."""
    descriptor = Element(0x00283002, *_lut_part(rng, [rng.choice((0, 3, 256)), rng.choice((0, 65535)), 16]))
    data = Element(0x00283006, *_lut_part(rng, [rng.getrandbits(16) for _ in range(rng.choice((0, 1, 3, 256)))]))
    items = [[element for element in (descriptor, data) if rng.random() < 0.95]] * rng.choice((0, 1, 1, 1, 2))
    insert_sorted(file.dataset, Element(0x00283000, "SQ", items, is_undefined=rng.random() < 0.5))


def _lut_part(rng: random.Random, numbers: list[int]) -> tuple[str, bytes]:
    if rng.random() < 0.4:
        vr = rng.choice(("US", "OW", "DS", "IS", "LO", "FD", "UN", "SS", "UL", "UT"))
        return vr, hostile_value(vr, rng)
    return rng.choice(("US", "OW", "SS")), struct.pack(f"<{len(numbers)}H", *numbers)


def set_vr(file: RawFile, rng: random.Random) -> None:
    """Gives an element another value representation."""
    element = _any_element(file, rng)
    element.vr = rng.choice(_VRS)


def set_length(file: RawFile, rng: random.Random) -> None:
    """States a wrong length."""
    element = _any_element(file, rng)
    near = max(len(element.value) + rng.choice((-2, -1, 1, 2, 10)), 0)
    element.stated = rng.choice((near, rng.choice(_LENGTHS)))


def set_undefined(file: RawFile, rng: random.Random) -> None:
    """States an undefined length, with or without an end."""
    element = _any_element(file, rng)
    if rng.random() < 0.5:
        element.is_undefined = not element.is_undefined
    else:
        element.is_undefined, element.stated = False, 0xFFFFFFFF


def delete_element(file: RawFile, rng: random.Random) -> None:
    """Takes an element out."""
    dataset = _any_dataset(file, rng)
    if dataset:
        del dataset[rng.randrange(len(dataset))]


def repeat_element(file: RawFile, rng: random.Random) -> None:
    """Repeats an element, with its value or another."""
    dataset = _any_dataset(file, rng)
    if dataset:
        at = rng.randrange(len(dataset))
        copy = deepcopy(dataset[at])
        if rng.random() < 0.5:
            copy.value = hostile_value(copy.vr, rng)
        dataset[at:at] = [copy] * rng.choice((1, 2, 1000))


def move_element(file: RawFile, rng: random.Random) -> None:
    """Puts an element elsewhere, against the order of tags."""
    source, target = _any_dataset(file, rng), _any_dataset(file, rng)
    if source:
        target.insert(rng.randrange(len(target) + 1), source.pop(rng.randrange(len(source))))


def insert_element(file: RawFile, rng: random.Random) -> None:
    """Inserts an element of a random tag."""
    vr, group = rng.choice(_VRS), rng.choice((0, 2, 4, 8, 9, 0x10, 0x28, 0x6000, 0x7FE0, 0xFFFE, 0xFFFF))
    tag = group << 16 | rng.choice((0, 0x10, 0x1000, 0xE000, 0xE00D, 0xE0DD, rng.getrandbits(16)))
    dataset = _any_dataset(file, rng)
    dataset.insert(rng.randrange(len(dataset) + 1), Element(tag, vr, hostile_value(vr, rng)))


def nest(file: RawFile, rng: random.Random) -> None:
    """Inserts sequences within sequences, far deeper than anyone writes."""
    tag, depth = (
        rng.choice((0x00081140, 0x00283000, 0x52009229, 0x52009230, 0x00091010, 0x00041220)),
        rng.choice(_DEPTHS),
    )
    vr = rng.choice(("SQ", "SQ", "UN"))
    element = Element(tag, vr, nested(tag, vr, depth, implicit=file.syntax == IMPLICIT))
    element.stated = rng.choice((0xFFFFFFFF, None))
    insert_sorted(file.dataset, element)


def nested(tag: int, vr: str, depth: int, *, implicit: bool) -> bytes:
    """Returns the value of a sequence of undefined lengths that holds others to a depth."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    name = struct.pack("<HH", *divmod(tag, 1 << 16)) + (b"" if implicit else vr.encode() + b"\0\0")
    start = item + name + b"\xff\xff\xff\xff"
    return start * depth + item + struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0) * (depth + 1)


def repeat_item(file: RawFile, rng: random.Random) -> None:
    """Repeats or drops the items of a sequence, as functional groups."""
    sequences = [item for dataset in file.datasets() for item in dataset if isinstance(item.value, list)]
    if sequences:
        element = rng.choice(sequences)
        assert isinstance(element.value, list)
        element.value = (element.value * rng.choice((0, 1, 2, 3000)))[rng.choice((0, 0, 1)) :][:3000]


def set_syntax(file: RawFile, rng: random.Random) -> None:
    """States another transfer syntax, or none."""
    syntax = rng.choice(_SYNTAXES)
    file.meta = [element for element in file.meta if element.tag != TRANSFER_SYNTAX]
    if rng.random() < 0.9:
        value = syntax.encode("latin-1")
        insert_sorted(file.meta, Element(TRANSFER_SYNTAX, "UI", value + b"\0" * (len(value) % 2)))


def damage_meta(file: RawFile, rng: random.Random) -> None:
    """Does to the file meta header what is done to datasets."""
    hidden = RawFile(file.start, [], file.meta)
    rng.choice((set_vr, set_length, delete_element, repeat_element, insert_element))(hidden, rng)


def grow_matrix(file: RawFile, rng: random.Random) -> None:
    """States many pixels or frames."""
    sizes = {0x00280010: (4096, 4000, 65535, 1), 0x00280011: (4096, 4000, 65535, 1)}
    for tag, choices in sizes.items():
        replace_value(file, tag, "US", struct.pack("<H", rng.choice(choices)))
    if rng.random() < 0.3:
        replace_value(file, 0x00280008, "IS", rng.choice((b"2", b"9999", b"2147483647", b"-5")).ljust(10))


def replace_value(file: RawFile, tag: int, vr: str, value: bytes) -> None:
    """Sets an element of the dataset."""
    file.dataset = [element for element in file.dataset if element.tag != tag]
    insert_sorted(file.dataset, Element(tag, vr, value))


def insert_sorted(dataset: Dataset, element: Element) -> None:
    """Inserts an element where its tag belongs."""
    dataset.insert(sum(1 for other in dataset if other.tag < element.tag), element)


FILE_MUTATORS: tuple[FileMutator, ...] = (
    *(set_value,) * 12,
    *(set_lut, set_lut, set_vr, set_vr, set_length, set_length, set_undefined, delete_element, delete_element),
    *(repeat_element, repeat_element, move_element, insert_element, insert_element, nest, repeat_item, repeat_item),
    *(set_syntax, set_syntax, damage_meta, grow_matrix),
)


def _place(content: bytes | bytearray, rng: random.Random) -> int:
    size = len(content)
    return rng.randrange(min(size, rng.choice((200, 2000, size))) or 1) if size else 0


def _any_dataset(file: RawFile, rng: random.Random) -> Dataset:
    return file.dataset if rng.random() < 0.6 else rng.choice(list(file.datasets()))


def _any_element(file: RawFile, rng: random.Random) -> Element:
    dataset = _any_dataset(file, rng) or file.dataset or [Element(0x00080008, "CS", b"")]
    return rng.choice(dataset)
