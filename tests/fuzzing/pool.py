"""Judges inputs in a process of its own, which outlives none of the crashes and hangs that it is there to find."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from fuzzing.cases import Case
from fuzzing.judge import Verdict, judge
from planted import MARK

CPU_SECONDS = 5.0
"""For one input. Unlike the time of a clock it does not depend on what else the machine does."""

MEMORY_BYTES = 1280 * 1024**2
"""More than a decoder may take."""

_ADDRESS_BYTES = 6 * 1024**3
_PATIENCE_SECONDS = 120.0
"""After so long without an answer a process is taken to wait for something."""


Reader = Callable[[Path, str], Verdict]
"""Reads the input at a path, of which one file is damaged."""


@dataclass(frozen=True)
class Judged:
    """A verdict and what it took."""

    verdict: Verdict
    cpu_seconds: float
    peak_bytes: int


class Pool:
    """One process that judges one input after the other, and is replaced when it dies. A context manager.

    Linux alone: limits of time and memory, and how they are read, are those of its kernel.

    Args:
        reader: What reads an input and tells how that went; it must be importable by its name.
        cpu_seconds: Longest time of the processor, of all threads, for one input.
        memory_bytes: Most memory for one input beyond what is held before, that of its decoders included.
    """

    def __init__(
        self, reader: Reader = judge, cpu_seconds: float = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._reader, self._cpu_seconds, self._memory_bytes = reader, cpu_seconds, memory_bytes
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def judge(self, case: Case) -> Judged:
        """Judges one input; a process that it takes down is a problem of this input."""
        with tempfile.TemporaryDirectory() as folder:
            path = case.write(Path(folder))
            return self._ask(path, case.target)

    def _ask(self, path: Path, target: str) -> Judged:
        connection = self._connected()
        connection.send((path, target))
        if not connection.poll(_PATIENCE_SECONDS):
            self._end()
            return Judged(Verdict("hang", ("hang: waits",)), 0.0, 0)
        try:
            judged: Judged = connection.recv()
        except EOFError:
            return self._obituary()
        if judged.peak_bytes <= self._memory_bytes:
            return judged
        self._end()  # what it keeps is not to be the fault of the next input
        verdict = replace(judged.verdict, problems=(*judged.verdict.problems, "memory"))
        return replace(judged, verdict=verdict)

    def _obituary(self) -> Judged:
        assert self._process is not None
        self._process.join()
        code = self._process.exitcode or 0
        self._end()
        if code == -signal.SIGPROF:
            return Judged(Verdict("hang", (f"hang: more than {self._cpu_seconds:g} s",)), self._cpu_seconds, 0)
        died = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return Judged(Verdict("crash", (f"crash: {died}",)), 0.0, 0)

    def _connected(self) -> Connection:
        if self._process is None or self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_work, args=(other, self._reader, self._cpu_seconds), daemon=True)
            self._process.start()
            other.close()
        return self._connection

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _work(connection: Connection, reader: Reader, cpu_seconds: float) -> None:
    """What the process does."""
    import resource

    noise = _Noise()
    resource.setrlimit(resource.RLIMIT_AS, (_size("VmSize") + _ADDRESS_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            path, target = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # its signal ends the process, whatever code runs
            connection.send(_judge(reader, path, target, noise))


def _judge(reader: Reader, path: Path, target: str, noise: _Noise) -> Judged:
    for process in _family():
        (process / "clear_refs").write_text("5", encoding="ascii")  # begins a new peak
    before, started = _size("VmRSS"), time.process_time()
    verdict = reader(path, target)
    signal.setitimer(signal.ITIMER_PROF, 0)
    peak = _size("VmHWM") - before
    verdict = replace(verdict, problems=(*verdict.problems, *noise.heard()))
    return Judged(verdict, time.process_time() - started, peak)


class _Noise(logging.Handler):
    """Hears what libraries log, and what they print past Python: libjpeg does, on damaged data, which is no harm."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: list[str] = []
        logging.getLogger().addHandler(self)
        self._file = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - it lives as long as the process
        for stream in (1, 2):
            os.dup2(self._file.fileno(), stream)

    def emit(self, record: logging.LogRecord) -> None:
        self._logged.append(f"log of {record.name}")

    def heard(self) -> list[str]:
        """Returns what was heard since the last time."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._file.seek(0)
        printed = self._file.read()
        self._file.truncate(0)
        self._file.seek(0)
        problems = [
            *dict.fromkeys(self._logged),
            *(["name of the patient printed"] if MARK.encode() in printed else []),
        ]
        self._logged.clear()
        return problems


def _family() -> list[Path]:
    """Returns what the kernel tells of this process and of those that decode for it."""
    children = (item.read_text(encoding="ascii") for item in Path("/proc/self/task").glob("*/children"))
    return [Path("/proc/self"), *(Path("/proc", pid) for text in children for pid in text.split())]


def _size(key: str) -> int:
    """Returns a size of all processes in bytes."""
    total = 0
    for process in _family():
        lines = (process / "status").read_text(encoding="ascii", errors="replace").splitlines()
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    return total
