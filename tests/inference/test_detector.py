from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pydicom
import pytest
import torch

from dicom_files import head_values, write_series
from slicewise import Detector
from slicewise.config import FusionConfig
from slicewise.errors import ModelNotFoundError, UsageError
from slicewise.imaging.channels import channel_count
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.imaging.windows import apply_channels
from slicewise.inference import prepare
from slicewise.inference.axial import axial_positions
from slicewise.inference.detector import ENCODER_BATCH
from slicewise.inference.reference import DescribedSeries, build_reference, encode_reference
from slicewise.inference.runtime import RUNTIMES, EncodedSlices, load_runtime
from slicewise.inference.timing import Timings
from slicewise.models.encoder import build_encoder
from slicewise.models.export import export_encoder, export_fusion, load_networks, round_to_stored_precision
from slicewise.models.fusion import build_head
from slicewise.package import (
    DEFAULT_MODEL,
    ENCODER,
    FUSION,
    REFERENCE,
    EncoderArchitecture,
    Manifest,
    ModelPackage,
    probabilities_from_logits,
)
from slicewise.results import Rejection
from slicewise.task import PreprocessingParameters
from slicewise.volume import SliceReference, Volume
from synthetic_head import Head

RELATIVE = PreprocessingParameters(
    pixel_mm=1.0, size=208, slab_mm=5.0, body_threshold=400.0, opening_mm=8.0, intensity="relative"
)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def make_volume(slices: int = 9) -> Volume:
    return Volume(
        values=head_values(slices),
        positions_mm=np.arange(slices, dtype=np.float64) * 5.0,
        pixel_spacing_mm=(3.5, 3.5),
        tilt_degrees=0.0,
        duplicate_rank=np.zeros(slices, dtype=np.int64),
        slices=tuple(SliceReference(f"1.{index}", 1, f"{index}.dcm", index) for index in range(slices)),
        patient_id="P",
        study_uid="1",
        series_uid="2",
        modality="CT",
    )


def test_a_volume_in_memory_is_scored_slice_by_slice(detector: Detector) -> None:
    result = detector.predict_volume(make_volume())
    assert [item.slice_index for item in result.slices] == list(range(9))
    assert [item.sop_uid for item in result.slices] == [f"1.{index}" for index in range(9)]
    for item in result.slices:
        assert tuple(item.probabilities) == detector.task.label_names
        assert all(0 <= value <= 1 for value in item.probabilities.values())
    highest = max(item.probabilities["subdural"] for item in result.slices)
    assert result.probabilities["subdural"] == highest


def test_thin_slices_share_the_probabilities_of_their_slab(detector: Detector) -> None:
    thick = make_volume(9)
    thin = Volume(
        values=np.repeat(thick.values, 5, axis=0),
        positions_mm=np.arange(45, dtype=np.float64),
        pixel_spacing_mm=thick.pixel_spacing_mm,
        tilt_degrees=0.0,
        duplicate_rank=np.zeros(45, dtype=np.int64),
        slices=tuple(SliceReference(f"1.{index}", 1, f"{index}.dcm", index) for index in range(45)),
        patient_id="P",
        study_uid="1",
        series_uid="2",
        modality="CT",
    )
    expected = [item.probabilities["any"] for item in detector.predict_volume(thick).slices]
    found = [item.probabilities["any"] for item in detector.predict_volume(thin).slices]
    np.testing.assert_allclose(found, np.repeat(expected, 5), atol=1e-4)


