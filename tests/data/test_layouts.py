from __future__ import annotations

from pathlib import Path

import pytest

from slicewise.cli.prepare import LAYOUTS as OFFERED
from slicewise.data.layouts import LAYOUTS, read_labels
from slicewise.errors import UsageError
from slicewise.task import load_task

TASK = load_task("ich")
READS = "name," + ",".join(f"R{n}:{name}" for n in (1, 2, 3) for name in ("ICH", "EDH", "IPH", "IVH", "SAH", "SDH"))


def test_the_command_line_offers_every_layout() -> None:
    assert set(OFFERED) == set(LAYOUTS)


def test_without_a_file_there_are_no_labels() -> None:
    for layout in LAYOUTS:
        table = read_labels(layout, None, TASK)
        assert (table.labels, len(table.values), table.warnings) == (TASK.label_names, 0, ())


def test_the_reads_make_slices_negative_where_boxes_do_not_tell(tmp_path: Path) -> None:
    boxes, reads = tmp_path / "boxes.csv", tmp_path / "reads.csv"
    boxes.write_text("SOPInstanceUID,labelName,x,y,width,height\na,Subdural,1,2,3,4\n", encoding="utf-8")
    reads.write_text(f"{READS}\nCQ500-CT-1,{','.join(['1,0,0,0,0,1'] * 3)}\n", encoding="utf-8")
    table = read_labels("bhx", boxes, TASK, reads)
    assert table.denied_by_study
    assert table.study_labels("CQ500-CT-1") == (1, 0, 0, 0, 0, 1)
    assert not read_labels("bhx", boxes, TASK).denied_by_study


def test_a_wrong_call_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"layout 'cq501' is not known\. Expected one of: rsna, cq500, bhx, table"):
        read_labels("cq501", None, TASK)
    for layout, labels in (("cq500", tmp_path / "reads.csv"), ("bhx", None)):
        with pytest.raises(UsageError, match=r"--reads .*goes with --layout bhx"):
            read_labels(layout, labels, TASK, tmp_path / "reads.csv")
