from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_files import orientation, seeded_uid, write_series
from headers import make_header, make_series
from slicewise.errors import GeometryError
from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume, stack_headers
from slicewise.imaging.series import (
    Series,
    SeriesDecision,
    Study,
    choose_series,
    group_studies,
    rejection_of,
    rejection_of_error,
    series_warnings,
)
from slicewise.results import Rejection
from slicewise.source import Source
from slicewise.task import load_task

ICH = load_task("ich").series
LOCALIZER: dict[str, Any] = {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}
SAGITTAL: dict[str, Any] = {"image_orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}


def decide(*series: Series, requested: tuple[str, ...] = ()) -> list[SeriesDecision]:
    return list(choose_series(Study("P1", "1", series), ICH, requested))


def of_one_series(*groups: tuple[int, dict[str, Any]], description: str = "HEAD") -> tuple[Series, ...]:
    """Returns the stacks of a series whose images are so many with the same changes, then the next group."""
    changes = [one for count, one in groups for _ in range(count)]
    headers = [
        make_header(
            **{
                "file": f"{index:03d}.dcm",
                "sop_uid": f"1.{index}",
                "series_description": description,
                "image_position": (5.0 * index, 5.0 * index, 5.0 * index),
            }
            | one
        )
        for index, one in enumerate(changes)
    ]
    ((_, _, parts),) = [(study.patient_id, study.study_uid, study.series) for study in group_studies(headers)]
    return parts


def codes(series: Series) -> list[str]:
    return [item.code for item in series_warnings(series)]


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


def test_nifti_files_of_one_name_in_two_folders_are_two_studies() -> None:
    headers = [make_header(file=f"{folder}/ct.nii", pixels=None, study_uid="ct", series_uid="ct") for folder in "aab"]
    assert [[len(series.headers) for series in study.series] for study in group_studies(headers)] == [[2], [1]]


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
    decisions = [decision for study in studies for decision in choose_series(study, ICH)]
    assert [(item.series.patient_id, item.reason) for item in decisions] == [("A", "chosen"), ("B", "chosen")]


def test_a_series_of_two_patients_stays_together_to_be_refused() -> None:
    mixed = [make_header(patient_id=patient, sop_uid=str(index)) for index, patient in enumerate("ABAB")]
    ((series,),) = [study.series for study in group_studies(mixed)]
    assert [header.patient_id for header in series.headers] == ["A", "B", "A", "B"]
    with pytest.raises(GeometryError) as caught:
        stack_headers(series)
    assert caught.value.reason == "mixed_patients"


def test_properties_of_a_series() -> None:
    series = make_series("1.1", slices=3, series_description="HEAD", convolution_kernel="H31s")
    assert (series.patient_id, series.study_uid, series.series_uid, series.modality) == ("P1", "1", "1.1", "CT")
    assert (series.number, series.description, series.convolution_kernel) == (2, "HEAD", "H31s")
    assert (series.slice_thickness_mm, series.folder) == (5.0, "1.1")
    assert make_series("1.1", slice_thickness_mm=None).slice_thickness_mm is None
    assert Series((make_header(file="a/b/1"), make_header(file="a/c/2"))).folder == "a"
    assert Series((make_header(file="1"), make_header(file="a/2"))).folder == "."


def test_positions_of_a_series_are_measured_along_the_normal() -> None:
    tilted = make_series("1.1", slices=4, spacing_mm=10.0, image_orientation=tuple(orientation(60.0)))
    assert tilted.positions_mm is not None
    np.testing.assert_allclose(np.diff(tilted.positions_mm), 5.0)  # 10 mm along the table x cos 60
    twice = Series((*tilted.headers, *tilted.headers, make_header(image_position=None)))
    assert twice.positions_mm is not None
    np.testing.assert_array_equal(twice.positions_mm, tilted.positions_mm)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_position": None},
        {"image_orientation": None},
        {"image_position": (0.0, 1e300, 0.0)},
        {"image_orientation": (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)},
    ],
)
def test_positions_that_cannot_be_known(changes: dict[str, Any]) -> None:
    assert make_series("1.1", **changes).positions_mm is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (LOCALIZER, "localizer"),
        ({"sop_class_uid": SecondaryCaptureImageStorage}, "secondary_capture"),
        ({"modality": "MR"}, "wrong_modality"),
        ({"image_type": ("DERIVED", "SECONDARY", "MIP")}, "rendering"),
        ({"image_orientation": tuple(orientation(40.0))}, "not_axial"),
        (SAGITTAL, "not_axial"),
        ({"body_part": "CHEST"}, "other_body_part"),
        ({"slices": 7}, "too_few_slices"),
    ],
)
def test_a_series_that_the_task_cannot_read_is_refused_with_a_code_and_a_sentence(
    changes: dict[str, Any], reason: str
) -> None:
    good, bad = make_series("1.1"), make_series("1.2", series_number=7, series_description="X", **changes)
    first, second = decide(good, bad)
    assert (first.chosen, first.reason) == (True, "chosen")
    assert (second.chosen, second.reason, second.kind) == (False, reason, "not_chosen")
    assert second.message.startswith("Series 7 'X' (")
    assert second.message.endswith(".")
    row = rejection_of(second)
    assert row == Rejection("1.2", "not_chosen", reason, second.message, "1.2")
    (alone,) = decide(bad)
    assert (alone.chosen, alone.reason) == (False, reason)


