"""The elements of a dataset, as pydicom or the parser for ordinary headers found them, behind one interface."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

LONGEST_SHOWN = 200
"""Characters of a text that a message quotes. DICOM allows 64, PS3.5 6.2; damaged files hold thousands."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which no element that is read may hold (DICOM PS3.5 6.2), and halves of characters: what tables
cannot hold and what would command a terminal.
"""


class Elements(ABC):
    """Elements of a dataset. Accessors give None (or nothing) for what is absent or malformed."""

    @abstractmethod
    def values(self, keyword: str) -> tuple[Any, ...]:
        """Returns the values of an element as they were read."""

    def states(self, keyword: str) -> bool:
        """True if an element has a value, even a malformed one; blanks are none."""
        return any(self.texts(keyword))

    def items(self, keyword: str) -> tuple[Elements, ...]:
        """Returns the items of a sequence."""
        return tuple(DatasetElements(item) for item in self.values(keyword) if isinstance(item, Dataset))

    def text(self, keyword: str) -> str:
        """Returns an element as text; several values stay joined by backslashes, as stored."""
        return "\\".join(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Returns the values of an element as texts, without padding."""
        return tuple(_text(value) for value in self.values(keyword))

    def number(self, keyword: str) -> float | None:
        """Returns the first value of an element as a finite number."""
        values = self.values(keyword)
        if not values:
            return None
        try:
            number = float(values[0])
        except (TypeError, ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None

    def integer(self, keyword: str) -> int | None:
        """Returns the first value of an element as a whole number."""
        values = self.values(keyword)
        if not values or type(values[0]) is int:
            return values[0] if values else None
        number = self.number(keyword)
        return None if number is None else round(number)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Returns the values of an element as finite numbers, None unless there are exactly `count`."""
        try:
            numbers = tuple(float(value) for value in self.values(keyword))
        except (TypeError, ValueError, OverflowError):
            return None
        return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


@dataclass(frozen=True, eq=False)
class DatasetElements(Elements):
    """The elements of a dataset of pydicom; to be used within `silent_pydicom`."""

    dataset: Dataset

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Returns the values of an element as pydicom converts them."""
        try:
            value = self.dataset.get(keyword)
        except Exception:  # noqa: BLE001 - converters of pydicom raise nearly anything on malformed values
            return ()
        if value is None or value == "":
            return ()
        return tuple(value) if isinstance(value, MutableSequence) else (value,)

    def states(self, keyword: str) -> bool:
        """True if an element has a value, even one that pydicom cannot convert."""
        if super().states(keyword):
            return True
        stored = self.dataset.get_item(keyword, keep_deferred=True) if keyword in self.dataset else None
        return stored is not None and isinstance(stored.value, bytes) and stored.value.strip(b" \0") != b""


@dataclass(frozen=True, eq=False)
class QuickElements(Elements):
    """The elements of an ordinary header."""

    found: Mapping[str, tuple[Any, ...]]

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Returns the values of an element."""
        return self.found.get(keyword, ())

    def items(self, keyword: str) -> tuple[Elements, ...]:  # noqa: ARG002 - a header with such sequences is another
        """Returns no items: an ordinary header has no sequences that were asked for."""
        return ()

    def text(self, keyword: str) -> str:
        """Returns an element as text."""
        values = self.found.get(keyword, ())
        if len(values) == 1 and type(values[0]) is str:  # nearly always, and thousands of files wait
            return values[0].strip(" \0")  # of printable characters alone: others are not ordinary
        return super().text(keyword)

    def states(self, keyword: str) -> bool:
        """True if an element has a value; a single one is never blank."""
        return len(self.found.get(keyword, ())) == 1 or super().states(keyword)


def _text(value: Any) -> str:
    # Whole sequences and bytes are no texts, and may hold the name of a patient.
    return _FORBIDDEN.sub("\ufffd", str(value).strip(" \0")) if isinstance(value, (str, int, float)) else ""
