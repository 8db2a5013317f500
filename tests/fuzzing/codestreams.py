"""Ways to damage encapsulated pixel data: fragments, offset tables, and the compressed images themselves."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fuzzing.elements import PIXEL_DATA, RawFile
from fuzzing.mutators import BYTE_MUTATORS, replace_value

_JPEG_2000 = b"\xff\x4f\xff\x51"
_JPEG_2000_SIZE, _JPEG_2000_STYLE = b"\xff\x51", b"\xff\x52"
_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7")
_SIDES = (1, 2, 100, 1000, 4095, 4096, 65500, 65535)
_NUMBERS = (0, 1, 2, 15, 64, 255, 4096, 65535, 1 << 16, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF)

Fragments = list[bytes]
FragmentMutator = Callable[[Fragments, random.Random], Fragments]


def damage_encapsulation(file: RawFile, rng: random.Random) -> None:
    """Damages the fragments of encapsulated pixel data; of other files the number of pixel bytes."""
    element = file.find(PIXEL_DATA)
    if element is None or not isinstance(element.value, bytes):
        return
    if not element.is_undefined:
        element.value = rng.choice(BYTE_MUTATORS)(element.value, rng)
        return
    fragments = rng.choice(_FRAGMENT_MUTATORS)(split(element.value), rng)
    element.value = rng.choice((join, join, join, _join_with_lies(rng)))(fragments)
    if rng.random() < 0.1:
        element.is_undefined, element.stated = False, rng.choice((0xFFFFFFFF, None))


def damage_codestream(file: RawFile, rng: random.Random) -> None:
    """Damages the compressed image of one frame."""
    element = file.find(PIXEL_DATA)
    if element is None or not isinstance(element.value, bytes) or not element.is_undefined:
        return
    fragments = split(element.value)
    if len(fragments) > 1:
        at = rng.randrange(1, len(fragments))
        damage = rng.choice((_set_field, _set_field, _damage_start, _damage_start, *BYTE_MUTATORS))
        fragments[at] = damage(fragments[at], rng)
        element.value = join(fragments)


def agree_on_size(file: RawFile, rng: random.Random) -> None:
    """States one large size in the header and in the compressed image, so that only decoding tells."""
    element = file.find(PIXEL_DATA)
    if element is None or not isinstance(element.value, bytes) or not element.is_undefined:
        return
    fragments = split(element.value)
    # The largest matrix is for one frame: of many it is slow, and takes much memory, by right.
    sides = _SIDES if len(fragments) == 2 else [side for side in _SIDES if side <= 1000]
    rows, columns = rng.choice(sides), rng.choice(sides)
    element.value = join([with_size(fragment, rows, columns) for fragment in fragments])
    for tag, number in ((0x00280010, rows), (0x00280011, columns)):
        replace_value(file, tag, "US", struct.pack("<H", number))


def divide(file: RawFile, rng: random.Random) -> None:
    """Divides a large JPEG 2000 image into as many tiles or precincts as it can have: each takes memory."""
    agree_on_size(file, rng)
    element = file.find(PIXEL_DATA)
    if element is not None and isinstance(element.value, bytes) and element.is_undefined:
        tile, precinct = rng.choice((17, 64, 4096)), rng.choice((None, 0x11, 0x22, 0x55))
        element.value = join([divided(fragment, tile, precinct) for fragment in split(element.value)])


def divided(frame: bytes, tile: int, precinct: int | None) -> bytes:
    """Sets the size of tiles, and the exponents of that of precincts, ISO/IEC 15444-1 A.5.1 and A.6.1."""
    style = frame.find(_JPEG_2000_STYLE)
    if not frame.startswith(_JPEG_2000) or style < 32:
        return frame
    changed = bytearray(frame)
    struct.pack_into(">LL", changed, 24, tile, tile)
    if precinct is not None:
        (length,) = struct.unpack_from(">H", changed, style + 2)
        sizes = bytes([precinct]) * (changed[style + 9] + 1)  # one a resolution
        changed[style + 4] |= 1
        struct.pack_into(">H", changed, style + 2, length + len(sizes))
        changed[style + 2 + length : style + 2 + length] = sizes
    return bytes(changed)


PIXEL_MUTATORS = (divide, damage_encapsulation, damage_codestream, damage_codestream, damage_codestream, agree_on_size)


def split(value: bytes) -> Fragments:
    """Returns the offset table and the fragments of encapsulated pixel data, DICOM PS3.5 A.4."""
    fragments, position = [], 0
    while position + 8 <= len(value):
        (length,) = struct.unpack_from("<L", value, position + 4)
        fragments.append(value[position + 8 : position + 8 + length])
        position += 8 + length
    return fragments


def join(fragments: Fragments) -> bytes:
    """Returns fragments as items, the first being the offset table."""
    return b"".join(_item(fragment, len(fragment)) for fragment in fragments)


def _item(content: bytes, length: int) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, length & 0xFFFFFFFF) + content


def _join_with_lies(rng: random.Random) -> Callable[[Fragments], bytes]:
    def joined(fragments: Fragments) -> bytes:
        liar = rng.randrange(len(fragments) or 1)
        lie = rng.choice((-1, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, -len(fragments[liar]) if fragments else 0))
        lengths = [len(fragment) + (lie if at == liar else 0) for at, fragment in enumerate(fragments)]
        return b"".join(_item(fragment, length) for fragment, length in zip(fragments, lengths, strict=True))

    return joined


def _lie_in_table(fragments: Fragments, rng: random.Random) -> Fragments:
    count = rng.choice((1, 1, 2, 3, len(fragments), 20000))
    offsets = [rng.choice((0, 8, 0xFFFFFFFF, 0x80000000, rng.getrandbits(12))) for _ in range(count)]
    return [struct.pack(f"<{count}L", *offsets) + bytes(rng.choice((0, 0, 2))), *fragments[1:]]


def _split_more(fragments: Fragments, rng: random.Random) -> Fragments:
    size = rng.choice((1, 2, 7, 100))
    parts = [frame[at : at + size] for frame in fragments[1:] for at in range(0, len(frame), size)]
    return [*fragments[:1], *parts]


def _repeat(fragments: Fragments, rng: random.Random) -> Fragments:
    return [*fragments, *fragments[1:] * rng.choice((1, 2, 30))]


def _drop(fragments: Fragments, rng: random.Random) -> Fragments:
    del fragments[rng.randrange(len(fragments) or 1) :: rng.choice((1, 2, 100))]
    return fragments


def _add_empty(fragments: Fragments, rng: random.Random) -> Fragments:
    at = rng.randrange(len(fragments) + 1)
    return [*fragments[:at], *[b""] * rng.choice((1, 2, 30000)), *fragments[at:]]


_FRAGMENT_MUTATORS: tuple[FragmentMutator, ...] = (_lie_in_table, _split_more, _repeat, _drop, _add_empty)


def _set_field(frame: bytes, rng: random.Random) -> bytes:
    """Overwrites numbers behind a marker, as sizes, tiles, precincts, levels, precisions and thresholds."""
    changed = bytearray(frame)
    markers = [at for at in range(len(frame) - 4) if frame[at] == 0xFF and 0xC0 <= frame[at + 1] <= 0xFE]
    markers += [at for at in range(len(frame) - 4) if frame[at : at + 2] in (_JPEG_2000_SIZE, _JPEG_2000_STYLE)] * 4
    start = rng.choice(markers[:200]) if markers else 0
    for _ in range(rng.choice((1, 1, 2, 3))):
        code = rng.choice(("B", ">H", ">L", "<L"))
        at = start + 2 + rng.randrange(42)
        if at + struct.calcsize(code) <= len(changed):
            struct.pack_into(code, changed, at, rng.choice(_NUMBERS) % 256 ** struct.calcsize(code))
    return bytes(changed)


def _damage_start(frame: bytes, rng: random.Random) -> bytes:
    changed = bytearray(frame)
    for _ in range(rng.choice((1, 2, 5))):
        if changed:
            changed[rng.randrange(min(len(changed), 150))] = rng.choice(
                (0, 1, 2, 3, 16, 127, 128, 254, 255, rng.getrandbits(8))
            )
    return bytes(changed)


def with_size(frame: bytes, rows: int, columns: int) -> bytes:
    """Sets the size that a compressed image states."""
    changed = bytearray(frame)
    if frame.startswith(_JPEG_2000) and len(frame) >= 24:
        struct.pack_into(">LLLL", changed, 8, columns, rows, 0, 0)
        return bytes(changed)
    places = [at for marker in _FRAMES if (at := frame.find(marker)) >= 0]
    if places and min(places) + 9 <= len(frame):
        struct.pack_into(">HH", changed, min(places) + 5, rows, columns)
    return bytes(changed)