def test_a_series_without_geometry_is_chosen_so_that_loading_can_say_why_it_is_unreadable() -> None:
    (decision,) = decide(make_series("1.1", image_position=None, image_orientation=None))
    assert decision.chosen


@pytest.mark.parametrize(
    ("other", "because"),
    [
        ({"image_position": None}, "states where its slices lie"),
        ({"contrast_agent": "Iohexol"}, "less sign of contrast medium"),
        ({"convolution_kernel": "FC30"}, "not reconstructed for bone"),
        ({"slices": 9}, "covers 100 mm or more"),
        ({"convolution_kernel": "DETAIL"}, "not reconstructed for fine detail"),
        ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, "not reformatted"),
        ({"slice_thickness_mm": 0.625, "slices": 300}, "nearer to 5 mm"),
        ({"slices": 29}, "has more slices"),
        ({"series_number": 3}, "has the lower number"),
        ({}, "has the lower number"),
    ],
)
def test_of_several_usable_series_one_is_preferred(other: dict[str, Any], because: str) -> None:
    good, bad = make_series("1.1"), make_series("1.2", **other)
    first, second = decide(good, bad)
    assert (first.chosen, second.chosen, second.reason) == (True, False, "other_series_preferred")
    assert "Series 2 (30 slices) was preferred because it " in second.message
    assert because in second.message
    assert [item.chosen for item in decide(bad, good)] == [False, True]


