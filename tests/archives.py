"""Writes zip archives for tests, and damages them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

_SIGNATURE = b"PK\x01\x02"
_FIELDS = {
    "flags": (8, "<H"),
    "method": (10, "<H"),
    "checksum": (16, "<L"),
    "packed": (20, "<L"),
    "size": (24, "<L"),
    "offset": (42, "<L"),
}
"""Place and form of the fields of an entry in the directory of an archive, APPNOTE 4.3.12."""


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Writes an archive of files by name; a name that ends with a slash is a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def zip_folder(path: Path, folder: Path, within: str = "") -> Path:
    """Writes an archive of the files below a folder, `within` a folder of the archive."""
    files = sorted(item for item in folder.rglob("*") if item.is_file())
    contents = {f"{within}{item.relative_to(folder).as_posix()}": item.read_bytes() for item in files}
    return write_zip(path, contents, zipfile.ZIP_STORED)


def change_directory(path: Path, entry: int, **fields: int) -> Path:
    """Changes what the directory of an archive says of an entry, which is not what the entry is."""
    content = bytearray(path.read_bytes())
    place = -1
    for _ in range(entry + 1):
        place = content.index(_SIGNATURE, place + 1)
    for name, value in fields.items():
        offset, form = _FIELDS[name]
        struct.pack_into(form, content, place + offset, value)
    path.write_bytes(content)
    return path
