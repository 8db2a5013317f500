"""Labels joined to prepared series, with an account of what did not find its counterpart."""

from __future__ import annotations

import msgspec
import numpy as np

from slicewise.data.labels import UNKNOWN, Labels, LabelTable
from slicewise.data.store import SeriesRecord, SliceBox
from slicewise.imaging.overrides import patient_name
from slicewise.imaging.series import Series
from slicewise.volume import ScanWarning

_SLICE_AXIS = "slice_axis"
"""Warning of `imaging.rules` about a file whose slices do not lie along its third axis, as label files count them."""


class LabelJoin:
    """Joins a label table to series, and keeps account of what did not find its counterpart."""

    def __init__(self, table: LabelTable) -> None:
        self.unlabelled_slices = 0
        self._table = table
        self._used = np.zeros(len(table.values), dtype=np.bool_)
        self._misaligned: list[str] = []
        self._without_patient: list[str] = []
        self._studies: set[str] = set()
        self._last_index: dict[str, int] = {}
        for series_uid, index in table.rows_by_position:
            self._last_index[series_uid] = max(index, self._last_index.get(series_uid, -1))

    @property
    def unused_labels(self) -> int:
        """Rows of the table that no slice took."""
        return int((~self._used).sum())

    def names(self, series: Series) -> bool:
        """Tells whether the table names a slice of the series."""
        by_frame = self._table.rows_by_frame
        named = any((header.sop_uid, header.frame) in by_frame for header in series.headers)
        return named or series.series_uid in self._last_index

    def patient_of(self, record: SeriesRecord, image_patient_id: str) -> str:
        """Returns the patient of a series: that of the label file, else of the images, else the series itself."""
        return self._table.patient_of(record.series_uid, record.slices) or image_patient_id or record.series_uid

    def apply(self, record: SeriesRecord, image_patient_id: str, *, incomplete: bool = False) -> SeriesRecord:
        """Returns the record with labels and patient.

        Args:
            record: A series.
            image_patient_id: Patient ID of its images; "" where they have none.
            incomplete: Files of the series could not be read, beside those that the record tells of.
        """
        rows = self._table.rows_of(record.series_uid, record.slices)
        if self._is_misaligned(record, incomplete=incomplete):
            rows = np.full_like(rows, -1)
            self._misaligned.append(record.series_uid)
        self._used[rows[rows >= 0]] = True
        self.unlabelled_slices += int((rows < 0).sum())
        study_labels = self._table.study_labels(image_patient_id)
        self._studies.add(patient_name(image_patient_id))
        values = self._deny(self._table.values_of(rows), record, study_labels)
        patient_id = self.patient_of(record, image_patient_id)
        if not image_patient_id and patient_id == record.series_uid:
            self._without_patient.append(record.series_uid)
        return msgspec.structs.replace(
            record,
            patient_id=patient_id,
            labels=tuple(tuple(row) for row in values.tolist()),
            study_labels=study_labels,
            boxes=tuple(
                SliceBox(index, box)
                for index, item in enumerate(record.slices)
                for box in self._table.boxes.get((item.sop_uid, item.frame), ())
            ),
        )

    def _is_misaligned(self, record: SeriesRecord, *, incomplete: bool) -> bool:
        """Tells whether the label file counts the slices of a series otherwise than the series does."""
        last_index = self._last_index.get(record.series_uid, -1)
        if last_index < 0:
            return False
        # Counted from the feet, a slice index says nothing where a slice is missing.
        counted = [item.slice_index for item in record.slices] == list(range(len(record.slices)))
        missing = incomplete or any(item.kind == "unreadable" for item in record.rejected)
        other_axis = any(warning.code == _SLICE_AXIS for warning in record.volume_warnings)
        return other_axis or (missing and counted) or last_index > max(item.slice_index for item in record.slices)

    def _deny(self, values: Labels, record: SeriesRecord, study_labels: tuple[int, ...]) -> Labels:
        """Makes slices negative for what their study has not, where the table says that this follows."""
        if not self._table.denied_by_study or not study_labels:
            return values
        denied = np.tile(np.array(study_labels) == 0, (len(values), 1))
        for index, item in enumerate(record.slices):
            denied[index, list(self._table.undecided.get((item.sop_uid, item.frame), ()))] = False
        return np.where((values == UNKNOWN) & denied, 0, values).astype(np.int8)

    def warnings(self, *, labelled: bool) -> tuple[ScanWarning, ...]:
        """Returns the warnings of the table and of the join.

        Args:
            labelled: False for a dataset that is to have no labels, which is then nothing to warn of.
        """
        found = list(self._table.warnings)
        if self._misaligned:
            message = (
                f"{len(self._misaligned)} series have fewer readable slices than the label file counts by slice_index, "
                f"or slices along another axis, so their labels are unknown (as {self._misaligned[0]})"
            )
            found.append(ScanWarning("misaligned_labels", message))
        missing = len(set(self._table.rows_by_study) - self._studies)
        if missing:
            message = f"{missing} labelled studies are not among the prepared images: their labels are unused"
            found.append(ScanWarning("unused_studies", message))
        if labelled and self.unlabelled_slices and self._table.study_values is None:
            message = f"{self.unlabelled_slices} slices have no row in the label file: their labels are unknown"
            found.append(ScanWarning("unlabelled_slices", message))
        if self.unused_labels:
            message = f"{self.unused_labels} labelled slices are not among the prepared images: their labels are unused"
            found.append(ScanWarning("unused_labels", message))
        if self._without_patient:
            message = f"{len(self._without_patient)} series have no Patient ID: each counts as a patient"
            found.append(ScanWarning("series_as_patient", message))
        return tuple(found)
