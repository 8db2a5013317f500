"""Where a model sees something: the slices of a scan with the map of `any` over them, and the probability of each.

    python benchmarks/maps.py MODEL SCANS [--output maps.png]
    needs: pip install slicewise[train,plots]

Shown is what the network reads (brain window, 40/80), from feet to head. Red is where the map of `any` says that blood
fills the cells; nothing is red below a tenth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from slicewise.imaging.channels import channel_batches
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import choose_series
from slicewise.inference.detector import Detector
from slicewise.models.export import load_networks
from slicewise.package import load_package
from slicewise.task import OCCUPANCY_STRIDE, Task
from slicewise.volume import Volume

COLUMNS, LEAST = 7, 0.1
WINDOW = (0.0, 80.0)
Pixels = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name or path of a model with occupancy maps")
    parser.add_argument("scans", type=Path, help="file or folder; its first series that fits the task is shown")
    parser.add_argument("--output", type=Path, default=Path("maps.png"), help="picture to write (%(default)s)")
    arguments = parser.parse_args()
    package = load_package(arguments.model)
    task = package.manifest.task
    model_input = preprocess(first_volume(arguments.scans, task), task.preprocessing)
    network, _ = load_networks(package)
    maps = []
    with torch.inference_mode():
        for channels in channel_batches(model_input, task, 16):
            outputs = network(torch.from_numpy(channels))
            if outputs.maps is None:
                parser.error(f"{arguments.model} makes no occupancy maps")
            maps.append(outputs.maps[:, task.label_names.index("any")].sigmoid().numpy())
    probabilities = Detector.load(arguments.model).predict_input(model_input)[:, task.label_names.index("any")]
    of_rows = [probabilities[model_input.slab_of_slice == row].max() for row in range(len(model_input.values))]
    tiles = [
        tile(values, shares, probability)
        for values, shares, probability in zip(model_input.values, np.concatenate(maps), of_rows, strict=True)
    ]
    sheet(tiles).save(arguments.output)


def first_volume(scans: Path, task: Task) -> Volume:
    with take_inventory([scans], modality=task.series.modality) as found:
        for study in found.studies():
            for decision in choose_series(study, task.series):
                if decision.chosen:
                    return load_volume(decision.series)[0]
    raise SystemExit(f"{scans}: no series fits the task")


def tile(values: npt.NDArray[np.int16], shares: npt.NDArray[np.float32], probability: float) -> Pixels:
    """Returns one slice in colour with its map and its probability."""
    low, high = WINDOW
    grey = np.clip((values - low) / (high - low), 0, 1)
    strength = shares.repeat(OCCUPANCY_STRIDE, axis=0).repeat(OCCUPANCY_STRIDE, axis=1)
    strength = np.where(strength < LEAST, 0, 0.6 * strength)
    colour = np.stack([grey + (1 - grey) * strength, grey * (1 - strength), grey * (1 - strength)], axis=-1)
    image = Image.fromarray(np.rint(255 * colour).astype(np.uint8))
    ImageDraw.Draw(image).text((4, 2), f"{probability:.2f}", fill=(255, 255, 0))
    return np.asarray(image)


def sheet(tiles: list[Pixels]) -> Image.Image:
    """Puts tiles side by side, row by row."""
    blank = np.zeros_like(tiles[0])
    filled = [*tiles, *[blank] * (-len(tiles) % COLUMNS)]
    rows = [np.concatenate(filled[start : start + COLUMNS], axis=1) for start in range(0, len(filled), COLUMNS)]
    return Image.fromarray(np.concatenate(rows))


if __name__ == "__main__":
    main()
