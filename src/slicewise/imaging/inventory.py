"""The studies in any number of files, whose headers are read once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.series import Series, Study, group_studies
from slicewise.imaging.shelves import DiskShelf, MemoryShelf, Shelf
from slicewise.progress import Progress, no_progress
from slicewise.results import Rejection

_MOST_HELD = 4096
"""Images and rejections that are held in memory, where they take some MiB; of more than these all go to the disk."""


class Inventory:
    """What was found in the inputs. A context manager: it is discarded when it is closed.

    Args:
        most_held: Images and rejections that are held in memory; of more than these all go to the disk.
    """

    def __init__(self, most_held: int = _MOST_HELD) -> None:
        self._most_held = most_held
        self._shelf: Shelf = MemoryShelf()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Discards the inventory."""
        self._shelf.close()

    def add(self, item: SliceHeader | Rejection) -> None:
        """Adds an image, or a file that is none."""
        if isinstance(self._shelf, MemoryShelf) and self._shelf.size >= self._most_held:
            disk = DiskShelf()
            self._shelf.move_to(disk)
            self._shelf = disk
        if isinstance(item, Rejection):
            self._shelf.add_rejection(item)
        else:
            self._shelf.add_header(item)

    def index(self) -> None:
        """Makes ready for reading, once everything was added."""
        self._shelf.index()

    @property
    def study_count(self) -> int:
        """Number of Study Instance UIDs."""
        return sum(1 for _ in self._shelf.studies())

    def studies(self) -> Iterator[Study]:
        """Yields the studies in the order of their first files, whatever the order in which they were added."""
        for study in self._shelf.studies():
            for found in group_studies(sorted(self._shelf.headers(study), key=_place)):
                yield replace(found, series=tuple(map(self._with_unreadable, found.series)))

    def rejections(self) -> Iterator[Rejection]:
        """Yields the files that are no image that can be read, sorted by path."""
        yield from self._shelf.rejections()

    def _with_unreadable(self, series: Series) -> Series:
        if series.headers[0].pixels is None:  # of NIfTI, named by its file
            return series
        unreadable = tuple(item for item in self._shelf.rejections(series.series_uid) if item.kind == "unreadable")
        return replace(series, unreadable=unreadable) if unreadable else series


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


def _place(header: SliceHeader) -> tuple[str, str, int, int]:
    """Files of one name may come from several inputs."""
    return header.file, header.source.path, header.source.entry, header.frame
