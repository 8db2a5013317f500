"""What came of writing the results of one study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Refusal:
    """An object that was not written.

    Attributes:
        study_uid: Study Instance UID, as the results have it.
        kind: "sr", "kos", "sc" or "fhir".
        reason: A fixed code, as in "invalid_uid".
        message: One sentence: what was wrong, what was expected, what to do.
    """

    study_uid: str
    kind: str
    reason: str
    message: str


@dataclass(frozen=True)
class DicomOutcome:
    """What was written of one study, and what was not.

    Attributes:
        written: The files.
        refused: One a kind that was asked for and not written.
    """

    written: tuple[Path, ...] = ()
    refused: tuple[Refusal, ...] = ()
