from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from archives import change_directory, write_zip
from slicewise.errors import UnreadableFileError
from slicewise.source import LARGEST_ENTRY_BYTES, Source, archive_problem, displayed, entry_problem, open_archive

CONTENT = bytes(range(256)) * 40


def read(source: Source) -> bytes:
    with source.open() as stream:
        return stream.read()


def refusal(source: Source) -> tuple[str, str]:
    with pytest.raises(UnreadableFileError) as error:
        source.open()
    return error.value.reason, str(error.value)


def entry_of(path: Path, index: int = 0) -> zipfile.ZipInfo:
    return open_archive(path).infolist()[index]


def test_a_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "IM1"
    path.write_bytes(CONTENT)
    source = Source(str(path), "study/IM1")
    assert source.name == "IM1"
    with source.open() as stream:
        assert stream.seek(0, 2) == len(CONTENT)
        stream.seek(10)
        assert stream.read(5) == CONTENT[10:15]


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    assert refusal(Source(str(tmp_path / "gone"), "a/gone")) == (
        "unreadable_path",
        "a/gone: cannot be opened (No such file or directory). Check the path and its permissions.",
    )
    assert refusal(Source(str(tmp_path / "gone.zip"), "a/gone.zip/IM1", 0))[0] == "unreadable_path"
    assert refusal(Source(str(tmp_path), "folder"))[0] == "unreadable_path"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_in_an_archive(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"b/": b"", "b/IM1": CONTENT, "b/IM2": b"", "b/IM3": CONTENT[::-1]}, method)
    assert read(Source(str(path), "b/IM1", 1)) == CONTENT
    assert read(Source(str(path), "b/IM2", 2)) == b""
    with Source(str(path), "b/IM3", 3).open() as stream:
        assert stream.seek(0, 2) == len(CONTENT)
        stream.seek(1)
        assert stream.read(2) == CONTENT[::-1][1:3]


def test_two_files_of_one_name_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("IM1", b"first")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("IM1", b"second")
    assert [read(Source(str(path), "IM1", index)) for index in (0, 1)] == [b"first", b"second"]


def test_a_source_may_be_sent_to_another_process(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"IM1": CONTENT})
    source = Source(str(path), "IM1", 0)
    read(source)  # the archive stays open, and does not travel
    assert pickle.loads(pickle.dumps(source)) == source
    assert hash(source) == hash(Source(str(path), "IM1", 0))


def test_threads_read_from_one_archive(tmp_path: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(40)]
    path = write_zip(tmp_path / "a.zip", {str(number): content for number, content in enumerate(contents)})
    sources = [Source(str(path), str(number), number) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, sources * 3)) == contents * 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems start processes anew")
def test_a_process_that_inherits_an_open_archive_opens_its_own(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": CONTENT})
    inherited.append(open_archive(path))
    assert _opens_inherited(path)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert not pool.apply(_opens_inherited, (path,))


inherited: list[zipfile.ZipFile] = []


def _opens_inherited(path: Path) -> bool:
    return open_archive(path) is inherited[-1]


def test_an_archive_that_was_replaced_is_opened_anew(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": b"old", "b": b"older"})
    first, second = Source(str(path), "a", 0), Source(str(path), "b", 1)
    assert read(first) == b"old"
    path.unlink()
    write_zip(path, {"a": b"new content"})
    assert read(first) == b"new content"
    assert refusal(second) == ("bad_archive", "b: cannot be unpacked (IndexError). Copy the archive again.")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not list the files of a process")
def test_few_archives_stay_open(tmp_path: Path) -> None:
    for number in range(40):
        read(Source(str(write_zip(tmp_path / f"{number}.zip", {"a": CONTENT})), "a", 0))
    files = [os.readlink(item) for item in Path("/proc/self/fd").iterdir() if item.is_symlink()]  # noqa: PTH115
    assert 1 <= sum(name.startswith(str(tmp_path)) for name in files) <= 4


def test_the_state_of_a_file_changes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "IM1"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 2_000_000_001))
    assert Source(str(path), "IM1").state() == (5, 2_000_000_001)
    assert Source(str(tmp_path / "gone"), "gone").state() == (-1, -1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IM1", "IM1"),
        ("müller/頭部", "müller/頭部"),
        (os.fsdecode(b"stra\xdfe/\xff"), r"stra\xdfe/\xff"),
        (r"a\xff", r"a\xff"),
    ],
)
def test_every_name_can_be_written(name: str, expected: str) -> None:
    assert displayed(name) == expected
    msgspec.json.encode(displayed(name))


