"""The habits that manufacturers have in their CT headers: storage of pixels, kernels, windows, descriptions, order.

Seen in public collections (RSNA 2019, CQ500, TCIA). They are habits, not rules of the standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slicewise.phantom.fields import Field
from slicewise.phantom.parameters import HeaderParameters


@dataclass(frozen=True)
class Storage:
    """How HU become stored values, DICOM PS3.3 C.7.6.3 and C.11.1.

    Attributes:
        bits_stored: Bits Stored, 12 or 16.
        signed: Pixel Representation is 1.
        intercept: Rescale Intercept; the slope is 1.
        padding: Pixel Padding Value, what stands outside the circle of reconstruction; None to leave air there.
    """

    bits_stored: int
    signed: bool
    intercept: int
    padding: int | None = None

    @property
    def lowest_hu(self) -> int:
        """Lowest HU of the image itself."""
        return max(-1024, self.intercept if not self.signed else -1024)

    @property
    def highest_hu(self) -> int:
        """Highest HU: scanners clip at 12 bits even where they store 16."""
        return min(3071, 4095 + self.intercept) if self.bits_stored == 12 else 3071

    def quantise(self, hu: Field) -> Field:
        """Rounds to whole HU within the range, in place."""
        np.rint(hu, out=hu)
        np.clip(hu, self.lowest_hu, self.highest_hu, out=hu)
        return hu

    def stored(self, hu: Field, outside: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.integer]:
        """Returns what a file holds.

        Args:
            hu: Whole HU.
            outside: Pixels outside the circle of reconstruction; None where there is none.
        """
        values = (hu - np.float32(self.intercept)).astype(np.int32)
        if outside is not None:
            values[outside] = self.outside_value
        return values.astype("<i2" if self.signed else "<u2")

    @property
    def outside_hu(self) -> int:
        """HU that a reader finds outside the circle: padding counts as air."""
        return self.lowest_hu if self.padding is None else -1024

    @property
    def outside_value(self) -> int:
        """Stored value outside the circle of reconstruction."""
        return self.lowest_hu - self.intercept if self.padding is None else self.padding


@dataclass(frozen=True)
class HeaderStyle:
    """The habits of one manufacturer, as a study shows them.

    Attributes:
        manufacturer: Manufacturer, (0008,0070).
        storage: How pixels are stored.
        image_type: Image Type of axial images, after ORIGINAL and PRIMARY.
        kernels: Convolution Kernel by the kind of a kernel of `noise.KERNELS`.
        windows: Window centers and widths by kind of image, "brain" or "bone".
        description: Series Description of the main series; {mm} is the slice thickness, {kernel} the kernel.
        bone_description: That of a reconstruction for bone.
        localizer: Series Description of localizers.
        from_vertex: Share of the studies whose Instance Numbers begin at the vertex.
        character_set: Specific Character Set.
        patient_name: Patient's Name, in the character sets.
        exposes_tilt: Writes Gantry/Detector Tilt.
        private: Private creators and the text of one element each.
        empty: Keywords that are there without a value.
    """

    manufacturer: str
    storage: Storage
    image_type: tuple[str, ...]
    kernels: Mapping[str, str]
    windows: Mapping[str, tuple[tuple[float, float], ...]]
    description: str
    bone_description: str
    localizer: str
    from_vertex: float
    character_set: tuple[str, ...] = ("ISO_IR 100",)
    patient_name: str = "PHANTOM^SYNTHETIC"
    exposes_tilt: bool = True
    private: tuple[tuple[int, str, str], ...] = ()
    empty: tuple[str, ...] = ()


GE = HeaderStyle(
    manufacturer="GE MEDICAL SYSTEMS",
    storage=Storage(16, signed=True, intercept=-1024, padding=-2000),
    image_type=("AXIAL",),
    kernels={"smooth": "SOFT", "standard": "STANDARD", "sharp": "DETAIL", "bone": "BONEPLUS"},
    windows={"brain": ((35.0, 100.0),), "bone": ((600.0, 3000.0),)},
    description="HEAD {mm}",
    bone_description="BONE {mm}",
    localizer="SCOUT",
    from_vertex=0.1,
    private=((0x0009, "GEMS_IDEN_01", "PHANTOM"), (0x0043, "GEMS_PARM_01", "PHANTOM")),
)

SIEMENS = HeaderStyle(
    manufacturer="SIEMENS",
    storage=Storage(12, signed=False, intercept=-1024),
    image_type=("AXIAL", "CT_SOM5 SEQ"),
    kernels={"smooth": "H20s", "standard": "H31s", "sharp": "H40s", "bone": "H60s"},
    windows={"brain": ((40.0, 80.0), (50.0, 250.0)), "bone": ((450.0, 1500.0), (50.0, 250.0))},
    description="Head {mm} {kernel}",
    bone_description="HeadBone {mm} {kernel}",
    localizer="Topogram 0.6 T20s",
    from_vertex=0.7,
    private=((0x0021, "SIEMENS MED", "PHANTOM"),),
)

PHILIPS = HeaderStyle(
    manufacturer="Philips",
    storage=Storage(12, signed=False, intercept=-1000),
    image_type=("AXIAL", "HELIX"),
    kernels={"smooth": "A", "standard": "UB", "sharp": "UC", "bone": "YD"},
    windows={"brain": ((40.0, 80.0), (40.0, 80.0)), "bone": ((500.0, 2000.0), (500.0, 2000.0))},
    description="HEAD ROUTINE, iDose (3)",
    bone_description="BONE, iDose (3)",
    localizer="Surview",
    from_vertex=0.3,
    exposes_tilt=False,
    empty=("AcquisitionNumber",),
)

CANON = HeaderStyle(
    manufacturer="TOSHIBA",
    storage=Storage(16, signed=True, intercept=0, padding=-2048),
    image_type=("AXIAL",),
    kernels={"smooth": "FC20", "standard": "FC21", "sharp": "FC26", "bone": "FC81"},
    windows={"brain": ((40.0, 90.0),), "bone": ((500.0, 3000.0),)},
    description="Head {mm}",
    bone_description="Bone {mm}",
    localizer="Scano",
    from_vertex=0.5,
    character_set=("", "ISO 2022 IR 87"),
    patient_name="PHANTOM^SYNTHETIC=幻影^合成",
    private=((0x7005, "TOSHIBA_MEC_CT3", "PHANTOM"),),
)


def sample_style(rng: np.random.Generator, parameters: HeaderParameters) -> HeaderStyle:
    """Draws whose habits a study has."""
    shares = np.array([parameters.ge, parameters.siemens, parameters.philips, parameters.canon])
    return (GE, SIEMENS, PHILIPS, CANON)[int(np.searchsorted(shares.cumsum() / shares.sum(), rng.random()))]
