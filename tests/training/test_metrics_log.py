from __future__ import annotations

import math
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from slicewise.errors import TrainingError
from slicewise.training.metrics_log import MetricsLog, read_log

STEPS, EPOCHS = 6, 3
Scalars = dict[tuple[str, int], float]


def train(folder: Path, *, start: int = 0, stop: int = STEPS * EPOCHS) -> None:
    with MetricsLog(folder, step=start) as log:
        for step in range(start + 1, stop + 1):
            if step % 2 == 0:
                log.write_step(step, {"loss": 1 / step, "learning_rate": 1e-3})
            if step % STEPS == 0:
                log.write_epoch(step // STEPS, step, {"loss": 2 / step, "validation_auroc": 1 - 1 / step})


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(path: Path) -> Iterator[Any]:
    # The TFRecord format: length, its checksum, content, its checksum.
    content, start = path.read_bytes(), 0
    while start < len(content):
        head = content[start : start + 8]
        (length,) = struct.unpack("<Q", head)
        event = content[start + 12 : start + 12 + length]
        assert struct.unpack_from("<I", content, start + 8) == (masked(crc32c(head)),)
        assert struct.unpack_from("<I", content, start + 12 + length) == (masked(crc32c(event)),)
        yield Event.FromString(event)
        start += 16 + length


def tensorboard_scalars(folder: Path) -> Scalars:
    """What TensorBoard shows: file by file, without what a later start has purged."""
    scalars: Scalars = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        first, *events = read_events(path)
        assert first.file_version == "brain.Event:2"
        for event in events:
            if event.session_log.status == SessionLog.START:
                scalars = {key: value for key, value in scalars.items() if key[1] < event.step}
            for value in event.summary.value:
                assert (value.tag, event.step) not in scalars
                scalars[value.tag, event.step] = value.simple_value
    return scalars


def csv_files(folder: Path) -> tuple[str, str]:
    return (folder / "steps.csv").read_text(), (folder / "log.csv").read_text()


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_rows_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "stage1", step=0) as log:
        log.write_step(5, {"loss": 0.123456789, "learning_rate": 1e-7})
        log.write_step(1234567, {"loss": float("nan"), "learning_rate": 20_000_000.0})
        log.write_epoch(1, 1234567, {"loss": 2, "validation_auroc": 0.5})
        assert csv_files(tmp_path / "stage1") == (
            "step,loss,learning_rate\n5,0.123457,1e-07\n1234567,,2e+07\n",
            "epoch,step,loss,validation_auroc\n1,1234567,2,0.5\n",
        )
        scalars = tensorboard_scalars(tmp_path / "stage1")
    assert scalars.keys() == {
        *(("step/loss", step) for step in (5, 1234567)),
        *(("step/learning_rate", step) for step in (5, 1234567)),
        ("epoch/loss", 1234567),
        ("epoch/validation_auroc", 1234567),
    }
    assert scalars["step/loss", 5] == pytest.approx(0.123456789)
    assert math.isnan(scalars["step/loss", 1234567])
    assert scalars["epoch/validation_auroc", 1234567] == 0.5


@pytest.mark.parametrize(
    ("checkpoint", "killed"),
    [(0, 5), (0, 18), (1, 2), (6, 6), (6, 11), (7, 12), (12, 17), (18, 18)],
)
def test_a_run_that_goes_on_writes_what_a_run_without_interruption_does(
    tmp_path: Path, checkpoint: int, killed: int
) -> None:
    train(tmp_path / "whole")
    cut = tmp_path / "cut"
    train(cut, stop=killed)
    MetricsLog(cut, step=checkpoint).close()
    for name in ("steps.csv", "log.csv"):
        assert all(step <= checkpoint for step in read_log(cut / name).get("step", []))
    train(cut, start=checkpoint)
    assert csv_files(cut) == csv_files(tmp_path / "whole")
    assert tensorboard_scalars(cut) == tensorboard_scalars(tmp_path / "whole")


@pytest.mark.parametrize("half", ["8", "8,", "8,0.12", "8,0.125,0.001", "8,0.1\n", "8,0.1,\x00\x00\n", "\x00\x00\n"])
def test_a_half_written_row_is_repaired(tmp_path: Path, half: str) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "cut", stop=7)
    with (tmp_path / "cut" / "steps.csv").open("a") as stream:
        stream.write(half)
    assert read_log(tmp_path / "cut" / "steps.csv")["step"] == [2, 4, 6]
    # The checkpoint comes after the damaged row: no step is dropped, only what is damaged.
    MetricsLog(tmp_path / "cut", step=8).close()
    assert read_log(tmp_path / "cut" / "steps.csv")["step"] == [2, 4, 6]
    train(tmp_path / "cut", start=7)
    assert csv_files(tmp_path / "cut") == csv_files(tmp_path / "whole")


@pytest.mark.parametrize("old", ["step,accuracy\n1,0.5\n", "accuracy\n0.5\n", "", "\n", "step,lo", "\x00\xff,\x01"])
def test_a_file_with_other_columns_is_started_afresh(tmp_path: Path, old: str) -> None:
    (tmp_path / "steps.csv").write_text(old, encoding="latin-1")
    with MetricsLog(tmp_path, step=4) as log:
        log.write_step(5, {"loss": 0.5})
        log.write_step(6, {"loss": 0.25})
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n5,0.5\n6,0.25\n"


def test_reading_gives_columns(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.csv") == {}
    with MetricsLog(tmp_path, step=0) as log:
        log.write_epoch(1, 10, {"loss": 0.5, "label, with comma": float("nan")})
        log.write_epoch(2, 20, {"loss": float("inf"), "label, with comma": -1e-9})
    columns = read_log(tmp_path / "log.csv")
    assert list(columns) == ["epoch", "step", "loss", "label, with comma"]
    assert columns["epoch"] == [1, 2]
    assert columns["loss"] == [0.5, math.inf]
    assert math.isnan(columns["label, with comma"][0])
    assert columns["label, with comma"][1] == -1e-9


@pytest.mark.parametrize("free_bytes", [10, 30, 150])  # ends the columns, a row, the event file
def test_a_full_disk_ends_training_with_advice_and_the_log_goes_on_later(tmp_path: Path, free_bytes: int) -> None:
    train(tmp_path / "whole")
    with (
        full_disk(free_bytes),
        pytest.raises(TrainingError, match=r"cut: .*File too large.* checkpoint is kept. Free space .* --resume"),
    ):
        train(tmp_path / "cut")
    train(tmp_path / "cut", start=1)
    assert csv_files(tmp_path / "cut") == csv_files(tmp_path / "whole")


def test_a_full_disk_does_not_hide_what_ended_training(tmp_path: Path) -> None:
    with full_disk(free_bytes=10), pytest.raises(KeyboardInterrupt), MetricsLog(tmp_path, step=0) as log:
        with pytest.raises(TrainingError):
            log.write_step(1, {"loss": 0.5})
        raise KeyboardInterrupt


def test_a_folder_that_cannot_be_made_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "stage1").write_text("a file")
    with pytest.raises(TrainingError, match=r"stage1: the log of the training cannot be written"):
        MetricsLog(tmp_path / "stage1", step=0)
