"""What the header of one image says, taken from it once: nothing reads a header a second time."""

from __future__ import annotations

import msgspec

from slicewise.source import Source
from slicewise.volume import Orientation


class ModalityLut(msgspec.Struct, frozen=True, gc=False):
    """A table from stored values to output units, DICOM PS3.3 C.11.1.

    Attributes:
        first: Stored value of the first entry; values below map to the first entry, values beyond to the last.
        values: The entries.
    """

    first: int
    values: tuple[int, ...]


class PixelDescription(msgspec.Struct, frozen=True, gc=False):
    """How the pixels of an image are stored and what their numbers mean, DICOM PS3.3 C.7.6.3 and C.11.1.

    Absent or malformed numbers are None.

    Attributes:
        transfer_syntax: Transfer Syntax UID, (0002,0010).
        keyword: The element that holds the pixels: PixelData, FloatPixelData or DoubleFloatPixelData.
        offset: Where its value begins, in bytes from the start of the file, or of the inflated dataset if deflated.
        length: Its length in bytes, None for encapsulated data.
        frames: Number of frames that share the element.
        samples: Samples per Pixel, (0028,0002).
        photometric: Photometric Interpretation, (0028,0004).
        bits_allocated: Bits Allocated, (0028,0100).
        bits_stored: Bits Stored, (0028,0101).
        high_bit: High Bit, (0028,0102).
        signed: Pixel Representation, (0028,0103), is 1.
        padding: Pixel Padding Value and Pixel Padding Range Limit, (0028,0120) and (0028,0121), as stated; the first
            twice where there is no limit.
        states_intercept: Rescale Intercept, (0028,1052), has a value.
        intercept: Rescale Intercept, 0 where it is absent.
        slope: Rescale Slope, (0028,1053), 1 where it is absent.
        lut: Modality LUT Sequence, (0028,3000).
    """

    transfer_syntax: str
    keyword: str
    offset: int
    length: int | None
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int | None
    high_bit: int | None
    signed: bool
    padding: tuple[int, int] | None
    states_intercept: bool
    intercept: float | None
    slope: float | None
    lut: ModalityLut | None = None


class SliceHeader(msgspec.Struct, frozen=True, gc=False):
    """One slice: what its header says and where its pixels lie. Absent texts are empty; absent numbers are None.

    Attributes:
        source: The file.
        frame: Frame number within the file, from 1; 1 for a single-frame image.
        pixels: How to decode it; None for NIfTI, where `imaging.nifti` knows.
        patient_id: Patient ID, (0010,0020).
        study_uid: Study Instance UID, (0020,000D).
        series_uid: Series Instance UID, (0020,000E).
        sop_uid: SOP Instance UID, (0008,0018).
        modality: Modality, (0008,0060).
        sop_class_uid: SOP Class UID, (0008,0016).
        image_type: Image Type, (0008,0008), of the frame where it has its own.
        rows: Rows, (0028,0010).
        columns: Columns, (0028,0011).
        series_number: Series Number, (0020,0011).
        instance_number: Instance Number, (0020,0013), of the file.
        series_description: Series Description, (0008,103E).
        convolution_kernel: Convolution Kernel, (0018,1210).
        slice_thickness_mm: Slice Thickness, (0018,0050).
        image_position: Image Position (Patient) in mm, (0020,0032).
        image_orientation: Image Orientation (Patient), (0020,0037): direction of a row, then of a column.
        pixel_spacing_mm: Pixel Spacing, (0028,0030): distance between rows, then between columns.
        contrast_agent: Contrast/Bolus Agent, (0018,0010), or the meaning of its code, (0018,0012).
        body_part: Body Part Examined, (0018,0015).
        slice_index: Index of the slice that its file fixes (NIfTI: along the stored axis, from 0); None for DICOM,
            where the axial order decides.
    """

    source: Source
    frame: int
    pixels: PixelDescription | None
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    modality: str
    sop_class_uid: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    series_number: int | None
    instance_number: int | None
    series_description: str
    convolution_kernel: str
    slice_thickness_mm: float | None
    image_position: tuple[float, float, float] | None
    image_orientation: Orientation | None
    pixel_spacing_mm: tuple[float, float] | None
    contrast_agent: str = ""
    body_part: str = ""
    slice_index: int | None = None

    @property
    def file(self) -> str:
        """The file as it is shown and written."""
        return self.source.file
