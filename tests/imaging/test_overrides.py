from __future__ import annotations

from typing import Any

import pytest

from headers import make_series
from slicewise.imaging.overrides import override_of, patient_name
from slicewise.imaging.series import SeriesDecision, Study, choose_series
from slicewise.task import SeriesParameters

PARAMETERS = SeriesParameters(modality="CT", minimum_slices=8, maximum_angle_degrees=35.0)


def decide(patient_id: str, *, requested: tuple[str, ...] = (), **changes: Any) -> list[SeriesDecision]:
    series = make_series("1.1", patient_id=patient_id, **changes)
    localizer = make_series("1.2", slices=1, patient_id=patient_id, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    return list(choose_series(Study(patient_id, "1", (series, localizer)), PARAMETERS, requested))


@pytest.mark.parametrize(
    "spelling",
    [
        "CQ500-CT-12",
        "CQ500CT12 CQ500CT12",
        "CQ500CT12",
        "cq500ct12",
        "CQ500_CT_12",
        "CQ500 CT 12",
        "CQ500-CT-012",
        " CQ500CT12",
        "CQ500CT12_CQ500CT12",
        "CQ500CT12^CQ500CT12",
        "CQ500CT12/Unknown Study",
    ],
)
def test_every_spelling_of_a_patient_of_cq500_is_one_name(spelling: str) -> None:
    assert patient_name(spelling) == "CQ500-CT-12"


@pytest.mark.parametrize("other", ["", "P12", "ID_0a1b", "XCQ500-CT-12", "CQ500-CT-", "CQ500CTA12", "CQ5001CT12"])
def test_other_patients_keep_their_name(other: str) -> None:
    assert patient_name(other) == other
    assert override_of(other) is None


@pytest.mark.parametrize(("number", "name"), [("0", "CQ500-CT-0"), ("00", "CQ500-CT-0"), ("490", "CQ500-CT-490")])
def test_numbers_of_patients(number: str, name: str) -> None:
    assert patient_name(f"CQ500CT{number} CQ500CT{number}") == name


@pytest.mark.parametrize("number", [120, 352])
@pytest.mark.parametrize("spelling", ["CQ500-CT-{0}", "CQ500CT{0} CQ500CT{0}"])
def test_unusable_studies_are_left_out_with_the_reason(number: int, spelling: str) -> None:
    series, localizer = decide(spelling.format(number))
    assert (series.chosen, series.reason, series.kind) == (False, "known_defect", "not_chosen")
    assert "known to be unusable" in series.message
    assert "by its UID" in series.message
    assert localizer.reason == "localizer"


def test_an_unusable_study_is_read_where_it_is_asked_for_and_warns() -> None:
    series, _ = decide("CQ500-CT-120", requested=("1.1",))
    assert (series.chosen, series.reason) == (True, "requested")
    assert [item.code for item in series.series.warnings] == ["known_defect"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(136, "partial acquisition"), (172, "partial acquisition"), (190, "lack 35 slices"), (345, "below the head")],
)
def test_studies_that_are_read_with_a_warning(number: int, words: str) -> None:
    series, localizer = decide(f"CQ500CT{number} CQ500CT{number}")
    assert series.chosen
    ((code, message),) = [(item.code, item.message) for item in series.series.warnings]
    assert code == "known_defect"
    assert message.startswith("This study is known")
    assert words in message
    assert message.endswith(".")
    assert localizer.series.warnings == ()


@pytest.mark.parametrize("number", [12, 1, 13, 1200, 35, 325])
def test_the_other_studies_of_cq500_have_no_entry(number: int) -> None:
    series, _ = decide(f"CQ500CT{number} CQ500CT{number}")
    assert series.chosen
    assert series.series.warnings == ()
