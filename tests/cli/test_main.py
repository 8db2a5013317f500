from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ManifestMaker
from dicom_files import write_series
from scored_dataset import small, write_dataset
from slicewise import __version__
from slicewise.cli.main import COMMANDS, build_parser, main
from slicewise.package import write_package
from slicewise.task import load_task


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
    assert main(["models", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("slicewise: error: There is no model")
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "in", "--output", "out", "--model", "none"],
        ["predict", "in", "--output", "file"],
        ["train", "dataset", "--output", "run", "--init", "none"],
        ["evaluate", "none", "dataset", "--output", "out"],
        ["package", "none", "out.zip"],
        ["package", "model", "file"],
    ],
)
def test_a_path_that_is_not_there_or_in_the_way_exits_with_2(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make_manifest: ManifestMaker,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_series(Path("in"))
    write_dataset(Path("dataset"), small(load_task("ich")), patients=4, test=2)
    write_package(Path("model"), make_manifest(), {"encoder.onnx": b"1", "fusion.onnx": b"2"})
    Path("file").write_text("in the way")
    before = sorted(tmp_path.iterdir())
    assert main([*arguments, "--quiet"]) == 2
    assert re.search(r"none|file", capsys.readouterr().err)
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_model_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make_manifest: ManifestMaker
) -> None:
    path = tmp_path / "model.zip"
    write_package(path, make_manifest(), {"encoder.onnx": b"1", "fusion.onnx": b"2"})
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["models", str(path)]) == 1
    assert str(path) in capsys.readouterr().err


def test_a_file_system_error_names_the_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make_manifest: ManifestMaker
) -> None:
    write_package(tmp_path / "model", make_manifest(), {"encoder.onnx": b"1", "fusion.onnx": b"2"})
    (tmp_path / "file").write_text("in the way")
    assert main(["package", str(tmp_path / "model"), str(tmp_path / "file" / "model.zip")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_full_disk_is_told_with_the_path_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/report.html")

    monkeypatch.setattr("slicewise.package.shipped_models", full)
    assert main(["models"]) == 1
    expected = "slicewise: error: out/report.html: No space left on device. Free some space and repeat the call\n"
    assert capsys.readouterr().err == expected


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slicewise.package.shipped_models", interrupt)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "slicewise: interrupted\n"


def test_the_parser_is_built_without_side_effects() -> None:
    assert build_parser().format_help() == build_parser().format_help()
