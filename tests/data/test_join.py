from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl

from slicewise.data.join import LabelJoin
from slicewise.data.labels import KEY_COLUMNS, Box, LabelTable
from slicewise.data.store import SeriesRecord, SliceBox
from slicewise.results import Rejection
from slicewise.volume import ScanWarning, SliceReference

LABELS = ("x", "y")
VALUES = np.array([[1, 0], [0, -1], [0, 0]], dtype=np.int8)


def record(series_uid: str, *sop_uids: str) -> SeriesRecord:
    count = len(sop_uids)
    return SeriesRecord(
        patient_id="",
        study_uid="study",
        series_uid=series_uid,
        source_digest="",
        slices=tuple(SliceReference(sop_uid, 1, "", index) for index, sop_uid in enumerate(sop_uids)),
        positions_mm=(0.0,) * count,
        labels=(),
        row_positions_mm=(0.0,),
        duplicate_rank=(0,),
        slab_of_slice=(0,) * count,
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
        matrix=(512, 512),
        pixel_spacing_mm=(1.0, 1.0),
        tilt_degrees=0.0,
    )


def keys(**columns: list[str] | list[int]) -> pl.DataFrame:
    return pl.DataFrame({name: columns.get(name, [None] * 3) for name in KEY_COLUMNS}, schema=KEY_COLUMNS)


def by_sop(patients: tuple[str | None, ...] | None = None) -> LabelTable:
    return LabelTable(LABELS, VALUES, keys(sop_uid=["a", "b", "c"], frame=[1, 1, 1]), patients)


def by_position() -> LabelTable:
    return LabelTable(LABELS, VALUES, keys(series_uid=["s"] * 3, slice_index=[0, 1, 2]))


def codes(join: LabelJoin) -> list[str]:
    return [warning.code for warning in join.warnings(labelled=True)]


def test_labels_and_what_found_no_counterpart() -> None:
    join = LabelJoin(by_sop())
    assert join.apply(record("s", "b", "z", "a"), "P").labels == ((0, -1), (-1, -1), (1, 0))
    assert (join.unlabelled_slices, join.unused_labels) == (1, 1)
    assert codes(join) == ["unlabelled_slices", "unused_labels"]


def test_the_patient_is_that_of_the_file_else_of_the_images_else_the_series() -> None:
    join = LabelJoin(by_sop(("FILE", None, None)))
    assert join.apply(record("s", "a"), "IMAGE").patient_id == "FILE"
    assert join.apply(record("t", "b"), "IMAGE").patient_id == "IMAGE"
    assert codes(join) == ["unused_labels"]
    assert join.apply(record("u", "c"), "").patient_id == "u"
    assert codes(join) == ["series_as_patient"]


def test_a_dataset_without_labels_has_nothing_to_warn_of() -> None:
    join = LabelJoin(LabelTable.empty(LABELS))
    assert join.apply(record("s", "a"), "P").labels == ((-1, -1),)
    assert join.warnings(labelled=False) == ()


def test_positions_count_only_where_no_slice_is_missing() -> None:
    whole = record("s", "p", "q", "r")
    assert LabelJoin(by_position()).apply(whole, "P").labels == ((1, 0), (0, -1), (0, 0))
    lost = Rejection("f", "unreadable", "undecodable", "")
    turned = ScanWarning("slice_axis", "")
    spare = Rejection("f", "not_chosen", "duplicate_file", "")
    for item, known in (
        (record("s", "p", "q"), False),
        (msgspec.structs.replace(whole, rejected=(lost,)), False),
        (msgspec.structs.replace(whole, rejected=(spare,)), True),
        (msgspec.structs.replace(whole, volume_warnings=(turned,)), False),
    ):
        join = LabelJoin(by_position())
        labels = join.apply(item, "P").labels
        assert (labels == ((1, 0), (0, -1), (0, 0))) is known
        assert ("misaligned_labels" in codes(join)) is not known
        if not known:
            assert set(labels) == {(-1, -1)}


def studies(**changes: Any) -> LabelTable:
    """Labels of two studies, and one slice label: slice "a" has "x"."""
    table = LabelTable(
        LABELS,
        np.array([[1, -1]], dtype=np.int8),
        pl.DataFrame({"sop_uid": ["a"], "frame": [1], "series_uid": [None], "slice_index": [None]}, schema=KEY_COLUMNS),
        study_values=np.array([[1, 0], [0, -1]], dtype=np.int8),
        rows_by_study={"P": 0, "Q": 1},
    )
    return replace(table, **changes)


def test_labels_of_studies_go_to_their_series_and_not_to_slices() -> None:
    join = LabelJoin(studies())
    found = join.apply(record("s", "a", "b"), "P")
    assert (found.study_labels, found.labels) == ((1, 0), ((1, -1), (-1, -1)))
    assert join.apply(record("t", "c"), "R").study_labels == (-1, -1)
    warnings = join.warnings(labelled=True)
    # That slices have no label is no news where studies are labelled.
    assert [warning.code for warning in warnings] == ["unused_studies"]
    assert warnings[0].message.startswith("1 labelled studies")


def test_what_a_study_has_not_no_slice_of_it_has() -> None:
    join = LabelJoin(studies(denied_by_study=True))
    assert join.apply(record("s", "a", "b"), "P").labels == ((1, 0), (-1, 0))
    # Another study denies "x"; what was found on a slice stands.
    assert join.apply(record("t", "a", "c"), "Q").labels == ((1, -1), (0, -1))
    assert join.apply(record("u", "d"), "R").labels == ((-1, -1),)


def test_what_a_slice_leaves_open_its_study_does_not_decide() -> None:
    join = LabelJoin(studies(denied_by_study=True, undecided={("b", 1): (1,)}))
    assert join.apply(record("s", "a", "b"), "P").labels == ((1, 0), (-1, -1))


def test_boxes_go_to_their_slices() -> None:
    box = Box("x", row=1.0, column=2.0, height=3.0, width=4.0)
    found = LabelJoin(studies(boxes={("b", 1): (box,), ("z", 1): (box,)})).apply(record("s", "a", "b"), "P")
    assert found.boxes == (SliceBox(1, box),)
