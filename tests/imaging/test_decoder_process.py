from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from msgspec.structs import replace

from codestream_samples import IMAGE, SAMPLES
from slicewise.imaging import decoder_process
from slicewise.imaging.decoder_process import DecoderError, decompress_apart
from slicewise.imaging.decompress import decompress
from slicewise.imaging.header import PixelDescription

PIXELS = PixelDescription(
    transfer_syntax=SAMPLES["jpeg_ls"].syntax,
    keyword="PixelData",
    offset=0,
    length=None,
    frames=1,
    samples=1,
    photometric="MONOCHROME2",
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    signed=False,
    padding=None,
    states_intercept=True,
    intercept=0.0,
    slope=1.0,
)


CODESTREAM = SAMPLES["jpeg_ls"].codestream

CODE = """
import ctypes, os, sys
sys.path[:] = sys.argv[1:]
from slicewise.imaging import decoder_process
import numpy as np

def panic():  # as pyo3 brings it to Python
    raise type("PanicException", (BaseException,), {})("a\\n panic")

def noise():
    print("noise", flush=True)
    os.write(1, b"noise")
    os.write(2, b"noise")
    return np.full((16, 16), 7, "u2")

behaviours = {
    b"crash": lambda: ctypes.string_at(0),
    b"exit": lambda: os._exit(0),
    b"hang": lambda: ctypes.PyDLL(None).sleep(60),  # in C, with the lock of the interpreter
    b"memory": lambda: bytes(5 * 1024**3),
    b"panic": panic,
    b"shape": lambda: np.zeros((16, 1), "u2"),
    b"type": lambda: np.zeros((16, 16), "i2"),
    b"noise": noise,
}
real = decoder_process.decompress
decoder_process.decompress = lambda content, *others: behaviours.get(content, lambda: real(content, *others))()
decoder_process.serve()
"""
"""Processes that decode, but for some images, which stand for damaged ones."""


@pytest.fixture(autouse=True, scope="module")
def _processes_that_misbehave() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(decoder_process, "_CODE", CODE)
        changed.setattr(decoder_process, "_IDLE", decoder_process._IdleProcesses())
        yield


def assert_that_it_decodes() -> None:
    np.testing.assert_array_equal(decompress_apart(CODESTREAM, PIXELS, 16, 16), IMAGE)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_values_are_those_of_this_process(name: str) -> None:
    sample = SAMPLES[name]
    is_signed = name == "jpeg_lossless_signed"
    pixels = replace(PIXELS, transfer_syntax=sample.syntax, signed=is_signed, bits_stored=16 if is_signed else 12)
    apart, here = (decode(sample.codestream, pixels, 16, 16) for decode in (decompress_apart, decompress))
    assert apart.dtype == here.dtype
    np.testing.assert_array_equal(apart, here)


def test_threads_decode_at_a_time() -> None:
    names = [name for name in SAMPLES if name != "jpeg_lossless_signed"] * 5

    def decode(name: str) -> bool:
        sample = SAMPLES[name]
        stored = decompress_apart(sample.codestream, replace(PIXELS, transfer_syntax=sample.syntax), 16, 16)
        return np.array_equal(stored, IMAGE + sample.error.astype(np.int32))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(decode, names))


def test_what_a_decoder_says_about_an_image_is_told() -> None:
    with pytest.raises(DecoderError, match=r"^ValueError: the compressed image does not state the 16 x 17"):
        decompress_apart(CODESTREAM, PIXELS, 16, 17)
    assert_that_it_decodes()


@pytest.mark.parametrize("crash", [b"crash", b"exit"])
def test_a_crash_concerns_one_image(crash: bytes) -> None:
    with pytest.raises(DecoderError, match=r"^its decoder crashed$"):
        decompress_apart(crash, PIXELS, 16, 16)
    assert_that_it_decodes()


def test_a_decoder_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    with monkeypatch.context() as changed:
        changed.setattr(decoder_process, "SECONDS", 0.2)
        with pytest.raises(DecoderError, match=r"^its decoder took more than 0 seconds$"):
            decompress_apart(b"hang", PIXELS, 16, 16)
    assert time.monotonic() - started < 30
    assert_that_it_decodes()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory")
def test_a_decoder_that_takes_too_much_memory() -> None:
    with pytest.raises(DecoderError, match=r"^MemoryError"):
        decompress_apart(b"memory", PIXELS, 16, 16)
    assert_that_it_decodes()


def test_a_panic_is_an_error_of_the_image() -> None:
    with pytest.raises(DecoderError, match=r"^PanicException: a panic$"):
        decompress_apart(b"panic", PIXELS, 16, 16)
    assert_that_it_decodes()


@pytest.mark.parametrize("kind", [b"shape", b"type"])
def test_values_of_another_kind_are_not_taken(kind: bytes) -> None:
    with pytest.raises(DecoderError, match=r"^the decoder gives u?int16 of shape \(16, 16?\)"):
        decompress_apart(kind, PIXELS, 16, 16)
    assert_that_it_decodes()


def test_what_decoders_print_goes_nowhere(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(decoder_process, "_IDLE", decoder_process._IdleProcesses())  # one that prints to this test
    assert np.all(decompress_apart(b"noise", PIXELS, 16, 16) == 7)
    assert_that_it_decodes()
    assert capfd.readouterr() == ("", "")


def test_a_process_serves_many_images_until_it_goes_away() -> None:
    assert_that_it_decodes()
    waiting = decoder_process._IDLE.take()
    decoder_process._IDLE.put(waiting)
    for _ in range(3):
        assert_that_it_decodes()
    again = decoder_process._IDLE.take()
    assert again is waiting
    waiting._process.kill()
    waiting._process.wait()
    decoder_process._IDLE.put(waiting)
    assert_that_it_decodes()


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "_CODE", "raise SystemExit(1)")
    monkeypatch.setattr(decoder_process, "_IDLE", decoder_process._IdleProcesses())
    with pytest.raises(DecoderError, match=r"^its decoder could not be started$"):
        decompress_apart(CODESTREAM, PIXELS, 16, 16)


def test_processes_end_with_the_one_that_asks() -> None:
    script = (
        "from slicewise.imaging import decoder_process as d\n"
        "process = d._IDLE.take()\nd._IDLE.put(process)\nprint(process._process.pid)"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)
