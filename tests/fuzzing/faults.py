"""A reader that does what must not happen: a pool that does not notice finds nothing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fuzzing.judge import Verdict
from fuzzing.pool import MEMORY_BYTES
from planted import MARK


def fail(_path: Path, target: str) -> Verdict:
    """Does what the name of the damaged file says."""
    match target:
        case "crash":
            os.abort()
        case "hang":
            while target:
                pass
        case "hoard":
            bytearray(MEMORY_BYTES + (100 << 20))
        case "chatter":
            logging.getLogger("library.module").warning("odd value")
            os.write(2, MARK.encode())
    return Verdict("decoded")
