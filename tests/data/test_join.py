from __future__ import annotations

import msgspec
import numpy as np

from slicewise.data.join import LabelJoin
from slicewise.data.labels import LabelTable
from slicewise.data.store import SeriesRecord
from slicewise.results import Rejection
from slicewise.volume import SliceReference

LABELS = ("x", "y")
VALUES = np.array([[1, 0], [0, -1], [0, 0]], dtype=np.int8)


def record(series_uid: str, *sop_uids: str) -> SeriesRecord:
    count = len(sop_uids)
    return SeriesRecord(
        patient_id="",
        study_uid="study",
        series_uid=series_uid,
        source_digest="",
        slices=tuple(SliceReference(sop_uid, 1, "") for sop_uid in sop_uids),
        positions_mm=(0.0,) * count,
        labels=(),
        row_positions_mm=(0.0,),
        duplicate_rank=(0,),
        slab_of_slice=(0,) * count,
        origin_px=(0.0, 0.0),
        step_px=(1.0, 1.0),
        pixel_spacing_mm=(1.0, 1.0),
        tilt_degrees=0.0,
    )


def by_sop(patients: tuple[str | None, ...] | None = None) -> LabelTable:
    return LabelTable(LABELS, VALUES, {("a", 1): 0, ("b", 1): 1, ("c", 1): 2}, {}, patients)


def by_position() -> LabelTable:
    return LabelTable(LABELS, VALUES, {}, {("s", 0): 0, ("s", 1): 1, ("s", 2): 2})


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
    join = LabelJoin(LabelTable(LABELS, VALUES[:0], {}, {}))
    assert join.apply(record("s", "a"), "P").labels == ((-1, -1),)
    assert join.warnings(labelled=False) == ()


def test_positions_count_only_where_no_slice_is_missing() -> None:
    whole = record("s", "p", "q", "r")
    assert LabelJoin(by_position()).apply(whole, "P").labels == ((1, 0), (0, -1), (0, 0))
    lost = Rejection("f", "unreadable", "undecodable", "")
    spare = Rejection("f", "not_chosen", "duplicate_file", "")
    for item, known in (
        (record("s", "p", "q"), False),
        (msgspec.structs.replace(whole, rejected=(lost,)), False),
        (msgspec.structs.replace(whole, rejected=(spare,)), True),
    ):
        join = LabelJoin(by_position())
        labels = join.apply(item, "P").labels
        assert (labels == ((1, 0), (0, -1), (0, 0))) is known
        assert ("misaligned_labels" in codes(join)) is not known
        if not known:
            assert set(labels) == {(-1, -1)}
