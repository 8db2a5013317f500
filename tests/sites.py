"""Sites with known differences: as prepared datasets, and as what a model says of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from scored_dataset import GreyValueRuntime, grey_value_detector
from slicewise.data.store import Dataset, DatasetManifest, SeriesRecord
from slicewise.data.writing import write_manifest, write_series, write_tables
from slicewise.evaluation.site import Site
from slicewise.inference.detector import Detector
from slicewise.inference.reference import DescribedSeries
from slicewise.inference.runtime import EncodedSlices, Floats
from slicewise.package import Calibration, Manifest, ModelPackage, probabilities_from_logits
from slicewise.task import Task
from slicewise.volume import SliceReference

SLABS, SIZE = 4, 4


def write_site(
    path: Path, task: Task, patients: int, *, name: str, noise: float = 4.0, test: int = 0, seed: int = 0
) -> Dataset:
    """Writes a series of 4 slices a patient; grey values rise with the label, noise is what the scanner adds."""
    generator = np.random.default_rng(seed)
    records = []
    for number in range(patients):
        positive = generator.random(SLABS) < 0.4
        grey = generator.normal(35 + 10 * positive, 8)[:, None, None] + generator.normal(0, noise, (SLABS, SIZE, SIZE))
        record = SeriesRecord(
            patient_id=f"{name}{number}",
            study_uid=f"1.{name}.{number}",
            series_uid=f"1.{name}.{number}.1",
            source_digest="",
            slices=tuple(SliceReference(f"{name}.{number}.{row}", 1, f"{row}.dcm", row) for row in range(SLABS)),
            positions_mm=tuple(5.0 * row for row in range(SLABS)),
            labels=tuple((int(value),) * len(task.labels) for value in positive),
            row_positions_mm=tuple(5.0 * row for row in range(SLABS)),
            duplicate_rank=(0,) * SLABS,
            slab_of_slice=tuple(range(SLABS)),
            origin_px=(0.0, 0.0),
            step_px=(1.0, 1.0),
            matrix=(512, 512),
            pixel_spacing_mm=(1.0, 1.0),
            tilt_degrees=0.0,
        )
        write_series(path, record, np.clip(grey, 0, 80).astype(np.int16))
        records.append(record)
    splits = {f"{name}{number}": "test" if number < test else "train" for number in range(patients)}
    write_tables(path, records, task.label_names, splits, ())
    write_manifest(path, DatasetManifest("table", task, task.preprocessing.digest(), "test", complete=True))
    return Dataset.open(path)


class TextureRuntime(GreyValueRuntime):
    """As its base; descriptors are mean, spread and largest difference of neighbours of the first channel."""

    def encode(self, channels: Floats) -> EncodedSlices:
        encoded = super().encode(channels)
        first = channels[:, 0]
        steps = np.abs(np.diff(first, axis=2)).max(axis=(1, 2))
        descriptors = np.stack([first.mean(axis=(1, 2)), first.std(axis=(1, 2)), steps], axis=1)
        return EncodedSlices(descriptors.astype(np.float32), encoded.slice_logits, encoded.summaries)


def texture_detector(task: Task, *, files: dict[str, bytes] | None = None) -> Detector:
    """A detector of grey values whose descriptors see noise."""
    manifest = msgspec.structs.replace(grey_value_detector(task).package.manifest, descriptor_size=3)
    content = {"encoder.onnx": b"one", "fusion.onnx": b"two", **(files or {})}
    return Detector(ModelPackage(manifest, "0123abc", content), TextureRuntime(len(task.labels), 8.0))


def simulated_site(
    manifest: Manifest,
    patients: int,
    *,
    scale: float = 1.0,
    bias: float = 0.0,
    offset: float = -2.0,
    seed: int = 0,
    slices: int = 8,
) -> Site:
    """A site whose labels are drawn from logits z; the network says (z - bias) / scale of them."""
    generator = np.random.default_rng(seed)
    labels = len(manifest.task.labels)
    count = patients * slices
    patient = np.repeat(np.arange(patients), slices)
    truth = offset + generator.normal(0, 0.5, (patients, labels))[patient] + generator.normal(0, 1.5, (count, labels))
    targets = (generator.random((count, labels)) < 1 / (1 + np.exp(-truth))).astype(np.int8)
    logits = ((truth - bias) / scale).astype(np.float32)
    probabilities = probabilities_from_logits(logits, manifest.calibration, manifest.task.any_index)
    studies = targets.reshape(patients, slices, labels).max(axis=1)
    return Site(
        series=tuple(
            DescribedSeries(
                f"P{number}",
                f"S{number}",
                f"S{number}.1",
                generator.normal(0, 1, (slices, manifest.descriptor_size)).astype(np.float32),
                probabilities[patient == number],
            )
            for number in range(patients)
        ),
        logits=logits,
        targets=targets,
        patient_of_slice=patient,
        study_of_slice=patient,
        study_targets=studies,
        patient_of_study=np.arange(patients),
        patients=tuple(f"P{number}" for number in range(patients)),
    )


def without_any_rule(manifest: Manifest) -> Manifest:
    """The same model for a task of independent labels, with a calibration that changes something."""
    count = len(manifest.task.labels)
    calibration = Calibration((0.8,) * count, (0.3,) * count)
    return msgspec.structs.replace(
        manifest, task=msgspec.structs.replace(manifest.task, any_rule=None), calibration=calibration
    )
