"""Labels joined to prepared series, with an account of what did not find its counterpart."""

from __future__ import annotations

import msgspec
import numpy as np

from slicewise.data.labels import LabelTable
from slicewise.data.store import SeriesRecord
from slicewise.imaging.series import Series
from slicewise.volume import ScanWarning


class LabelJoin:
    """Joins a label table to series, and keeps account of what did not find its counterpart."""

    def __init__(self, table: LabelTable) -> None:
        self.unlabelled_slices = 0
        self._table = table
        self._used = np.zeros(len(table.values), dtype=np.bool_)
        self._misaligned: list[str] = []
        self._without_patient: list[str] = []
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

    def apply(self, record: SeriesRecord, image_patient_id: str) -> SeriesRecord:
        """Returns the record with labels and patient.

        Args:
            record: A series.
            image_patient_id: Patient ID of its images; "" where they have none.
        """
        rows = self._table.rows_of(record.series_uid, record.slices)
        # A slice index counts all slices: it says nothing where one of them is missing.
        incomplete = any(item.kind == "unreadable" for item in record.rejected)
        last_index = self._last_index.get(record.series_uid, -1)
        if last_index >= len(record.slices) or (last_index >= 0 and incomplete):
            rows = np.full_like(rows, -1)
            self._misaligned.append(record.series_uid)
        self._used[rows[rows >= 0]] = True
        self.unlabelled_slices += int((rows < 0).sum())
        values = self._table.values_of(rows)
        patient_id = self._table.patient_of(record.series_uid, record.slices) or image_patient_id
        if not patient_id:
            self._without_patient.append(record.series_uid)
        return msgspec.structs.replace(
            record,
            patient_id=patient_id or record.series_uid,
            labels=tuple(tuple(row) for row in values.tolist()),
        )

    def warnings(self, *, labelled: bool) -> tuple[ScanWarning, ...]:
        """Returns the warnings of the table and of the join.

        Args:
            labelled: False for a dataset that is to have no labels, which is then nothing to warn of.
        """
        found = list(self._table.warnings)
        if self._misaligned:
            message = (
                f"{len(self._misaligned)} series have fewer readable slices than the label file counts by slice_index, "
                f"so their labels are unknown (as {self._misaligned[0]})"
            )
            found.append(ScanWarning("misaligned_labels", message))
        if labelled and self.unlabelled_slices:
            message = f"{self.unlabelled_slices} slices have no row in the label file: their labels are unknown"
            found.append(ScanWarning("unlabelled_slices", message))
        if self.unused_labels:
            message = f"{self.unused_labels} labelled slices are not among the prepared images: their labels are unused"
            found.append(ScanWarning("unused_labels", message))
        if self._without_patient:
            message = f"{len(self._without_patient)} series have no Patient ID: each counts as a patient"
            found.append(ScanWarning("series_as_patient", message))
        return tuple(found)
