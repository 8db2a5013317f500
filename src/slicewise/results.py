"""Results of a prediction, and their JSON form.

Every writer (JSON, CSV, HTML, DICOM objects) draws from the same `StudyResult`s. Keys are the contract of docs/cli.md;
`RESULTS_SCHEMA_VERSION` counts its changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from slicewise.files import write_atomically
from slicewise.source import Source
from slicewise.volume import ScanWarning

RESULTS_SCHEMA_VERSION = 1

DISCLAIMER = "Research software, not a medical device. Not for diagnosis or any other clinical use."

UNLIKE_TRAINING = "unlike_training"
"""Code of the warnings, and of the refusals, about scans that are unlike the training data."""

UNENCODABLE = "backslashreplace"
"""How every writer shows a character without an encoding, as in a file name of undecodable bytes: \\udcff."""

RejectionKind = Literal["unreadable", "not_chosen"]


class Rejection(msgspec.Struct, frozen=True):
    """A file or a series that was not scored.

    Attributes:
        path: Path relative to the input, with forward slashes; for a series, the folder that its files share.
        kind: "unreadable" if it could not be read, "not_chosen" if it was read and left out by a rule.
        reason: A fixed code, as in "not_dicom" or "localizer".
        message: One sentence: what was wrong, what was expected, what to do.
        series_uid: Series Instance UID where it is known, else "".
    """

    path: str
    kind: RejectionKind
    reason: str
    message: str
    series_uid: str = ""


EvidenceMethod = Literal["map", "occlusion"]
"""The map of a network that learnt from masks, or how far the score of the network falls where it is covered."""


class Evidence(msgspec.Struct, frozen=True):
    """Where in a slice the model saw most of a label: no outline of a finding.

    Attributes:
        label: A label that the slice is flagged for.
        row: Row in the stored image, from 0; whole numbers are pixel centres. Beyond the image where the model read
            what lies there, which counts as empty.
        column: Column, likewise.
        value: With "map", the share of the place that the finding fills, by the network; with "occlusion", by how much
            the logit of the single slice falls.
        method: How it was found.
    """

    label: str
    row: float
    column: float
    value: float
    method: EvidenceMethod


class EvidenceMap(msgspec.Struct, frozen=True):
    """The evidence for one label all over a slice, turned as the stored image is.

    Attributes:
        label: The label.
        method: How it was found.
        side: Cells along rows and columns.
        cells: Evidence of every cell, 255 for the most of this slice, row by row: uint8, compressed by zlib.
        top: Row of their upper edge in the stored image, where whole numbers are pixel centres.
        left: Column of their left edge, likewise.
        bottom: Row of their lower edge.
        right: Column of their right edge.
    """

    label: str
    method: EvidenceMethod
    side: int
    cells: bytes
    top: float
    left: float
    bottom: float
    right: float


class SliceResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """Calibrated probabilities of one original slice.

    Attributes:
        sop_uid: SOP Instance UID.
        frame: Frame number within the instance, from 1.
        file: Path relative to the input, with forward slashes.
        slice_index: Index in axial order, from 0 at the feet.
        position_mm: Position along the slice normal.
        probabilities: Probability of every label.
        evidence: Where the model saw most of every label that the slice is flagged for, as far as that is known.
        evidence_map: For pictures; written to no file.
    """

    sop_uid: str
    frame: int
    file: str
    slice_index: int
    position_mm: float
    probabilities: dict[str, float]
    evidence: tuple[Evidence, ...] = ()
    evidence_map: EvidenceMap | None = None


class SeriesResult(msgspec.Struct, frozen=True):
    """Results of one series.

    Attributes:
        patient_id: Patient ID.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        slices: Results of every slice, in axial order.
        probabilities: Probability of every label for the series, by the study rule of the task.
        tilt_degrees: Angle between slice normal and patient axis.
        warnings: What a reader of the results should know about the scan.
        intensity_scale: What the values of its images are multiplied by before windows; 1 for HU.
        familiarity: Share of scans like those of the calibration patients that are at least as unlike them as this
            series (a conformal p value); None where the model does not tell.
        unlike_training: The series is unlike the training data: its probabilities are not to be relied on, and nothing
            of it counts as flagged or not flagged. Warnings of the code `UNLIKE_TRAINING` say why.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    slices: tuple[SliceResult, ...]
    probabilities: dict[str, float]
    tilt_degrees: float
    warnings: tuple[ScanWarning, ...]
    intensity_scale: float = 1.0
    familiarity: float | None = None
    unlike_training: bool = False


class StudyResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """Results of one study.

    Attributes:
        patient_id: Patient ID.
        study_uid: Study Instance UID.
        series: Results of the series that were read.
        probabilities: Probability of every label for the study, by the study rule of the task: of the series that are
            not unlike the training data, or of all where every one is.
        warnings: Warnings of all series.
        sources: Where the file of every SOP Instance UID lies on this machine, so that writers can read it again.
            Written to no file.
    """

    patient_id: str
    study_uid: str
    series: tuple[SeriesResult, ...]
    probabilities: dict[str, float]
    warnings: tuple[ScanWarning, ...]
    sources: dict[str, Source] = {}

    @property
    def unlike_training(self) -> bool:
        """Whether any series is unlike the training data: what the study is not flagged for may be in it."""
        return any(series.unlike_training for series in self.series)

    @property
    def familiarity(self) -> float | None:
        """That of the least familiar series; None where no series has one."""
        return min((series.familiarity for series in self.series if series.familiarity is not None), default=None)


class StudyOutcome(msgspec.Struct, frozen=True):
    """What became of one study.

    Attributes:
        result: Its results; None where no series of it was scored.
        rejected: Files and series of it that were not scored.
    """

    result: StudyResult | None
    rejected: tuple[Rejection, ...]


class ModelSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which model made the results. What has a default is not written where it has it.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        digest: Digest of the model package.
        labels: Label names in order.
        displays: Names of the labels for people, in the same order.
        any_label: The label that sums up the others, if there is one.
        thresholds: Operating point of every label for slices: flagged at or above it.
        threshold_rule: How the thresholds were set, in words.
        study_rule: How slice probabilities give those of series and study.
        trained_on: The training data in words.
        intended_use: What the model is for.
        study_thresholds: Operating point of every label for series and studies; empty where `thresholds` are for both.
        study_threshold_rule: How they were set, in words; "" likewise.
        limitations: What the model is not for, one sentence each.
        unlike_rule: How scans unlike the training data are found, and how often an ordinary one is, in words.
    """

    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    displays: tuple[str, ...]
    any_label: str | None
    thresholds: dict[str, float]
    threshold_rule: str
    study_rule: str
    trained_on: str
    intended_use: str
    study_thresholds: dict[str, float] = {}
    study_threshold_rule: str = ""
    limitations: tuple[str, ...] = ()
    unlike_rule: str = ""

    @property
    def thresholds_of_studies(self) -> dict[str, float]:
        """Operating point of every label for series and studies: their own, else that for slices."""
        return self.study_thresholds or self.thresholds

    def flagged(self, probabilities: dict[str, float]) -> tuple[str, ...]:
        """Returns the labels of a slice at or above their threshold, in order."""
        return tuple(name for name in self.labels if probabilities[name] >= self.thresholds[name])

    def flagged_study(self, probabilities: dict[str, float]) -> tuple[str, ...]:
        """Returns the labels of a series or study at or above their threshold, in order."""
        return tuple(name for name in self.labels if probabilities[name] >= self.thresholds_of_studies[name])

    def flagged_on(self, item: SliceResult, series: SeriesResult) -> tuple[str, ...]:
        """Returns the labels that a slice is flagged for; none in a series that is unlike the training data."""
        return () if series.unlike_training else self.flagged(item.probabilities)

    def flagged_of(self, result: SeriesResult | StudyResult) -> tuple[str, ...]:
        """Returns the labels that a series or study is flagged for; none where all is unlike the training data."""
        series = result.series if isinstance(result, StudyResult) else (result,)
        judged = any(not item.unlike_training for item in series)
        return self.flagged_study(result.probabilities) if judged else ()

    def flagged_slices(self, series: SeriesResult) -> tuple[SliceResult, ...]:
        """Returns the slices of a series that are flagged for any label."""
        return tuple(item for item in series.slices if self.flagged_on(item, series))


class Results(msgspec.Struct, frozen=True):
    """All that one call of `slicewise predict` found.

    Attributes:
        model: Which model made the results.
        studies: Results of every study.
        rejected: Files and series that were not scored.
        software_version: Version of slicewise.
        disclaimer: What the results must not be used for.
        anonymous: The ids are keyed hashes and the file names are left out, see `slicewise.reporting.anonymous`.
        schema_version: Version of the JSON form.
    """

    model: ModelSummary
    studies: tuple[StudyResult, ...]
    rejected: tuple[Rejection, ...]
    software_version: str
    disclaimer: str = DISCLAIMER
    anonymous: bool = False
    schema_version: int = RESULTS_SCHEMA_VERSION


def aggregate(probabilities: Sequence[dict[str, float]], rule: str) -> dict[str, float]:
    """Combines the probabilities of slices into those of their series, or of series into those of their study.

    Args:
        probabilities: One mapping a slice or series, at least one.
        rule: "max": the highest of each label (Ngo et al. 2022, section on CQ500).

    Raises:
        ValueError: If the rule is not known.
    """
    if rule != "max":
        raise ValueError(f"study rule '{rule}' is not known; expected 'max'")
    return {name: max(row[name] for row in probabilities) for name in probabilities[0]}


def results_schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of `results.json`."""
    schema = msgspec.json.schema(Results)
    del schema["$defs"]["StudyResult"]["properties"]["sources"]
    del schema["$defs"]["Source"]
    del schema["$defs"]["SliceResult"]["properties"]["evidence_map"]
    del schema["$defs"]["EvidenceMap"]
    return schema