def test_a_damaged_entry(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": CONTENT, "b": CONTENT}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(CONTENT) + 7] ^= 1
    path.write_bytes(content)
    assert refusal(Source(str(path), "a", 0)) == (
        "bad_archive",
        "a: cannot be unpacked (BadZipFile). Copy the archive again.",
    )
    assert read(Source(str(path), "b", 1)) == CONTENT


@pytest.mark.parametrize(
    "fields",
    [{"offset": 10}, {"offset": 0xFFFFFF}, {"packed": 5}, {"size": 99}, {"checksum": 1}],
    ids=str,
)
def test_a_directory_that_is_wrong_about_an_entry(tmp_path: Path, fields: dict[str, int]) -> None:
    path = change_directory(write_zip(tmp_path / "a.zip", {"a": CONTENT}), 0, **fields)
    assert refusal(Source(str(path), "a", 0))[0] == "bad_archive"


def test_an_archive_cut_or_damaged_anywhere(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", {"ü": b"a" * 50, "b": b"b" * 50}).read_bytes()
    damaged = [whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :] for place in range(len(whole))]
    reasons = set()
    for content in [*damaged, *(whole[:place] for place in range(0, len(whole), 7))]:
        (tmp_path / "a.zip").write_bytes(content)
        reasons |= reasons_of(tmp_path / "a.zip")
    assert reasons == {"bad_archive", "encrypted", "too_large", ""}


def reasons_of(path: Path) -> set[str]:
    try:
        entries = open_archive(path).infolist()
        archive_problem(entries, path.stat().st_size)
        reasons = {entry_problem(entry)[0] for entry in entries}
        for index, entry in enumerate(entries):
            if not entry_problem(entry)[0]:
                read(Source(str(path), "a", index))
    except UnreadableFileError as error:
        return {error.reason}
    return reasons


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for content in (b"", b"PK\x03\x04", b"no archive " * 100):
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match="is no zip archive, or a damaged one") as error:
            open_archive(path)
        assert error.value.reason == "bad_archive"


def test_an_archive_of_scans_has_no_problem(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/": b"", "a/1": CONTENT, "a/2": b"", "a/3": CONTENT})
    entries = open_archive(path).infolist()
    assert archive_problem(entries, path.stat().st_size) == ""
    assert [entry_problem(entry) for entry in entries] == [("", "")] * 4


def test_a_bomb(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"1": b"", "2": b"", "3": b""})
    for number in range(3):
        change_directory(path, number, size=100 << 20)
    problem = archive_problem(open_archive(path).infolist(), path.stat().st_size)
    assert problem.startswith("unpacks to 300 MiB from 0.0 MiB, as archives made to fill a machine do")
    change_directory(path, 0, size=0)  # an archive of black images may hold 200 MiB
    assert archive_problem(open_archive(path).infolist(), path.stat().st_size) == ""
    change_directory(path, 0, size=100 << 20)
    assert archive_problem(open_archive(path).infolist(), 2 << 20) == "", "300 MiB of 2 MiB"


def test_entries_that_overlap(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"1": CONTENT, "2": CONTENT, "3": CONTENT}, zipfile.ZIP_STORED)
    change_directory(path, 2, offset=100)
    problem = archive_problem(open_archive(path).infolist(), path.stat().st_size)
    assert problem.startswith("holds entries that overlap")


def test_an_entry_that_holds_more_than_it_states(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": bytes(24 << 20)})
    content = path.read_bytes().replace((24 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    path.write_bytes(content)
    assert entry_problem(entry_of(path)) == ("", "")
    tracemalloc.start()
    try:
        assert refusal(Source(str(path), "a", 0))[0] == "bad_archive"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "a/..", "C:/a", r"..\a", r"\\server\a", "c:a"])
def test_a_path_that_leads_out(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {name: CONTENT})
    assert entry_problem(entry_of(path)) == ("unsafe_path", "its path leads out of the archive")


@pytest.mark.parametrize("name", ["..a", "a../b", "...", "a/ ..", "a//b"])
def test_an_odd_path_that_stays_within(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", {name: CONTENT})
    assert entry_problem(entry_of(path)) == ("", "")


def test_entries_that_are_not_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": CONTENT})
    assert entry_problem(entry_of(change_directory(path, 0, flags=1)))[0] == "encrypted"
    reason, problem = entry_problem(entry_of(change_directory(path, 0, flags=0, method=12)))
    assert (reason, problem) == ("bad_archive", "is packed by method 12; expected stored or deflated. Pack it again")
    reason, problem = entry_problem(entry_of(change_directory(path, 0, method=8, size=LARGEST_ENTRY_BYTES + 1)))
    assert (reason, problem) == ("too_large", "unpacks to 2.0 GiB; expected up to 2")
    assert entry_problem(entry_of(change_directory(path, 0, size=LARGEST_ENTRY_BYTES))) == ("", "")
