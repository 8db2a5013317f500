"""A task: which labels are found, on which channels, after which preprocessing.

A task is a TOML file. `ich` and `mri_tumor` ship with slicewise; any other is named by its path. Nothing but the task
file knows the labels of a task: code reads their names, order, weights and codes from here.
"""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from slicewise.errors import TaskError


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A coded concept, DICOM PS3.3 section 8.

    Attributes:
        scheme: Coding scheme designator, as in "SCT".
        value: Code value.
        meaning: Code meaning.
    """

    scheme: str
    value: str
    meaning: str


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finding that is decided for every slice.

    Attributes:
        name: Column name in every table.
        display: Name for people.
        loss_weight: Weight in the training loss and in the weighted log loss.
        finding: Code of the finding.
        site: Code of the anatomic site, if the finding does not imply it.
    """

    name: str
    display: str
    loss_weight: float
    finding: Code
    site: Code | None = None


class AnyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one label follows from the others.

    `max`: the label is positive exactly where one of the others is, and its probability is never below theirs.

    Attributes:
        label: The label that sums up the others.
        rule: The only rule so far is "max".
    """

    label: str
    rule: Literal["max"] = "max"


class WindowChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="window", tag_field="kind"):
    """A channel that shows one window of values, DICOM PS3.3 C.11.2.1.2.

    Attributes:
        name: Name for people, as in "brain".
        center: Window center, in the unit of the preprocessing.
        width: Window width, likewise.
    """

    name: str
    center: float
    width: float


class PreprocessingParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Parameters of `slicewise.imaging.preprocess`.

    What has a default is off by it and then stands neither in a file nor in the digest: packages and datasets that were
    made before it came stay valid. So a default never changes.

    Attributes:
        pixel_mm: Side of a pixel of the in-plane grid in mm.
        size: Rows and columns of the grid.
        slab_mm: Wanted axial thickness: thinner series are averaged into slabs of about this thickness.
        body_threshold: Value above which a pixel belongs to the body (HU for CT).
        opening_mm: Radius of the opening that parts the head from headrest and cushions.
        head_box: What the grid is centred on: the "body", or what the "skull" encloses (CT only).
        cupping_limit_hu: Largest excess of brain at the bone that is subtracted as cupping; 0 for no correction.
        deep_brain_hu: What brain far from the bone is brought to.
        deep_brain_limit_hu: Largest offset by which it is brought there; 0 for none.
        intensity: What values mean: "hounsfield" units, or, where a scanner has no absolute scale as in MR,
            "relative": thousandths of the median of what is brighter than the mean of the series. Thresholds and
            windows are in that unit.
    """

    pixel_mm: float
    size: int
    slab_mm: float
    body_threshold: float
    opening_mm: float
    head_box: Literal["body", "skull"] = "body"
    cupping_limit_hu: float = 0.0
    deep_brain_hu: float = 30.0
    deep_brain_limit_hu: float = 0.0
    intensity: Literal["hounsfield", "relative"] = "hounsfield"

    @property
    def unit(self) -> str:
        """The unit of values, thresholds and windows, for people."""
        return "HU" if self.intensity == "hounsfield" else "thousandths of the reference of the series"

    @property
    def corrects_shading(self) -> bool:
        """Whether the shading of the images is corrected."""
        return self.cupping_limit_hu > 0 or self.deep_brain_limit_hu > 0

    def digest(self) -> str:
        """Returns the SHA-256 of the parameters and of the version of the algorithm, in hexadecimal."""
        content = {"version": PREPROCESSING_VERSION, "parameters": self}
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


PREPROCESSING_VERSION = 1
"""Counts the changes of `slicewise.imaging.preprocess` that change its output."""

OCCUPANCY_STRIDE = 8
"""Pixels of the network input a cell of occupancy maps and masks, along rows and columns."""


class SeriesParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which series can be read for the task.

    Attributes:
        modality: Modality, (0008,0060), as in "CT".
        minimum_slices: Series with fewer slices are not read.
        maximum_angle_degrees: Largest angle between slice normal and patient axis of a series that counts as axial.
        body_parts: Words for the part of the body that is read. A series whose description, or else whose Body Part
            Examined, (0018,0015), names another known part and none of these is not read; empty to read any part.
        sequences: Words for the MR sequence that is read, as in "FLAIR". A series that is described, (0008,103E),
            without any of these is not read; one that is not described, as in NIfTI, is. Empty to read any sequence.
        other_sequences: Words, as a whole, for sequences that are not read although they have one of those, as in "T1".
    """

    modality: str
    minimum_slices: int
    maximum_angle_degrees: float
    body_parts: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    other_sequences: tuple[str, ...] = ()


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is found, and from which input.

    Attributes:
        name: Short name, as in "ich".
        title: One line for people.
        intended_use: One sentence for model cards and reports.
        labels: Findings, in the order of every table and network output.
        channels: Channels of the network input, in order.
        series: Which series can be read.
        preprocessing: Parameters of the shared preprocessing.
        axial_unit: "mm" if positions are true millimetres, "index" where the spacing is not known.
        study_rule: How slice probabilities give those of series and study: "max" (Ngo et al. 2022).
        any_rule: How one label follows from the others, if one does.
        training: What a run configuration has in the place of its defaults when it trains for this task, as sections
            of the file that `train --config` reads.
    """

    name: str
    title: str
    intended_use: str
    labels: tuple[Label, ...]
    channels: tuple[WindowChannel, ...]
    series: SeriesParameters
    preprocessing: PreprocessingParameters
    axial_unit: Literal["mm", "index"] = "mm"
    study_rule: Literal["max"] = "max"
    any_rule: AnyRule | None = None
    training: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Checks what types alone do not say.

        Raises:
            ValueError: If a value does not fit.
        """
        if not self.labels:
            raise ValueError("labels: a task needs at least one label")
        if not self.channels:
            raise ValueError("channels: a task needs at least one channel")
        if len(set(self.label_names)) != len(self.labels):
            raise ValueError(f"labels: a name stands twice in {', '.join(self.label_names)}")
        if self.any_rule is not None and self.any_rule.label not in self.label_names:
            raise ValueError(f"any_rule.label: '{self.any_rule.label}' is not among {', '.join(self.label_names)}")
        if any(channel.width <= 0 for channel in self.channels):
            raise ValueError("channels: a window needs a width above 0")
        if self.preprocessing.pixel_mm <= 0 or self.preprocessing.size < 1 or self.preprocessing.slab_mm <= 0:
            raise ValueError("preprocessing: pixel_mm, size and slab_mm must be above 0")
        if self.preprocessing.cupping_limit_hu < 0 or self.preprocessing.deep_brain_limit_hu < 0:
            raise ValueError("preprocessing: cupping_limit_hu and deep_brain_limit_hu must not be below 0")
        if self.preprocessing.intensity != "hounsfield" and (
            self.preprocessing.head_box == "skull" or self.preprocessing.corrects_shading
        ):
            raise ValueError(
                "preprocessing: head_box 'skull' and the correction of shading need intensity 'hounsfield', in which "
                "bone and brain have known values"
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(label.name for label in self.labels)

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """Weights of the labels, in order."""
        return tuple(label.loss_weight for label in self.labels)

    @property
    def any_index(self) -> int | None:
        """Index of the label that sums up the others, None where the task has no such label."""
        return None if self.any_rule is None else self.label_names.index(self.any_rule.label)

    @property
    def main_index(self) -> int:
        """Index of the label that is shown first: the one that sums up the others, else the first."""
        return self.any_index or 0


def shipped_tasks() -> tuple[str, ...]:
    """Returns the names of the tasks that ship with slicewise."""
    folder = resources.files("slicewise") / "tasks"
    return tuple(sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")))


def load_task(name_or_path: str | Path) -> Task:
    """Loads a task by the name of a shipped one or by the path of a TOML file.

    Raises:
        TaskError: If there is no such task, or if the file is not a valid task; the message names the key.
    """
    text = str(name_or_path)
    if text in shipped_tasks():
        content = (resources.files("slicewise") / "tasks" / f"{text}.toml").read_bytes()
        return _parse(content, source=f"shipped task '{text}'")
    path = Path(name_or_path)
    if not path.is_file():
        raise TaskError(
            f"There is no task '{text}'. Expected the path of a TOML file or one of: {', '.join(shipped_tasks())}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}") from error
    return _parse(content, source=str(path))


def _parse(content: bytes, *, source: str) -> Task:
    try:
        return msgspec.convert(tomllib.loads(content.decode("utf-8")), Task)
    except UnicodeDecodeError as error:
        raise TaskError(f"{source}: not UTF-8 text, as TOML must be: {error}") from error
    except ValueError as error:  # of tomllib and of msgspec
        raise TaskError(f"{source}: {error}") from error
