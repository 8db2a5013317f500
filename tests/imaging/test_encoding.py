from __future__ import annotations

import tracemalloc
import zlib
from io import BytesIO

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from slicewise.imaging.encoding import InflateError, inflate, open_dataset, read_inflated
from slicewise.imaging.silence import silent_pydicom

CONTENT = b"\x08\x00\x60\x00CS\x02\x00CT"


def meta(syntax: str) -> bytes:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    media = MediaStorageDirectoryStorage.encode()
    return (
        b"\x02\x00\x02\x00UI" + len(media).to_bytes(2, "little") + media
        + b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid
    )  # fmt: skip


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize("preamble", [bytes(128) + b"DICM", b""])
@pytest.mark.parametrize(
    ("syntax", "is_implicit", "is_little_endian"),
    [
        (ExplicitVRLittleEndian, False, True),
        (ImplicitVRLittleEndian, True, True),
        (ExplicitVRBigEndian, False, False),
        ("1.2.840.10008.1.2.4.50", False, True),
        ("1.2.3.4", False, True),
    ],
)
def test_the_meta_information_says_how_the_dataset_is_encoded(
    preamble: bytes, syntax: str, *, is_implicit: bool, is_little_endian: bool
) -> None:
    content = preamble + meta(syntax) + CONTENT
    with silent_pydicom():
        found = open_dataset(BytesIO(content))
    assert (found.stated_syntax, found.media_class) == (syntax, MediaStorageDirectoryStorage)
    assert (found.is_implicit, found.is_little_endian) == (is_implicit, is_little_endian)
    assert (found.size, found.stream.read()) == (len(content), CONTENT)


def test_without_meta_information_the_first_group_tells_the_byte_order() -> None:
    for content, is_little_endian in ((CONTENT, True), (b"\x00\x08\x00\x60CS\x00\x02CT", False), (b"", True)):
        with silent_pydicom():
            found = open_dataset(BytesIO(content))
        assert (found.stated_syntax, found.media_class) == ("", "")
        assert found.is_little_endian is is_little_endian
        assert found.stream.read() == content


def test_a_deflated_dataset_is_inflated() -> None:
    content = bytes(128) + b"DICM" + meta(DeflatedExplicitVRLittleEndian) + deflated(CONTENT) + b"\0"
    with silent_pydicom():
        found = open_dataset(BytesIO(content))
    assert (found.stated_syntax, found.is_implicit, found.is_little_endian) == (
        DeflatedExplicitVRLittleEndian,
        False,
        True,
    )
    assert (found.size, found.stream.read()) == (len(CONTENT), CONTENT)
    assert read_inflated(BytesIO(content)) == CONTENT


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (deflated(CONTENT * 9)[:-3], "truncated", "it ends early"),
        (b"", "truncated", "it ends early"),
        (b"\xff" * 99, "malformed", "Error -3 while decompressing data"),
    ],
)
def test_damaged_deflated_data(content: bytes, reason: str, message: str) -> None:
    with pytest.raises(InflateError, match=message) as error:
        inflate(content)
    assert error.value.reason == reason


def test_a_bomb_of_deflated_data_takes_little_memory() -> None:
    bomb = deflated(bytes(200 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InflateError, match="inflates to more than 64 MiB") as error:
            inflate(bomb)
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()
    assert error.value.reason == "malformed"


def test_a_file_whose_meta_information_is_damaged() -> None:
    content = bytes(128) + b"DICM" + b"\x02\x00\x02\x00SQ\0\0\xff\xff\xff\xff" + b"\xff" * 30
    with pytest.raises(InflateError, match="file meta information is damaged"):
        read_inflated(BytesIO(content))
