"""Compressed image -> stored values, always by the same decoders, which have permissive licences."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from slicewise.imaging.codestream import bare_codestream, stated_image
from slicewise.imaging.header import PixelDescription
from slicewise.imaging.jpeg import essential_jpeg
from slicewise.imaging.silence import silent_pydicom

Stored = npt.NDArray[Any]

_PLUGINS: Mapping[str, str] = MappingProxyType(
    {
        RLELossless: "pydicom",
        JPEGBaseline8Bit: "pillow",
        JPEGExtended12Bit: "pillow",
        JPEGLossless: "gdcm",
        JPEGLosslessSV1: "gdcm",
        JPEGLSLossless: "pyjpegls",
        JPEGLSNearLossless: "pyjpegls",
        JPEG2000Lossless: "pylibjpeg",
        JPEG2000: "pylibjpeg",
        HTJ2KLossless: "pylibjpeg",
        HTJ2KLosslessRPCL: "pylibjpeg",
        HTJ2K: "pylibjpeg",
    }
)
"""The plug-in of pydicom that decodes a transfer syntax. No other is tried, so that results do not depend on what else
is installed; pylibjpeg stands for pylibjpeg-openjpeg here, pylibjpeg-libjpeg is GPL. JPEG extended of 12 bits goes past
them, to GDCM.
"""

_FRAGILE = frozenset((JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless))
"""What GDCM and CharLS decode: they crash or run for ever on some damaged images."""


def can_decompress(transfer_syntax: str) -> bool:
    """True if the decoder of a transfer syntax is installed."""
    plugin = _PLUGINS.get(transfer_syntax)
    return plugin is not None and plugin in get_decoder(UID(transfer_syntax)).available_plugins


def decompress(codestream: bytes, pixels: PixelDescription, rows: int, columns: int) -> Stored:
    """Decodes one compressed image. Safe to call from several threads.

    Args:
        codestream: The image, as `read_fragments` returns it.
        pixels: How its header describes it.
        rows: Rows, (0028,0010).
        columns: Columns, (0028,0011).

    Returns:
        Stored values, shape (rows, columns), of the type that Bits Allocated and Pixel Representation ask for. Those
        of RLE still hold the bits beyond Bits Stored.

    Raises:
        BaseException: Nearly anything on malformed data; a panic of a decoder written in Rust is no Exception.
    """
    syntax = UID(pixels.transfer_syntax)
    codestream = essential_jpeg(codestream) if syntax in _FRAGILE else bare_codestream(codestream)
    stated = None if syntax == RLELossless else stated_image(codestream)
    if syntax != RLELossless and (stated is None or stated[:3] != (rows, columns, 1)):
        raise ValueError(f"the compressed image does not state the {rows} x {columns} grey values of its header")
    if stated is not None and stated.bits > pixels.bits_allocated:  # pydicom would cut the values
        raise ValueError(f"the compressed image has {stated.bits} bits a pixel, its header {pixels.bits_allocated}")
    if syntax == JPEGExtended12Bit and stated is not None and stated.bits == 12:
        return _extended_12_bit(codestream, pixels, rows, columns)
    options: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(pixels.signed),
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored or pixels.bits_allocated,
        "pixel_keyword": pixels.keyword,
    }
    if syntax == RLELossless:  # pydicom would take the lowest bits, whatever High Bit says
        options["correct_unused_bits"] = False
    with silent_pydicom():
        stored, _ = get_decoder(syntax).as_array(
            encapsulate([codestream]), index=0, decoding_plugin=_PLUGINS[syntax], **options
        )
    return stored


def _extended_12_bit(codestream: bytes, pixels: PixelDescription, rows: int, columns: int) -> Stored:
    """Decodes JPEG extended (process 4) by GDCM itself, which can: pydicom's plug-in refuses more than 8 bits."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(codestream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    # 12 bits allocated choose its 12-bit decoder, whose values have 16 bits; with 16 it tries another one first, which
    # writes an error to the terminal.
    image.SetPixelFormat(gdcm.PixelFormat(1, 12, 12, 11, int(pixels.signed)))
    image.SetDataElement(element)
    content = image.GetBuffer()  # bytes in a text, as SWIG hands out a char *
    if content is None:
        raise ValueError("GDCM cannot decode the compressed image")
    stored = np.frombuffer(content.encode("utf-8", "surrogateescape"), "<u2").reshape(rows, columns)
    if pixels.signed:
        stored = (stored << 4).view("<i2") >> 4
    return stored.astype(f"{stored.dtype.kind}{pixels.bits_allocated // 8}")
