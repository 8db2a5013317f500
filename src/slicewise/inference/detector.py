"""The detector: from scans to slice-level probabilities.

>>> from slicewise.inference.detector import Detector
>>> detector = Detector.load()  # doctest: +SKIP
>>> for study in detector.predict("scans/"):  # doctest: +SKIP
...     print(study.study_uid, study.probabilities)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slicewise.errors import InputError, UsageError
from slicewise.imaging.channels import channel_batches
from slicewise.imaging.inventory import Inventory, take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.imaging.series import (
    Series,
    Study,
    choose_series,
    rejection_of,
    rejection_of_error,
)
from slicewise.inference.axial import axial_positions, fusion_passes
from slicewise.inference.runtime import DEFAULT_RUNTIME, EncodedSlices, Floats, Runtime, load_runtime
from slicewise.package import DEFAULT_MODEL, ModelPackage, Probabilities, load_package, probabilities_from_logits
from slicewise.progress import Progress, no_progress
from slicewise.results import ModelSummary, Rejection, SeriesResult, SliceResult, StudyResult, aggregate
from slicewise.source import Source
from slicewise.task import Task
from slicewise.volume import Volume

logger = logging.getLogger(__name__)

# Slices that stage 1 reads at once: enough to keep the cores busy, little enough to keep memory small.
ENCODER_BATCH = 16

OnRejected = Callable[[Rejection], None]


@dataclass(frozen=True, eq=False)
class DescribedInput:
    """What a model says of the rows of one network input: R rows, in axial order.

    Attributes:
        descriptors: Of stage 1, shape (R, D).
        logits: Of stage 2, not calibrated, shape (R, labels).
        probabilities: Calibrated, shape (R, labels).
    """

    descriptors: Floats
    logits: Floats
    probabilities: Probabilities


class Detector:
    """A model on an engine. It keeps no state between scans and may be used from several threads.

    Args:
        package: The model package.
        runtime: Its networks on an engine.
    """

    def __init__(self, package: ModelPackage, runtime: Runtime) -> None:
        self.package = package
        self.runtime = runtime

    @classmethod
    def load(cls, model: str | Path = DEFAULT_MODEL, runtime: str = DEFAULT_RUNTIME) -> Detector:
        """Loads a model.

        Args:
            model: Name of a shipped model, path of a model package or of a run folder.
            runtime: "openvino", "onnxruntime" or "torch".

        Raises:
            PackageError: If the model cannot be used.
            UsageError: If the runtime is not there.
        """
        package = load_package(model)
        return cls(package, load_runtime(runtime, package))

    @property
    def task(self) -> Task:
        """The task of the model."""
        return self.package.manifest.task

    @property
    def summary(self) -> ModelSummary:
        """The model as results name it."""
        manifest = self.package.manifest
        rule = self.task.any_rule
        return ModelSummary(
            name=manifest.name,
            version=manifest.version,
            digest=self.package.digest,
            labels=self.task.label_names,
            displays=tuple(label.display for label in self.task.labels),
            any_label=None if rule is None else rule.label,
            thresholds=manifest.thresholds,
            threshold_rule=manifest.threshold_rule,
            study_rule=self.task.study_rule,
            trained_on=manifest.provenance.trained_on,
            intended_use=self.task.intended_use,
        )

    def predict(
        self,
        inputs: str | Path | Sequence[str | Path],
        *,
        series: Collection[str] = (),
        on_rejected: OnRejected | None = None,
        progress: Progress = no_progress,
    ) -> Iterator[StudyResult]:
        """Reads scans and yields the results of one study after the other.

        Args:
            inputs: Files or folders.
            series: Series Instance UIDs to read instead of those that the rules choose.
            on_rejected: Is told of every file and series that is not scored; they are logged where it is None.
            progress: Reports on headers and series.

        Raises:
            UsageError: If an input or a requested series does not exist.
        """
        report = on_rejected or _log_rejection
        paths = [Path(inputs)] if isinstance(inputs, (str, Path)) else [Path(item) for item in inputs]
        with take_inventory(paths, progress, modality=self.task.series.modality) as inventory:
            for item in inventory.rejections():
                report(item)
            _check_requested(series, inventory)
            for study in progress(
                inventory.studies(), description="Scoring", total=inventory.study_count, unit="study"
            ):
                result = self._predict_study(study, series, report)
                if result is not None:
                    yield result

    def predict_volume(self, volume: Volume) -> SeriesResult:
        """Scores one series: the core of prediction."""
        model_input = preprocess(volume, self.task.preprocessing)
        probabilities = [
            dict(zip(self.task.label_names, map(float, row), strict=True)) for row in self.predict_input(model_input)
        ]
        return SeriesResult(
            patient_id=volume.patient_id,
            study_uid=volume.study_uid,
            series_uid=volume.series_uid,
            slices=tuple(
                SliceResult(
                    sop_uid=reference.sop_uid,
                    frame=reference.frame,
                    file=reference.file,
                    slice_index=reference.slice_index,
                    position_mm=float(volume.positions_mm[index]),
                    probabilities=probabilities[index],
                )
                for index, reference in enumerate(volume.slices)
            ),
            probabilities=aggregate(probabilities, self.task.study_rule),
            tilt_degrees=volume.tilt_degrees,
            warnings=(*volume.warnings, *model_input.warnings),
            intensity_scale=model_input.intensity_scale,
        )

    def predict_input(self, model_input: ModelInput) -> Probabilities:
        """Scores a preprocessed series.

        Returns:
            Calibrated probabilities of every original slice, shape (slices, labels).
        """
        return self.describe_input(model_input).probabilities[model_input.slab_of_slice]

    def describe_input(self, model_input: ModelInput) -> DescribedInput:
        """Scores a preprocessed series, and returns what led there as well.

        Returns:
            Descriptors, logits and probabilities of the rows of the input; `ModelInput.slab_of_slice` leads from
            original slices to rows.
        """
        encoded = self._encode(model_input)
        logits = self._fuse(encoded, model_input)
        return DescribedInput(
            descriptors=encoded.descriptors,
            logits=logits,
            probabilities=probabilities_from_logits(logits, self.package.manifest.calibration, self.task.any_index),
        )

    def _predict_study(self, study: Study, requested: Collection[str], report: OnRejected) -> StudyResult | None:
        results: list[SeriesResult] = []
        sources: dict[str, Source] = {}
        for decision in choose_series(study, self.task.series, requested):
            if not decision.chosen:
                report(rejection_of(decision))
                continue
            volume = _load(decision.series, report)
            if volume is not None:
                results.append(self.predict_volume(volume))
                sources |= _sources(decision.series, volume)
        if not results:
            return None
        return StudyResult(
            patient_id=study.patient_id,
            study_uid=study.study_uid,
            series=tuple(results),
            probabilities=aggregate([result.probabilities for result in results], self.task.study_rule),
            warnings=tuple(warning for result in results for warning in result.warnings),
            sources=sources,
        )

    def _encode(self, model_input: ModelInput) -> EncodedSlices:
        neighbours = self.package.manifest.encoder.neighbours
        batches = [
            self.runtime.encode(channels)
            for channels in channel_batches(model_input, self.task, ENCODER_BATCH, neighbours)
        ]
        return EncodedSlices(
            descriptors=np.concatenate([batch.descriptors for batch in batches]),
            slice_logits=np.concatenate([batch.slice_logits for batch in batches]),
            summaries=np.concatenate([batch.summaries for batch in batches]),
        )

    def _fuse(self, encoded: EncodedSlices, model_input: ModelInput) -> Floats:
        logits = np.empty_like(encoded.slice_logits)
        for rows, kept in fusion_passes(model_input.duplicate_rank):
            positions = axial_positions(model_input.positions_mm[rows], self.task)
            logits[rows[kept]] = self.runtime.fuse(encoded.take(rows), positions)[kept]
        return logits


def _load(series: Series, report: OnRejected) -> Volume | None:
    try:
        volume, rejected = load_volume(series)
    except InputError as error:
        report(rejection_of_error(series, error))
        return None
    for item in rejected:
        report(item)
    return volume


def _sources(series: Series, volume: Volume) -> dict[str, Source]:
    # Of several files with one SOP Instance UID the volume holds one: that one is shown.
    of_header = {(header.sop_uid, header.file): header.source for header in series.headers}
    return {item.sop_uid: of_header[item.sop_uid, item.file] for item in volume.slices}


def _check_requested(requested: Collection[str], inventory: Inventory) -> None:
    missing = sorted(set(requested))
    if missing:
        found = {series.series_uid for study in inventory.studies() for series in study.series}
        missing = sorted(set(requested) - found)
    if missing:
        raise UsageError(
            f"--series {missing[0]}: there is no such series in the input. `slicewise inspect` lists what is there"
        )


def _log_rejection(rejection: Rejection) -> None:
    logger.warning("%s was not scored (%s): %s", rejection.path, rejection.reason, rejection.message)
