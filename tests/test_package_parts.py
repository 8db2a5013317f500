from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from slicewise.errors import PackageError
from slicewise.package import DEFAULT_MODEL, load_package
from slicewise.package_parts import read_part


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    format_version: int = 1


def _check(note: Note) -> None:
    if not note.text:
        raise ValueError("it says nothing")


def _read(content: bytes | None) -> Note | None:
    package = load_package(DEFAULT_MODEL)
    files = dict(package.files) if content is None else {**package.files, "note.json": content}
    return read_part(
        replace(package, files=files),
        "note.json",
        Note,
        format_version=1,
        largest_bytes=100,
        check=_check,
        advice="Write it again",
    )


def test_a_part_is_read_and_may_be_missing() -> None:
    assert _read(None) is None
    assert _read(b'{"text": "yes", "format_version": 1}') == Note("yes")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" " * 101, "larger than 100 bytes"),
        (b'{"text": "yes", "format_version": 2}', "has format 2, this slicewise reads 1"),
        (b'{"text": "", "format_version": 1}', "it says nothing. Write it again"),
        (b'{"text": 1, "format_version": 1}', "note.json is not valid"),
        (b'{"other": 1, "format_version": 1}', "note.json is not valid"),
        (b"[" * 90, "note.json is not valid"),
        (b"\xff", "note.json is not valid"),
    ],
)
def test_what_is_wrong_with_a_part_is_told(content: bytes, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        _read(content)
