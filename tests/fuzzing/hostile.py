"""Values that no scanner writes, for every kind of element."""

from __future__ import annotations

import random
import struct

# fmt: off
_TEXTS = (
    b"", b" ", b"\\", b"\\\\\\\\", b"nan", b"NaN\\nan\\nan", b"inf", b"-Infinity", b"1e400", b"-1e400", b"1e308",
    b"1e39", b"1e-320", b"-0", b"0", b"1", b"-1", b"1,5", b"0x10", b"1_0", b"+", b"-", b".", b"e", b"12abc", b"1e",
    b"--1", b"1.2..3", b"4294967296", b"99999999999999999999999", b"-2147483649", b"1.0000000000000001",
    b"1\\2\\3\\4\\5\\6\\7", b"\\".join([b"7"] * 5000), b"9" * 5000, b"a" * 65000, b"\t" * 60000 + b"x",
    b" " * 60000 + b"x" + b" " * 5, b"\x00" * 9, b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xd9\xa3", b"\x1b$B0!\x1b(B",
    b"\x1b%/1", b"\xc3\x28", b"a\nb\rc\x0b", b"\x07\x1b[2J", b"../../x", b"C:\\x", b"%s%n{0}", b"=1+1", b"<script>",
    b"1.2.840.10008.1.3.10", b"LOCALIZER", b"DERIVED", b"MONOCHROME1", b"RGB", b"YBR_FULL_422", b"PALETTE COLOR",
    b"MR", b"ISO 2022 IR 87", b"ISO_IR 9999", b"GB18030",
)

_NUMBERS = (
    "0", "-0", "1", "-1", "0.5", "5", "1e-9", "1e-320", "1e-39", "0.001", "9999", "10001", "-10001", "1e5", "1e8",
    "-1e8", "1e9", "1e10", "1e39", "1e300", "1e400", "-1e400", "nan", "inf", "-inf", "", " ", "x", "0.9999", "1.02",
    "0.7071", "16777217", "2147483648", "1e-5", "1.5e+3",
)

_WHOLE = (
    0, 1, 2, 3, 7, 8, 9, 11, 12, 13, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 512, 4095, 4096,
    4097, 32767, 32768, 65533, 65535,
)
# fmt: on

_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e-9, 1e9, 1e39, 1.7e308, float("nan"), float("inf"), float("-inf"))

_BYTES = (b"", b"\0", b"\xff", b"\0\0\0", b"\xff" * 8, b"\0" * 65000, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"SQ")

_PACKED = {"US": "<H", "SS": "<H", "UL": "<L", "SL": "<L", "AT": "<L", "FL": "<f", "FD": "<d"}


def hostile_value(vr: str, rng: random.Random) -> bytes:
    """Returns a value for an element of a value representation, or now and then one for another."""
    if rng.random() < 0.1:
        vr = rng.choice(("DS", "US", "FD", "OB", "LO"))
    if vr in ("DS", "IS") and rng.random() < 0.7:
        count = rng.choice((1, 1, 2, 3, 3, 6, 6, 7))
        return padded("\\".join(rng.choices(_NUMBERS, k=count)).encode())
    if vr in ("FL", "FD"):
        return packed(vr, [rng.choice(_FLOATS) for _ in range(_count(rng))])
    if vr in _PACKED:
        return packed(vr, [_whole(rng) for _ in range(_count(rng))]) + bytes(rng.random() < 0.1)
    if vr in ("OB", "OW", "UN", "SQ"):
        return rng.choice(_BYTES)
    value = rng.choice(_TEXTS)
    return value if rng.random() < 0.1 else padded(value)


def padded(text: bytes) -> bytes:
    """Returns a text of even length."""
    return text + b" " * (len(text) % 2)


def packed(vr: str, numbers: list[float]) -> bytes:
    """Returns numbers as a value representation stores them; those that it cannot hold are cut."""
    code = _PACKED[vr]
    if vr == "FL":
        return b"".join(struct.pack(code, number if abs(number) < 3e38 else float("inf")) for number in numbers)
    if vr == "FD":
        return b"".join(struct.pack(code, number) for number in numbers)
    size = struct.calcsize(code)
    return b"".join(struct.pack(code, int(number) % 256**size) for number in numbers)


def _count(rng: random.Random) -> int:
    return rng.choice((0, 1, 1, 1, 1, 1, 2, 3, 6, 300))


def _whole(rng: random.Random) -> int:
    return rng.choice(_WHOLE) if rng.random() < 0.8 else rng.getrandbits(32)
