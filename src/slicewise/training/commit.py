"""Which commit of its source slicewise runs from: part of what a run folder records."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec

import slicewise

CHANGES = "+changes"
GIT_SECONDS = 10.0

_PACKAGE = Path("src", "slicewise")
# A hook of git sets these for the repository that it runs in, which may be another one.
_OTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


class _VersionControl(msgspec.Struct, frozen=True):
    commit_id: str = ""


class _DirectUrl(msgspec.Struct, frozen=True):
    # PEP 610: where pip installed a distribution from.
    vcs_info: _VersionControl = _VersionControl()


def source_commit() -> str:
    """Returns the commit of the slicewise source that runs.

    Never raises: what cannot be found out is not known.

    Returns:
        The git commit of the checkout that slicewise is imported from, followed by "+changes" if its `src` differs from
        the commit; else the commit that pip installed slicewise from; "" if neither is known.
    """
    package = Path(slicewise.__file__).resolve().parent
    return _checkout_commit(package) or _installed_commit(package)


def _checkout_commit(package: Path) -> str:
    root = package.parents[1]
    executable = shutil.which("git")
    if executable is None or package != root / _PACKAGE or not (root / ".git").exists():
        return ""
    git = (executable, "--no-optional-locks", "-C", str(root))
    try:
        # Fails where the package only lies in the repository, as one of another project, without being part of it.
        _output(*git, "ls-files", "--error-unmatch", "--", (_PACKAGE / "__init__.py").as_posix())
        commit = _output(*git, "rev-parse", "--verify", "HEAD")
        changes = _output(*git, "status", "--porcelain", "--", "src")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + CHANGES if changes else commit


def _output(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _OTHER_REPOSITORY}
    done = subprocess.run(  # noqa: S603 - git, with fixed arguments
        command,
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
        env=environment,
        timeout=GIT_SECONDS,
    )
    return done.stdout.strip()


def _installed_commit(package: Path) -> str:
    try:
        distribution = metadata.distribution("slicewise")
        # The distribution that is installed need not be what is imported.
        if Path(str(distribution.locate_file("slicewise"))).resolve() != package:
            return ""
        text = distribution.read_text("direct_url.json")
        return msgspec.json.decode(text or "{}", type=_DirectUrl).vcs_info.commit_id
    except (metadata.PackageNotFoundError, msgspec.DecodeError, OSError, UnicodeDecodeError):
        return ""