# Descriptions as CQ500 has them; its folders are named "CT " and the description, without the signs that file systems
# refuse: "5/5mm Plain" becomes "CT 55mm Plain". The first of every study is the one to read.
THIN: dict[str, Any] = {"slices": 240, "spacing_mm": 0.625, "slice_thickness_mm": 0.625}
MIDDLE: dict[str, Any] = {"slices": 120, "spacing_mm": 1.25, "slice_thickness_mm": 1.25}
THICK: dict[str, Any] = {}
VARIABLE: dict[str, Any] = {"slices": 44, "spacing_mm": 3.5, "slice_thickness_mm": 2.5}
STUDIES: list[list[tuple[str, dict[str, Any]]]] = [
    [("CT Plain", THICK), ("CT PLAIN THIN", THIN), ("CT 4cc sec 150cc D3D on", THIN)],
    [("Plain", THICK), ("PLAIN THIN", THIN), ("4cc/sec 150cc D3D on", THIN), ("4cc/sec 150cc D3D on", THICK)],
    [("CT 5mm", THICK), ("CT 0.625mm", THIN)],
    [("CT 5mm", THICK), ("CT 0.625mm", THIN), ("CT 5mm POST CONTRAST", THICK)],
    [("CT 5mm-2", THICK), ("CT 0.625mm-2", THIN), ("CT BONE", THICK)],
    [("5 MM", THICK), ("0.625 MM HI RES", THIN)],
    [("CT 55mm Plain", THICK), ("CT Thin Plain", THIN), ("CT 55mm Contrast", THICK), ("CT Thin Contrast", THIN)],
    [("5/5mm Plain", THICK), ("Thin Plain", THIN), ("Thin Bone", THIN)],
    [("CT Plain 3mm", {"slices": 50, "spacing_mm": 3.0, "slice_thickness_mm": 3.0}), ("CT Plain THIN", THIN)],
    [("CT 3.753.75mm Plain", {"slices": 40, "spacing_mm": 3.75, "slice_thickness_mm": 3.75}), ("CT Thin Plain", THIN)],
    [("CT 2.55mm", VARIABLE), ("CT 0.625mm", THIN), ("CT 2.55mm-2", VARIABLE | {"contrast_agent": "Omnipaque"})],
    [("2.5/5mm", VARIABLE), ("0.625mm", THIN)],
    [("CT PRE CONTRAST 5MM STD", THICK), ("CT PRE CONTRAST THIN", THIN), ("CT PRE CONTRAST BONE", THICK)],
    [("CT PRE CONTRAST 5MM STD", THICK), ("CT POST CONTRAST", THICK), ("CT POST CONTRAST-2", MIDDLE)],
    [("CT PRE CONTRAST THIN", THIN), ("CT POST CONTRAST", THICK), ("CT PRE CONTRAST BONE", THICK)],
    [("CT 5 MM PRE CONTRAST", THICK), ("CT CONTRAST", THICK), ("CT CONTRAST-2", THIN)],
    [("CT BRAIN PLAIN", THICK), ("CT CECT THIN", THIN), ("CT BONE THIN", THIN)],
    [("CT I To S", THICK), ("CT 0.625mm", THIN), ("CT BONE", THIN)],
    [("CT HELICAL", THICK), ("CT HELICAL-2", THIN)],
    [("CT SOFT THIN", THIN), ("CT LT THIN BONE", THIN), ("CT RT THIN BONE", THIN), ("CT THIN BONE PNS", THIN)],
    [("CT Thin Stnd", THIN), ("CT Thin Details", THIN), ("CT Thin Bone", THIN)],
    [("CT THIN STD", THIN), ("CT HRCT", THIN)],
    [("CT Thin Soft", THIN), ("CT 0.625mm DMPR on HiRes VS40", THIN), ("CT Axial 0.625 HiResVS40", THIN)],
    [("CT Thin Details", THIN), ("CT BONE", THICK)],
    [("CT PLAIN", THICK), ("CT ORAL IV", THICK), ("CT ORAL IV-2", THIN)],
    [("Plain", THICK), ("ORAL & IV", THICK)],
    [("CT C THIN", THIN), ("CT POST CONTRAST", THICK)],
    [("C-", THICK), ("C+", THICK), ("C+ THIN", THIN)],
    [("CT 1.25mm std", MIDDLE), ("CT 1.25 MMC", MIDDLE | {"contrast_agent": "IV"})],
    [("CT 1.25MM", MIDDLE), ("CT BONE THIN-2", THIN)],
    [("CT DE", THICK), ("CT DE THIN", THIN)],
    [("CT 3D CT HEADORBIT", THIN), ("CT BONE", THICK)],
    [("CT Recon 3 ACUTE STROKE", THICK), ("CT 4cc sec 150cc D3D on-3", THICK)],
    [("CT BONE", THICK)],
    [("CT POST CONTRAST THIN", THIN)],
    [("CT POST CONTRAST", THICK), ("CT POST CONTRAST THIN", THIN)],
]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: ", ".join(description for description, _ in study))
def test_the_series_of_cq500(study: list[tuple[str, dict[str, Any]]]) -> None:
    series = [
        make_series(f"1.{index}", patient_id="CQ500CT12 CQ500CT12", series_description=description, **changes)
        for index, (description, changes) in enumerate(study)
    ]
    for shuffled in itertools.islice(itertools.permutations(series), 6):
        chosen = [item.series.description for item in decide(*shuffled) if item.chosen]
        assert chosen == [study[0][0]]


