"""The valid scans that are damaged: small images of every kind that is read."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_files import encapsulated, frame_group, head_values, make_dataset, make_enhanced, sequence, write_dataset
from fuzzing.elements import BIG_ENDIAN, DEFLATED, IMPLICIT, RawFile, encode_file, parse_file
from planted import MARK, identity

_NAME = 0x00100010
_LARGEST_FILE = 600_000
_SIDE = 32


@dataclass(frozen=True)
class Seed:
    """One valid file.

    Attributes:
        name: What it is.
        content: Its bytes.
        file: Its elements, None if it is damaged as bytes alone.
    """

    name: str
    content: bytes
    file: RawFile | None


@cache
def bundled_seeds() -> tuple[Seed, ...]:
    """Returns the images that pydicom brings for its own tests."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    paths = (path for path in sorted(folder.glob("*.dcm")) if path.stat().st_size < 60_000)
    return tuple(_seed(f"pydicom {path.name}", path.read_bytes()) for path in paths)


@cache
def own_seeds() -> tuple[Seed, ...]:
    """Returns images that are made here."""
    own = [_seed(name, stored(dataset)) for name, dataset in _images().items()]
    signed = next(seed.file for seed in own if seed.name == "signed")
    assert signed is not None
    for name, syntax in (("implicit", IMPLICIT), ("big endian", BIG_ENDIAN), ("deflated", DEFLATED)):
        file = replace(signed, syntax=syntax, meta=[replace(item) for item in signed.meta])
        for element in file.meta:
            if element.tag == 0x00020010:
                element.value = syntax.encode() + b"\0" * (len(syntax) % 2)
        own.append(Seed(name, encode_file(file), file))
    return tuple(own)


def files_in(folder: Path) -> list[Seed]:
    """Returns the files of a folder of any depth, but for large ones, as seeds."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < _LARGEST_FILE)
    return [_seed(path.name, path.read_bytes()) for path in paths if path.suffix not in (".csv", ".md")]


def _seed(name: str, content: bytes) -> Seed:
    file = parse_file(content)
    if file is not None:
        for element in file.dataset:
            if element.tag == _NAME:
                element.value = f"{MARK}^Anna".encode().ljust(14)
        content = encode_file(file)
    return Seed(name, content, file)


def stored(dataset: Dataset) -> bytes:
    """Returns a dataset as a file."""
    with tempfile.TemporaryDirectory() as folder:
        return write_dataset(Path(folder) / "image", dataset).read_bytes()


def _images() -> Mapping[str, Dataset]:
    plain = {
        "signed": _image(PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990),
        "wrapped": _unsigned(12, RescaleIntercept=0.0),
        "8 bit": _unsigned(8, np.uint8, PixelRepresentation=0),
        "32 bit": _image(
            pixels=np.arange(_SIDE**2, dtype=np.int32).reshape(_SIDE, -1), BitsAllocated=32, BitsStored=32, HighBit=31
        ),
        "float": _floats("FloatPixelData", "<f4"),
        "double": _floats("DoubleFloatPixelData", "<f8"),
        "LUT": _with_lut(_image(RescaleSlope=None, RescaleIntercept=None)),
        "MR": _image(Modality="MR", RescaleSlope=None, RescaleIntercept=None),
        "enhanced": _enhanced(5),
    }
    return plain | {
        "RLE": _compressed(_image(), RLELossless),
        "JPEG-LS": _compressed(_image(), JPEGLSLossless),
        "JPEG-LS near": _compressed(_unsigned(12), JPEGLSNearLossless, jls_error=2),
        "JPEG 2000": _compressed(_image(), JPEG2000Lossless),
        "JPEG 2000 lossy": _compressed(_unsigned(12), JPEG2000, j2k_cr=[2]),
        "JPEG lossless": _by_gdcm(_unsigned(16), JPEGLosslessSV1, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        "JPEG process 14": _by_gdcm(_unsigned(12), JPEGLossless, gdcm.TransferSyntax.JPEGLosslessProcess14),
        "JPEG extended": _jpeg(JPEGExtended12Bit),
        "JPEG extended 12 bit": _jpeg(JPEGExtended12Bit, 12),
        "JPEG baseline": _jpeg(JPEGBaseline8Bit),
        "enhanced RLE": _compressed(_enhanced(4), RLELossless),
        "enhanced JPEG 2000": _compressed(_enhanced(3), JPEG2000Lossless),
    }


def _image(**tags: Any) -> Dataset:
    image = head_values(1, _SIDE)[0]
    dataset = make_dataset(**(identity("ISO_IR 192") | {"values": image} | tags))
    dataset.ContrastBolusAgent = "none"
    dataset.BodyPartExamined = "HEAD"
    return dataset


def _unsigned(bits: int, dtype: Any = np.uint16, **tags: Any) -> Dataset:
    pixels = (np.arange(_SIDE**2) * 7 % 2 ** min(bits, 11)).reshape(_SIDE, -1).astype(dtype)
    stored = {"BitsAllocated": 8 * pixels.itemsize, "BitsStored": bits, "HighBit": bits - 1}
    return _image(pixels=pixels, **(stored | tags))


def _floats(keyword: str, dtype: str) -> Dataset:
    content = np.linspace(-1000, 1000, _SIDE**2).astype(dtype)
    bits = 8 * content.itemsize
    absent = dict.fromkeys(("PixelData", "BitsStored", "HighBit", "PixelRepresentation"))
    return _image(BitsAllocated=bits, **absent, **{keyword: content.tobytes()})


def _with_lut(dataset: Dataset) -> Dataset:
    dataset.ModalityLUTSequence = sequence(LUTDescriptor=[256, 0, 16], ModalityLUTType="HU")
    dataset.ModalityLUTSequence[0].add_new("LUTData", "US", list(range(0, 2560, 10)))
    return dataset


def _enhanced(frames: int) -> Dataset:
    return make_enhanced(
        np.rint(head_values(frames, _SIDE) + 1024).astype(np.int16),
        [
            frame_group(
                5.0 * index,
                PixelValueTransformationSequence=sequence(RescaleSlope=1.0, RescaleIntercept=-1024.0),
                CTImageFrameTypeSequence=sequence(FrameType=["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]),
            )
            for index in range(frames)
        ],
        **identity("ISO_IR 192"),
    )


def _compressed(dataset: Dataset, syntax: str, **options: Any) -> Dataset:
    image = pydicom.dcmread(BytesIO(stored(dataset)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.compress(syntax, generate_instance_uid=False, **options)
    return image


def _jpeg(syntax: str, bits: int = 8) -> Dataset:
    """Returns a JPEG image of 8 bits, as baseline or under the name of the extended process, or as one of 12 bits."""
    frame = BytesIO()
    Image.fromarray(np.mod(head_values(1, _SIDE)[0], 256).astype(np.uint8)).save(frame, "JPEG")
    content = frame.getvalue()
    if syntax == JPEGExtended12Bit:
        content = content.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc1\x00\x0b" + bytes([bits]), 1)
    return encapsulated(_unsigned(bits, np.uint8 if bits == 8 else np.uint16), syntax, [content])


def _by_gdcm(dataset: Dataset, syntax: str, process: int) -> Dataset:
    """Compresses an image in a way that pydicom has no encoder for."""
    with tempfile.TemporaryDirectory() as folder:
        reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(write_dataset(Path(folder) / "plain", dataset)))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(process))
        change.SetInput(reader.GetImage())
        change.Change()
        fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
        content = fragments.GetFragment(0).GetByteValue().GetBuffer()
    return encapsulated(dataset, syntax, [content.encode("utf-8", "surrogateescape")])
