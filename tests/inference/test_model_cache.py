from __future__ import annotations

import os
from pathlib import Path

import pytest

from slicewise.inference.model_cache import ModelCache, cache_key, user_cache_folder

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="nothing is kept without POSIX owners")


def test_a_key_depends_on_every_part_and_on_where_it_ends() -> None:
    keys = {cache_key(parts) for parts in (("a", "b"), ("ab", ""), ("b", "a"), ("a",))}
    assert len(keys) == 4


@posix
def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "new" / "slicewise")
    assert cache.read("key") is None
    cache.write("key", b"network")
    assert cache.read("key") == b"network"
    assert cache.read("other") is None
    assert (tmp_path / "new" / "slicewise").stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_what_is_damaged_is_not_used(tmp_path: Path, damage: bytes | None) -> None:
    cache = ModelCache(tmp_path / "slicewise")
    cache.write("key", b"network")
    path = tmp_path / "slicewise" / "key"
    path.write_bytes(path.read_bytes()[:-1] + b"!" if damage is None else damage)
    assert cache.read("key") is None


@posix
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_enter_is_not_used(tmp_path: Path, mode: int) -> None:
    cache = ModelCache(tmp_path / "slicewise")
    cache.write("key", b"network")
    (tmp_path / "slicewise").chmod(mode)
    assert cache.read("key") is None
    cache.write("more", b"network")
    assert not (tmp_path / "slicewise" / "more").exists()


@posix
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ModelCache(tmp_path / "slicewise")
    cache.write("key", b"network")
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    assert cache.read("key") is None


@posix
def test_links_are_not_followed(tmp_path: Path) -> None:
    ModelCache(tmp_path / "theirs").write("key", b"network")
    (tmp_path / "linked").symlink_to(tmp_path / "theirs")
    assert ModelCache(tmp_path / "linked").read("key") is None
    cache = ModelCache(tmp_path / "mine")
    cache.write("other", b"network")
    (tmp_path / "mine" / "key").symlink_to(tmp_path / "theirs" / "key")
    assert cache.read("key") is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ModelCache(tmp_path / "file" / "slicewise")
    cache.write("key", b"network")
    assert cache.read("key") is None


@posix
def test_the_oldest_ones_are_dropped(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "slicewise")
    for place in range(12):
        cache.write(f"{place:064x}", b"network")
        os.utime(tmp_path / "slicewise" / f"{place:064x}", (place, place))
    kept = sorted(path.name for path in (tmp_path / "slicewise").iterdir())
    assert kept == [f"{place:064x}" for place in range(4, 12)]


def test_the_folder_follows_the_xdg_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_folder() == tmp_path / "slicewise"
    for unusable in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert user_cache_folder() == Path.home() / ".cache" / "slicewise"

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert user_cache_folder() is None


@posix
def test_files_of_others_are_never_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    for number in range(12):
        (folder / f"thesis{number}.txt").write_text("years of work")
    cache = ModelCache(folder)
    for number in range(12):
        cache.write(cache_key([str(number)]), b"compiled")
    assert len(list(folder.glob("thesis*.txt"))) == 12
    assert len(list(folder.iterdir())) == 12 + 8
