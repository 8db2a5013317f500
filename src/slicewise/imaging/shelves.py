"""Where headers and rejections are kept: few in memory, many on disk, so that memory does not grow with an archive."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Protocol

from slicewise.imaging.header import SliceHeader
from slicewise.results import Rejection

_TABLES = """
    CREATE TABLE images (study BLOB NOT NULL, file BLOB NOT NULL, header BLOB NOT NULL);
    CREATE TABLE rejections (file BLOB NOT NULL, message BLOB NOT NULL, series BLOB NOT NULL, rejection BLOB NOT NULL);
"""
_INDEXES = """
    CREATE INDEX images_by_study ON images (study, file);
    CREATE INDEX rejections_by_series ON rejections (series);
"""
_STUDIES = "SELECT study FROM images GROUP BY study ORDER BY MIN(file), study"
_REJECTIONS = "SELECT rejection FROM rejections ORDER BY file, message, series"
_REJECTIONS_OF_SERIES = "SELECT rejection FROM rejections WHERE series = ? ORDER BY file, message"


class Shelf(Protocol):
    """Keeps what was found: first everything is added, then `index` is called, then it is read."""

    def add_header(self, header: SliceHeader) -> None:
        """Adds an image."""

    def add_rejection(self, rejection: Rejection) -> None:
        """Adds a file that is none."""

    def index(self) -> None:
        """Makes ready for reading."""

    def close(self) -> None:
        """Discards everything."""

    def studies(self) -> Iterable[bytes]:
        """Returns keys of the studies, in the order of their first files."""
        ...

    def headers(self, study: bytes) -> Iterable[SliceHeader]:
        """Returns the images of a study, in no particular order."""
        ...

    def rejections(self, series_uid: str | None = None) -> Iterable[Rejection]:
        """Returns all rejections, or those that name a series, sorted by path."""
        ...


class MemoryShelf:
    """Keeps everything in memory, which takes little time.

    Attributes:
        size: Number of images and rejections.
    """

    def __init__(self) -> None:
        self.size = 0
        self._headers: dict[bytes, list[SliceHeader]] = {}
        self._rejections: list[Rejection] = []
        self._by_series: dict[str | None, list[Rejection]] = {None: self._rejections}

    def add_header(self, header: SliceHeader) -> None:
        """Adds an image."""
        self._headers.setdefault(_study_key(header), []).append(header)
        self.size += 1

    def add_rejection(self, rejection: Rejection) -> None:
        """Adds a file that is none."""
        self._rejections.append(rejection)
        self.size += 1

    def index(self) -> None:
        """Makes ready for reading."""
        self._rejections.sort(key=_order)
        for rejection in self._rejections:
            self._by_series.setdefault(rejection.series_uid, []).append(rejection)

    def close(self) -> None:
        """Discards everything."""
        self._headers.clear()
        self._rejections.clear()
        self._by_series.clear()

    def studies(self) -> list[bytes]:
        """Returns keys of the studies, in the order of their first files."""
        first = {study: min(_key(header.file) for header in headers) for study, headers in self._headers.items()}
        return sorted(first, key=lambda study: (first[study], study))

    def headers(self, study: bytes) -> list[SliceHeader]:
        """Returns the images of a study, in no particular order."""
        return self._headers[study]

    def rejections(self, series_uid: str | None = None) -> list[Rejection]:
        """Returns all rejections, or those that name a series, sorted by path."""
        return self._by_series.get(series_uid, [])

    def move_to(self, other: Shelf) -> None:
        """Adds everything to another shelf."""
        for headers in self._headers.values():
            for header in headers:
                other.add_header(header)
        for rejection in self._rejections:
            other.add_rejection(rejection)
        self.close()


class DiskShelf:
    """Keeps everything in a database without a name, which SQLite writes to a temporary file as it grows."""

    def __init__(self) -> None:
        # A generator over it may be consumed by another thread than the one that began it.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.executescript(_TABLES)

    def add_header(self, header: SliceHeader) -> None:
        """Adds an image."""
        row = (_study_key(header), _key(header.file), pickle.dumps(header))
        self._database.execute("INSERT INTO images VALUES (?, ?, ?)", row)

    def add_rejection(self, rejection: Rejection) -> None:
        """Adds a file that is none."""
        row = (*_order(rejection), pickle.dumps(rejection))
        self._database.execute("INSERT INTO rejections VALUES (?, ?, ?, ?)", row)

    def index(self) -> None:
        """Makes ready for reading."""
        self._database.executescript(_INDEXES)

    def close(self) -> None:
        """Discards everything."""
        self._database.close()

    def studies(self) -> Iterator[bytes]:
        """Returns keys of the studies, in the order of their first files."""
        return (study for (study,) in self._database.execute(_STUDIES))

    def headers(self, study: bytes) -> Iterator[SliceHeader]:
        """Returns the images of a study, in no particular order."""
        for (content,) in self._database.execute("SELECT header FROM images WHERE study = ?", (study,)):
            yield pickle.loads(content)  # noqa: S301 - written by this process, to a file that only it has open

    def rejections(self, series_uid: str | None = None) -> Iterator[Rejection]:
        """Returns all rejections, or those that name a series, sorted by path."""
        if series_uid is None:
            rows = self._database.execute(_REJECTIONS)
        else:
            rows = self._database.execute(_REJECTIONS_OF_SERIES, (_key(series_uid),))
        for (content,) in rows:
            yield pickle.loads(content)  # noqa: S301 - as above


def _study_key(header: SliceHeader) -> bytes:
    # The UIDs of a NIfTI file are its name, which may stand in several folders, and in several inputs.
    source = header.source
    return _key(f"{source.file}\0{source.path}\0{source.entry}" if header.pixels is None else header.study_uid)


def _order(rejection: Rejection) -> tuple[bytes, bytes, bytes]:
    return _key(rejection.path), _key(rejection.message), _key(rejection.series_uid)


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