def encode_results(results: Results) -> bytes:
    """Returns `results.json`, indented, without what is only for pictures, and only for this machine."""
    return _json(msgspec.structs.replace(results, studies=tuple(map(_as_written, results.studies))))


def write_results_json(path: Path, results: Results, studies: Iterable[StudyResult]) -> None:
    """Writes what `encode_results` returns for results with these studies, with one of them in memory at a time.

    Args:
        path: The file to write; it is whole or not there.
        results: All but the studies.
        studies: Are read once.
    """
    # No string of JSON holds a line break, so this line is the one of the outermost object.
    before, after = _json(msgspec.structs.replace(results, studies=())).split(_NO_STUDIES, 1)
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        stream.write(before + _NO_STUDIES[:-1])
        between, end = b"\n", b"]"
        for study in studies:
            stream.write(between + b"  " + _json(_as_written(study)).replace(b"\n", b"\n  "))
            between, end = b",\n", b"\n ]"
        stream.write(end + after)


def decode_results(content: bytes) -> Results:
    """Reads `results.json`.

    Raises:
        msgspec.ValidationError: If the content does not follow the schema.
    """
    return msgspec.json.decode(content, type=Results)


_NO_STUDIES = b'\n "studies": []'


def _as_written(study: StudyResult) -> StudyResult:
    """Leaves out what is only for pictures, and only for this machine."""
    series = tuple(msgspec.structs.replace(item, slices=tuple(map(_without_map, item.slices))) for item in study.series)
    return msgspec.structs.replace(study, series=series, sources={})


def _without_map(item: SliceResult) -> SliceResult:
    return item if item.evidence_map is None else msgspec.structs.replace(item, evidence_map=None)


def _json(content: Results | StudyResult) -> bytes:
    try:
        encoded = msgspec.json.encode(content)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_encodable(msgspec.to_builtins(content)))
    return msgspec.json.format(encoded, indent=1)


def _encodable(content: Any) -> Any:
    if isinstance(content, dict):
        return {_encodable(key): _encodable(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_encodable(value) for value in content]
    return content.encode("utf-8", UNENCODABLE).decode("utf-8") if isinstance(content, str) else content
