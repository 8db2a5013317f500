"""A reader that does what must not happen: a pool that does not notice finds nothing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fuzzing.judge import Verdict
from planted import MARK

LITTLE_MEMORY = 100 * 1024**2


def fail(_path: Path, target: str) -> Verdict:
    """Does what the name of the damaged file says."""
    match target:
        case "crash":
            os.abort()
        case "hang":
            while target:
                pass
        case "hoard":
            bytearray(2 * LITTLE_MEMORY)
        case "chatter":
            logging.getLogger("library.module").warning("odd value")
            os.write(2, MARK.encode())
    return Verdict("decoded")