def test_a_relative_task_carries_the_scale_of_the_series_and_is_blind_to_it(detector: Detector) -> None:
    task = msgspec.structs.replace(detector.task, preprocessing=RELATIVE)
    manifest = msgspec.structs.replace(detector.package.manifest, task=task)
    relative = Detector(ModelPackage(manifest, detector.package.digest, detector.package.files), detector.runtime)
    plain = make_volume()
    soft = replace(plain, values=np.maximum(plain.values, 0))
    loud = replace(plain, values=soft.values * np.float32(7.3))
    one, other = (relative.predict_volume(volume) for volume in (soft, loud))
    reference = np.median(soft.values[soft.values > soft.values.mean()])
    assert one.intensity_scale == pytest.approx(1000 / reference)
    assert one.intensity_scale == pytest.approx(7.3 * other.intensity_scale, rel=1e-5)
    for first, second in zip(one.slices, other.slices, strict=True):
        assert first.probabilities == pytest.approx(second.probabilities, abs=0.01)
    assert detector.predict_volume(plain).intensity_scale == 1.0


def test_calibration_is_the_packages(detector: Detector) -> None:
    model_input = preprocess(make_volume(), detector.task.preprocessing)
    encoded = detector.runtime.encode(apply_channels(model_input.values, detector.task.channels))
    positions = (model_input.positions_mm - model_input.positions_mm[0]).astype(np.float32)
    logits = detector.runtime.fuse(encoded, positions)
    expected = probabilities_from_logits(logits, detector.package.manifest.calibration, detector.task.any_index)
    np.testing.assert_allclose(detector.predict_input(model_input), expected, atol=1e-6)


def test_descriptors_come_with_the_probabilities_they_led_to(detector: Detector) -> None:
    model_input = preprocess(make_volume(), detector.task.preprocessing)
    found = detector.describe_input(model_input)
    encoded = detector.runtime.encode(apply_channels(model_input.values, detector.task.channels))
    np.testing.assert_allclose(found.descriptors, encoded.descriptors, atol=1e-5)
    expected = probabilities_from_logits(found.logits, detector.package.manifest.calibration, detector.task.any_index)
    np.testing.assert_array_equal(found.probabilities, expected)
    np.testing.assert_array_equal(found.probabilities[model_input.slab_of_slice], detector.predict_input(model_input))


def test_studies_come_one_by_one_and_rejections_are_told(detector: Detector, tmp_path: Path) -> None:
    for patient in ("A", "B"):
        write_series(tmp_path / patient, slices=9, patient_id=patient)
    (tmp_path / "notes.txt").write_text("no image")
    rejected: list[Rejection] = []
    studies = list(detector.predict(tmp_path, on_rejected=rejected.append))
    assert [study.patient_id for study in studies] == ["A", "B"]
    assert [item.path for item in rejected] == ["notes.txt"]
    study = studies[0]
    assert all(Path(study.sources[item.sop_uid].path).is_file() for item in study.series[0].slices)


