"""What short precisions of stage 1 bring and cost: time a slice, and probabilities, AUROC and log loss against f32.

    python benchmarks/precision.py MODEL DATASET [--rounds 20] [--int8]

All run in OpenVINO on the test patients of DATASET; stage 2 always computes in f32. The times are of both stages on one
series, in turns, so that a busy machine slows all alike. Differences are paired, with 95 % intervals from resampled
patients. `--int8` (extras onnxruntime and train) also quantises the encoder, which slicewise itself does not: weights
per channel, activations at the 99.999th percentile of slices of other patients, convolutions and products.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino

from slicewise.data.store import Dataset
from slicewise.errors import UsageError
from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.evidence import Difference
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.scoring import predict_dataset
from slicewise.imaging.channels import channel_batches
from slicewise.inference.detector import Detector
from slicewise.inference.precision import PRECISIONS, chosen_precision, probe_channels
from slicewise.inference.runtime import Floats, load_runtime
from slicewise.package import ENCODER, ModelPackage, load_package, probabilities_from_logits

CALIBRATION_SLICES, CALIBRATION_BATCH = 256, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="shipped model, model package or run folder")
    parser.add_argument("dataset", type=Path, help="a prepared dataset with test patients")
    parser.add_argument("--rounds", type=int, default=20, help="of the timing (%(default)s)")
    parser.add_argument("--int8", action="store_true", help="also quantise the encoder")
    arguments = parser.parse_args()
    package, dataset = load_package(arguments.model), Dataset.open(arguments.dataset)
    detectors = dict(detectors_of(package, dataset, int8=arguments.int8))
    tables = {name: predict_dataset(detector, dataset) for name, detector in detectors.items()}
    times = milliseconds(detectors, arguments.rounds)
    print(
        openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    )
    print("| precision | ms a slice | times f32 | largest, mean change | slice AUROC | - f32 | log loss | - f32 |")
    print("|---" * 8 + "|")
    for name in detectors:
        print(row(name, times, tables, dataset))
    print(f"auto would choose {choice(detectors)}")


def detectors_of(package: ModelPackage, dataset: Dataset, *, int8: bool) -> Iterator[tuple[str, Detector]]:
    for precision in (name for name in PRECISIONS if name != "auto"):
        try:
            yield precision, Detector(package, load_runtime("openvino", package, precision=precision))
        except UsageError as error:
            print(error)
    if int8:
        quantised = replace(package, files={**package.files, ENCODER: int8_encoder(package, dataset)})
        yield "int8", Detector(quantised, load_runtime("openvino", quantised))


def milliseconds(detectors: Mapping[str, Detector], rounds: int) -> dict[str, float]:
    """Returns the median time of a slice, both stages, in a series of 28."""
    manifest = next(iter(detectors.values())).package.manifest
    channels = len(manifest.task.channels) * (2 * manifest.encoder.neighbours + 1)
    size = manifest.task.preprocessing.size
    images = np.random.default_rng(0).random((28, channels, size, size), dtype=np.float32)
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(rounds + 1):
        for name, detector in detectors.items():
            started = time.perf_counter()
            both_stages(detector, images)
            times[name].append(1000 * (time.perf_counter() - started) / len(images))
    return {name: statistics.median(of_it[1:]) for name, of_it in times.items()}


def both_stages(detector: Detector, images: Floats) -> Floats:
    return detector.runtime.fuse(detector.runtime.encode(images), 5 * np.arange(len(images), dtype=np.float32))


def choice(detectors: Mapping[str, Detector]) -> str:
    """Returns what `--precision auto` does here, int8 left aside."""
    package = next(iter(detectors.values())).package
    manifest = package.manifest
    channels = len(manifest.task.channels) * (2 * manifest.encoder.neighbours + 1)
    probe = probe_channels(channels, manifest.task.preprocessing.size)

    def run(detector: Detector) -> Floats:
        return probabilities_from_logits(both_stages(detector, probe), manifest.calibration, manifest.task.any_index)

    changes = {name: np.abs(run(detector) - run(detectors["f32"])).max() for name, detector in detectors.items()}
    print("largest change on the probe:", ", ".join(f"{name} {change:.4f}" for name, change in changes.items()))
    offered = {name: detector for name, detector in detectors.items() if name in PRECISIONS}
    return chosen_precision({name: (lambda of=detector: run(of)) for name, detector in offered.items()})  # type: ignore[misc]


def row(name: str, times: Mapping[str, float], tables: Mapping[str, PredictionTable], dataset: Dataset) -> str:
    table, reference, task = tables[name], tables["f32"], dataset.task
    measured = evaluate(table, task, resamples=0)
    main_label = task.label_names[task.main_index]
    change = np.abs(table.probabilities - reference.probabilities)
    cells = [
        name,
        f"{times[name]:.2f}",
        f"{times['f32'] / times[name]:.2f}",
        f"{change.max():.4f}, {change.mean():.5f}",
    ]
    differences = None if name == "f32" else compare(table, reference, task)
    auroc, loss = measured.slice[main_label]["auroc"].value, measured.weighted_log_loss.value
    cells += [f"{auroc:.4f}", text(differences.slice[main_label]["auroc"]) if differences else ""]
    cells += [f"{loss:.4f}", text(differences.weighted_log_loss) if differences else ""]
    return f"| {' | '.join(cells)} |"


def text(found: Difference) -> str:
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def int8_encoder(package: ModelPackage, dataset: Dataset) -> bytes:
    """Returns the encoder with weights and activations of 8 bits, quantised as ONNX Runtime documents it."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name:
        plain, prepared, result = (Path(name) / part for part in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        plain.write_bytes(in_single_precision(package.files[ENCODER]))
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(result),
            CalibrationSlices(package, dataset),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
        )
        return result.read_bytes()


def in_single_precision(content: bytes) -> bytes:
    """Turns weights that are stored in half precision and cast into single precision: else they are not constants."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(content)
    stored = {item.name: item for item in model.graph.initializer}
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in stored]
    for node in casts:
        values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        model.graph.node.remove(node)
    for name in {node.input[0] for node in casts}:
        model.graph.initializer.remove(stored[name])
    return bytes(model.SerializeToString())


class CalibrationSlices:
    """Slices of patients that are not tested, as ONNX Runtime's `CalibrationDataReader` hands them out."""

    def __init__(self, package: ModelPackage, dataset: Dataset) -> None:
        records = [record for record in dataset.records if dataset.splits[record.patient_id] != "test"]
        order = np.random.default_rng(0).permutation(len(records))
        neighbours = package.manifest.encoder.neighbours
        batches = (
            batch[:: max(1, len(batch) // CALIBRATION_BATCH)][:CALIBRATION_BATCH]
            for index in order
            for batch in channel_batches(dataset.input(records[index]), dataset.task, 512, neighbours)
        )
        whole = (batch for batch in batches if len(batch) == CALIBRATION_BATCH)
        self._batches = (next(whole) for _ in range(CALIBRATION_SLICES // CALIBRATION_BATCH))

    def get_next(self) -> dict[str, Floats] | None:
        """Returns the next batch, None after the last one."""
        batch = next(self._batches, None)
        return None if batch is None else {"channels": np.ascontiguousarray(batch)}


if __name__ == "__main__":
    main()
