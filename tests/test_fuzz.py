"""Damaged scans of a fixed seed. `benchmarks/fuzz.py` does the same with as many as wanted."""

from __future__ import annotations

import logging
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from fuzzing.cases import Case, CaseMaker
from fuzzing.codestreams import divided, join, split, with_size
from fuzzing.elements import PIXEL_DATA, TRANSFER_SYNTAX, RawFile, encode_file
from fuzzing.faults import LITTLE_MEMORY, fail
from fuzzing.judge import Verdict, judge
from fuzzing.mutators import replace_value
from fuzzing.pool import Pool
from fuzzing.seeds import own_seeds
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.silence import silent_pydicom

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of time and memory are those of Linux")

SEED, FILES = 1, 330
BOMB_MEGABYTES = 80


def test_damaged_scans_are_decoded_or_rejected_with_a_reason() -> None:
    maker = CaseMaker(SEED, bomb_megabytes=BOMB_MEGABYTES)
    outcomes: Counter[str] = Counter()
    problems = []
    with Pool() as pool:
        for number in range(FILES):
            case = maker.make(number)
            verdict = pool.judge(case).verdict
            outcomes[verdict.outcome] += 1
            problems += [(number, case.name, problem, verdict.details) for problem in verdict.problems]
    assert problems == []
    # The damage is neither too little nor too much to reach what is to be tested.
    assert outcomes["decoded"] > FILES // 8
    assert len(outcomes) > 12


def test_a_case_follows_from_seed_and_number() -> None:
    one, other = CaseMaker(SEED), CaseMaker(SEED)
    for number in (40, 7, 60):
        assert one.make(number) == other.make(number)
    assert one.make(40) != CaseMaker(SEED + 1).make(40)


def test_what_must_not_happen_is_noticed() -> None:
    expected = {
        "nothing": ("decoded", ()),
        "crash": ("crash", ("crash: SIGABRT",)),
        "hang": ("hang", ("hang: more than 2 s",)),
        "chatter": ("decoded", ("log of library.module", "name of the patient printed")),
        "hoard": ("decoded", ("memory",)),
    }
    with Pool(fail, cpu_seconds=2.0, memory_bytes=LITTLE_MEMORY) as pool:
        for target in (*expected, "nothing"):  # another process takes the place of one that ended
            verdict = pool.judge(Case(target, {target: b""}, "", target)).verdict
            assert (verdict.outcome, verdict.problems) == expected[target]


# What was found once. Warnings are errors here, so that none may escape.


def changed(seed: str, change: Callable[[RawFile], None]) -> bytes:
    """Returns an image with one change."""
    valid = next(item.file for item in own_seeds() if item.name == seed)
    assert valid is not None
    file = deepcopy(valid)
    change(file)
    return encode_file(file)


def reading(folder: Path, content: bytes) -> Verdict:
    """Reads an image."""
    path = folder / "image.dcm"
    path.write_bytes(content)
    return judge(path, path.name)


def codestream(change: Callable[[bytes], bytes]) -> Callable[[RawFile], None]:
    """Changes the compressed image."""

    def change_file(file: RawFile) -> None:
        element = file.find(PIXEL_DATA)
        assert element is not None
        assert isinstance(element.value, bytes)
        element.value = join([b"", *map(change, split(element.value)[1:])])

    return change_file


@pytest.mark.parametrize("uid", [b"x", b"1.2.840.10008.1.2.4.50.", b"1.2.840.10008\0.1.2 "])
def test_pydicom_does_not_warn_of_a_transfer_syntax_that_is_no_uid(tmp_path: Path, uid: bytes) -> None:
    def change(file: RawFile) -> None:
        file.meta = [replace(item, value=uid) if item.tag == TRANSFER_SYNTAX else item for item in file.meta]

    verdict = reading(tmp_path, changed("RLE", change))
    assert (verdict.outcome, verdict.problems) == ("unsupported_transfer_syntax", ())


def test_what_modules_of_pydicom_log_is_silenced_too(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pydicom.some.module")  # of its own: import-linter disables those that it finds
    with silent_pydicom():
        logger.warning("quotes the header")
    assert caplog.messages == []
    logger.warning("as before")
    assert caplog.messages == ["as before"]


@pytest.mark.parametrize(
    ("seed", "change"),
    [
        ("JPEG-LS near", lambda frame: frame[:-3]),  # CharLS does not return
        ("JPEG lossless", lambda frame: frame.replace(b"\xff\xc4", b"\xff\x00")),  # GDCM ends the process
    ],
    ids=["scan without an end", "no marker"],
)
def test_decoders_are_spared_what_they_do_not_survive(
    tmp_path: Path, seed: str, change: Callable[[bytes], bytes]
) -> None:
    verdict = reading(tmp_path, changed(seed, codestream(change)))
    assert (verdict.outcome, verdict.problems) == ("undecodable", ())


def test_gdcm_survives_a_version_of_jfif_that_it_does_not_know(tmp_path: Path) -> None:
    jfif = b"\xff\xe0\x00\x10JFIF\x00\x00\x80" + bytes(7)
    verdict = reading(tmp_path, changed("JPEG lossless", codestream(lambda frame: frame[:2] + jfif + frame[2:])))
    assert (verdict.outcome, verdict.problems) == ("decoded", ())


def test_an_image_of_many_precincts_does_not_fill_memory() -> None:
    def change(file: RawFile) -> None:
        for tag in (0x00280010, 0x00280011):
            replace_value(file, tag, "US", struct.pack("<H", 4096))
        codestream(lambda frame: divided(with_size(frame, 4096, 4096), tile=4096, precinct=0x11))(file)

    content = changed("JPEG 2000", change)
    with Pool() as pool:
        verdict = pool.judge(Case("precincts", {"a": content}, "a", "a")).verdict
    assert (verdict.outcome, verdict.problems) == ("undecodable", ())


def test_control_characters_of_a_header_reach_no_table(tmp_path: Path) -> None:
    named = changed("signed", lambda file: replace_value(file, 0x0008103E, "LO", b"a\x1b[2J\nb "))
    unplaced = named.replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x31\x00DS")
    verdict = reading(tmp_path, unplaced)
    assert (verdict.outcome, verdict.problems) == ("no_position", ())
    (header,) = discover([tmp_path])
    assert isinstance(header, SliceHeader)
    assert header.series_description == "a\ufffd[2J\ufffdb"


def test_an_archive_whose_directory_is_lost_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.dcm", b"")
    content = path.read_bytes()
    end = content.index(b"PK\x05\x06")  # the record there says that the directory has no entries and no bytes
    path.write_bytes(content[: end + 8] + bytes(8) + content[end + 16 :])
    verdict = judge(path, path.name)
    assert (verdict.outcome, verdict.problems) == ("bad_archive", ())


@pytest.mark.parametrize(("tag", "vr"), [(0x0008103E, "LO"), (0x00080060, "CS"), (0x00100020, "LO")])
def test_messages_quote_no_more_than_a_header_may_hold(tmp_path: Path, tag: int, vr: str) -> None:
    (tmp_path / "image.dcm").write_bytes(changed("signed", lambda file: replace_value(file, tag, vr, b"a" * 60000)))
    (tmp_path / "other.dcm").write_bytes(changed("signed", lambda file: replace_value(file, 0x00080018, "UI", b"1.2 ")))
    assert judge(tmp_path, "image.dcm").problems == ()
