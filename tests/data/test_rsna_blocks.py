from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.data.labels import LabelTable
from slicewise.data.rsna import read_rows
from slicewise.data.rsna_blocks import read_blocks
from slicewise.task import load_task

TASK = load_task("ich")
NAMES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")


def lines_of(sop_uid: str, values: str = "000000") -> list[str]:
    return [f"{sop_uid}_{name},{value}" for name, value in zip(NAMES, values, strict=True)]


def write(path: Path, lines: list[str], header: str = "ID,Label", end: str = "\n") -> Path:
    path.write_bytes((end.join([header, *lines]) + end).encode())
    return path


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ID_000000001", "ID_00000000f", "ID_abcdef012"]), st.text("01", min_size=6, max_size=6)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_quick_way_gives_what_the_plain_way_does(
    tmp_path_factory: pytest.TempPathFactory, slices: list[tuple[str, str]]
) -> None:
    # The same slice again and again: repeated rows, which agree or not.
    path = write(tmp_path_factory.mktemp("labels") / "l.csv", [line for item in slices for line in lines_of(*item)])
    quick, (plain, _) = read_blocks(path, TASK.label_names), read_rows(path, TASK)
    assert quick is not None
    one, other = LabelTable.from_frame(quick, TASK), LabelTable.from_frame(plain, TASK)
    assert one.rows_by_frame == other.rows_by_frame
    assert one.values.tolist() == other.values.tolist()
    assert one.warnings == other.warnings


def test_many_blocks_are_read_in_chunks(tmp_path: Path) -> None:
    count = 5000
    lines = [line for number in range(count) for line in lines_of(f"ID_{number:09x}", f"{number % 64:06b}")]
    quick = read_blocks(write(tmp_path / "l.csv", lines), TASK.label_names)
    assert quick is not None
    assert quick["sop_uid"].to_list() == [f"ID_{number:09x}" for number in range(count)]
    for place, name in enumerate(NAMES):
        assert quick[name].to_list() == [number % 64 >> (5 - place) & 1 for number in range(count)]


SLICE, OTHER = lines_of("ID_000000001"), lines_of("ID_000000002", "100001")


@pytest.mark.parametrize(
    ("lines", "header", "end"),
    [
        ([*SLICE, *OTHER], "ID,label", "\n"),
        ([*SLICE, *OTHER], "ID,Label", "\r\n"),
        ([*SLICE, *OTHER[::-1]], "ID,Label", "\n"),
        ([*SLICE, *OTHER[:5]], "ID,Label", "\n"),
        ([*SLICE, *OTHER[:5], "ID_000000003_any,1"], "ID,Label", "\n"),
        ([*SLICE, *OTHER[:5], "ID_000000002_any,2"], "ID,Label", "\n"),
        ([*SLICE, *(line.replace("002", "00X") for line in OTHER)], "ID,Label", "\n"),
        ([*(line.replace("001", "00X") for line in SLICE), *OTHER], "ID,Label", "\n"),
        ([*SLICE[:5], SLICE[0]], "ID,Label", "\n"),
        (["1.2.3,1"], "ID,Label", "\n"),
        ([], "ID,Label", "\n"),
    ],
)
def test_any_other_file_is_left_to_the_plain_way(tmp_path: Path, lines: list[str], header: str, end: str) -> None:
    assert read_blocks(write(tmp_path / "l.csv", lines, header, end), TASK.label_names) is None


def test_a_file_that_ends_early_is_left_to_the_plain_way(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [*SLICE, *OTHER])
    for size in (0, 5, 40, path.stat().st_size - 3):
        path.write_bytes(path.read_bytes()[:size])
        assert read_blocks(path, TASK.label_names) is None
        write(path, [*SLICE, *OTHER])
