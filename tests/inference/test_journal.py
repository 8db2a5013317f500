from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from msgspec.structs import replace

from slicewise.errors import SlicewiseError, UsageError
from slicewise.inference.journal import Call, Journal, KeptStudies
from slicewise.results import Evidence, EvidenceMap, Rejection, SeriesResult, SliceResult, StudyOutcome, StudyResult
from slicewise.source import Source
from slicewise.volume import ScanWarning

CALL = Call(inputs=("/scans",), series=(), model="digest", runtime="openvino", software_version="1")


def make_outcome(name: str) -> StudyOutcome:
    # A third, and a name of undecodable bytes: both must come back exactly.
    probabilities = {"any": 1 / 3, "left": 0.1 + 0.2}
    picture = EvidenceMap("any", "map", 2, bytes([0, 255, 10, 128]), -0.5, 1.0, 7.5, 9.0)
    found = (Evidence("any", 1 / 3, 2.0, 0.7, "map"),)
    slices = (SliceResult("1.1", 1, f"{name}\udcff", 0, -12.3456789, probabilities, found, picture),)
    series = SeriesResult("P", "1", "1.2", slices, probabilities, 0.1, (ScanWarning("tilted", "It is."),))
    study = StudyResult("P", name, (series,), probabilities, (), {"1.1": Source(f"/x/{name}\udcff", name, 3)})
    return StudyOutcome(study, (Rejection("a", "unreadable", "not_dicom", "No."),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


class _StoppedError(Exception):
    pass


def leave(path: Path, *names: str, call: Call = CALL) -> None:
    """Leaves what a call leaves that fails after some studies."""
    with pytest.raises(_StoppedError), Journal(path, call) as journal:
        for name in names:
            journal.add(name, make_outcome(name))
        raise _StoppedError


@pytest.mark.parametrize("named", [True, False])
def test_outcomes_come_back_exactly_and_in_the_order_of_the_keys(path: Path, *, named: bool) -> None:
    with Journal(path if named else None, CALL) as journal:
        for name in ("b", "a", "c"):
            assert name not in journal
            journal.add(name, make_outcome(name))
            assert name in journal
        journal.add("none", StudyOutcome(None, ()))
        assert len(journal) == 4
        keys = ("c", "none", "a")
        assert list(journal.outcomes(keys)) == [make_outcome("c"), StudyOutcome(None, ()), make_outcome("a")]
        studies = KeptStudies(journal, keys)
        for _ in range(2):
            assert [study.study_uid for study in studies] == ["c", "a"]
    assert list(path.parent.iterdir()) == []


def test_after_an_error_it_stays_and_the_next_call_goes_on(path: Path) -> None:
    leave(path, "a", "b")
    with Journal(path, CALL, resume=True) as journal:
        assert list(journal.outcomes(("a", "b"))) == [make_outcome("a"), make_outcome("b")]
    assert list(path.parent.iterdir()) == []


def test_an_empty_one_does_not_stay(path: Path) -> None:
    leave(path)
    assert list(path.parent.iterdir()) == []


def test_without_resume_it_starts_over(path: Path) -> None:
    leave(path, "a")
    with Journal(path, CALL) as journal:
        assert len(journal) == 0


def test_where_nothing_was_left_resume_starts(path: Path) -> None:
    with Journal(path, CALL, resume=True) as journal:
        assert len(journal) == 0
    path.touch()  # killed before anything was written
    with Journal(path, CALL, resume=True) as journal:
        assert len(journal) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"inputs": ("/others",)}, r"inputs \[/scans\]; this one has \[/others\]"),
        ({"series": ("1.2",)}, r"series \[\]; this one has \[1.2\]"),
        ({"model": "other"}, "model 'digest'; this one has 'other'"),
        ({"runtime": "torch"}, "runtime 'openvino'; this one has 'torch'"),
        ({"software_version": "2"}, "software version '1'; this one has '2'"),
        ({"precision": "bf16"}, "precision 'f32'; this one has 'bf16'"),
    ],
)
def test_another_call_does_not_go_on(path: Path, change: dict[str, object], told: str) -> None:
    leave(path, "a")
    with pytest.raises(UsageError, match=told):
        Journal(path, replace(CALL, **change), resume=True)
    with Journal(path, CALL, resume=True) as journal:  # and harms nothing
        assert "a" in journal


@pytest.mark.parametrize("resume", [True, False])
def test_two_calls_do_not_write_at_once(path: Path, *, resume: bool) -> None:
    with Journal(path, CALL) as journal:
        journal.add("a", make_outcome("a"))
        with pytest.raises(UsageError, match="no other call writes into"):
            Journal(path, CALL, resume=resume)
        assert "a" in journal


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 100, None])
def test_a_damaged_one_is_told_or_replaced(path: Path, content: bytes | None) -> None:
    leave(path, *map(str, range(40)))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xaa" * (len(whole) - 4096) if content is None else content)
    with pytest.raises(UsageError, match="is damaged"):
        Journal(path, CALL, resume=True)
    with Journal(path, CALL) as journal:
        assert len(journal) == 0


def test_a_full_disk_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    with Journal(path, CALL) as journal, monkeypatch.context() as patch:
        patch.setattr(journal, "_database", Full())
        with pytest.raises(SlicewiseError, match=r"disk is full.*Make room"):
            journal.add("a", make_outcome("a"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_what_was_added_outlives_a_killed_process(path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from slicewise.inference.journal import Call, Journal
        from slicewise.results import StudyOutcome
        call = Call(("/scans",), (), "digest", "openvino", "1")
        journal = Journal(Path({str(path)!r}), call)
        for name in "abc":
            journal.add(name, StudyOutcome(None, ()))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    with Journal(path, CALL, resume=True) as journal:
        assert [name for name in "abcd" if name in journal] == ["a", "b", "c"]