HOSPITALS: dict[str, list[dict[str, Any]]] = {
    "GE": [
        {"series_description": "AX HEAD 5MM", "convolution_kernel": "STANDARD"},
        {"series_description": "AX HEAD BONE", "convolution_kernel": "BONEPLUS", "slice_thickness_mm": 2.5},
        {"series_description": "SAG HEAD", "image_type": ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE")} | SAGITTAL,
        {"series_description": "Dose Report", "slices": 1, "sop_class_uid": SecondaryCaptureImageStorage},
        {"series_description": "Scout", "slices": 2} | LOCALIZER,
        {"series_description": "SmartPrep Series", "image_position": (0.0, 0.0, 1.0), "contrast_agent": "IV"},
    ],
    "Siemens": [
        {"series_description": "Head 5.0 J30s", "convolution_kernel": "J30s\\3"},
        {"series_description": "Head 1.0 H60s", "convolution_kernel": "H60s"} | THIN,
        {"series_description": "Head 0.75 J30s", "convolution_kernel": "J30s\\3"} | THIN,
        {"series_description": "Patient Protocol", "slices": 1, "image_position": None, "image_orientation": None},
        {"series_description": "CTA 0.6 B26f", "convolution_kernel": "B26f", "contrast_agent": "Ultravist"} | THIN,
        {"series_description": "C-Spine 2.0 B30s", "body_part": "HEAD"},
    ],
    "only a reformat has the kernel of the brain": [
        {"series_description": "AX BRAIN MPR", "image_type": ("DERIVED", "SECONDARY", "MPR")},
        {"series_description": "HEAD 0.6 Hr68", "convolution_kernel": "Hr68"} | THIN,
    ],
    "thick slices are a repeat of a part": [
        {"series_description": "HEAD 1MM"} | THIN,
        {"series_description": "HEAD 5MM REPEAT", "slices": 9},
    ],
    "plain is bone": [
        {"series_description": "HEAD BONE", "convolution_kernel": "FC30"},
        {"series_description": "CTA HEAD", "convolution_kernel": "FC21", "contrast_agent": "Iopamidol"},
    ],
    "the tag stands in every series of a study with contrast": [
        {"series_description": "HEAD W/O", "contrast_agent": "OMNIPAQUE"} | THIN,
        {"series_description": "HEAD W CONTRAST", "contrast_agent": "OMNIPAQUE"},
    ],
    "one protocol for head and neck": [
        {"series_description": "BRAIN W/O 5.0", "body_part": "CSPINE"},
        {"series_description": "C SPINE 2.0", "body_part": "CSPINE"},
        {"series_description": "CTA HEAD NECK", "body_part": "HEAD"},
    ],
    "portuguese": [
        {"series_description": "CRANIO SEM CONTRASTE"},
        {"series_description": "CRANIO COM CONTRASTE"},
        {"series_description": "CRANIO JANELA OSSEA"},
    ],
}


@pytest.mark.parametrize("name", HOSPITALS)
def test_studies_of_hospitals(name: str) -> None:
    series = [make_series(f"1.{index}", **changes) for index, changes in enumerate(HOSPITALS[name])]
    for shuffled in itertools.islice(itertools.permutations(series), 12):
        decisions = decide(*shuffled)
        assert [item.series.series_uid for item in decisions if item.chosen] == ["1.0"]
        assert all(item.reason and item.message.endswith(".") for item in decisions)


def test_the_only_series_of_a_study_is_read_whatever_it_is_and_warns() -> None:
    (decision,) = decide(make_series("1.1", series_description="CTA BONE", contrast_agent="Iohexol"))
    assert decision.chosen
    assert codes(decision.series) == ["contrast_suspected", "sharp_kernel"]


def test_a_request_overrides_every_rule_and_preference() -> None:
    series = [
        make_series("1.1"),
        make_series("1.2", modality="MR"),
        make_series("1.3", slices=2, **LOCALIZER),
        make_series("1.4", body_part="KNEE", **SAGITTAL),
    ]
    for uid in ("1.2", "1.3", "1.4"):
        decisions = decide(*series, requested=(uid,))
        assert [item.series.series_uid for item in decisions if item.chosen] == [uid]
        assert {item.reason for item in decisions} == {"requested", "not_requested"}
    assert [item.chosen for item in decide(*series, requested=("1.1", "1.4"))] == [True, False, False, True]
    assert [item.chosen for item in decide(series[0], requested=("9.9",))] == [False]


def test_a_requested_series_of_several_stacks_gives_its_best_one() -> None:
    parts = of_one_series((4, LOCALIZER), (30, SAGITTAL), (12, {}))
    decisions = decide(*parts, requested=("1.1",))
    assert [(len(item.series.headers), item.reason) for item in decisions] == [
        (30, "not_axial"),
        (12, "requested"),
        (4, "localizer"),
    ]
    only_bad = decide(*of_one_series((4, LOCALIZER), (30, SAGITTAL)), requested=("1.1",))
    assert [(len(item.series.headers), item.reason) for item in only_bad] == [(30, "requested"), (4, "localizer")]


def test_a_localizer_among_the_slices_is_left_aside_and_told() -> None:
    best, localizer = decide(*of_one_series((28, {}), (1, LOCALIZER)))
    assert (best.chosen, len(best.series.headers)) == (True, 28)
    assert (localizer.reason, localizer.kind) == ("localizer", "not_chosen")
    ((code, message),) = [(item.code, item.message) for item in best.series.warnings]
    assert code == "split_series"
    assert "1 image of the series" in message


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 256, "columns": 256}, "mixed_matrix"),
        ({"image_orientation": tuple(orientation(20.0))}, "mixed_orientation"),
        ({"pixel_spacing_mm": (0.4, 0.4)}, "mixed_spacing"),
        ({"pixel_spacing_mm": None}, "no_pixel_spacing"),
    ],
)
def test_slices_that_do_not_fit_the_stack_are_missed_not_lost(changes: dict[str, Any], reason: str, count: int) -> None:
    best, missed = decide(*of_one_series((20, {}), (count, changes)))
    assert (best.chosen, len(best.series.headers)) == (True, 20)
    assert (missed.chosen, missed.reason, missed.kind) == (False, reason, "unreadable")
    assert "with the other 20 images" in missed.message
    row = rejection_of(missed)
    assert (row.kind, row.reason, row.series_uid) == ("unreadable", reason, "1.1")
    assert [item.code for item in best.series.warnings] == ["split_series"]
    assert f"{count} image" in best.series.warnings[0].message


