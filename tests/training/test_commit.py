from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import slicewise

SOURCE = Path(slicewise.__file__).parent
NEEDED = ("__init__.py", "training/__init__.py", "training/commit.py")
ASK = """
import sys
from slicewise.training import commit
assert commit.__file__.startswith(sys.argv[1]), commit.__file__
commit.GIT_SECONDS = float(sys.argv[2])
print(commit.source_commit())
"""

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def copy_package(folder: Path) -> Path:
    for name in NEEDED:
        target = folder / "slicewise" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / name, target)
    return folder


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout.strip()


def commit_all(root: Path) -> str:
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Something")
    return git(root, "rev-parse", "HEAD")


def ask(path: Path, *, seconds: float = 10, **environment: str) -> str:
    """The commit that slicewise reports, imported from a folder in another process."""
    # Byte code beside the source would be a change of the checkout.
    variables = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(path), str(seconds)], check=True, capture_output=True, text=True, env=variables
    )
    assert done.stderr == ""
    return done.stdout.strip()


def fake_git(folder: Path, script: str) -> str:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    return str(folder)


def write_installed(folder: Path, direct_url: str | None) -> Path:
    """A folder of installed packages with slicewise in it."""
    copy_package(folder)
    record = folder / "slicewise-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: slicewise\nVersion: 0.1.0\n")
    if direct_url is not None:
        (record / "direct_url.json").write_text(direct_url)
    return folder


def test_a_checkout_and_its_changes(tmp_path: Path) -> None:
    source = copy_package(tmp_path / "src")
    (tmp_path / "README.md").write_text("read me")
    commit = commit_all(tmp_path)
    assert len(commit) == 40
    assert ask(source) == commit
    (tmp_path / "README.md").write_text("read me, changed")
    assert ask(source) == commit
    (source / "slicewise" / "new.py").write_text("NEW = 1\n")
    assert ask(source) == f"{commit}+changes"
    (source / "slicewise" / "new.py").unlink()
    with (source / "slicewise" / "__init__.py").open("a") as stream:
        stream.write("\nCHANGED = 1\n")
    assert ask(source) == f"{commit}+changes"


def test_variables_that_git_sets_for_its_hooks_do_not_mislead(tmp_path: Path) -> None:
    source = copy_package(tmp_path / "ours" / "src")
    commit = commit_all(tmp_path / "ours")
    copy_package(tmp_path / "other" / "src")
    (tmp_path / "other" / "more").write_text("more")
    assert commit_all(tmp_path / "other") != commit
    other = tmp_path / "other"
    assert ask(source, GIT_DIR=str(other / ".git"), GIT_INDEX_FILE=str(other / ".git" / "index")) == commit


def test_a_repository_that_only_surrounds_the_package_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text("pass\n")
    commit_all(tmp_path)
    assert ask(copy_package(tmp_path / "venv" / "lib" / "site-packages")) == ""
    # Not even where it lies where it would in a checkout of slicewise.
    assert ask(copy_package(tmp_path / "src")) == ""


def test_a_repository_without_commits(tmp_path: Path) -> None:
    source = copy_package(tmp_path / "src")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    assert ask(source) == ""


def test_no_repository(tmp_path: Path) -> None:
    source = copy_package(tmp_path / "src")
    assert ask(source) == ""
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    assert ask(source) == ""


def test_git_that_is_missing_refuses_fails_or_hangs(tmp_path: Path) -> None:
    source = copy_package(tmp_path / "checkout" / "src")
    commit = commit_all(tmp_path / "checkout")
    assert ask(source) == commit
    assert ask(source, PATH=str(tmp_path)) == ""
    assert ask(source, GIT_TEST_ASSUME_DIFFERENT_OWNER="1", HOME=str(tmp_path)) == ""
    assert ask(source, PATH=fake_git(tmp_path / "failing", "exit 3")) == ""
    assert ask(source, seconds=0.2, PATH=fake_git(tmp_path / "hanging", "exec /bin/sleep 60")) == ""


def test_the_commit_that_pip_installed_from(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    direct_url = {"url": "https://example.org/slicewise.git", "vcs_info": {"vcs": "git", "commit_id": commit}}
    assert ask(write_installed(tmp_path / "site", json.dumps(direct_url))) == commit
    # Imported from elsewhere, the distribution says nothing about what runs.
    elsewhere = copy_package(tmp_path / "elsewhere")
    assert ask(elsewhere, PYTHONPATH=os.pathsep.join([str(elsewhere), str(tmp_path / "site")])) == ""


@pytest.mark.parametrize(
    "direct_url",
    [
        None,
        "",
        "{half",
        "[]",
        '{"url": "file:///work", "dir_info": {"editable": true}}',
        '{"vcs_info": null}',
        '{"vcs_info": {"commit_id": 5}}',
    ],
)
def test_an_installation_without_a_commit(tmp_path: Path, direct_url: str | None) -> None:
    assert ask(write_installed(tmp_path / "site", direct_url)) == ""
