"""Training in processes of its own: killed at any moment, shared by two, on a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch

from slicewise.data.prepare import prepare
from slicewise.package import load_package
from slicewise.task import load_task
from slicewise.training.run_folder import WEIGHTS
from tiny import write_tiny

SCRIPT = Path(__file__).with_name("train_quickly.py")
# An encoder without statistics of batches, so that a batch may be cut.
SETTINGS = {
    "encoder.name": "test_convnext",
    "stage1.steps": "30",
    "stage1.batch_size": "16",
    "stage1.label_smoothing": "0.02",
    "stage1.negative_share": "0.5",
    "fusion.epochs": "60",
    "fusion.batch_size": "2",
    "fusion.hidden_size": "8",
    "hardware.checkpoint_minutes": "0",
    "hardware.device": "cpu",
    "name": "tiny",
}
LONGEST_SECONDS = 240
# Processes on this machine find each other without asking for its name.
NETWORK = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    task, images, labels = write_tiny(folder, patients=12)
    prepare(folder / "dataset", "table", [images], labels, load_task(task), workers=1)
    return folder / "dataset"


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert finish(start(dataset, run)) == (0, "")
    return run


def start(
    dataset: Path,
    run: Path,
    *options: str,
    launcher: tuple[str, ...] = (),
    largest_file: int | None = None,
    **changes: str,
) -> subprocess.Popen[str]:
    settings = SETTINGS | {name.replace("__", "."): value for name, value in changes.items()}
    command = [sys.executable, *launcher, str(SCRIPT), "train", str(dataset), "--output", str(run), "--quiet", *options]
    return subprocess.Popen(
        [*command, *(f"--set={name}={value}" for name, value in settings.items())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | NETWORK | ({} if largest_file is None else {"LARGEST_FILE": str(largest_file)}),
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=LONGEST_SECONDS)
    return process.returncode, errors


@pytest.mark.parametrize(("stage", "checkpoint"), [("stage1", "checkpoint.pt"), ("stage2", "checkpoint.pt")])
def test_a_killed_run_resumes_to_the_same_model(
    dataset: Path, whole: Path, tmp_path: Path, stage: str, checkpoint: str
) -> None:
    process = start(dataset, tmp_path / "run")
    deadline = time.monotonic() + LONGEST_SECONDS
    while not (tmp_path / "run" / stage / checkpoint).is_file():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert not (tmp_path / "run" / "package").exists()
    code, errors = finish(start(dataset, tmp_path / "run", "--resume"))
    assert (code, errors) == (0, "")
    assert load_package(tmp_path / "run").digest == load_package(whole).digest
    for log in ("stage1", "stage2"):
        assert (tmp_path / "run" / log / "log.csv").read_text() == (whole / log / "log.csv").read_text()


# torchrun starts both processes, or the first one starts the other.
@pytest.mark.parametrize(
    ("launcher", "devices"),
    [
        (("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--local-addr=127.0.0.1"), "0"),
        ((), "2"),
    ],
    ids=["torchrun", "devices"],
)
def test_two_processes_train_what_one_trains(
    dataset: Path, whole: Path, tmp_path: Path, launcher: tuple[str, ...], devices: str
) -> None:
    process = start(dataset, tmp_path / "run", launcher=launcher, hardware__devices=devices, stage1__accumulate="2")
    code, errors = finish(process)
    assert code == 0, errors
    together, alone = (safetensors.torch.load_file(run / "stage1" / WEIGHTS) for run in (tmp_path / "run", whole))
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        difference = (together[name] - values).abs().max()
        # The tolerance that docs/training.md states; sums of float32 in another order, then rounded to half precision.
        assert float(difference) <= 2e-3 * max(1.0, float(values.abs().max())), name
    assert load_package(tmp_path / "run").manifest.metrics == pytest.approx(
        load_package(whole).manifest.metrics, rel=0.02
    )


def test_a_batch_that_two_processes_cannot_share_stops_both(dataset: Path, tmp_path: Path) -> None:
    code, errors = finish(start(dataset, tmp_path / "run", hardware__devices="2", stage1__batch_size="15"))
    assert code == 2
    assert "stage1.batch_size: 15 slices a step cannot be cut into 2 equal parts" in errors
    assert "Traceback" not in errors


def test_a_full_disk_stops_training_with_a_word_and_keeps_the_checkpoint(dataset: Path, tmp_path: Path) -> None:
    code, errors = finish(start(dataset, tmp_path / "run", largest_file=100_000))
    assert code == 1
    assert "cannot be written" in errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "run" / "stage1").glob(".*"))
