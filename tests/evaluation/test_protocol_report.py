from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from slicewise.evaluation.agreement import reader_agreement
from slicewise.evaluation.evidence import Counts, Estimate
from slicewise.evaluation.protocol_report import (
    ExcludedStudy,
    ProtocolReport,
    count_rejected,
    report_text,
)
from slicewise.evaluation.published import CQ500_SYSTEMS, Comparison, FigureBeside
from slicewise.evaluation.series_used import MissingSeries, SeriesCheck
from slicewise.imaging.reasons import REASONS
from slicewise.results import Rejection
from slicewise.task import Task


def report(**changes: Any) -> ProtocolReport:
    made = ProtocolReport(
        protocol="cq500",
        title="CQ500: a title",
        steps=("First this.", "Then that."),
        settings={"seed": 0},
        model={"name": "mine"},
        software_version="0",
        n_patients=2,
        n_studies=2,
        n_series=2,
        n_slices=9,
        counts={"study": {"edema": Counts(1, 1, 0)}},
        excluded_studies=(),
        rejected=(),
        series=None,
        readers=(),
        agreement={},
        comparison=Comparison((), (), ("Ours differs.",)),
        warnings=(),
    )
    return msgspec.structs.replace(made, **changes)


def test_a_short_report_says_nothing_of_what_is_not_there(task: Task) -> None:
    text = report_text(report(), task)
    assert text == "CQ500: a title\n1. First this.\n2. Then that.\n\nNot comparable:\n- Ours differs."


def test_what_was_left_out_is_counted_by_reason() -> None:
    items = [Rejection(str(number), "not_chosen", "localizer", "") for number in range(3)]
    items += [Rejection("x", "unreadable", "truncated", "Ends."), Rejection("y", "not_chosen", "unheard_of", "")]
    found = count_rejected(items)
    assert [(item.kind, item.reason, item.count) for item in found] == [
        ("not_chosen", "localizer", 3),
        ("unreadable", "truncated", 1),
        ("not_chosen", "unheard_of", 1),
    ]
    assert [item.meaning for item in found] == [REASONS["localizer"], REASONS["truncated"], ""]


def test_long_lists_are_cut(task: Task) -> None:
    excluded = tuple(ExcludedStudy(f"S{number}", ("localizer", "truncated")) for number in range(7))
    missing = (MissingSeries("1.2", "P", "not_found", ""),)
    check = SeriesCheck(listed=4, read=3, missing=missing, changed=("1.3", "1.4"), not_compared=1)
    rejected = count_rejected([Rejection("x", "not_chosen", "localizer", "")])
    text = report_text(report(excluded_studies=excluded, series=check, rejected=rejected, warnings=("odd",)), task)
    lines = text.splitlines()
    assert "1 not chosen: localizer. A localizer." in lines
    assert any(line.startswith("7 labelled studies not scored: S0 (localizer, truncated), S1") for line in lines)
    assert any(line.endswith("S4 (localizer, truncated) and 2 more") for line in lines)
    assert "3 of 4 listed series read" in lines
    assert "missing: 1.2 (not_found)" in lines
    assert "2 hold other values than when they were listed: 1.3, 1.4" in lines
    assert "1 could not be compared: no digest, or one of other preprocessing" in lines
    assert lines[-1] == "warning: odd"


def test_readers_and_published_figures_are_tables(task: Task) -> None:
    values = np.array([[[1, 0], [1, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]]], dtype=np.int8)
    agreement = reader_agreement(values, ("R1", "R2", "R3"), task.label_names, resamples=0)
    figures = (FigureBeside("study_auroc", "lesion", Estimate(0.9, 0.8, 0.95), {"Ngo et al. 2022": 0.9612}),)
    comparison = Comparison(figures, CQ500_SYSTEMS, ("Ours differs.",))
    text = report_text(report(readers=("R1", "R2", "R3"), agreement=agreement, comparison=comparison), task)
    rows = {line.split("  ")[0]: line.split() for line in text.splitlines() if "  " in line}
    assert rows["Edema"][1:7] == ["1", "1", "0", "2", "50.0", "%"]
    assert rows["Any lesion"][-1] == "n/a"
    assert rows["AUROC of studies, Any lesion"][-4:] == ["0.9000", "[0.8000,", "0.9500]", "0.9612"]
    assert "Beside published figures" in rows
    assert f"- Ngo et al. 2022: {CQ500_SYSTEMS[0].not_comparable}" in text
