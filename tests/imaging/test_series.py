from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from dicom_files import orientation
from slicewise.errors import GeometryError
from slicewise.imaging.discover import SliceHeader, discover
from slicewise.imaging.load import stack_headers
from slicewise.imaging.series import (
    Series,
    SeriesDecision,
    Study,
    choose_series,
    group_studies,
    rejection_of,
    rejection_of_error,
)
from slicewise.results import Rejection
from slicewise.task import SeriesParameters

PARAMETERS = SeriesParameters(modality="CT", minimum_slices=8, maximum_angle_degrees=35.0)


def make_header(**changes: Any) -> SliceHeader:
    header = SliceHeader(
        path=Path("scans/a/1.dcm"),
        file="a/1.dcm",
        patient_id="P1",
        study_uid="1",
        series_uid="1.1",
        sop_uid="1.1.1",
        frame=1,
        modality="CT",
        sop_class_uid=CTImageStorage,
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        rows=512,
        columns=512,
        series_number=2,
        instance_number=1,
        series_description="HEAD",
        convolution_kernel="STANDARD",
        slice_thickness_mm=5.0,
        image_position=(0.0, 0.0, 0.0),
        image_orientation=tuple(orientation()),  # type: ignore[arg-type] # six of them
        pixel_spacing_mm=(0.5, 0.5),
    )
    return replace(header, **changes)


def make_series(uid: str, slices: int = 30, **changes: Any) -> Series:
    return Series(
        tuple(
            make_header(
                **{
                    "series_uid": uid,
                    "sop_uid": f"{uid}.{index}",
                    "file": f"{uid}/{index}.dcm",
                    "image_position": (0.0, 0.0, 5.0 * index),
                }
                | changes
            )
            for index in range(slices)
        )
    )


def decide(*series: Series, requested: tuple[str, ...] = ()) -> list[SeriesDecision]:
    return list(choose_series(Study("P1", "1", series), PARAMETERS, requested))


def test_grouping_ignores_folders_and_keeps_the_order() -> None:
    headers = [
        make_header(file="x/1", study_uid="s2", series_uid="s2.1", sop_uid="1"),
        make_header(file="x/2", study_uid="s1", series_uid="s1.1", sop_uid="2"),
        make_header(file="y/3", study_uid="s2", series_uid="s2.2", sop_uid="3"),
        make_header(file="z/4", study_uid="s2", series_uid="s2.1", sop_uid="4"),
    ]
    studies = group_studies(headers)
    assert [study.study_uid for study in studies] == ["s2", "s1"]
    assert [[item.file for item in series.headers] for series in studies[0].series] == [["x/1", "z/4"], ["y/3"]]
    assert group_studies([]) == ()


def test_the_same_series_uid_in_two_studies_is_two_series() -> None:
    studies = group_studies([make_header(study_uid="1"), make_header(study_uid="2")])
    assert [len(study.series) for study in studies] == [1, 1]


def test_two_patients_under_one_study_uid_are_two_studies() -> None:
    headers = [
        make_header(patient_id="A", series_uid="1.1", sop_uid="1"),
        make_header(patient_id="B", series_uid="1.2", sop_uid="2"),
        make_header(patient_id="A", series_uid="1.3", sop_uid="3"),
    ]
    studies = group_studies(headers)
    assert [(study.patient_id, study.study_uid) for study in studies] == [("A", "1"), ("B", "1")]
    assert [[series.series_uid for series in study.series] for study in studies] == [["1.1", "1.3"], ["1.2"]]


def test_patient_b_is_read_although_patient_a_has_the_same_study_uid() -> None:
    of_a, of_b = make_series("1.1", patient_id="A", slices=30), make_series("1.2", patient_id="B", slices=20)
    studies = group_studies([*of_a.headers, *of_b.headers])
    decisions = [decision for study in studies for decision in choose_series(study, PARAMETERS)]
    assert [(item.series.patient_id, item.reason) for item in decisions] == [("A", "chosen"), ("B", "chosen")]


def test_a_series_of_two_patients_stays_together_to_be_refused() -> None:
    mixed = [make_header(patient_id=patient, sop_uid=str(index)) for index, patient in enumerate("ABAB")]
    ((series,),) = [study.series for study in group_studies(mixed)]
    assert [header.patient_id for header in series.headers] == ["A", "B", "A", "B"]
    with pytest.raises(GeometryError) as caught:
        stack_headers(series)
    assert caught.value.reason == "mixed_patients"


