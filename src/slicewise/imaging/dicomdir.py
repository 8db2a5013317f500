"""Discs with a DICOMDIR, an index of files, DICOM PS3.3 F.3: which files it names, and where they are on the disk."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydicom.tag import BaseTag, Tag
from pydicom.uid import MediaStorageDirectoryStorage

from slicewise.errors import UnreadableFileError
from slicewise.imaging.elements import DatasetElements
from slicewise.imaging.encoding import open_dataset
from slicewise.imaging.silence import silent_pydicom
from slicewise.results import Rejection, RejectionKind
from slicewise.source import Source, displayed

FileId = tuple[str, ...]
"""Referenced File ID, (0004,1500): the folders and the name of a file, from the folder of the DICOMDIR on."""

_NAME = "dicomdir"
_COPIED_NAMES = ("DICOMDIR", "dicomdir", "DICOMDIR;1", "dicomdir;1")
_META_BYTES = 1 << 12
_RECORDS = "DirectoryRecordSequence"
_UNDEFINED_LENGTH = 0xFFFFFFFF


def is_dicomdir(path: Path) -> bool:
    """Tells a DICOMDIR, or one of the indexes that some scanners write into every folder."""
    if _normalised(path.name) == _NAME:
        return True
    try:
        with path.open("rb") as stream:
            return MediaStorageDirectoryStorage.encode() in stream.read(_META_BYTES)
    except OSError:
        return False  # opening it will tell


def disc_files(dicomdir: Path) -> Iterator[Source]:
    """Yields a DICOMDIR and the files that it names, also through further indexes; `missing_files` tells the others."""
    disc, root, waiting = _Disc(dicomdir.parent), dicomdir.parent, [dicomdir]
    seen = {dicomdir}
    while waiting:
        index = waiting.pop()
        source = Source(str(index), displayed(index.relative_to(root).as_posix()))
        yield source
        with contextlib.suppress(UnreadableFileError):  # reading it will tell
            for file_id in _file_ids(source):
                found = disc.file(file_id) if _is_safe(file_id) else None
                if found is None or found in seen:
                    continue
                seen.add(found)
                if is_dicomdir(found):
                    waiting.append(found)
                else:
                    yield Source(str(found), displayed(found.relative_to(root).as_posix()))


def missing_files(dicomdir: Source) -> Iterator[Rejection]:
    """Yields the files that a DICOMDIR on disk names and that are not there.

    Of a folder that is there they are unreadable: the copy is damaged. Folders that are not there were not copied.

    Raises:
        UnreadableFileError: If the DICOMDIR cannot be parsed.
    """
    if dicomdir.entry >= 0:
        return
    path = Path(dicomdir.path)
    root = _root(path)
    disc, folder = _Disc(root), posixpath.dirname(dicomdir.file)
    for file_id in _file_ids(dicomdir):
        if not _is_safe(file_id):
            file = displayed(posixpath.join(folder, "/".join(file_id).lstrip("/")))
            message = f"{file}: {dicomdir.name} names this path, which leads out of its disc."
            yield Rejection(file, "unreadable", "unsafe_path", message)
        elif disc.file(file_id) is None:
            file = displayed(posixpath.normpath(posixpath.join(folder, _relative(file_id, path.parent, root))))
            message = f"{file}: is named by {dicomdir.name} and not there. Copy the disc again if it is wanted."
            kind: RejectionKind = "unreadable" if disc.has_folder(file_id[:-1]) else "not_chosen"
            yield Rejection(file, kind, "missing_file", message)


class _Disc:
    """Finds files by their ID, whatever became of upper case and version numbers when the disc was copied."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, dict[str, str]] = {}

    def file(self, file_id: FileId) -> Path | None:
        """Returns a file of the disc, None if it is not there."""
        path = self._root.joinpath(*file_id)
        if _is_file(path):
            return path
        found = self._descend(file_id)
        return found if found is not None and _is_file(found) else None

    def has_folder(self, parts: FileId) -> bool:
        """True if a folder of the disc is there."""
        found = self._descend(parts)
        return found is not None and os.path.isdir(found)  # noqa: PTH112 - as in `_is_file`

    def _descend(self, parts: FileId) -> Path | None:
        path = self._root
        for part in parts:
            name = self._names_in(path).get(_normalised(part))
            if name is None:
                return None
            path /= name
        return path

    def _names_in(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 - the names alone
            except OSError:
                names = []
            self._names[folder] = {_normalised(name): name for name in names}
        return self._names[folder]


def _file_ids(dicomdir: Source) -> tuple[FileId, ...]:
    """Returns the ID of every record that has one, DICOM PS3.3 F.3.2.2, sorted."""
    with silent_pydicom(), dicomdir.open() as stream:
        try:
            found = _read_file_ids(stream)
        except Exception as error:  # pydicom raises nearly anything on malformed files
            why = f"this index of files cannot be parsed ({type(error).__name__})"
            message = f"{dicomdir.file}: {why}. Copy the disc again, or name the folder of its images."
            raise UnreadableFileError(message, reason="malformed") from error
    return tuple(sorted(item for item in found if item))


def _read_file_ids(stream: BinaryIO) -> set[FileId]:
    encoded = open_dataset(stream)

    def fail_if_cut(_tag: BaseTag, _vr: str | None, length: int) -> bool:
        if length != _UNDEFINED_LENGTH and encoded.stream.tell() + length > encoded.size:
            raise ValueError("the file ends early")  # pydicom would make something of half an index
        return False

    dataset = encoded.parse([Tag(_RECORDS)], fail_if_cut)
    if _RECORDS not in dataset:
        raise ValueError("there are no directory records")
    return {record.texts("ReferencedFileID") for record in DatasetElements(dataset).items(_RECORDS)}


def _root(index: Path) -> Path:
    """Returns the folder from which the paths of an index count: that of the DICOMDIR."""
    if _normalised(index.name) == _NAME:
        return index.parent
    for folder in index.parents:
        if any(_is_file(folder / name) for name in _COPIED_NAMES):
            return folder
    return index.parent


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - False also for names that are too long, and without permission


def _relative(file_id: FileId, folder: Path, root: Path) -> str:
    return posixpath.relpath("/".join(("", *file_id)), f"/{folder.relative_to(root).as_posix()}")


def _is_safe(file_id: FileId) -> bool:
    return not any(part in ("", ".", "..") or set(part) & set("/\\:\0") for part in file_id)


def _normalised(name: str) -> str:
    return name.split(";", maxsplit=1)[0].rstrip(".").lower()
