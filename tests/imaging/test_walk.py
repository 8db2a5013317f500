from __future__ import annotations

import os
import shutil
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archives import change_directory, write_zip, zip_folder
from slicewise.errors import UsageError
from slicewise.imaging.walk import check_inputs, walk
from slicewise.results import Rejection
from slicewise.source import Source


def files(*inputs: Path) -> list[str]:
    return sorted(item.file for item in walk(inputs) if isinstance(item, Source))


def contents(*inputs: Path) -> dict[str, bytes]:
    found = {}
    for item in walk(inputs):
        if isinstance(item, Source):
            with item.open() as stream:
                found[item.file] = stream.read()
    return found


def rejections(*inputs: Path) -> dict[str, str]:
    found = [item for item in walk(inputs) if isinstance(item, Rejection)]
    assert all(item.kind == "unreadable" and item.message.startswith(f"{item.path}: ") for item in found)
    return {item.path: item.reason for item in found}


def write(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_single_files(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a" / "b" / "IM1", b"1"), write(tmp_path / "IM2.dcm", b"2")
    assert list(walk([one, other])) == [Source(str(one), "IM1"), Source(str(other), "IM2.dcm")]


def test_folders_of_any_depth_and_any_names(tmp_path: Path) -> None:
    names = ["IM1", ".hidden", "a/IM1", "a/b c/d'e/\t", "ünï/頭部/x.y.z", "a/zip", "DICOM.ZIPS"]
    for name in names:
        write(tmp_path / name, name.encode())
    (tmp_path / "empty").mkdir()
    assert contents(tmp_path) == {name: name.encode() for name in names}
    assert rejections(tmp_path) == {}


def test_inputs_are_read_one_after_the_other_from_where_they_begin(tmp_path: Path) -> None:
    write(tmp_path / "z" / "a" / "IM1")
    write(tmp_path / "b" / "IM1")
    assert [item.file for item in walk([tmp_path / "z", tmp_path / "b"]) if isinstance(item, Source)] == [
        "a/IM1",
        "IM1",
    ]


def test_folders_nested_more_deeply_than_python_may_call(tmp_path: Path) -> None:
    depth = 600  # one call a folder and one an entry would be too many
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(os.open("IM1", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    write(tmp_path / "IM2")
    assert files(tmp_path) == sorted(["IM2", "d/" * depth + "IM1"])
    assert rejections(tmp_path) == {}
    remove_deep(tmp_path)


def remove_deep(folder: Path) -> None:
    """Removes a chain of folders, more deeply nested than `shutil.rmtree` may call."""
    top = folder / "d"
    while True:
        inner = top / "d"
        for name in ("IM1", "../IM1"):
            (top / name).unlink(missing_ok=True)
        if not inner.exists():
            break
        inner.rename(folder / "inner")
        top.rmdir()
        (folder / "inner").rename(top)
    top.rmdir()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    write(folder / os.fsdecode(b"\xff.dcm"), b"1")
    write_zip(folder / os.fsdecode(b"\xfe.zip"), {"IM1": b"2"})
    (folder / os.fsdecode(b"\xfd")).symlink_to("nowhere")
    assert contents(tmp_path) == {r"stra\xdfe/\xff.dcm": b"1", r"stra\xdfe/\xfe.zip/IM1": b"2"}
    assert rejections(tmp_path) == {r"stra\xdfe/\xfd": "unreadable_path"}
    assert contents(folder / os.fsdecode(b"\xff.dcm")) == {r"\xff.dcm": b"1"}


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "IM1", b"1")
    scans = tmp_path / "scans"
    write(scans / "a" / "IM2", b"2")
    (scans / "link").symlink_to(tmp_path / "elsewhere")
    (scans / "file").symlink_to(tmp_path / "elsewhere" / "IM1")
    (scans / "a" / "up").symlink_to(scans)
    (scans / "b").mkdir()
    (scans / "b" / "across").symlink_to(scans / "a")
    assert contents(scans) == {"a/IM2": b"2", "b/across/IM2": b"2", "link/IM1": b"1", "file": b"1"}
    assert rejections(scans) == {"a/up": "unreadable_path", "b/across/up": "unreadable_path"}


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "IM1")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert files(tmp_path) == ["IM1"]
    assert rejections(tmp_path) == dict.fromkeys(["broken", "itself", "one", "other"], "unreadable_path")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.zip")
    assert rejections(tmp_path) == {"pipe": "unreadable_path", "pipe.zip": "unreadable_path"}
    assert rejections(tmp_path / "pipe") == {"pipe": "unreadable_path"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    write(tmp_path / "IM1")
    (tmp_path / "closed").mkdir(mode=0o000)
    assert files(tmp_path) == ["IM1"]
    assert rejections(tmp_path) == {"closed": "unreadable_path"}


class FailingFolder:
    """A folder on a damaged disc: the first entry is listed, then the drive gives up."""

    def __init__(self, entries: Any) -> None:
        self._entries = entries

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return self._listed()

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def _listed(self) -> Iterator[os.DirEntry[str]]:
        yield next(self._entries)
        raise OSError(5, "Input/output error")


def test_a_folder_that_cannot_be_listed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1", "a/2", "b/1"):
        write(tmp_path / name)
    scandir = os.scandir
    bad = str(tmp_path / "a")
    monkeypatch.setattr(os, "scandir", lambda path: FailingFolder(scandir(path)) if path == bad else scandir(path))
    assert rejections(tmp_path) == {"a": "unreadable_path"}
    assert len(files(tmp_path)) == 2
    assert "b/1" in files(tmp_path)


def test_a_folder_that_goes_while_it_is_read(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / name / "IM1")
    found = walk([tmp_path])
    next(found)
    for name in "abc":
        shutil.rmtree(tmp_path / name)
    rest = list(found)
    assert [item.reason for item in rest if isinstance(item, Rejection)] == ["unreadable_path"] * len(rest)


def test_a_missing_input_is_a_wrong_call(tmp_path: Path) -> None:
    check_inputs([tmp_path])
    for path in (tmp_path / "nowhere", write(tmp_path / "file") / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UsageError, match="there is no such file or folder"):
            check_inputs([tmp_path, path])


SCAN = {"s/": b"", "s/1/IM1": b"1", "s/2/ünï": b"2", "IM3": b"3"}


def test_an_archive_reads_like_the_folder_in_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "scan.zip", SCAN)
    assert contents(path) == {"s/1/IM1": b"1", "s/2/ünï": b"2", "IM3": b"3"}
    shutil.copy(path, tmp_path / "named otherwise")
    assert contents(tmp_path / "named otherwise") == contents(path)


def test_archives_in_folders_read_like_folders(tmp_path: Path) -> None:
    write_zip(tmp_path / "a" / "CT.ZIP", SCAN)
    write(tmp_path / "a" / "IM1", b"4")
    assert contents(tmp_path) == {
        "a/CT.ZIP/s/1/IM1": b"1",
        "a/CT.ZIP/s/2/ünï": b"2",
        "a/CT.ZIP/IM3": b"3",
        "a/IM1": b"4",
    }


def test_an_empty_archive_holds_nothing(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "scan", {})
    assert list(walk([path])) == []


def test_an_archive_with_the_separators_of_windows(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "scan.zip", {"s\\": b"", "s\\1\\IM1": b"1"})
    assert contents(path) == {"s/1/IM1": b"1"}


def test_a_file_with_the_end_of_an_archive_is_none(tmp_path: Path) -> None:
    content = bytes(128) + b"DICM" + write_zip(tmp_path / "a.zip", {}).read_bytes()
    assert zipfile.is_zipfile(write(tmp_path / "IM1", content))
    assert files(tmp_path / "IM1") == ["IM1"]


def test_entries_that_are_refused_leave_the_others(tmp_path: Path) -> None:
    names = ("../escape", "/absolute", "encrypted", "bzip2", "large", "s/nested.ZIP", "IM1")
    path = write_zip(tmp_path / "in" / "scan.zip", {name: name.encode() for name in names}, zipfile.ZIP_STORED)
    change_directory(path, 2, flags=1)
    change_directory(path, 3, method=zipfile.ZIP_BZIP2)
    change_directory(path, 4, size=(2 << 30) + 1)
    path.write_bytes(bytes(16 << 20) + path.read_bytes())  # so that it is no bomb
    expected = {
        "../escape": "unsafe_path",
        "/absolute": "unsafe_path",
        "encrypted": "encrypted",
        "bzip2": "bad_archive",
        "large": "too_large",
        "s/nested.ZIP": "nested_archive",
    }
    assert rejections(path) == expected
    assert contents(path) == {"IM1": b"IM1"}
    assert rejections(tmp_path) == {f"in/scan.zip/{name}": reason for name, reason in expected.items()}


def test_archives_that_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "damaged.zip", write_zip(tmp_path / "a", {"a": bytes(999)}).read_bytes()[:-9])
    (tmp_path / "a").unlink()
    write(tmp_path / "none.zip", b"no archive")
    change_directory(write_zip(tmp_path / "bomb.zip", {"a": b"", "b": b""}), 0, size=1 << 30)
    change_directory(write_zip(tmp_path / "overlap.zip", {"a": b"1" * 99, "b": b"2" * 99}), 1, offset=0)
    expected = {
        "bomb.zip": "archive_bomb",
        "damaged.zip": "bad_archive",
        "none.zip": "bad_archive",
        "overlap.zip": "archive_bomb",
    }
    assert rejections(tmp_path) == expected
    for name, reason in expected.items():
        assert rejections(tmp_path / name) == {name: reason}
    assert files(tmp_path) == []


def test_a_disc_in_an_archive_is_a_folder(tmp_path: Path, shared_data: Path) -> None:
    disc = shared_data / "ct_head" / "philips_disc"
    path = zip_folder(tmp_path / "disc.zip", disc)
    assert files(path) == files(disc)
    assert len(files(disc)) == 40


def test_the_files_of_a_disc_are_those_that_its_dicomdir_names(shared_data: Path) -> None:
    disc = shared_data / "ct_head" / "philips_disc"
    assert sorted(files(disc / "DICOMDIR")) == files(disc)


def test_the_first_file_comes_before_the_others_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        write(tmp_path / f"{number}" / "IM1")
    listed: list[str] = []
    scandir = os.scandir

    def counting(path: str) -> Any:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    found = walk([tmp_path])
    assert isinstance(next(found), Source)
    assert len(listed) == 2
    assert sum(1 for _ in found) == 199
    assert len(listed) == 201


class Entry:
    """A file of a folder that is not there."""

    def __init__(self, folder: str, number: int) -> None:
        self.name = f"IM{number:08d}"
        self.path = f"{folder}/{self.name}"

    def is_dir(self) -> bool:
        return False

    def is_file(self) -> bool:
        return True


class LargeFolder:
    """A folder of so many files."""

    def __init__(self, folder: str, count: int) -> None:
        self._entries = (Entry(folder, number) for number in range(count))

    def __enter__(self) -> Iterator[Entry]:
        return self._entries

    def __exit__(self, *_: object) -> None:
        self._entries.close()


@pytest.mark.parametrize("count", [100, 20_000])
def test_memory_does_not_grow_with_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "scandir", lambda path: LargeFolder(path, count))
    tracemalloc.start()
    try:
        assert sum(1 for _ in walk([tmp_path])) == count
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_nothing_is_kept_of_the_folders_that_were_read(tmp_path: Path) -> None:
    for number in range(400):
        write(tmp_path / f"{number}" / "IM1")
    assert sum(1 for _ in walk([tmp_path])) == 400  # whatever Python keeps of its own accord
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            assert sum(1 for _ in walk([tmp_path])) == 400
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
