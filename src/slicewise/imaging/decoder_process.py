"""Decompresses in processes of their own, so that a damaged image harms nothing but itself.

Decoders written in C crash on some damaged images (GDCM) or count for minutes (CharLS), and some write to the terminal.
Here the process of one decoder ends instead, and another one takes its place. Threads that decode run in parallel, too,
which they would not where decoders hold the lock of the interpreter.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import weakref
from typing import IO

import numpy as np

from slicewise.imaging.decompress import Stored, decompress
from slicewise.imaging.header import PixelDescription

SECONDS, SECONDS_A_MEGAPIXEL = 4.0, 1.0
"""How long a decoder may take: a slice of 512 x 512 pixels takes a tenth of a second at most."""

_LARGEST_BYTES = 1024**3
"""Memory that a decoder may take: twice what the largest image takes. Damaged ones of a few bytes may ask for any."""

_CODE = "import sys; sys.path[:] = sys.argv[1:]; from slicewise.imaging.decoder_process import serve; serve()"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_REQUEST, _REPLY = struct.Struct("<Q"), struct.Struct("<?Q")


class DecoderError(Exception):
    """A compressed image cannot be decoded; the message says why."""


def decompress_apart(codestream: bytes, pixels: PixelDescription, rows: int, columns: int) -> Stored:
    """Decodes one compressed image in another process; see `decompress`. Safe to call from several threads.

    Raises:
        DecoderError: If the decoder refuses the image, crashes or takes too long.
    """
    process = _IDLE.take()
    request = pickle.dumps((codestream, pixels, rows, columns))
    done, content = process.ask(request, SECONDS + SECONDS_A_MEGAPIXEL * rows * columns / 1e6)
    _IDLE.put(process)
    if not done:
        raise DecoderError(content.decode("utf-8", "replace"))
    return np.frombuffer(content, _dtype(pixels)).reshape(rows, columns)


class _DecoderProcess:
    """A process that decodes one image after another; whoever asks has it for itself."""

    def __init__(self) -> None:
        # Not of `multiprocessing`: that runs the main script of the caller again, which may not be made for it.
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _CODE, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ONE_THREAD,
        )
        self.stop = weakref.finalize(self, _end, self._process, os.getpid())
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        if not self._replies.read(1):
            raise DecoderError("its decoder could not be started")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, seconds: float) -> tuple[bool, bytes]:
        """Returns whether the image could be decoded, and its stored values, or why it could not.

        Raises:
            DecoderError: If the process came to its end, which it has done then.
        """
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(seconds, expire)
        timer.start()
        try:
            self._requests.write(_REQUEST.pack(len(request)) + request)
            self._requests.flush()
            done, size = _REPLY.unpack(_read(self._replies, _REPLY.size))
            content = _read(self._replies, size)
        except (OSError, EOFError) as error:
            self.stop()
            why = f"took more than {seconds:.0f} seconds" if expired.is_set() else "crashed"
            raise DecoderError(f"its decoder {why}") from error
        finally:
            timer.cancel()
            timer.join()
        if expired.is_set():  # just now
            self.stop()
        return done, content


class _IdleProcesses:
    """Processes that wait for an image. Those of a process that was forked off are its own."""

    def __init__(self) -> None:
        self._by_owner: dict[int, list[_DecoderProcess]] = {}

    def take(self) -> _DecoderProcess:
        idle = self._by_owner.setdefault(os.getpid(), [])
        while True:
            try:
                process = idle.pop()
            except IndexError:
                return _DecoderProcess()
            if process.is_alive:
                return process

    def put(self, process: _DecoderProcess) -> None:
        self._by_owner[os.getpid()].append(process)


_IDLE = _IdleProcesses()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was not yet written to a process that has gone
                stream.close()


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _dtype(pixels: PixelDescription) -> np.dtype[np.generic]:
    return np.dtype(f"{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")


def serve() -> None:
    """Decodes what is asked for on the standard input until that ends: the main function of such a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that asks ends this one
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # no decoder prints between the replies
    _limit_resources()
    replies.write(b"\0")
    replies.flush()
    while size := requests.read(_REQUEST.size):
        done, content = _answer(requests.read(*_REQUEST.unpack(size)))
        replies.write(_REPLY.pack(done, len(content)) + content)
        replies.flush()


def _answer(request: bytes) -> tuple[bool, bytes]:
    codestream, pixels, rows, columns = pickle.loads(request)  # noqa: S301 - of the process that started this one
    try:
        stored = decompress(codestream, pixels, rows, columns)
    except BaseException as error:  # noqa: BLE001 - see `decompress`
        return False, " ".join(f"{type(error).__name__}: {error}".split()).encode("utf-8", "replace")
    if (stored.shape, stored.dtype) != ((rows, columns), _dtype(pixels)):
        return False, f"the decoder gives {stored.dtype} of shape {stored.shape}".encode()
    return True, stored.tobytes()


def _limit_resources() -> None:
    """Limits memory, and leaves no core dumps behind."""
    try:
        import resource
    except ImportError:  # on Windows
        return
    for limited, most in ((resource.RLIMIT_AS, _LARGEST_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):  # a lower limit may be set already
            resource.setrlimit(limited, (most, most))