def test_a_coronal_stack_within_the_series_is_a_reformat_not_a_loss() -> None:
    best, coronal = decide(*of_one_series((20, {}), (12, {"image_orientation": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)})))
    assert (best.chosen, coronal.reason, coronal.kind) == (True, "not_axial", "not_chosen")


def test_the_better_stack_is_read_not_the_larger_one() -> None:
    decisions = decide(*of_one_series((40, SAGITTAL), (25, {}), (2, LOCALIZER)))
    assert [(len(item.series.headers), item.chosen) for item in decisions] == [(40, False), (25, True), (2, False)]


def test_stacks_of_a_series_that_is_not_read_are_not_missed() -> None:
    decisions = decide(*of_one_series((20, {}), (9, {"rows": 256}), description="HEAD BONE"), make_series("1.2"))
    assert [item.reason for item in decisions] == ["other_series_preferred", "other_series_preferred", "chosen"]
    assert {item.kind for item in decisions} == {"not_chosen"}


def test_the_choice_does_not_depend_on_the_order_of_equal_series() -> None:
    series = [make_series(f"1.{index}", series_number=number) for index, number in enumerate([4, 3, 3, None])]
    for shuffled in itertools.permutations(series):
        assert [item.series.series_uid for item in decide(*shuffled) if item.chosen] == ["1.1"]


def test_an_unreadable_series_keeps_its_code() -> None:
    error = GeometryError("Positions are missing.", reason="no_position")
    assert rejection_of_error(make_series("1.1"), error) == Rejection(
        "1.1", "unreadable", "no_position", "Positions are missing.", "1.1"
    )


def test_a_series_split_over_two_archives_comes_together() -> None:
    headers = list(make_series("1.1").headers)
    moved = [
        replace(header, source=Source("/b.zip", f"b.zip/{header.file}", entry=3)) if index % 3 else header
        for index, header in enumerate(headers)
    ]
    random.Random(4).shuffle(moved)
    ((series,),) = [study.series for study in group_studies(moved)]
    assert len(series.headers) == 30
    assert series.folder == "."
    assert [item.chosen for item in decide(series)] == [True]


def test_a_series_split_over_two_folders_of_a_disc_is_one_volume(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"patient_id": "CQ500CT12 CQ500CT12", "SeriesDescription": "Plain"}
    whole = write_series(tmp_path / "whole", slices=12, matrix=16, **tags)
    for index, path in enumerate(whole):
        folder = tmp_path / "split" / ("qct1" if index < 5 else "qct2") / "Unknown Study" / "CT Plain"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"CT{index:06d}.dcm")
    with take_inventory([tmp_path / "split"]) as found:
        (study,) = found.studies()
    (decision,) = choose_series(study, ICH)
    assert decision.chosen
    volume, rejected = load_volume(decision.series)
    assert (volume.values.shape, rejected) == ((12, 16, 16), ())
    assert volume.positions_mm.tolist() == [5.0 * index for index in range(12)]


def test_two_series_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    for index, kernel in enumerate(("STANDARD", "BONE")):
        uid = seeded_uid(kernel)
        paths = write_series(tmp_path / kernel, slices=9, matrix=16, series_uid=uid, ConvolutionKernel=kernel)
        for path in paths:
            target = tmp_path / "both" / f"{index}-{path.name}"
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    with take_inventory([tmp_path / "both"]) as found:
        (study,) = found.studies()
    decisions = choose_series(study, ICH)
    assert [(len(item.series.headers), item.series.convolution_kernel, item.reason) for item in decisions] == [
        (9, "STANDARD", "chosen"),
        (9, "BONE", "other_series_preferred"),
    ]


def test_the_disc_of_a_scanner(shared_data: Path) -> None:
    disc = shared_data / "ct_head" / "philips_disc"
    for entry in (disc, disc / "DICOMDIR"):
        with take_inventory([entry]) as found:
            (study,) = found.studies()
        decisions = choose_series(study, ICH)
        assert [(item.series.number, len(item.series.headers), item.reason) for item in decisions] == [
            (100, 1, "localizer"),
            (201, 28, "chosen"),
            (401, 6, "secondary_capture"),
        ]
        assert rejection_of(decisions[2]).path == "S21570/S4010"
