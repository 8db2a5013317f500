"""NIfTI files, zip archives and DICOMDIRs with something wrong in them."""

from __future__ import annotations

import gzip
import io
import random
import struct
import warnings
import zipfile
import zlib
from functools import cache
from typing import Any

import nibabel
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from dicom_files import head_values, make_dataset, seeded_uid, sequence
from fuzzing.elements import DEFLATED, Element, RawFile, encode, encode_file, parse_file
from fuzzing.hostile import padded
from fuzzing.mutators import BYTE_MUTATORS, FILE_MUTATORS, FileMutator, insert_sorted
from fuzzing.seeds import Seed, own_seeds, stored

_DIRECTORY = "DICOMDIR"
_NIFTI_FIELDS = (
    *((0, "<i"), (40, "<8h"), (42, "<h"), (44, "<h"), (46, "<h"), (48, "<h"), (50, "<h"), (70, "<h"), (72, "<h")),
    *((76, "<f"), (80, "<f"), (84, "<f"), (88, "<f"), (108, "<f"), (112, "<f"), (116, "<f"), (123, "B"), (252, "<h")),
    *(
        (254, "<h"),
        (256, "<f"),
        (260, "<f"),
        (264, "<f"),
        (268, "<f"),
        (280, "<f"),
        (284, "<f"),
        (296, "<f"),
        (300, "<f"),
    ),
    *((312, "<f"), (316, "<f"), (320, "<f"), (344, "<i")),
)
_WHOLE = (0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 128, 256, 348, 512, 540, 1024, 4096, 4097, 32767, -32768)
_FLOATS = (0.0, -1.0, 1.0, 0.5, 1e-30, 1e-4, 1e4, 1e9, 1e30, float("nan"), float("inf"), float("-inf"), 352.5, -352.0)

_ENTRY, _DIRECTORY_ENTRY, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_ENTRY_NAMES = (
    *(
        "a.dcm",
        "b/c/d",
        "../up.dcm",
        "/root.dcm",
        "C:\\x.dcm",
        "a\\..\\..\\b",
        " ",
        ".",
        "..",
        "a/",
        "n\u00e4me",
        "\u202egpj.exe",
    ),
    *("a" * 3000, "DICOMDIR", "x.zip", "x.nii", "x.nii.gz", "__MACOSX/._a", "a\x00b", "a\nb", "con", "=cmd()", "a.dcm"),
)

Files = dict[str, bytes]


@cache
def _niftis() -> dict[str, bytes]:
    """Returns volumes as they are stored, without compression."""
    values, affine = head_values(4, 16).transpose(2, 1, 0), np.diag([-9.0, -9.0, 5.0, 1.0])
    one: Any = nibabel.Nifti1Image
    two: Any = nibabel.Nifti2Image
    volumes = {
        "int16": one(values.astype(np.int16), affine),
        "float": one(values, affine[[1, 2, 0, 3]]),
        "uint8": one((values * 0).astype(np.uint8), affine),
        "second version": two(values.astype(np.int32), affine),
    }
    return {name: volume.to_bytes() for name, volume in volumes.items()}


def damaged_nifti(rng: random.Random, others: list[Seed]) -> tuple[str, Files]:
    """Damages a NIfTI file: header fields, bytes, or its compression."""
    content = rng.choice([*_niftis().values(), *(seed.content for seed in others)])
    is_packed = content[:2] == b"\x1f\x8b"
    if is_packed and rng.random() < 0.7:
        content, is_packed = gzip.decompress(content), False
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not is_packed and rng.random() < 0.75:
            content = _with_field(content, rng)
        else:
            content = rng.choice(BYTE_MUTATORS)(content, rng)
    if is_packed or rng.random() < 0.4:
        content = content if is_packed else gzip.compress(content, 1, mtime=0)
        if rng.random() < 0.5:
            content = rng.choice(BYTE_MUTATORS)(content, rng)
        return "scan.nii.gz", {"scan.nii.gz": content}
    return "scan.nii", {"scan.nii": content}


def _with_field(content: bytes, rng: random.Random) -> bytes:
    start, code = rng.choice(_NIFTI_FIELDS)
    size = struct.calcsize(code)
    count = size // struct.calcsize(code[-1])
    choices: tuple[float, ...] = _FLOATS if code[-1] == "f" else _WHOLE
    if code[-1] == "B":
        value = struct.pack("B", rng.randrange(256))
    else:
        value = struct.pack(code, *(rng.choice(choices) for _ in range(count)))
    if rng.random() < 0.1:
        value = value[::-1]
    return content[:start] + value + content[start + size :]