def test_rejections_are_logged_where_nobody_asks(
    detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with caplog.at_level(logging.WARNING):
        assert list(detector.predict(str(tmp_path))) == []
    assert "notes.txt was not scored (not_dicom)" in caplog.text


def test_the_plain_path_says_the_same_bit_for_bit(detector: Detector, tmp_path: Path) -> None:
    """The reference: one study after the other, one slice at a time, nothing beside anything."""
    for patient, slices in (("A", 9), ("B", 8), ("C", ENCODER_BATCH + 5)):
        write_series(tmp_path / patient, slices=slices, patient_id=patient)
    expected = []
    with take_inventory([tmp_path]) as inventory:
        for study in inventory.studies():
            volume, _ = load_volume(study.series[0])
            model_input = preprocess(volume, detector.task.preprocessing)
            windows = apply_channels(model_input.values, detector.task.channels)
            alone = [detector.runtime.encode(windows[place : place + 1]) for place in range(len(windows))]
            encoded = EncodedSlices(
                *(
                    np.concatenate([getattr(item, name) for item in alone])
                    for name in ("descriptors", "slice_logits", "summaries")
                )
            )
            positions = axial_positions(model_input.positions_mm, detector.task)
            logits = detector.runtime.fuse(encoded, positions)
            calibration = detector.package.manifest.calibration
            rows = probabilities_from_logits(logits, calibration, detector.task.any_index)[model_input.slab_of_slice]
            expected.append([dict(zip(detector.task.label_names, map(float, row), strict=True)) for row in rows])
    found = [[item.probabilities for item in study.series[0].slices] for study in detector.predict(tmp_path)]
    assert found == expected


def test_a_study_that_fails_is_told_and_the_others_go_on(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patient in ("A", "B", "C", "D"):
        write_series(tmp_path / patient, slices=9, patient_id=patient)
    ordinary: dict[str, Callable[..., object]] = {"preprocess": preprocess, "describe": Detector.describe_input}
    calls = {"preprocess": 0, "describe": 0}

    def failing(name: str, place: int, error: Exception) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls[name] += 1
            if calls[name] == place:
                raise error
            return ordinary[name](*arguments)

        return call

    monkeypatch.setattr(prepare, "preprocess", failing("preprocess", 2, MemoryError("of PATIENT^NAME")))
    monkeypatch.setattr(Detector, "describe_input", failing("describe", 2, RuntimeError("of PATIENT^NAME")))
    rejected: list[Rejection] = []
    studies = list(detector.predict(tmp_path, on_rejected=rejected.append))
    assert [study.patient_id for study in studies] == ["A", "D"]
    assert [(item.path, item.kind, item.reason) for item in rejected] == [
        ("B", "unreadable", "not_scored"),
        ("C", "unreadable", "not_scored"),
    ]
    assert "MemoryError" in rejected[0].message
    assert not [item for item in rejected if "PATIENT" in item.message]


def test_datasets_in_memory_are_scored_as_their_files_are(detector: Detector, tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices=9)
    (expected,) = detector.predict(tmp_path)
    rejected: list[Rejection] = []
    datasets = [pydicom.dcmread(path) for path in reversed(paths)]
    (found,) = detector.predict_datasets(datasets, on_rejected=rejected.append)
    assert rejected == []
    assert found.sources == {}
    assert found.probabilities == expected.probabilities
    assert [item.probabilities for item in found.series[0].slices] == [
        item.probabilities for item in expected.series[0].slices
    ]
    assert [item.file for item in found.series[0].slices] == [f"{place:06d}.dcm" for place in reversed(range(9))]


def test_a_timer_is_told_of_every_step(detector: Detector) -> None:
    timings = Timings()
    timed = Detector(detector.package, detector.runtime, timings)
    volume = make_volume()
    assert timed.predict_volume(volume) == detector.predict_volume(volume)
    assert [step.step for step in timings.profile({}).steps] == ["windows", "encoding", "fusion", "evidence"]


def test_four_threads_may_predict_at_once(detector: Detector, tmp_path: Path) -> None:
    for patient in ("A", "B", "C", "D"):
        write_series(tmp_path / patient, slices=9, patient_id=patient)
    alone = [list(detector.predict(tmp_path / patient)) for patient in ("A", "B", "C", "D")]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda patient: list(detector.predict(tmp_path / patient)), ("A", "B", "C", "D")))
    assert together == alone


def test_threads_may_share_a_detector(detector: Detector) -> None:
    volumes = [make_volume(count) for count in (9, 12, 15, 9, 12, 15)]
    alone = [detector.predict_volume(volume) for volume in volumes]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(detector.predict_volume, volumes))
    assert together == alone


