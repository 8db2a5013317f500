"""The optional library that DICOM objects are made with."""

from __future__ import annotations

from importlib.util import find_spec

from slicewise.errors import MissingExtraError


def require_highdicom() -> None:
    """Checks that highdicom is installed; it is imported only where objects are built.

    Raises:
        MissingExtraError: If it is not.
    """
    if find_spec("highdicom") is None:
        raise MissingExtraError("DICOM results (sr, kos, sc)", "dicom")
