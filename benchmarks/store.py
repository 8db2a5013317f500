"""Which store feeds random slices fastest, and how that compares with what the default encoder can take.

The network inputs of a prepared dataset are written in several forms: NumPy files that are mapped into memory (what
`prepare` writes), HDF5 and Zarr with one chunk a slice, with and without compression. Each is read at the same random
places in one process. Then the whole training input (store, augmentation, windows) is timed against training steps of
the encoder that `slicewise train` takes by default.

python benchmarks/store.py DATASET [--slices 2000] [--steps 8]      needs: pip install h5py zarr
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
import zarr

from slicewise.config import RunConfig
from slicewise.data.datasets import SliceDataset
from slicewise.data.store import Dataset
from slicewise.models.encoder import build_encoder
from slicewise.models.losses import bce_total, weighted_bce

Images = npt.NDArray[np.int16]
ReadSlice = Callable[[int, int], Images]
"""Series and row -> the slice, shape (size, size)."""


def numpy_files(folder: Path, series: list[Images]) -> ReadSlice:
    for index, values in enumerate(series):
        np.save(folder / f"{index}.npy", values)

    def read(index: int, row: int) -> Images:
        values: Images = np.load(folder / f"{index}.npy", mmap_mode="r")
        return np.array(values[row])

    return read


def hdf5(**options: Any) -> Callable[[Path, list[Images]], ReadSlice]:
    def write(folder: Path, series: list[Images]) -> ReadSlice:
        file = h5py.File(folder / "values.h5", "w")
        for index, values in enumerate(series):
            file.create_dataset(str(index), data=values, chunks=(1, *values.shape[1:]), **options)
        file.flush()
        return lambda index, row: np.asarray(file[str(index)][row])

    return write


def zarr_chunks(**options: Any) -> Callable[[Path, list[Images]], ReadSlice]:
    def write(folder: Path, series: list[Images]) -> ReadSlice:
        group = zarr.open_group(folder / "values.zarr", mode="w")
        arrays = []
        for index, values in enumerate(series):
            array = group.create_array(
                str(index), shape=values.shape, dtype=values.dtype, chunks=(1, *values.shape[1:]), **options
            )
            array[:] = values
            arrays.append(array)
        return lambda index, row: np.asarray(arrays[index][row])

    return write


STORES: dict[str, Callable[[Path, list[Images]], ReadSlice]] = {
    "npy, mapped": numpy_files,
    "HDF5, plain": hdf5(),
    "HDF5, lzf": hdf5(compression="lzf", shuffle=True),
    "HDF5, gzip 1": hdf5(compression="gzip", compression_opts=1, shuffle=True),
    "Zarr, plain": zarr_chunks(compressors=None),
    "Zarr, zstd": zarr_chunks(),
}


def rate(read: Callable[[int], object], count: int) -> float:
    started = time.perf_counter()
    for index in range(count):
        read(index)
    return count / (time.perf_counter() - started)


def compare_stores(series: list[Images], slices: int) -> None:
    rng = np.random.default_rng(0)
    places = [(index, int(rng.integers(len(series[index])))) for index in rng.integers(len(series), size=slices)]
    print(f"{'store':14}  {'MB':>6}  {'slices/s':>9}")
    for name, write in STORES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            read = write(folder, series)
            assert all(np.array_equal(read(*place), series[place[0]][place[1]]) for place in places[:20])
            speed = rate(lambda number, read=read: read(*places[number]), slices)  # type: ignore[misc]
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{name:14}  {size / 1e6:6.1f}  {speed:9.0f}")


def training_speed(config: RunConfig, dataset: Dataset, batch_size: int, steps: int) -> float:
    """Slices a second of forward pass, backward pass and step of the default encoder."""
    size, task = dataset.task.preprocessing.size, dataset.task
    network = build_encoder(config.encoder, channels=len(task.channels), size=size, labels=len(task.labels)).train()
    optimizer = torch.optim.AdamW(network.parameters())
    channels = torch.rand(batch_size, len(task.channels), size, size)
    targets, known = torch.zeros(batch_size, len(task.labels)), torch.ones(batch_size, len(task.labels)) > 0
    weights, rows = torch.tensor(task.loss_weights), torch.ones(batch_size)

    def step(_: int) -> None:
        optimizer.zero_grad()
        logits = network(channels).slice_logits
        total = bce_total(known, weights, rows)
        weighted_bce(logits, targets, known, weights, rows, total=total).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step(0)
    return batch_size * rate(step, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    compare_stores([np.array(dataset.input(record).values) for record in dataset.records], arguments.slices)
    config = RunConfig()
    items = SliceDataset(dataset, dataset.records, config.stage1.augment, seed=0)
    order = np.random.default_rng(0).permutation(len(items))
    feed = rate(lambda index: items[int(order[index % len(order)])], min(arguments.slices, len(order)))
    train = training_speed(config, dataset, config.stage1.batch_size, arguments.steps)
    print(f"training input, one process        {feed:7.0f} slices/s")
    print(f"{config.encoder.name} in training, {torch.get_num_threads()} threads {train:7.0f} slices/s")
    print(f"ratio                              {feed / train:7.1f}")


if __name__ == "__main__":
    main()