def test_properties_of_a_series() -> None:
    series = make_series("1.1", slices=3)
    assert (series.patient_id, series.study_uid, series.series_uid, series.modality) == ("P1", "1", "1.1", "CT")
    assert (series.number, series.description, series.convolution_kernel) == (2, "HEAD", "STANDARD")
    assert (series.slice_thickness_mm, series.folder) == (5.0, "1.1")
    assert make_series("1.1", slice_thickness_mm=None).slice_thickness_mm is None
    assert Series((make_header(file="a/b/1"), make_header(file="a/c/2"))).folder == "a"
    assert Series((make_header(file="1"), make_header(file="a/2"))).folder == "."


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
        ({"sop_class_uid": SecondaryCaptureImageStorage}, "secondary_capture"),
        ({"modality": "MR"}, "wrong_modality"),
        ({"modality": ""}, "wrong_modality"),
        ({"image_orientation": tuple(orientation(40.0))}, "not_axial"),
        ({"image_orientation": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)}, "not_axial"),
        ({"slices": 7}, "too_few_slices"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: str) -> None:
    (decision,) = decide(make_series("1.1", **changes))
    assert (decision.chosen, decision.reason) == (False, reason)
    assert decision.message.startswith("Series 2 'HEAD' (")
    rejection = rejection_of(decision)
    assert rejection == Rejection("1.1", "not_chosen", reason, decision.message, "1.1")


@pytest.mark.parametrize("tilt", [-30.0, 0.0, 24.0])
def test_a_tilted_series_is_axial(tilt: float) -> None:
    (decision,) = decide(make_series("1.1", image_orientation=tuple(orientation(tilt))))
    assert (decision.chosen, decision.reason) == (True, "chosen")


def test_a_series_without_geometry_is_chosen_so_that_loading_can_say_why_it_is_unreadable() -> None:
    (decision,) = decide(make_series("1.1", image_position=None, image_orientation=None))
    assert decision.chosen


@pytest.mark.parametrize(
    ("other", "because"),
    [
        ({"image_position": None}, "states slice positions"),
        ({"series_description": "BONE PLUS"}, "is not reconstructed for bone"),
        ({"convolution_kernel": "H60s"}, "is not reconstructed for bone"),
        ({"convolution_kernel": "FC30"}, "is not reconstructed for bone"),
        ({"convolution_kernel": "BONE"}, "is not reconstructed for bone"),
        ({"series_description": "CT POST CONTRAST THIN"}, "is not described as contrast-enhanced"),
        ({"series_description": "HEAD C+"}, "is not described as contrast-enhanced"),
        ({"slice_thickness_mm": 0.625, "slices": 300}, "has a slice thickness nearer to 5 mm"),
        ({"slice_thickness_mm": None}, "has a slice thickness nearer to 5 mm"),
        ({"slices": 12}, "has more slices"),
        ({}, "was found first"),
    ],
)
def test_of_several_usable_series_one_is_preferred(other: dict[str, Any], because: str) -> None:
    good, bad = make_series("1.1"), make_series("1.2", **other)
    first, second = decide(good, bad)
    assert (first.chosen, second.chosen, second.reason) == (True, False, "other_series_preferred")
    assert because in second.message
    if other:
        assert [item.chosen for item in decide(bad, good)] == [False, True]


@pytest.mark.parametrize(
    "plain",
    [
        {"series_description": "NON CONTRAST HEAD"},
        {"series_description": "Head w/o contrast"},
        {"series_description": "PRE CONTRAST"},
        {"convolution_kernel": "H31s"},
        {"convolution_kernel": "J40s\\3"},
        {"convolution_kernel": "FC21"},
        {"convolution_kernel": "UB"},
    ],
)
def test_plain_series_are_not_taken_for_bone_or_contrast(plain: dict[str, Any]) -> None:
    thin = make_series("1.2", slice_thickness_mm=4.0)
    assert decide(thin, make_series("1.1", **plain))[1].chosen


def test_a_request_overrides_the_rules() -> None:
    decisions = decide(make_series("1.1"), make_series("1.2", modality="MR"), requested=("1.2",))
    assert [(item.chosen, item.reason) for item in decisions] == [(False, "not_requested"), (True, "requested")]
    assert [item.chosen for item in decide(make_series("1.1"), requested=("9.9",))] == [False]


def test_an_unreadable_series_keeps_its_code() -> None:
    error = GeometryError("Positions are missing.", reason="no_position")
    assert rejection_of_error(make_series("1.1"), error) == Rejection(
        "1.1", "unreadable", "no_position", "Positions are missing.", "1.1"
    )


def test_the_disc_of_a_scanner(shared_data: Path) -> None:
    found = discover([shared_data / "ct_head" / "philips_disc"])
    (study,) = group_studies(item for item in found if isinstance(item, SliceHeader))
    decisions = choose_series(study, PARAMETERS)
    assert [(item.series.number, len(item.series.headers), item.reason) for item in decisions] == [
        (100, 1, "localizer"),
        (201, 28, "chosen"),
        (401, 6, "secondary_capture"),
    ]
    assert rejection_of(decisions[2]).path == "S21570/S4010"
