from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace
from PIL import Image

from dicom_files import write_series
from slicewise.imaging.inventory import take_inventory
from slicewise.reporting.overlay import CONTOUR, SIDE_PX, evidence_note, overlay, overlay_levels, peak_text
from slicewise.results import Evidence, EvidenceMap, EvidenceMethod, ModelSummary, SeriesResult, StudyResult

MakeStudy = Callable[..., StudyResult]
Cells = npt.NDArray[np.uint8]


def make_map(cells: Cells, *, label: str = "any", method: EvidenceMethod = "map") -> EvidenceMap:
    """Cells over columns 8 to 39 and rows -16 to 47 of an image."""
    return EvidenceMap(label, method, len(cells), zlib.compress(cells.tobytes()), -16.5, 7.5, 47.5, 39.5)


def spot(row: int, column: int, side: int = 8) -> Cells:
    cells = np.zeros((side, side), dtype=np.uint8)
    cells[row, column] = 255
    return cells


@pytest.fixture
def series(make_study: MakeStudy, model: ModelSummary) -> SeriesResult:
    """Three slices, two of them flagged for `any`."""
    raised = {index: {model.labels[0]: 0.9} for index in (0, 2)}
    return make_study("", ["a", "b", "c"], raised).series[0]


def with_evidence(
    series: SeriesResult, *places: int, method: EvidenceMethod = "map", value: float = 0.5
) -> SeriesResult:
    slices = list(series.slices)
    for place in places:
        found = (Evidence("any", 12.4, 30.6, value, method), Evidence("subdural", 1.0, 2.0, value, method))
        slices[place] = replace(slices[place], evidence=found, evidence_map=make_map(spot(1, 2), method=method))
    return replace(series, slices=tuple(slices))


def test_an_overlay_lies_where_the_cells_are_and_leaves_the_rest_clear(tmp_path: Path) -> None:
    write_series(tmp_path, slices=1, matrix=64)
    with take_inventory([tmp_path]) as inventory:
        header = next(iter(inventory.studies())).series[0].headers[0]
    assert (header.rows, header.columns) == (64, 64)
    made = overlay(make_map(spot(1, 2)), header)
    assert made.style == "left:12.50%;top:-25.00%;width:50.00%;height:100.00%"
    kind, _, content = made.data_uri.partition(",")
    assert kind == "data:image/png;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content, validate=True))).convert("RGBA"))
    assert picture.shape == (SIDE_PX, SIDE_PX, 4)
    opacity = picture[:, :, 3].astype(int)
    rows, columns = np.nonzero(opacity)
    # 24 pixels a cell: the cell with all evidence is centred on row 36 and column 60, and half of it is left 12 away.
    assert (rows.min(), rows.max() + 1) == (24, 48)
    assert (columns.min(), columns.max() + 1) == (48, 72)
    assert opacity[24:48, 59].max() == 255  # the contour
    assert 0 < opacity[36, 60] < 255  # the picture shines through


def test_the_contour_holds_what_has_half_of_the_most_evidence() -> None:
    ramp = np.repeat(np.arange(0, 256, 51, dtype=np.uint8)[None], 6, axis=0)
    levels = overlay_levels(ramp)
    # Between the centres of the first and the last column, at 16 and 176 of 192 pixels, evidence rises evenly.
    shares = np.clip((np.arange(SIDE_PX) + 0.5 - 16) / 160, 0, 1)
    np.testing.assert_array_equal((levels > 0).all(axis=0), shares >= CONTOUR)
    np.testing.assert_array_equal((levels > 0).any(axis=0), shares >= CONTOUR)
    edge = int(np.flatnonzero(shares >= CONTOUR)[0])
    assert (levels[:, edge] == levels.max()).all()
    inner = levels[1:-1, edge + 1 : -1].astype(int)
    assert (np.diff(inner, axis=1) >= 0).all()
    assert inner[0, 0] < inner[0, -1] < levels.max()


def test_even_evidence_is_outlined_as_a_whole() -> None:
    levels = overlay_levels(np.full((4, 4), 255, dtype=np.uint8))
    assert (levels > 0).all()
    assert (levels[0] == levels.max()).all()


def test_the_note_states_the_method_and_promises_no_outline(series: SeriesResult, model: ModelSummary) -> None:
    assert evidence_note(series, model) == ""
    by_map = evidence_note(with_evidence(series, 0, 2), model)
    assert "map of the network, which was trained on masks" in by_map
    assert "not the outline of a finding" in by_map
    assert "known for" not in by_map
    by_occlusion = evidence_note(with_evidence(series, 2, method="occlusion"), model)
    assert "covered (occlusion)" in by_occlusion
    assert "It is known for 1 of 2 flagged slices: index 2." in by_occlusion
    assert evidence_note(replace(with_evidence(series, 0, 2), unlike_training=True), model) == ""


@pytest.mark.parametrize(
    ("method", "value", "strength"),
    [
        ("map", 0.214, "; the network takes 21 % of that place to be filled"),
        ("map", 0.004, "; the network takes less than 1 % of that place to be filled"),
        ("occlusion", 0.8, ""),
    ],
)
def test_a_slice_says_where_the_evidence_that_it_shows_is_strongest(
    series: SeriesResult, model: ModelSummary, method: EvidenceMethod, value: float, strength: str
) -> None:
    shown, other, _ = with_evidence(series, 0, method=method, value=value).slices
    place = "Any intracranial hemorrhage, most at row 12, column 31"
    assert peak_text(shown, model) == f"Evidence shown: {place}{strength}"
    assert peak_text(other, model) == ""
