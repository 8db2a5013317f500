"""What became of every study so far, on the disk as soon as it is known, so that an interrupted call can go on.

SQLite makes sure that every study is there as a whole or not at all, whenever the process is killed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from slicewise.errors import SlicewiseError, UsageError
from slicewise.inference.precision import DEFAULT_PRECISION
from slicewise.results import StudyOutcome, StudyResult

# The write-ahead log makes adding a study quick; locked for one process, it also works on network drives.
_SETTINGS = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
# Waiting for the disk takes longer than a study. Without it, what is written outlives the process all the same, and
# only the machine's own end could cost a journal: one that holds nothing yet, or that is about to be removed.
_NO_WAITING, _WAITING = "PRAGMA synchronous = OFF;", "PRAGMA synchronous = NORMAL;"
_START_OVER = """
    BEGIN EXCLUSIVE;
    DROP TABLE IF EXISTS call;
    DROP TABLE IF EXISTS outcomes;
    CREATE TABLE call (content TEXT NOT NULL);
    CREATE TABLE outcomes (study TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
    COMMIT;
"""


class Call(msgspec.Struct, frozen=True):
    """All that the outcome of a study depends on beside its files: what an interrupted call must share with the next.

    Attributes:
        inputs: Absolute paths of the inputs.
        series: Series that were asked for.
        model: Digest of the model package.
        runtime: Name of the engine.
        software_version: Version of slicewise.
        precision: What the engine computes in.
        evidence_maps: Whether it was kept where the evidence lies, for the pictures of a report.
    """

    inputs: tuple[str, ...]
    series: tuple[str, ...]
    model: str
    runtime: str
    software_version: str
    precision: str = DEFAULT_PRECISION
    evidence_maps: bool = False


class Journal:
    """The outcomes of studies by their keys. A context manager: after an error it stays, if it holds anything.

    Args:
        path: The file; None for one that has no name and vanishes with the process.
        call: What the outcomes depend on.
        resume: Go on with what an interrupted call has left in the file.

    Raises:
        UsageError: If what is there was left by another call, is in use, or is damaged.
    """

    def __init__(self, path: Path | None, call: Call, *, resume: bool = False) -> None:
        self._path = path
        self._database = _opened(path, call, resume=resume)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            keep = error is not None and len(self) > 0
            if not keep:
                self._execute(_NO_WAITING)
        except SlicewiseError:  # what it holds cannot be counted: it stays
            keep = True
        finally:
            self._database.close()
        if self._path is not None and not keep:
            _remove(self._path)

    def __len__(self) -> int:
        """Number of studies."""
        return int(self._execute("SELECT COUNT(*) FROM outcomes")[0])

    def __contains__(self, key: str) -> bool:
        """Tells whether the outcome of a study is known."""
        return self._execute("SELECT 1 FROM outcomes WHERE study = ?", key) is not None

    def get(self, key: str) -> StudyOutcome | None:
        """Returns the outcome of a study; None where it is not known.

        Raises:
            SlicewiseError: If it cannot be read.
        """
        row = self._execute("SELECT content FROM outcomes WHERE study = ?", key)
        return None if row is None else msgspec.convert(json.loads(row[0]), StudyOutcome)

    def add(self, key: str, outcome: StudyOutcome) -> None:
        """Adds the outcome of a study; it is safe once this returns.

        Raises:
            SlicewiseError: If it cannot be written.
        """
        self._execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?)", key, _packed(outcome))

    def outcomes(self, keys: Sequence[str]) -> Iterator[StudyOutcome]:
        """Yields the outcomes of studies, in the order of the keys, one in memory at a time."""
        for key in keys:
            outcome = self.get(key)
            assert outcome is not None
            yield outcome

    def _execute(self, statement: str, *values: str) -> Any:
        try:
            return self._database.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            place = self._path or "The folder for temporary files"
            raise SlicewiseError(
                f"{place}: cannot be read or written ({error}). Make room, or see whether its drive is there, then run "
                "again"
            ) from error


@dataclass(frozen=True, eq=False)
class KeptStudies:
    """The scored studies of a journal, read anew from the disk every time they are gone through.

    Attributes:
        journal: The journal.
        keys: Keys of studies, in order.
    """

    journal: Journal
    keys: tuple[str, ...]

    def __iter__(self) -> Iterator[StudyResult]:
        """Yields the results of every study that was scored."""
        for outcome in self.journal.outcomes(self.keys):
            if outcome.result is not None:
                yield outcome.result


def _packed(content: msgspec.Struct) -> str:
    # Not msgspec's own encoder: names of files may hold bytes without an encoding, which only escapes bring back.
    return json.dumps(msgspec.to_builtins(content))


def _opened(path: Path | None, call: Call, *, resume: bool) -> sqlite3.Connection:
    try:
        return _connected(path, call, resume=resume)
    except sqlite3.OperationalError as error:
        raise UsageError(
            f"{path or 'The folder for temporary files'}: cannot be used ({error}). Expected a folder with room, that "
            "no other call writes into; wait for that call, or choose another --output"
        ) from error
    except (sqlite3.DatabaseError, ValueError) as error:
        assert path is not None
        if resume:
            raise UsageError(
                f"--resume: {path} is damaged ({error}). Leave --resume out, and all studies are scored again"
            ) from error
        _remove(path)
        return _connected(path, call, resume=False)


def _connected(path: Path | None, call: Call, *, resume: bool) -> sqlite3.Connection:
    database = sqlite3.connect(path or "", isolation_level=None, timeout=0)
    try:
        database.executescript(_NO_WAITING + _SETTINGS)
        if resume and database.execute("SELECT 1 FROM sqlite_master WHERE name = 'call'").fetchone():
            _check_same(database, call, path)
        else:
            database.executescript(_START_OVER)
            database.execute("INSERT INTO call VALUES (?)", (_packed(call),))
        database.execute(_WAITING)
    except BaseException:
        database.close()
        raise
    return database


def _check_same(database: sqlite3.Connection, call: Call, path: Path | None) -> None:
    (state,) = database.execute("PRAGMA quick_check").fetchone()
    if state != "ok":
        raise sqlite3.DatabaseError(state)
    row = database.execute("SELECT content FROM call").fetchone()
    left: Call = msgspec.convert(json.loads(row[0] if row else "null"), Call)
    for name in Call.__struct_fields__:
        before, now = getattr(left, name), getattr(call, name)
        if before != now:
            raise UsageError(
                f"--resume: {path} was left by a call with {name.replace('_', ' ')} {_shown(before)}; this one has "
                f"{_shown(now)}. Repeat that call, or leave --resume out, and all studies are scored again"
            )


def _shown(value: str | bool | tuple[str, ...]) -> str:  # noqa: FBT001 - one of the fields of a call
    if isinstance(value, bool):
        return "kept (html)" if value else "not kept (no html)"
    return repr(value) if isinstance(value, str) else f"[{', '.join(value)}]"


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-journal"):
        with contextlib.suppress(OSError):
            path.with_name(name).unlink()
