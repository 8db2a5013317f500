"""What the results of a study say, and of which images: what every object of the study is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from slicewise.errors import InputError
from slicewise.reporting.dicom.identity import Identity
from slicewise.reporting.dicom.references import SourceInstance, SourceStudy
from slicewise.reporting.dicom.uids import derived_uid
from slicewise.results import UNLIKE_TRAINING, ModelSummary, SeriesResult, SliceResult, StudyResult
from slicewise.task import Task


@dataclass(frozen=True)
class FlaggedSlice:
    """A slice with at least one label at or above its threshold that the study is flagged for, too.

    A slice whose label the study does not reach is no finding of an object in an archive: it would contradict what the
    object says of the study.

    Attributes:
        series: Its series.
        item: The slice.
        labels: Those labels, in the order of the task.
    """

    series: SeriesResult
    item: SliceResult
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class StudyFindings:
    """The results of one study and its images.

    Attributes:
        study: The results.
        sources: The images.
        model: The model that made them.
        task: Its task.
        software_version: Version of slicewise.
        flagged: The flagged slices, in the order of the results.
        digest: SHA-256 of all that the objects say; what a UID of theirs follows from.
    """

    study: StudyResult
    sources: SourceStudy
    model: ModelSummary
    task: Task
    software_version: str
    flagged: tuple[FlaggedSlice, ...]
    digest: str

    def instance(self, item: SliceResult) -> SourceInstance:
        """Returns the image that holds a slice."""
        return self.sources.instances[item.sop_uid]

    @property
    def counts(self) -> str:
        """How many slices are flagged, and how many reach a threshold of slices alone, in words."""
        slices = sum(len(series.slices) for series in self.study.series)
        text = f"{len(self.flagged)} of {slices} slices are flagged."
        if not self.alone:
            return text
        return (
            f"{text} {self.alone} more {'reaches' if self.alone == 1 else 'reach'} the threshold of a slice for a "
            "label whose threshold of a study is not reached."
        )

    @property
    def alone(self) -> int:
        """Number of slices that reach thresholds of slices alone, of labels that the study is not flagged for."""
        return sum(len(self.model.flagged_slices(series)) for series in self.study.series) - len(self.flagged)

    def highest(self, label: str) -> SliceResult:
        """Returns the slice with the highest probability of a label, the first of several."""
        slices = (item for series in self.study.series for item in series.slices)
        return max(slices, key=lambda item: item.probabilities[label])

    def uid(self, *parts: str) -> str:
        """Returns a UID that changes with anything that the objects say."""
        return derived_uid(self.digest, *parts)


def study_findings(
    study: StudyResult, sources: SourceStudy, model: ModelSummary, task: Task, software_version: str
) -> StudyFindings:
    """Puts the results of a study and its images together.

    Raises:
        InputError: If the study is unlike the training data (reason unlike_training).
    """
    if study.unlike_training:
        raise InputError(
            "Its images are unlike the training data of the model, and an archive would file probabilities that nobody "
            "can rely on. The report says why; score scans that the model is made for.",
            reason=UNLIKE_TRAINING,
        )
    of_study = model.flagged_of(study)
    flagged = tuple(
        FlaggedSlice(series, item, labels)
        for series in study.series
        for item in series.slices
        if (labels := tuple(name for name in model.flagged_on(item, series) if name in of_study))
    )
    digest = _digest(study, sources.identity, model, task, software_version)
    return StudyFindings(study, sources, model, task, software_version, flagged, digest)


def _digest(study: StudyResult, identity: Identity, model: ModelSummary, task: Task, software_version: str) -> str:
    # Without the names of files: the same images elsewhere are the same images.
    series = tuple(
        msgspec.structs.replace(
            item, slices=tuple(msgspec.structs.replace(row, file="") for row in item.slices), warnings=()
        )
        for item in study.series
    )
    content = {
        "study": msgspec.structs.replace(study, series=series, warnings=(), sources={}),
        "identity": [identity.character_sets, identity.stored, {k: str(v) for k, v in identity.sequences.items()}],
        "model": model,
        "labels": task.labels,
        "software": software_version,
    }
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
