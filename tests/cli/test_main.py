from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_files import write_series
from slicewise import __version__
from slicewise.cli.main import COMMANDS, build_parser, main


def test_help_names_every_command_and_what_it_is_not_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command.__name__.rpartition('.')[2]} " in text
    assert "not a medical device" in text


@pytest.mark.parametrize("command", [command.__name__.rpartition(".")[2] for command in COMMANDS])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text
    assert f"slicewise {command}" in text
    assert "--quiet" in text


def test_the_program_is_installed() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("slicewise")), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"slicewise {__version__}\n"
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [[], ["predict"], ["nonsense"], ["train", "x", "--output", "y", "--bogus"]])
def test_a_wrong_call_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_an_error_is_a_sentence_and_no_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["models", str(tmp_path / "none")]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("slicewise: error: There is no model")
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_file_system_error_names_the_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    images = tmp_path / "in"
    write_series(images)
    (tmp_path / "file").write_text("in the way")
    assert main(["predict", str(images), "--output", str(tmp_path / "file"), "--quiet"]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slicewise.package.shipped_models", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "slicewise: interrupted\n"


def test_the_parser_is_built_without_side_effects() -> None:
    assert build_parser().format_help() == build_parser().format_help()
