from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

import slicewise.imaging
from slicewise.reporting.scan_advice import ADVICE, study_advice
from slicewise.results import StudyResult
from slicewise.volume import ScanWarning

MakeStudy = Callable[..., StudyResult]


def test_every_warning_about_a_scan_has_plain_words() -> None:
    folder = Path(slicewise.imaging.__file__).parent
    sources = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    codes = set(re.findall(r'ScanWarning\(\s*"(\w+)"', sources))
    assert codes
    assert codes <= set(ADVICE)


def test_an_unknown_warning_is_shown_with_its_message(make_study: MakeStudy) -> None:
    study = make_study("x", ["a.dcm"], warnings=(ScanWarning("some_new_code", "Something."),))
    (advice,) = study_advice(study, ["Series"])
    assert (advice.title, advice.message, advice.meaning, advice.where) == ("Some new code", "Something.", "", "")


def test_warnings_of_the_study_alone_are_shown_once(make_study: MakeStudy) -> None:
    gap = ScanWarning("gap", "A gap.")
    study = make_study("x", ["a.dcm"], warnings=(gap, gap))
    study = msgspec.structs.replace(study, warnings=(gap, ScanWarning("split_series", "Left aside.")))
    assert [item.code for item in study_advice(study, ["Series"])] == ["gap", "split_series"]
