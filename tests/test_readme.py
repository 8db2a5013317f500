"""Every command of the README works exactly as written."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import slicewise.config
from slicewise.cli.main import main
from slicewise.config import RunConfig, load_config

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^slicewise .+$", README, flags=re.MULTILINE)


def test_every_command_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the length of the training is cut: the commands are the README's.
    def short(
        path: Path | None = None,
        overrides: Iterable[str] = (),
        *,
        defaults: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> RunConfig:
        quick = ("encoder.name=mobilenetv3_small_050", "stage1.epochs=1", "fusion.epochs=1", "fusion.members=1")
        return load_config(path, (*overrides, *quick), defaults=defaults, source=source)

    monkeypatch.setattr(slicewise.config, "load_config", short)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split("phantom example --studies 1 --matrix 64 --quiet")) == 0
    shutil.move("example/dicom", "scans")
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, command


def test_the_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split("phantom example --studies 1 --matrix 64 --quiet")) == 0
    shutil.move("example/dicom", "scans")
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    printed: list[tuple[object, ...]] = []
    exec(code, {"print": lambda *values: printed.append(values)})
    assert len(printed) == 1


def test_the_first_screen_names_the_two_commands() -> None:
    first_screen = README.splitlines()[:24]
    assert any(line.startswith("make demo") for line in first_screen)
    assert any(line.startswith("make test") for line in first_screen)
