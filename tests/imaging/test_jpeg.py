from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import JPEGLSLossless

from slicewise.imaging.jpeg import essential_jpeg

PIXELS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def jpeg(**options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", **options)
    return stream.getvalue()


def jpeg_ls() -> bytes:
    return get_encoder(JPEGLSLossless).encode(
        PIXELS,
        encoding_plugin="pyjpegls",
        rows=16,
        columns=16,
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
        bits_allocated=8,
        bits_stored=8,
    )


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def without(codestream: bytes, marker: int) -> bytes:
    start = codestream.index(bytes((0xFF, marker)))
    (length,) = struct.unpack_from(">H", codestream, start + 2)
    return codestream[:start] + codestream[start + 2 + length :]


def test_application_segments_and_comments_are_left_out() -> None:
    plain = without(jpeg(), 0xE0)
    assert essential_jpeg(jpeg(comment=b"Anna", exif=b"Exif\0\0II*\0")) == plain
    assert essential_jpeg(plain) == plain


def test_restarts_fill_bytes_and_padding_are_sound() -> None:
    restarts = jpeg(restart_marker_blocks=1)
    assert b"\xff\xd0" in restarts
    assert essential_jpeg(restarts) == without(restarts, 0xE0)
    filled = jpeg()[:2] + b"\xff\xff" + jpeg()[2:] + b"\0\xff"
    assert essential_jpeg(filled) == essential_jpeg(jpeg())


def test_a_byte_of_jpeg_ls_that_would_be_a_marker_of_jpeg_is_none() -> None:
    codestream = jpeg_ls()
    assert essential_jpeg(codestream) == codestream
    end = codestream.index(b"\xff\xda") + 10
    assert essential_jpeg(codestream[:end] + b"\xff\x7f" + codestream[end:])


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "does not begin"),
        (jpeg()[1:], "does not begin"),
        (jpeg()[:20], "within its header"),
        (jpeg()[:2], "within its header"),
        (jpeg()[:2] + b"\0" + jpeg()[2:], "no marker"),
        (jpeg()[:-2], "ends early"),
        (jpeg_ls().rstrip(b"\0")[:-2], "ends early"),
        (jpeg()[:-10] + b"\xff\xd9" + jpeg()[-10:], "within its pixels"),
        (jpeg()[:-10] + b"\xff\xc4" + jpeg()[-10:], "ends early"),
        (jpeg(progressive=True), "FFC2"),
        (jpeg()[:2] + segment(0x01, b""), "FF01"),
        (jpeg()[:2] + segment(0xC3, b"\xff" + jpeg_ls()[7:15]), "FFC3"),
        (jpeg()[:2] + segment(0xC4, bytes(16)), "FFC4"),
        (jpeg()[:2] + segment(0xC4, b"\0\2" + bytes(15) + b"\1"), "FFC4"),
        (jpeg()[:2] + segment(0xDB, bytes(64)), "FFDB"),
        (jpeg()[:2] + segment(0xDB, b"\x10" + bytes(64)), "FFDB"),
        (jpeg()[:2] + segment(0xDD, b"\0"), "FFDD"),
        (jpeg()[:2] + segment(0xF8, b""), "FFF8"),
        (jpeg()[:2] + segment(0xDA, bytes(10)), "FFDA"),
        (jpeg()[:2] + b"\xff\xdb\0\0" + jpeg()[2:], "FFDB"),
        (jpeg()[:2] + segment(0xDB, bytes(65))[:-1], "FFDB"),
    ],
)
def test_damage(damaged: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        essential_jpeg(damaged)
