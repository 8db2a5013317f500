"""The detector: from scans to slice-level probabilities.

>>> from slicewise.inference.detector import Detector
>>> detector = Detector.load()  # doctest: +SKIP
>>> for study in detector.predict("scans/"):  # doctest: +SKIP
...     print(study.study_uid, study.probabilities)
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from slicewise.errors import UsageError
from slicewise.imaging.channels import channel_batches
from slicewise.imaging.datasets import Datasets, write_datasets
from slicewise.imaging.inventory import Inventory, take_inventory
from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.imaging.series import Study, rejection_of_failure
from slicewise.inference.ahead import one_ahead
from slicewise.inference.axial import axial_positions, fusion_passes, primary_rows
from slicewise.inference.evidence import EvidenceFinder, RowEvidence, with_evidence
from slicewise.inference.familiarity import Familiarity, unlike_rule
from slicewise.inference.model_cache import ModelCache
from slicewise.inference.precision import DEFAULT_PRECISION
from slicewise.inference.prepare import PreparedStudy, prepare_study, unscored_series
from slicewise.inference.reference import read_reference
from slicewise.inference.runtime import DEFAULT_RUNTIME, EncodedSlices, Floats, Runtime, load_runtime
from slicewise.inference.timing import Timer, no_timing, timed
from slicewise.package import DEFAULT_MODEL, ModelPackage, Probabilities, load_package, probabilities_from_logits
from slicewise.progress import Progress, no_progress
from slicewise.results import ModelSummary, Rejection, SeriesResult, StudyOutcome, StudyResult, aggregate
from slicewise.task import Task
from slicewise.volume import Volume

logger = logging.getLogger(__name__)

ENCODER_BATCH = 32
"""Slices that stage 1 is given at once: an ordinary series, so that all cores stay busy, and 16 MiB at most."""

OnRejected = Callable[[Rejection], None]
Work = TypeVar("Work")


@dataclass(frozen=True, eq=False)
class DescribedInput:
    """What a model says of the rows of one network input: R rows, in axial order.

    Attributes:
        descriptors: Of stage 1, shape (R, D).
        logits: Of stage 2, not calibrated, shape (R, labels).
        probabilities: Calibrated, shape (R, labels).
        maps: Logits of the occupancy maps of stage 1, shape (R, labels, C, C); None where the package gives none.
    """

    descriptors: Floats
    logits: Floats
    probabilities: Probabilities
    maps: Floats | None = None


class Detector:
    """A model on an engine. It keeps no state between scans and may be used from several threads.

    Args:
        package: The model package.
        runtime: Its networks on an engine.
        timer: Is told of every step, by several threads.
        evidence_maps: Keep where the evidence lies, for the pictures of a report. Where the package gives no maps, it
            is searched by occlusion in few slices, which takes time.
    """

    def __init__(
        self, package: ModelPackage, runtime: Runtime, timer: Timer = no_timing, *, evidence_maps: bool = False
    ) -> None:
        self.package = package
        self.runtime = runtime
        self._timer = timer
        self.evidence_maps = evidence_maps
        self._familiarity = Familiarity.of(read_reference(package))
        self._evidence = EvidenceFinder(package, runtime, for_pictures=evidence_maps)

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        runtime: str = DEFAULT_RUNTIME,
        *,
        precision: str = DEFAULT_PRECISION,
        cache: Path | None = None,
        evidence_maps: bool = False,
    ) -> Detector:
        """Loads a model.

        Args:
            model: Name of a shipped model, path of a model package or of a run folder.
            runtime: "openvino", "onnxruntime" or "torch".
            precision: Of stage 1: "f32", "bf16" (OpenVINO, where the processor has it), or "auto", the fastest that
                says the same on this processor, measured at the first use and kept in the cache.
            cache: Folder of its own, for its owner only, where compiled networks are kept, so that OpenVINO starts
                sooner the next time; None for none.
            evidence_maps: As for the class.

        Raises:
            PackageError: If the model cannot be used.
            UsageError: If the runtime is not there, or does not compute in the precision.
        """
        package = load_package(model)
        networks = load_runtime(runtime, package, None if cache is None else ModelCache(cache), precision)
        return cls(package, networks, evidence_maps=evidence_maps)

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
            study_thresholds=manifest.study_thresholds,
            study_threshold_rule=manifest.study_threshold_rule,
            limitations=manifest.limitations,
            unlike_rule=unlike_rule(self.task, self._familiarity),
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
            check_requested(series, inventory)
            outcomes = self.score(inventory.studies(), series)
            for outcome in progress(outcomes, description="Scoring", total=inventory.study_count, unit="study"):
                for item in outcome.rejected:
                    report(item)
                if outcome.result is not None:
                    yield outcome.result

    def predict_datasets(self, datasets: Datasets, *, on_rejected: OnRejected | None = None) -> tuple[StudyResult, ...]:
        """Scores images that are in memory.

        They go through a temporary folder that nobody else can read and that is gone afterwards: what is read of a
        file is then read of them, too.

        Args:
            datasets: DICOM images with pixels, as pydicom holds them, of any number of series, in any order.
                `SliceResult.file` holds their place. They are not changed.
            on_rejected: As in `predict`.
        """
        with tempfile.TemporaryDirectory(prefix="slicewise-") as folder:
            write_datasets(datasets, Path(folder))
            found = tuple(self.predict(folder, on_rejected=on_rejected))
        return tuple(msgspec.structs.replace(study, sources={}) for study in found)

    def predict_volume(self, volume: Volume) -> SeriesResult:
        """Scores one series: the core of prediction."""
        model_input = preprocess(volume, self.task.preprocessing)
        return self._scored(unscored_series(volume, model_input, self.task), model_input)

    def score(self, studies: Iterable[Study], requested: Collection[str] = ()) -> Iterator[StudyOutcome]:
        """Yields what became of one study after the other; while the networks read one, the next one is decoded.

        A study that cannot be scored, for whatever reason, is told in its outcome, and the others go on.

        Args:
            studies: The studies of an inventory; they are taken one ahead.
            requested: Series Instance UIDs to read instead of those that the rules choose.
        """

        def prepare(study: Study) -> tuple[Study, PreparedStudy | StudyOutcome]:
            return study, _survived(study, partial(prepare_study, study, self.task, requested, self._timer))

        for study, prepared in one_ahead(prepare, studies):
            if isinstance(prepared, StudyOutcome):
                yield prepared
            else:
                yield _survived(study, partial(self._outcome, prepared))

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
            maps=encoded.maps,
        )

    def _outcome(self, study: PreparedStudy) -> StudyOutcome:
        results = tuple(self._scored(item.unscored, item.model_input) for item in study.series)
        if not results:
            return StudyOutcome(None, study.rejected)
        judged = [result for result in results if not result.unlike_training] or results
        result = StudyResult(
            patient_id=study.patient_id,
            study_uid=study.study_uid,
            series=results,
            probabilities=aggregate([result.probabilities for result in judged], self.task.study_rule),
            warnings=tuple(warning for result in results for warning in result.warnings),
            sources=study.sources,
        )
        return StudyOutcome(result, study.rejected)

    def _scored(self, series: SeriesResult, model_input: ModelInput) -> SeriesResult:
        described = self.describe_input(model_input)
        series = self._judged(series, described, model_input)
        evidence: dict[int, RowEvidence] = {}
        if not series.unlike_training:
            with self._timer("evidence"):
                evidence = self._evidence.find(model_input, described.probabilities, described.maps)
        row_of_slice = model_input.slab_of_slice.tolist()
        rows = described.probabilities[model_input.slab_of_slice].tolist()
        probabilities = [dict(zip(self.task.label_names, row, strict=True)) for row in rows]
        return msgspec.structs.replace(
            series,
            slices=tuple(
                with_evidence(msgspec.structs.replace(item, probabilities=values), evidence.get(row))
                for item, values, row in zip(series.slices, probabilities, row_of_slice, strict=True)
            ),
            probabilities=aggregate(probabilities, self.task.study_rule),
        )

    def _judged(self, series: SeriesResult, described: DescribedInput, model_input: ModelInput) -> SeriesResult:
        """Adds how like the calibration patients the series is."""
        if self._familiarity is None:
            return series
        familiarity = self._familiarity.p_value(described.descriptors[primary_rows(model_input.duplicate_rank)])
        found = self._familiarity.warnings(familiarity)
        return msgspec.structs.replace(
            series,
            familiarity=familiarity,
            unlike_training=series.unlike_training or bool(found),
            warnings=(*found, *series.warnings),
        )

    def _encode(self, model_input: ModelInput) -> EncodedSlices:
        neighbours = self.package.manifest.encoder.neighbours
        batches = []
        for channels in timed(
            channel_batches(model_input, self.task, ENCODER_BATCH, neighbours), "windows", self._timer
        ):
            with self._timer("encoding"):
                batches.append(self.runtime.encode(channels))
        maps = [batch.maps for batch in batches if batch.maps is not None]
        return EncodedSlices(
            descriptors=np.concatenate([batch.descriptors for batch in batches]),
            slice_logits=np.concatenate([batch.slice_logits for batch in batches]),
            summaries=np.concatenate([batch.summaries for batch in batches]),
            maps=np.concatenate(maps) if maps else None,
        )

    def _fuse(self, encoded: EncodedSlices, model_input: ModelInput) -> Floats:
        logits = np.empty_like(encoded.slice_logits)
        for rows, kept in fusion_passes(model_input.duplicate_rank):
            positions = axial_positions(model_input.positions_mm[rows], self.task)
            with self._timer("fusion"):
                logits[rows[kept]] = self.runtime.fuse(encoded.take(rows), positions)[kept]
        return logits


def _survived(study: Study, work: Callable[[], Work]) -> Work | StudyOutcome:
    """Returns what the work gives, or the outcome of a study whose work failed: the others are to go on."""
    try:
        return work()
    except Exception as error:
        logger.debug("a study was not scored", exc_info=True)
        return StudyOutcome(None, (rejection_of_failure(study, error),))


def check_requested(requested: Collection[str], inventory: Inventory) -> None:
    """Checks that series that are asked for are there.

    Raises:
        UsageError: If one is not.
    """
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
