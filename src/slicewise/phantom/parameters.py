"""What can be chosen about a phantom: a nested structure whose every leaf is also a `--set` key of the command line."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Annotated, Any, get_args

import msgspec

from slicewise.errors import UsageError
from slicewise.phantom.anatomy import AnatomyParameters
from slicewise.phantom.mimics import MimicParameters
from slicewise.phantom.prevalence import HemorrhageParameters

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0)]
Range = tuple[float, float]
"""Smallest and largest value of a uniform draw."""


def _check_ranges(section: msgspec.Struct, prefix: str) -> None:
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, tuple) and not value[0] <= value[1]:
            raise UsageError(f"{prefix}.{name}: expected [smallest, largest], not {list(value)}")


class GeometryParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the slices lie and how the head lies in the scanner. Lengths are millimetres, angles degrees.

    Attributes:
        matrix: Rows and columns.
        fov_mm: Field of view.
        slices: Smallest and largest number of slices of a routine series (4 mm and more between slices).
        spacing_mm: Distance between the slices of a routine series.
        thin: Probability of a thin series instead.
        thin_mm: Distance between its slices.
        medium: Probability of a series of medium thickness.
        medium_mm: Distance between its slices.
        thick: Probability of a series of thick slices.
        thick_mm: Distance between its slices.
        changing: Probability of a routine series whose spacing grows above the skull base.
        gap: Probability that slices are thinner than their distance.
        overlap: Probability that slices are thicker than their distance.
        tilted: Probability of a tilted gantry.
        tilt_degrees: Angle of a tilted gantry.
        pitch_degrees: SD of the nodding of the head against the gantry.
        roll_degrees: SD of the leaning of the head to a side.
        yaw_degrees: SD of the turn of the head to a side.
        off_center_mm: SD of the place of the head in the field of view.
        bottom_mm: Where the scan begins, from the level of the thalami.
        cut_bottom: Probability that it begins above the skull base.
        cut_top: Probability that it ends below the vertex.
    """

    matrix: Annotated[int, msgspec.Meta(ge=32, le=1024)] = 512
    fov_mm: Range = (212.0, 255.0)
    slices: tuple[int, int] = (28, 54)
    spacing_mm: Range = (4.5, 5.6)
    thin: Probability = 0.02
    thin_mm: Range = (0.6, 1.5)
    medium: Probability = 0.08
    medium_mm: Range = (2.0, 3.75)
    thick: Probability = 0.06
    thick_mm: Range = (6.0, 7.5)
    changing: Probability = 0.12
    gap: Probability = 0.05
    overlap: Probability = 0.05
    tilted: Probability = 0.6
    tilt_degrees: Range = (4.0, 24.0)
    pitch_degrees: NotNegative = 6.0
    roll_degrees: NotNegative = 3.0
    yaw_degrees: NotNegative = 5.0
    off_center_mm: NotNegative = 6.0
    bottom_mm: Range = (-95.0, -58.0)
    cut_bottom: Probability = 0.06
    cut_top: Probability = 0.05

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            UsageError: If one does not fit.
        """
        _check_ranges(self, "geometry")
        if self.slices[0] < 1 or self.slices[1] > 400:
            raise UsageError(f"geometry.slices: expected between 1 and 400, not {self.slices}")
        if min(self.thin_mm[0], self.medium_mm[0], self.spacing_mm[0], self.thick_mm[0]) < 0.3:
            raise UsageError("geometry: distances between slices must be at least 0.3 mm")
        if self.fov_mm[0] < 50:
            raise UsageError(f"geometry.fov_mm: expected at least 50 mm, not {self.fov_mm[0]:g}")
        if max(map(abs, self.tilt_degrees)) > 30:
            raise UsageError(f"geometry.tilt_degrees: gantries tilt by up to 30 degrees, not {self.tilt_degrees}")
        if self.thin + self.medium + self.thick > 1:
            raise UsageError("geometry: the probabilities thin, medium and thick add up to more than 1")


class PhysicsParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the scanner makes of the head.

    Attributes:
        noise_hu: SD in the brain of slices of 5 mm, seen on pixels of 1 mm, with the standard kernel.
        noise_by_position: Noise is higher in the centre and between thick bones; False makes it the same everywhere.
        smooth: Share of the series with a smooth kernel.
        standard: Share of the series with a standard kernel.
        sharp: Share of the series with a sharp kernel.
        cupping: Probability that brain near the inner table is brighter than the centre.
        cupping_hu: By how much.
        cupping_decay_mm: Depth over which it falls to 1/e.
        hardening: Probability of dark bands between dense bones.
        hardening_strength: How strong they are, 1 for those of a scanner without correction for bone.
        starvation: Streaks of noise along rays that much bone absorbs, 1 for a low dose.
        metal: Probability that metal, where there is some, throws star streaks.
        shading_hu: SD of a smooth drift over the field of view.
        offset_hu: SD of an error of calibration, the same in a whole series.
        motion: Probability that the head moves within some slices, which double their contours.
        jump: Probability that the head lies otherwise from some slice on.
        headrest: Probability that a headrest is in the field of view.
        circle: Probability that only the circle of reconstruction holds an image.
    """

    noise_hu: Range = (1.7, 4.2)
    noise_by_position: bool = True
    smooth: Share = 0.25
    standard: Share = 0.6
    sharp: Share = 0.15
    cupping: Probability = 1.0
    cupping_hu: Range = (0.0, 28.0)
    cupping_decay_mm: Range = (6.0, 16.0)
    hardening: Probability = 0.9
    hardening_strength: Range = (0.05, 0.5)
    starvation: Range = (0.0, 0.8)
    metal: Probability = 1.0
    shading_hu: NotNegative = 0.8
    offset_hu: NotNegative = 4.0
    motion: Probability = 0.08
    jump: Probability = 0.04
    headrest: Probability = 0.92
    circle: Probability = 0.35

    def __post_init__(self) -> None:
        """Checks ranges and shares.

        Raises:
            UsageError: If one does not fit.
        """
        _check_ranges(self, "physics")
        if self.cupping_decay_mm[0] <= 0:
            raise UsageError(f"physics.cupping_decay_mm: expected above 0, not {self.cupping_decay_mm[0]:g}")
        if self.smooth + self.standard + self.sharp <= 0:
            raise UsageError("physics: the shares smooth, standard and sharp must not all be 0")


class HeaderParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose habits the headers have, and what else a study of the clinical or CQ500 layout holds.

    Attributes:
        ge: Share of the studies with the habits of GE.
        siemens: Share with those of Siemens.
        philips: Share with those of Philips.
        canon: Share with those of Canon (Toshiba).
        localizer: Probability of a localizer.
        second_series: Probability of a second reconstruction, for bone or of thin slices.
        dose_report: Probability of a screen capture with the dose.
    """

    ge: Share = 0.4
    siemens: Share = 0.3
    philips: Share = 0.15
    canon: Share = 0.15
    localizer: Probability = 0.5
    second_series: Probability = 0.25
    dose_report: Probability = 0.25

    def __post_init__(self) -> None:
        """Checks the shares.

        Raises:
            UsageError: If they are all 0.
        """
        if self.ge + self.siemens + self.philips + self.canon <= 0:
            raise UsageError("headers: the shares ge, siemens, philips and canon must not all be 0")


class PhantomParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be chosen about a phantom.

    Attributes:
        geometry: Slices, matrix, and how the head lies.
        physics: What the scanner makes of the head.
        headers: Habits of manufacturers.
        anatomy: How people differ.
        mimics: How often a head has what can look like a hemorrhage, or spoils the picture.
        hemorrhage: How often which hemorrhage comes.
    """

    geometry: GeometryParameters = GeometryParameters()
    physics: PhysicsParameters = PhysicsParameters()
    headers: HeaderParameters = HeaderParameters()
    anatomy: AnatomyParameters = AnatomyParameters()
    mimics: MimicParameters = MimicParameters()
    hemorrhage: HemorrhageParameters = HemorrhageParameters()


def override_parameters(parameters: PhantomParameters, overrides: Iterable[str]) -> PhantomParameters:
    """Returns parameters with some values changed.

    Args:
        parameters: What to start from.
        overrides: Settings as "key=value" with dots between sections, as in "physics.noise_hu=[2, 3]". The value is
            TOML; a bare word is a string.

    Raises:
        UsageError: If a key is unknown or a value does not fit; the message names the key.
    """
    content: dict[str, Any] = msgspec.to_builtins(parameters)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or key not in known_keys():
            raise UsageError(f"--set {override}: expected key=value with one of the keys {', '.join(known_keys())}")
        *sections, name = key.split(".")
        target = content
        for section in sections:
            target[section] = target[section] or {}
            target = target[section]
        target[name] = _value(text)
        if any(isinstance(part, float) and not math.isfinite(part) for part in _parts(target[name])):
            raise UsageError(f"--set {override}: expected a finite number")
    try:
        return msgspec.convert(content, PhantomParameters)
    except msgspec.ValidationError as error:
        raise UsageError(f"--set: {error}") from error


@cache
def known_keys() -> tuple[str, ...]:
    """Returns every key of `override_parameters`.

    >>> known_keys()[:2]
    ('geometry.matrix', 'geometry.fov_mm')
    """
    return tuple(_keys(PhantomParameters))


def _keys(section: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        inner = [part for part in (field.type, *get_args(field.type)) if isinstance(part, type)]
        structs = [part for part in inner if issubclass(part, msgspec.Struct)]
        if structs:
            yield from _keys(structs[0], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _parts(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else (value,)