def test_what_is_not_there_is_said(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        list(detector.predict(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no runtime 'tensorrt'"):
        Detector.load(DEFAULT_MODEL, "tensorrt")
    with pytest.raises(ModelNotFoundError, match="no model 'best'"):
        Detector.load("best")


DEEP = EncoderArchitecture("test_resnet", neighbours=1)


@pytest.fixture(scope="module")
def deep_package(make_manifest: Callable[..., Manifest]) -> ModelPackage:
    """A model whose stage 1 reads a slice with its neighbours on either side."""
    torch.manual_seed(0)
    task = make_manifest().task
    channels, size, labels = channel_count(task, 1), task.preprocessing.size, len(task.labels)
    network = build_encoder(DEEP.config(), channels=channels, size=size, labels=labels)
    round_to_stored_precision(network)
    head = build_head(FusionConfig(name="none"), descriptor_size=network.descriptor_size, summary_size=0, labels=labels)
    manifest = make_manifest(head=head)
    files = {ENCODER: export_encoder(network, channels=channels, size=size), FUSION: export_fusion(head)}
    return ModelPackage(msgspec.structs.replace(manifest, encoder=DEEP), "0" * 64, files)


def test_a_model_of_neighbouring_slices_says_the_same_on_every_runtime(deep_package: ModelPackage) -> None:
    manifest = deep_package.manifest
    rows, size = ENCODER_BATCH + 3, manifest.task.preprocessing.size  # neighbours lie in another batch
    levels = np.random.default_rng(0).integers(0, 80, (rows, 4, 4)).astype(np.int16)
    model_input = ModelInput(
        values=levels.repeat(size // 4, axis=1).repeat(size // 4, axis=2),
        positions_mm=np.array([*range(rows - 1), rows - 2], dtype=np.float64),
        duplicate_rank=np.array([0] * (rows - 1) + [1]),  # the last two lie at one position
        slab_of_slice=np.arange(rows),
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
    )
    below = [0, *range(rows - 2), rows - 3]
    above = [*range(1, rows - 1), rows - 2, rows - 2]
    windows = apply_channels(model_input.values, manifest.task.channels)
    channels = np.concatenate([windows[below], windows, windows[above]], axis=1)
    network, _ = load_networks(deep_package)
    with torch.no_grad():
        logits = network(torch.from_numpy(channels)).slice_logits.numpy()
    expected = probabilities_from_logits(logits, manifest.calibration, manifest.task.any_index)
    assert np.ptp(expected, axis=0).min() > 1e-3
    for name in RUNTIMES:
        found = Detector(deep_package, load_runtime(name, deep_package)).predict_input(model_input)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_package_with_a_reference_tells_how_familiar_a_scan_is(detector: Detector) -> None:
    head = Head(matrix=96, pixel_mm=(2.2, 2.2)).volume()
    bare = {name: content for name, content in detector.package.files.items() if name != REFERENCE}
    plain = replace(detector.package, files=bare)
    assert Detector(plain, detector.runtime).predict_volume(head).familiarity is None
    described = detector.describe_input(preprocess(head, detector.task.preprocessing))
    rng = np.random.default_rng(0)
    spread = described.descriptors.std()
    series = [
        DescribedSeries(
            f"P{number}",
            f"S{number}",
            str(number),
            (described.descriptors + rng.normal(0, 0.2 * spread, described.descriptors.shape)).astype(np.float32),
            described.probabilities,
        )
        for number in range(60)
    ]
    reference = build_reference(series, detector.task.label_names, "tests")
    assert reference is not None
    files = {**detector.package.files, REFERENCE: encode_reference(reference)}
    measuring = Detector(replace(detector.package, files=files), detector.runtime)
    assert "3.2%" in measuring.summary.unlike_rule  # 1 of 31: the other half of 60 patients, and the new one

    known = measuring.predict_volume(head)
    assert known.familiarity is not None
    assert known.familiarity > 1 / 31
    assert not known.unlike_training

    noisy = replace(head, values=head.values + rng.normal(0, 150, head.values.shape).astype(np.float32))
    odd = measuring.predict_volume(noisy)
    assert odd.familiarity == pytest.approx(1 / 31)
    assert odd.unlike_training
    assert "at most 3.2% of scans like theirs" in odd.warnings[0].message
    assert {name for item in odd.slices for name in item.probabilities} == set(detector.task.label_names)
    assert all(item.evidence == () for item in odd.slices)
