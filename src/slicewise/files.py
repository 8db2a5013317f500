"""Files that are whole or not there."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNFINISHED = ".part"


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it to `path` when the block ends without an error.

    The block may create a file or a folder there. After an error nothing is left behind and what stood at `path`
    before is untouched. A folder can only be renamed to a path that is free.

    Raises:
        OSError: If the disk is full, or refuses: its `filename` is that of the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        # Writing to an open file that the disk has no space for names none.
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def is_unfinished(name: str) -> bool:
    """Tells whether a file or folder of this name is what a killed process left of `write_atomically`.

    Whoever checks what stands in a folder passes over it.
    """
    return name.startswith(".") and name.endswith(_UNFINISHED)