def damaged_archive(rng: random.Random, inner: Files) -> tuple[str, Files]:
    """Packs files, then damages the archive or its names."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that stand twice
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in inner.items():
                entry = zipfile.ZipInfo(rng.choice(_ENTRY_NAMES) if rng.random() < 0.3 else name)  # of a fixed date
                archive.writestr(entry, content, method)
    content = buffer.getvalue()
    for _ in range(rng.choice((0, 1, 1, 2))):
        content = _with_record(content, rng) if rng.random() < 0.6 else rng.choice(BYTE_MUTATORS)(content, rng)
    return "scans.zip", {"scans.zip": content}


def _with_record(content: bytes, rng: random.Random) -> bytes:
    """Overwrites a field of an entry, of the directory or of its end."""
    signature = rng.choice((_ENTRY, _DIRECTORY_ENTRY, _DIRECTORY_ENTRY, _END))
    places = [at for at in range(len(content)) if content.startswith(signature, at)]
    if not places:
        return content
    start, code = rng.choice(places) + rng.randrange(4, 46, 2), rng.choice(("<H", "<L"))
    number = rng.choice((0, 1, 8, 9, 12, 14, 98, 99, 0xFFFF, 1 << 20, 1 << 28, 0x7FFFFFFF, 0xFFFFFFFF))
    value = struct.pack(code, number % 256 ** struct.calcsize(code))
    return content[:start] + value + content[start + len(value) :]


@cache
def _disc() -> Files:
    """Returns a disc of three images with its DICOMDIR."""
    files = {}
    index = Dataset()
    index.DirectoryRecordSequence = sequence(DirectoryRecordType="PATIENT", PatientID="P1")
    for number, values in enumerate(head_values(3, 16)):
        image = make_dataset(
            values=values, sop_uid=seeded_uid("disc", number), ImagePositionPatient=[0.0, 0.0, 5.0 * number]
        )
        name = f"PT000000/SE000000/IM{number:06d}"
        files[name] = stored(image)
        index.DirectoryRecordSequence += sequence(DirectoryRecordType="IMAGE", ReferencedFileID=name.split("/"))
    index.SOPClassUID = MediaStorageDirectoryStorage
    return {**files, _DIRECTORY: stored(index)}


def damaged_disc(rng: random.Random) -> tuple[str, Files]:
    """Damages a DICOMDIR, or takes a file away that it names."""
    files = dict(_disc())
    if rng.random() < 0.2:
        del files[rng.choice([name for name in files if name != _DIRECTORY])]
    index = parse_file(files[_DIRECTORY])
    assert index is not None
    if rng.random() < 0.7:
        for _ in range(rng.choice((1, 1, 2))):
            rng.choice((_with_file_id(rng), *FILE_MUTATORS))(index, rng)
        files[_DIRECTORY] = encode_file(index)
    if rng.random() < 0.4:
        files[_DIRECTORY] = rng.choice(BYTE_MUTATORS)(files[_DIRECTORY], rng)
    return rng.choice((_DIRECTORY, _DIRECTORY, "")), files


def _with_file_id(rng: random.Random) -> FileMutator:
    file_id = rng.choice(
        (
            b"..\\..\\etc\\passwd",
            b"\\ABS",
            b".",
            b"DICOMDIR",
            b"A\\..\\B",
            b"",
            b"PT000000",
            b"A" * 60000,
            b"\\".join([b"D"] * 3000),
        )
    )

    def set_file_id(file: RawFile, _: random.Random) -> None:
        records = [dataset for dataset in file.datasets() if any(item.tag == 0x00041500 for item in dataset)]
        if records:
            record = rng.choice(records)
            record[:] = [item for item in record if item.tag != 0x00041500]
            insert_sorted(record, Element(0x00041500, "CS", padded(file_id)))

    return set_file_id


def bomb(rng: random.Random, megabytes: int) -> tuple[str, Files]:
    """Returns a small file that unpacks to a large one."""
    return rng.choice((_zip_bomb, _overlapping_bomb, _deflated_bomb, _nifti_bomb, _endless_deflated))(megabytes)


@cache
def _zip_bomb(megabytes: int) -> tuple[str, Files]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.dcm"), _large_image(megabytes), zipfile.ZIP_DEFLATED)
    return "scans.zip", {"scans.zip": buffer.getvalue()}


@cache
def _overlapping_bomb(megabytes: int) -> tuple[str, Files]:
    """Many entries of a directory that share one content, as in D. Fifield's zip bomb, USENIX WOOT 2019."""
    (content,) = _zip_bomb(min(megabytes, 20))[1].values()
    start = content.index(_DIRECTORY_ENTRY)
    end = content.index(_END)
    entry, count = content[start:end], 2000
    tail = struct.pack("<4s4H2LH", _END, 0, 0, count, count, len(entry) * count, start, 0)
    return "scans.zip", {"scans.zip": content[:start] + entry * count + tail}


@cache
def _deflated_bomb(megabytes: int) -> tuple[str, Files]:
    return "image.dcm", {"image.dcm": _deflated(_large_image(megabytes)[132:])}


@cache
def _endless_deflated(megabytes: int) -> tuple[str, Files]:
    """A deflated dataset that ends within its data."""
    content = _deflated(_large_image(megabytes)[132:])
    return "image.dcm", {"image.dcm": content[: len(content) * 2 // 3]}


def _deflated(dataset: bytes) -> bytes:
    meta = encode([Element(0x00020010, "UI", padded(DEFLATED.encode()))], DEFLATED)
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return bytes(128) + b"DICM" + meta + compressor.compress(dataset) + compressor.flush()


def _large_image(megabytes: int) -> bytes:
    """Returns an image with far too many bytes of pixels."""
    seed = next(seed for seed in own_seeds() if seed.name == "signed")
    assert seed.file is not None
    elements = [item for item in seed.file.dataset if item.tag != 0x7FE00010]
    elements.append(Element(0x7FE00010, "OW", bytes(megabytes << 20)))
    return seed.content[:132] + encode(seed.file.meta, DEFLATED) + encode(elements, DEFLATED)


@cache
def _nifti_bomb(megabytes: int) -> tuple[str, Files]:
    content = bytearray(_niftis()["int16"][:352])
    struct.pack_into("<4h", content, 40, 3, 512, 512, megabytes * 2)
    return "scan.nii.gz", {"scan.nii.gz": gzip.compress(bytes(content) + bytes(megabytes << 20), 1, mtime=0)}
