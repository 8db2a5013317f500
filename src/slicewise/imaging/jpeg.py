"""The marker segments of JPEG and JPEG-LS images, looked at before a decoder is.

On damaged segments GDCM ends the whole process, and CharLS never returns from a scan without an end. What is left after
this check are wrong values within a scan, which decoders tell or turn into wrong pixels.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

_START, _END = b"\xff\xd8", 0xD9
_FRAMES = frozenset((0xC0, 0xC1, 0xC3, 0xF7))
"""SOF of the baseline, extended and lossless processes and of JPEG-LS."""
_JPEG_LS_FRAME = 0xF7
_SCAN, _COMMENT = 0xDA, 0xFE
_APPLICATION = range(0xE0, 0xF0)
_HIGHEST_PRECISION = 16

# A scan ends with a marker. 0xFF of a pixel is followed by 0x00 in JPEG, by a byte below 0x80 in JPEG-LS.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_JPEG_LS_SCAN = re.compile(rb"\xff[\x80-\xff]")


def essential_jpeg(codestream: bytes) -> bytes:
    """Checks the marker segments of an image of one component and one scan, ISO/IEC 10918-1 B and 14495-1 C.

    Returns:
        The image without application segments and comments, which decide nothing about the pixels: GDCM may end the
        process on them too.

    Raises:
        ValueError: If a segment does not have the length that its content asks for, is of no use in such an image, or
            the scan has no end.
    """
    if not codestream.startswith(_START):
        raise ValueError("the compressed image does not begin like a JPEG image")
    kept, position, frame = [_START], len(_START), 0
    try:
        while True:
            marker, length = struct.unpack_from(">xBH", codestream, position)
            if codestream[position] != 0xFF:
                raise ValueError("the compressed image has no marker where one is due")
            if marker == 0xFF:  # a fill byte
                position += 1
                continue
            content = codestream[position + 4 : position + 2 + length]
            if marker not in _APPLICATION and marker != _COMMENT:
                _check(marker, length, content)
                kept.append(codestream[position : position + 2 + length])
            position += 2 + length
            if marker in _FRAMES:
                frame = marker
            elif marker == _SCAN:
                return b"".join((*kept, _scan(codestream, position, frame)))
    except (struct.error, IndexError):
        raise ValueError("the compressed image ends within its header") from None


def _check(marker: int, length: int, content: bytes) -> None:
    is_sound = _SEGMENTS.get(marker)
    if is_sound is None or len(content) != length - 2 or not is_sound(content):
        raise ValueError(f"the compressed image has a damaged segment (marker FF{marker:02X})")


def _scan(codestream: bytes, start: int, frame: int) -> bytes:
    """Returns the scan with the marker that ends the image; only padding may follow."""
    found = (_END_OF_JPEG_LS_SCAN if frame == _JPEG_LS_FRAME else _END_OF_SCAN).search(codestream, start)
    if found is None or codestream[found.start() + 1] != _END:
        raise ValueError("the compressed image ends early")
    if codestream[found.end() :].strip(b"\x00\xff"):
        raise ValueError("the compressed image ends within its pixels")
    return codestream[start : found.end()]


def _is_frame(content: bytes) -> bool:
    return len(content) == 9 and content[0] <= _HIGHEST_PRECISION


def _is_huffman(content: bytes) -> bool:
    while content:
        size = 17 + sum(content[1:17])
        if len(content) < size:
            return False
        content = content[size:]
    return True


def _is_quantization(content: bytes) -> bool:
    while content:
        size = 129 if content[0] >> 4 else 65
        if len(content) < size:
            return False
        content = content[size:]
    return True


_SEGMENTS: Mapping[int, Callable[[bytes], bool]] = MappingProxyType(
    dict.fromkeys(_FRAMES, _is_frame)
    | {
        0xC4: _is_huffman,
        0xDB: _is_quantization,
        0xDD: lambda content: len(content) == 2,  # restart interval
        0xF8: lambda content: len(content) > 0,  # JPEG-LS preset parameters: CharLS checks them
        _SCAN: lambda content: len(content) == 6,
    }
)
"""What says of the content of a segment that it is sound, by its marker."""
