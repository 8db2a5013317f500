from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from slicewise.files import is_unfinished, write_atomically, write_bytes_atomically

KILLED = """
import os, pathlib, signal, sys
from slicewise.files import write_atomically
with write_atomically(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_appears_whole(tmp_path: Path) -> None:
    write_bytes_atomically(tmp_path / "deep" / "file.bin", b"content")
    assert (tmp_path / "deep" / "file.bin").read_bytes() == b"content"
    assert [item.name for item in (tmp_path / "deep").iterdir()] == ["file.bin"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk full"), write_atomically(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_is_known_by_its_name(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file.txt")], check=False)
    (left,) = tmp_path.iterdir()
    assert is_unfinished(left.name)
    for name in ("file.txt", ".hidden", "file.part", "run.json"):
        assert not is_unfinished(name)


def test_a_full_disk_is_told_with_the_path_that_was_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for named in (None, "temporary"):
        with pytest.raises(OSError, match="No space") as caught, write_atomically(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device", None if named is None else str(temporary))
        assert caught.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as missing, write_atomically(path):
        (tmp_path / "source").read_bytes()
    assert missing.value.filename == str(tmp_path / "source")
    assert list(tmp_path.iterdir()) == []


def test_an_error_removes_a_half_written_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), write_atomically(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "one").write_text("1")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
