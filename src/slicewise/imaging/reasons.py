"""The fixed codes that say why a file or series is not read, and their meanings.

`rejected.csv` lists them in its column `reason`. A code never changes its meaning; new ones may be added.
"""

from __future__ import annotations

from types import MappingProxyType

REASONS = MappingProxyType(
    {
        # files that cannot be read
        "unreadable_path": "The path cannot be opened: no permission, a broken link, or not a regular file.",
        "bad_archive": "The archive, or an entry of it, is damaged or packed in an unknown way.",
        "archive_bomb": "The archive unpacks to far more than any scan, as archives made to fill a machine do.",
        "unsafe_path": "The path leads out of the archive or disc that names it.",
        "encrypted": "The entry of the archive is encrypted.",
        "nested_archive": "An archive within an archive.",
        "missing_file": "A DICOMDIR names the file, and it is not there.",
        "not_dicom": "The file is not a DICOM file.",
        "malformed": "The file is a DICOM file whose header cannot be parsed.",
        "truncated": "The file ends before its header or its pixel data do.",
        "missing_tag": "An element that every image needs is absent or empty.",
        "no_pixel_data": "An image without pixel data.",
        "multiframe": "An image with several frames that does not say where each of them lies.",
        "bad_dimensions": "A NIfTI file of another number of dimensions than one volume has.",
        "not_hounsfield": "A CT without the values that air has in Hounsfield units.",
        "not_grayscale": "An image with colours where grey values were expected.",
        "unsupported_transfer_syntax": "The pixel data are compressed in a way that no installed decoder reads.",
        "undecodable": "The pixel data cannot be decoded.",
        "bad_matrix": "Rows or columns are 0 or more than any scanner makes.",
        "bad_pixels": "Pixels that are no numbers, or larger than any measured value.",
        "bad_rescale": "Rescale slope or intercept is no usable number.",
        "conflicting_sop_uid": "Another file of the series has the same SOP Instance UID and different pixels.",
        "bad_mask": "A mask whose voxels are not those of its series, or whose values are no labels.",
        # series that do not form a stack
        "no_position": "Image position or orientation is missing, so the slices cannot be ordered.",
        "bad_position": "The image position lies farther from the origin than any scanner reaches.",
        "bad_orientation": "The image orientation is not a pair of perpendicular unit vectors.",
        "mixed_orientation": "The slices of the series are not parallel.",
        "mixed_matrix": "The slices of the series differ in rows or columns.",
        "mixed_spacing": "The slices of the series differ in pixel spacing.",
        "no_pixel_spacing": "The pixel spacing is missing, so the size of the head is unknown.",
        "bad_spacing": "The pixel spacing is smaller or larger than that of any scanner.",
        "too_large": "The series needs more memory than is given to one series.",
        "conflicting_series_uid": "Two studies hold a series with this Series Instance UID.",
        "mixed_patients": "The files of the series name different patients.",
        "not_scored": "Scoring the study failed in a way that slicewise does not know; the other studies went on.",
        # left out by a rule, which is no error
        "dicomdir": "An index of other files.",
        "not_an_image": "A DICOM object that is no image, as a report or a presentation state.",
        "duplicate_file": "Another file of the series holds the same image.",
        "localizer": "A localizer.",
        "secondary_capture": "A screen capture, not a scan.",
        "wrong_modality": "Another modality than the task reads.",
        "rendering": "Projections or renderings of a scan, not its slices.",
        "other_body_part": "A scan of another part of the body than the task reads.",
        "other_sequence": "Another MR sequence than the task reads.",
        "known_defect": "A study of a public dataset that is known to be unusable.",
        "not_axial": "The slices are not axial.",
        "too_few_slices": "Fewer slices than the task needs.",
        "other_series_preferred": "Another series of the study fits the task better.",
        "not_requested": "Other series were asked for.",
    }
)
