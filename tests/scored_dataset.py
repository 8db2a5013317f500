"""A small prepared dataset on the disk, and a detector whose probabilities can be worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from slicewise.config import FusionConfig, RunConfig
from slicewise.data.store import Dataset, DatasetManifest, SeriesRecord
from slicewise.data.writing import write_manifest, write_series, write_tables
from slicewise.inference.detector import Detector
from slicewise.inference.runtime import EncodedSlices, Floats
from slicewise.package import (
    Calibration,
    EncoderArchitecture,
    FusionArchitecture,
    Manifest,
    ModelPackage,
    Provenance,
)
from slicewise.patients import SeenPatients
from slicewise.task import Task
from slicewise.volume import SliceReference

SLICES, SLABS = 6, 3


def small(task: Task) -> Task:
    """The task on a grid of 4 x 4 pixels."""
    return msgspec.structs.replace(task, preprocessing=msgspec.structs.replace(task.preprocessing, size=4))


def write_dataset(path: Path, task: Task, *, patients: int, test: int, seed: int = 0) -> Dataset:
    """Writes series of 6 slices in 3 slabs; the last `test` patients are held out.

    The grey value of a slab rises with its label, so that a detector of grey values is good but not perfect.
    """
    generator = np.random.default_rng(seed)
    size = task.preprocessing.size
    records = []
    for number in range(patients):
        positive = generator.random(SLABS) < 0.4
        labels = np.repeat(positive.astype(int), SLICES // SLABS)
        grey = np.clip(generator.normal(30 + 15 * positive, 10), 0, 80)
        record = SeriesRecord(
            patient_id=f"P{number}",
            study_uid=f"1.2.{number}",
            series_uid=f"1.2.{number}.1",
            source_digest="",
            slices=tuple(
                SliceReference(f"ID_{number:04x}{index:05x}", 1, f"{number}/{index}.dcm", index) for index in range(6)
            ),
            positions_mm=tuple(5.0 * index for index in range(SLICES)),
            labels=tuple((int(value),) * len(task.labels) for value in labels),
            row_positions_mm=tuple(10.0 * index for index in range(SLABS)),
            duplicate_rank=(0,) * SLABS,
            slab_of_slice=(0, 0, 1, 1, 2, 2),
            origin_px=(0.0, 0.0),
            step_px=(1.0, 1.0),
            matrix=(512, 512),
            pixel_spacing_mm=(1.0, 1.0),
            tilt_degrees=0.0,
        )
        values = np.broadcast_to(grey.astype(np.int16)[:, None, None], (SLABS, size, size))
        write_series(path, record, np.ascontiguousarray(values))
        records.append(record)
    splits = {f"P{number}": "test" if number >= patients - test else "train" for number in range(patients)}
    write_tables(path, records, task.label_names, splits, ())
    write_manifest(path, DatasetManifest("table", task, task.preprocessing.digest(), "test", complete=True))
    return Dataset.open(path)


class GreyValueRuntime:
    """The logit of every label is `gain` times how far the first channel lies above one half."""

    name = "grey"

    def __init__(self, labels: int, gain: float) -> None:
        self.labels, self.gain = labels, gain

    def encode(self, channels: Floats) -> EncodedSlices:
        logits = self.gain * (channels[:, 0].mean(axis=(1, 2)) - 0.5)
        count = len(channels)
        return EncodedSlices(
            descriptors=np.zeros((count, 1), np.float32),
            slice_logits=np.repeat(logits[:, None], self.labels, axis=1).astype(np.float32),
            summaries=np.zeros((count, 0), np.float32),
        )

    def fuse(self, slices: EncodedSlices, positions: Floats) -> Floats:
        del positions
        return slices.slice_logits


def grey_value_detector(task: Task, *, name: str = "grey", gain: float = 8.0, seen: Iterable[str] = ()) -> Detector:
    """A detector that scores the grey values of `write_dataset`."""
    labels = len(task.labels)
    provenance = Provenance(
        software_version="0",
        trained_on="nothing",
        dataset_digest="",
        patients={},
        seen_patients=(SeenPatients.of(seen, ""),),
        config=msgspec.to_builtins(RunConfig()),
        versions={},
    )
    manifest = Manifest(
        name=name,
        version="1",
        task=task,
        preprocessing_digest=task.preprocessing.digest(),
        encoder=EncoderArchitecture("none"),
        descriptor_size=1,
        summary_size=0,
        fusion=FusionArchitecture.of(FusionConfig(name="none")),
        weights="float32",
        calibration=Calibration.identity(labels),
        thresholds=dict.fromkeys(task.label_names, 0.5),
        threshold_rule="fixed",
        provenance=provenance,
        metrics={},
        limitations=(),
    )
    return Detector(ModelPackage(manifest, "0123abc", {}), GreyValueRuntime(labels, gain))
