"""The headers of any number of files, kept on disk: memory does not grow with the archive that is read."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.series import Series, Study, group_studies
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection

_TABLES = """
    CREATE TABLE images (study BLOB NOT NULL, file BLOB NOT NULL, header BLOB NOT NULL);
    CREATE TABLE rejections (file BLOB NOT NULL, series BLOB, rejection BLOB NOT NULL);
"""
_INDEXES = """
    CREATE INDEX images_by_study ON images (study, file);
    CREATE INDEX rejections_by_series ON rejections (series) WHERE series IS NOT NULL;
"""


class Inventory:
    """What was found in the inputs. A context manager: the temporary database goes when it is closed.

    SQLite keeps a database without a name in memory while it is small and in a temporary file as it grows.
    """

    def __init__(self) -> None:
        # A generator over it may be consumed by another thread than the one that began it.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Discards the inventory."""
        self._database.close()

    def add(self, item: SliceHeader | Rejection) -> None:
        """Adds an image, or a file that is none."""
        content = pickle.dumps(item)
        if isinstance(item, Rejection):
            series = _key(item.series_uid) if item.kind == "unreadable" and item.series_uid else None
            self._database.execute("INSERT INTO rejections VALUES (?, ?, ?)", (_key(item.path), series, content))
        else:
            self._database.execute("INSERT INTO images VALUES (?, ?, ?)", (_study_key(item), _key(item.file), content))

    def index(self) -> None:
        """Makes ready for reading, once everything was added."""
        self._database.executescript(_INDEXES)

    @property
    def study_count(self) -> int:
        """Number of Study Instance UIDs."""
        (count,) = self._database.execute("SELECT COUNT(DISTINCT study) FROM images").fetchone()
        return int(count)

    def studies(self) -> Iterator[Study]:
        """Yields the studies in the order of their first files, whatever the order in which they were added."""
        ordered = "SELECT study FROM images GROUP BY study ORDER BY MIN(file), study"
        for (study,) in self._database.execute(ordered):
            for found in group_studies(self._headers(study)):
                yield replace(found, series=tuple(self._with_unreadable(found)))

    def rejections(self) -> Iterator[Rejection]:
        """Yields the files that are no image that can be read, sorted by path."""
        for (content,) in self._database.execute("SELECT rejection FROM rejections ORDER BY file, rejection"):
            yield pickle.loads(content)  # noqa: S301 - written by this process, to a file that only it has open

    def _headers(self, study: bytes) -> list[SliceHeader]:
        rows = self._database.execute("SELECT header FROM images WHERE study = ?", (study,))
        headers = [pickle.loads(content) for (content,) in rows]  # noqa: S301 - as above
        # Files of one name may come from several inputs.
        return sorted(headers, key=lambda item: (item.file, item.source.path, item.source.entry, item.frame))

    def _with_unreadable(self, study: Study) -> Iterator[Series]:
        for series in study.series:
            if series.headers[0].pixels is None:  # of NIfTI, named by its file
                yield series
                continue
            rows = self._database.execute(
                "SELECT rejection FROM rejections WHERE series = ? ORDER BY file, rejection", (_key(series.series_uid),)
            )
            unreadable = tuple(pickle.loads(content) for (content,) in rows)  # noqa: S301 - as above
            yield replace(series, unreadable=unreadable) if unreadable else series


def take_inventory(inputs: Sequence[Path], progress: Progress = no_progress, *, modality: str = "CT") -> Inventory:
    """Reads the headers of all files under the inputs; pixels are not read.

    Args:
        inputs: Files and folders, as `discover` takes them.
        progress: Reports the files.
        modality: What the task reads, and NIfTI files hold, which state none.

    Raises:
        UsageError: If an input does not exist, before anything is read.
    """
    inventory = Inventory()
    try:
        for item in discover(inputs, progress, modality=modality):
            inventory.add(item)
        inventory.index()
    except BaseException:
        inventory.close()
        raise
    return inventory


def _study_key(header: SliceHeader) -> bytes:
    # The UIDs of a NIfTI file are its name, which may stand in several folders, and in several inputs.
    source = header.source
    return _key(f"{source.file}\0{source.path}\0{source.entry}" if header.pixels is None else header.study_uid)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
