"""UIDs that follow from what they name, so that an identical call gives identical objects."""

from __future__ import annotations

import uuid

from pydicom.config import IGNORE
from pydicom.uid import UID

from slicewise.imaging.silence import silent_pydicom

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:slicewise:dicom-results:1")
_SEPARATOR = "\x1f"
"""Stands in no part, so that different parts never give the same text."""


def derived_uuid(*parts: str) -> uuid.UUID:
    """Returns a name-based UUID (RFC 4122 section 4.3, version 5) of some texts."""
    return uuid.uuid5(_NAMESPACE, _SEPARATOR.join(part.replace(_SEPARATOR, "") for part in parts))


def derived_uid(*parts: str) -> str:
    """Returns a UID below 2.25, DICOM PS3.5 B.2, that follows from some texts.

    >>> derived_uid("a", "b") == derived_uid("a", "b")
    True
    >>> derived_uid("a", "b") == derived_uid("ab")
    False
    """
    return f"2.25.{derived_uuid(*parts).int}"


def is_valid_uid(text: str) -> bool:
    """Tells whether a text is a UID by DICOM PS3.5 section 9: up to 64 digits and dots, no component with a leading 0.

    >>> is_valid_uid("1.2.840.10008.1.2"), is_valid_uid("ID_0a1b2c"), is_valid_uid("1.02")
    (True, False, False)
    """
    with silent_pydicom():
        # pydicom's pattern lets a line break at the end pass, and this text will name a folder.
        return text.isprintable() and UID(text, validation_mode=IGNORE).is_valid
