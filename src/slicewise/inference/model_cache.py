"""Networks as an engine has compiled them, kept between calls so that a call starts sooner.

What an engine reads back from here decides what it computes, so nobody else may have put it there: the folder belongs
to the user and nobody else may read or write it. Where that cannot be had, as with a read-only home or on a system
without POSIX owners, nothing is kept and networks are compiled every time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from slicewise.files import write_bytes_atomically

_PRIVATE = stat.S_IRWXU
_MOST_KEPT = 8
"""Compiled networks, and choices of a precision, that stay: those of the last few models."""

_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST_BYTES = hashlib.sha256().digest_size


def user_cache_folder() -> Path | None:
    """Returns the folder for compiled networks by the XDG base directory rules; None without a home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # noqa: PTH117 - an empty or relative one counts as not set, by the rules
        return Path(named) / "slicewise"
    try:
        return Path.home() / ".cache" / "slicewise"
    except RuntimeError:
        return None


def cache_key(parts: Iterable[str]) -> str:
    """Returns the key of a compiled network: a digest over all that compiling depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class ModelCache:
    """Files of compiled networks in a private folder. Whatever goes wrong, a network is compiled again instead.

    Args:
        folder: Is made when something is kept, for its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> bytes | None:
        """Returns what was kept under a key; None where nothing whole is that can be trusted."""
        path = self._folder / key
        try:
            if not _is_private(self._folder) or path.is_symlink():
                return None
            content = path.read_bytes()
        except OSError:
            return None
        digest, compiled = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return compiled if hashlib.sha256(compiled).digest() == digest else None

    def write(self, key: str, compiled: bytes) -> None:
        """Keeps a compiled network, if there is a private folder for it, and drops the oldest ones."""
        with contextlib.suppress(OSError):
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir(mode=_PRIVATE, exist_ok=True)
            if not _is_private(self._folder):
                return
            write_bytes_atomically(self._folder / key, hashlib.sha256(compiled).digest() + compiled)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        # Only what has the name of a key: somebody may have chosen a folder that holds files of their own.
        kept = [path for path in self._folder.iterdir() if _KEY.fullmatch(path.name) and path.is_file()]
        for path in sorted(kept, key=lambda path: path.stat().st_mtime_ns)[:-_MOST_KEPT]:
            path.unlink(missing_ok=True)


def _is_private(folder: Path) -> bool:
    """Tells whether a folder is no link, is the user's, and is closed to everybody else."""
    if not hasattr(os, "geteuid"):
        return False
    found = folder.lstat()
    others = stat.S_IRWXG | stat.S_IRWXO
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & others
