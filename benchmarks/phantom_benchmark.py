"""The frozen phantom benchmark: makes its dataset from `phantom_benchmark.toml`.

    python benchmarks/phantom_benchmark.py OUT [--grid fine|coarse] [--workers 2]

A second call makes only what is missing.
"""

from __future__ import annotations

import argparse
import shlex
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from slicewise.cli.main import main as slicewise
from slicewise.phantom.study import PHANTOM_VERSION

FROZEN = Path(__file__).with_suffix(".toml")
GRIDS = ("fine", "coarse")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder; the dataset is OUT/dataset-GRID")
    parser.add_argument("--grid", choices=GRIDS, default="fine", help="of the task, or coarser (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that generate (%(default)s)")
    arguments = parser.parse_args()
    print(make_dataset(arguments.output, arguments.grid, arguments.workers))


def make_dataset(output: Path, grid: str, workers: int) -> Path:
    """Makes the dataset of the benchmark on a grid, or what is missing of it; returns its folder."""
    frozen = read_frozen()
    if frozen["phantom_version"] != PHANTOM_VERSION:
        raise SystemExit(
            f"{FROZEN.name}: is for version {frozen['phantom_version']} of the phantom, this is version "
            f"{PHANTOM_VERSION}. Check out a commit of that version, or freeze a new benchmark"
        )
    dataset = output / f"dataset-{grid}"
    call(
        "phantom", dataset, "--dataset", "--studies", frozen["studies"], "--seed", frozen["seed"], "--holdout",
        frozen["holdout"], "--preset", frozen["preset"], "--matrix", frozen["matrix"], "--task",
        task_file(output, grid), "--workers", workers,
    )  # fmt: skip
    return dataset


def read_frozen() -> dict[str, Any]:
    """Returns what defines the benchmark."""
    return tomllib.loads(FROZEN.read_text(encoding="utf-8"))


def task_file(output: Path, name: str) -> Path:
    """Writes the task `ich` on a grid of the benchmark; returns its file."""
    grid = read_frozen()["grids"][name]
    text = (resources.files("slicewise") / "tasks" / "ich.toml").read_text(encoding="utf-8")
    lines = [
        f"{key} = {grid[key]}" if (key := line.partition(" = ")[0]) in grid else line for line in text.splitlines()
    ]
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"ich-{name}.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def call(*command: object) -> None:
    """Runs a command of slicewise, after printing it."""
    words = [str(word) for word in command]
    print(f"$ slicewise {shlex.join(words)}", flush=True)
    code = slicewise(words)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
