"""The tables of rules and preferences, line by line: what hospitals write, and what follows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from pydicom.uid import (
    EnhancedCTImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from dicom_files import orientation
from headers import PIXELS, make_header, make_series
from slicewise.imaging.reasons import REASONS
from slicewise.imaging.rules import PREFERENCES, RULES, preference_key, warnings_of
from slicewise.imaging.series import Series
from slicewise.task import SeriesParameters, load_task

ICH = load_task("ich").series
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
DERIVED = ("DERIVED", "SECONDARY", "AXIAL")


def refusal(series: Series, parameters: SeriesParameters = ICH) -> tuple[str, str]:
    """Returns reason and sentence of the first rule that refuses a series, "" if none does."""
    found = ((rule.reason, rule.applies(series, parameters)) for rule in RULES)
    return next(((reason, why) for reason, why in found if why), ("", ""))


def warned(**changes: Any) -> list[str]:
    return [item.code for item in warnings_of(make_series("1.1", **changes))]


def test_every_rule_has_a_reason_of_the_published_codes() -> None:
    assert {rule.reason for rule in RULES} <= set(REASONS)


def test_a_plain_head_ct_is_refused_by_no_rule_and_has_no_warning() -> None:
    assert refusal(make_series("1.1")) == ("", "")
    assert warned() == []


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer", "Image Type"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP")}, "localizer", "Image Type"),
        ({"image_type": ("ORIGINAL", "SECONDARY", "SCOUT"), "slices": 2}, "localizer", "Image Type"),
        ({"sop_class_uid": SecondaryCaptureImageStorage}, "secondary_capture", "SOP class"),
        ({"sop_class_uid": MultiFrameGrayscaleWordSecondaryCaptureImageStorage}, "secondary_capture", "SOP class"),
        ({"sop_class_uid": SecondaryCaptureImageStorage, "modality": "OT"}, "secondary_capture", "captures"),
        ({"image_type": ("DERIVED", "SECONDARY", "SCREEN SAVE")}, "secondary_capture", "Image Type"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "DOSE_INFO")}, "secondary_capture", "Image Type"),
        ({"image_type": ("DERIVED", "SECONDARY", "OTHER", "CT_SOM7 PROT")}, "secondary_capture", "Image Type"),
        ({"pixels": replace(PIXELS, photometric="RGB", samples=3)}, "secondary_capture", "colour"),
        ({"pixels": replace(PIXELS, photometric="PALETTE COLOR")}, "secondary_capture", "colour"),
        ({"modality": "MR"}, "wrong_modality", "MR"),
        ({"modality": "PT"}, "wrong_modality", "PT"),
        ({"modality": ""}, "wrong_modality", "not stated"),
        ({"image_type": ("DERIVED", "SECONDARY", "AXIAL", "MIP")}, "rendering", "projections"),
        ({"image_type": ("DERIVED", "SECONDARY", "MIP", "CSA MIP")}, "rendering", "projections"),
        ({"image_type": ("DERIVED", "SECONDARY", "PROJECTION IMAGE")}, "rendering", "projections"),
        ({"image_type": ("DERIVED", "SECONDARY", "THIN MIP")}, "rendering", "projections"),
        ({"image_type": ("DERIVED", "SECONDARY", "VRT")}, "rendering", "projections"),
        ({"image_type": ("DERIVED", "PRIMARY", "VOLUME", "MAXIMUM")}, "rendering", "projections"),
        ({"image_type": DERIVED, "series_description": "MIP AX 10MM"}, "rendering", "described"),
        ({"image_type": DERIVED, "series_description": "3D_VRT_HEAD"}, "rendering", "described"),
        ({"image_type": DERIVED, "series_description": "BONE REMOVAL"}, "rendering", "described"),
        ({"image_type": DERIVED, "series_description": "Shaded Surface"}, "rendering", "described"),
        ({"series_description": "CBF"}, "rendering", "maps"),
        ({"series_description": "Perfusion Map 5.0"}, "rendering", "maps"),
        ({"image_orientation": CORONAL}, "not_axial", "90 degrees"),
        ({"image_orientation": SAGITTAL}, "not_axial", "90 degrees"),
        ({"image_orientation": tuple(orientation(36.0))}, "not_axial", "36 degrees"),
        ({"image_orientation": tuple(orientation(-60.0))}, "not_axial", "60 degrees"),
        ({"body_part": "CHEST"}, "other_body_part", "CHEST"),
        ({"slices": 7}, "too_few_slices", "the task needs 8 slices"),
        ({"slices": 1}, "too_few_slices", "the task needs 8 slices"),
        ({"image_position": (0.0, 0.0, 42.0)}, "too_few_slices", "at 1 place"),  # a bolus is watched
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: str, words: str) -> None:
    found, why = refusal(make_series("1.1", **changes))
    assert found == reason
    assert words in why


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("Scout", "localizer"),
        ("SCOUTS_HEAD", "localizer"),
        ("Topogram 0.6 T20s", "localizer"),
        ("Topo", "localizer"),
        ("Surview lat", "localizer"),
        ("3-Plane Localiser", "localizer"),
        ("Scanogram", "localizer"),
        ("Übersicht", "localizer"),
        ("定位像", "localizer"),
        ("Dose Report", "secondary_capture"),
        ("Dose Info", "secondary_capture"),
        ("Patient Protocol", "secondary_capture"),
        ("Exam Summary", "secondary_capture"),
        ("SCREEN SAVE", "secondary_capture"),
        ("Key Images", "secondary_capture"),
        ("PreMonitoring", "too_few_slices"),
        ("Pilots of the head", "too_few_slices"),
    ],
)
def test_what_a_few_images_are_by_their_description(description: str, reason: str) -> None:
    series = make_series("1.1", slices=2, series_description=description, image_orientation=None, image_position=None)
    assert refusal(series)[0] == reason
    assert refusal(make_series("1.1", slices=30, series_description=description)) == ("", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"image_orientation": tuple(orientation(-30.0))},
        {"image_orientation": tuple(orientation(34.9))},
        {"image_orientation": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)},  # prone
        {"image_orientation": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)},  # seen from above
        {"image_type": ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE")},
        {"image_type": ("DERIVED", "SECONDARY", "MPR")},
        {"image_type": ()},
        {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL"), "series_description": "MIPLEX"},
        {"series_description": "3D CT HEAD/ORBIT"},
        {"series_description": "Surface coil", "image_type": DERIVED},
        {"sop_class_uid": EnhancedCTImageStorage, "image_type": ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")},
        {"image_position": None, "image_orientation": None},
        {"image_orientation": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)},
        {"image_position": (0.0, 0.0, 1e300)},
        {"pixel_spacing_mm": None},
        {"pixels": None},
        {"pixels": replace(PIXELS, photometric="MONOCHROME1")},
        {"slices": 8},
    ],
)
def test_what_is_not_refused(changes: dict[str, Any]) -> None:
    assert refusal(make_series("1.1", **changes)) == ("", "")


def test_images_of_two_kinds_are_not_taken_for_one_of_them() -> None:
    axial = make_series("1.1", slices=8).headers
    for changes in (
        {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
        {"sop_class_uid": SecondaryCaptureImageStorage},
        {"image_type": ("DERIVED", "SECONDARY", "MIP")},
        {"pixels": replace(PIXELS, photometric="RGB")},
    ):
        assert refusal(Series((*axial, make_header(**changes)))) == ("", "")


def test_images_that_turn_around_the_head_are_not_axial() -> None:
    turning = tuple(make_header(image_orientation=tuple(orientation(10.0 * step))) for step in range(12))
    reason, why = refusal(Series(turning))
    assert (reason, "not parallel" in why) == ("not_axial", True)


def test_colour_is_told_of_dicom_alone() -> None:
    assert refusal(make_series("1.1", pixels=None)) == ("", "")


BODY_PARTS_READ = [
    ("HEAD", ""),
    ("HEAD", "CTA HEAD AND NECK"),
    ("HEADNECK", ""),
    ("BRAIN", "5mm"),
    ("SKULL", ""),
    ("CRANE", "TETE SANS INJECTION"),
    ("KOPF", "CCT nativ"),
    ("SCHÄDEL", ""),
    ("", "Schädel nativ"),
    ("", "ROUTINE 5MM"),
    ("", ""),
    ("UNKNOWN", ""),
    ("NECK", "HEAD W/O 5MM"),  # one protocol for head and neck
    ("CSPINE", "CTBRAIN 5MM"),
    ("CHEST", "Routine_Head"),
    ("ABDOMEN", "CRÂNE 5MM"),
    ("", "HEAD/C-SPINE"),
    ("HEAD", "HEAD FEET FIRST"),
    ("GLOWA", "5mm"),  # Polish for head: a part that the table does not know is not refused
    ("頭部", ""),
    ("", "SUPINE 5MM"),
    ("HEAD", "POST FOSSA"),
    ("HEAD", "Orbitomeatal 5mm"),
    ("HEAD", "ORBITO-MEATAL"),
    ("HEAD", "CAP nativ"),  # Romanian for head, elsewhere chest, abdomen and pelvis
]
TAGS_REFUSED = [
    ("CHEST", ""),
    ("CSPINE", ""),
    ("TSPINE", "2mm"),
    ("NECK", "5mm"),
    ("ABDOMENPELVIS", ""),
    ("WHOLEBODY", "5mm"),
    ("EXTREMITY", ""),
    ("THORAX", "5mm"),
    ("TÓRAX", ""),
    ("ORBIT", "0.6"),
]
DESCRIPTIONS_REFUSED = [
    ("HEAD", "C-SPINE 2.0"),
    ("HEAD", "CERVICAL SPINE"),
    ("HEAD", "HWS 2.0"),
    ("HEAD", "FACIAL BONES 0.6"),
    ("HEAD", "Sinus"),
    ("HEAD", "THIN BONE PNS"),
    ("HEAD", "ORBITS 1mm"),
    ("HEAD", "Felsenbein re 0.6"),
    ("HEAD", "IAC 0.6"),
    ("HEAD", "CTA_NECK"),
    ("", "CHEST W/O"),
    ("", "THORAX 5mm"),
    ("", "Abdomen/Pelvis"),
    ("", "TAP INJECTE"),
    ("", "LUNG 1.0"),
    ("", "Knee left"),
]


@pytest.mark.parametrize(("body_part", "description"), BODY_PARTS_READ)
def test_the_head_by_body_part_and_description(body_part: str, description: str) -> None:
    assert refusal(make_series("1.1", body_part=body_part, series_description=description)) == ("", "")


@pytest.mark.parametrize(("body_part", "description"), TAGS_REFUSED)
def test_other_parts_by_body_part(body_part: str, description: str) -> None:
    found = refusal(make_series("1.1", body_part=body_part, series_description=description))
    assert found == ("other_body_part", f"its Body Part Examined is {body_part}, and the task reads HEAD")


@pytest.mark.parametrize(("body_part", "description"), DESCRIPTIONS_REFUSED)
def test_other_parts_by_description(body_part: str, description: str) -> None:
    reason, why = refusal(make_series("1.1", body_part=body_part, series_description=description))
    assert reason == "other_body_part"
    assert "its description names another part of the body" in why


def test_a_task_may_read_another_part_or_any() -> None:
    chest = SeriesParameters("CT", minimum_slices=8, maximum_angle_degrees=35.0, body_parts=("CHEST", "LUNG"))
    anything = SeriesParameters("CT", minimum_slices=8, maximum_angle_degrees=35.0)
    for body_part, description in (("CHEST", ""), ("HEAD", "LUNG 1.0"), ("", "Chest W/O")):
        assert refusal(make_series("1.1", body_part=body_part, series_description=description), chest) == ("", "")
    assert refusal(make_series("1.1", body_part="HEAD"), chest)[0] == "other_body_part"
    assert refusal(make_series("1.1", series_description="BRAIN 5mm"), chest)[0] == "other_body_part"
    assert refusal(make_series("1.1", body_part="KNEE", series_description="HIP"), anything) == ("", "")


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("AX FLAIR", ""),
        ("t2_tirm_tra_dark-fluid", ""),
        ("", ""),  # as in NIfTI
        ("ep2d_diff_3scan_trace", "other_sequence"),
        ("AX T1 POST", "other_sequence"),
        ("Ax T1 FLAIR", "other_sequence"),
        ("sag_T1w_FLAIR +C", "other_sequence"),
        ("ADC map of FLAIR", "rendering"),
    ],
)
def test_a_task_may_read_one_mr_sequence(description: str, reason: str) -> None:
    flair = load_task("mri_tumor").series
    series = make_series("1.1", modality="MR", body_part="BRAIN", series_description=description)
    found, why = refusal(series, flair)
    assert found == reason
    assert ("sequence" in why) == (reason == "other_sequence")


@pytest.mark.parametrize(
    "kernel",
    [
        "BONE",
        "BONEPLUS",
        "BONE PLUS",
        "EDGE",
        "LUNG",
        "HD BONE",
        "HD Ultra",
        "H60s",
        "H70h",
        "B70f",
        "J70h",
        "U90u",
        "T80f",
        "Hr60",
        "Hr64f\\3",
        "Br68d",
        "Ur77",
        "FC30",
        "FC31",
        "FC51",
        "FC81",
        "YA",
        "YD",
        "D",
        "L",
        "H_SHARP_C",
    ],
)
def test_kernels_for_bone(kernel: str) -> None:
    assert warned(convolution_kernel=kernel) == ["sharp_kernel"]


@pytest.mark.parametrize(
    "kernel",
    [
        "",
        "STANDARD",
        "SOFT",
        "DETAIL",
        "HD STND",
        "H20f",
        "H30s",
        "H31s",
        "H40s",
        "H45s",
        "J30s",
        "J40s\\3",
        "J49s",
        "Hr38",
        "Hr40f\\2",
        "Hc40",
        "Qr40",
        "B30f",
        "Ub36",
        "UA",
        "UB",
        "UC",
        "A",
        "B",
        "C",
        "FC08",
        "FC21",
        "FC26",
        "FC43",
        "FC64",
        "FC68",
        "AiCE Brain",
        "H_SOFT_B",
        "50",
    ],
)
def test_kernels_for_the_brain(kernel: str) -> None:
    assert warned(convolution_kernel=kernel) == []


@pytest.mark.parametrize(
    "description",
    [
        "BONE",
        "Head_Bone_2.5",
        "HEAD BONES",
        "BoneAlg 1.25",
        "LT THIN BONE",
        "PRE CONTRAST BONE",
        "Knochen 0.6",
        "HR Knochen",
        "CRANE OS 0.6",
        "OS",
        "Óseo 1.0",
        "janela óssea",
        "OSSO 1mm",
        "hueso",
        "HEAD SHARP",
        "Head 1.0 H60s",
        "Schädel 0.75 Hr68 S3",
        "Head 0.5 FC30",
        "骨窗",
    ],
)
def test_descriptions_of_bone(description: str) -> None:
    assert warned(series_description=description) == ["sharp_kernel"]


@pytest.mark.parametrize(
    "description",
    [
        "Head 5.0 H31s",
        "Head 5.0 J30s 3",
        "Head 5.0 Hr38",
        "Brain FC21",
        "Brain FC68",
        "Sharpened",
        "BRAIN SHARP",
        "CRANIO COM OS OLHOS",
        "OSCAR",
        "POSITION",
        "WEDGE 5MM",
        "KNOWLEDGE",
        "CT64 HEAD",
        "HEAD 120KV",
        "BR 5MM",
        "NO BONE",
        "Thin Details",
        "osmotic",
        "HU80",
        "5mm st50",
    ],
)
def test_descriptions_that_only_look_like_bone(description: str) -> None:
    assert warned(series_description=description) == []


CONTRAST = [
    "POST CONTRAST THIN",
    "POST CONTRAST-2",
    "POST",
    "5mm POST",
    "Head Post Con",
    "POSTCONTRAST",
    "CONTRAST",
    "5/5mm Contrast",
    "Thin Contrast",
    "CECT THIN",
    "CE",
    "C+",
    "C+ THIN",
    "HEAD +C",
    "HEAD C +",
    "1.25 MMC+",
    "CTA",
    "CTA_HEAD",
    "CTA HEAD NECK 1.0",
    "CT ANGIO",
    "CTAngio 0.6",
    "Angiography",
    "CTV",
    "COW",
    "Circle of Willis",
    "ORAL & IV",
    "ORAL IV",
    "4cc/sec 150cc D3D on",
    "4cc sec 150cc D3D on-2",
    "HEAD WITH",
    "W CON",
    "HEAD W/ CONTRAST",
    "with contrast",
    "mit KM",
    "Schädel +KM",
    "KM venös",
    "AVEC INJECTION",
    "CRÂNE INJECTÉ",
    "con contraste",
    "inyectado",
    "con mdc",
    "Kontrastmittel",
    "ENHANCED",
    "Venous phase",
    "arterial",
    "artériel",
    "DELAYED",
    "Perfusion 5.0",
    "NEURO VPCT",
    "Head CTP 4D",
    "Monitoring",
    "增强",
    "造影",
]
NO_CONTRAST = [
    "",
    "NON CONTRAST",
    "NON-CONTRAST HEAD",
    "NONCONTRAST",
    "Non Con",
    "noncon 5mm",
    "NCCT",
    "non-enhanced",
    "nonenhanced",
    "UNENHANCED",
    "PRE CONTRAST",
    "PRE CONTRAST 5MM STD",
    "PRE CONTRAST THIN",
    "5 MM PRE CONTRAST-2",
    "PRECONTRAST",
    "Pre-Contrast",
    "Head w/o contrast",
    "HEAD W/O",
    "BRAIN W/O",
    "BRAIN WO",
    "BRAIN WO CON",
    "HEAD W/O IV CONTRAST",
    "without contrast",
    "without IV contrast",
    "without any contrast",
    "no IV contrast",
    "NO CONTRAST",
    "W/WO CONTRAST",
    "W & W/O CONTRAST",
    "PRE AND POST",
    "PRE & POST CONTRAST",
    "POST FOSSA",
    "POST FOSSA 2.5MM",
    "POSTERIOR FOSSA",
    "POST OP",
    "POST-OP DAY 2",
    "POST TRAUMA",
    "POST STROKE 24HR",
    "POST PROCESSING",
    "post craniotomy",
    "ohne KM",
    "nativ",
    "NATIVE",
    "SANS INJECTION",
    "sans produit de contraste",
    "sin contraste",
    "sin medio de contraste",
    "sem contraste",
    "senza mdc",
    "zonder contrast",
    "C-",
    "C- THIN",
    "C THIN",
    "PLAIN",
    "Recon 3: ACUTE STROKE",
    "I To S",
    "ICE",
    "SPACE",
    "PLACE",
    "Head 5.0 H31s",
    "CTAX 5MM",
    "PRE POST",
    "EDGE ENHANCED",
    "DIVERTICULUM IVC",
    "造影なし",
    "非增强",
]


@pytest.mark.parametrize("description", CONTRAST)
def test_descriptions_of_contrast_medium(description: str) -> None:
    assert warned(series_description=description) == ["contrast_suspected"]


@pytest.mark.parametrize("description", NO_CONTRAST)
def test_descriptions_without_contrast_medium(description: str) -> None:
    assert "contrast_suspected" not in warned(series_description=description)


@pytest.mark.parametrize(
    "agent",
    [
        "Omnipaque 350",
        "IV",
        "CONTRAST",
        "ORAL & IV",
        "Iohexol",
        "NON-IONIC 300",
        "NONIONIC",
        "Yes",
        "100 ml",
        "KM",
        "1",
    ],
)
def test_agents_that_were_given(agent: str) -> None:
    assert warned(contrast_agent=agent) == ["contrast_suspected"]


@pytest.mark.parametrize(
    "agent",
    [
        "",
        " ",
        "NONE",
        "None",
        "no",
        "NO CONTRAST",
        "NON CONTRAST",
        "0",
        "0 ml",
        "-",
        "--",
        "N/A",
        "n",
        "without",
        "W/O IV",
        "ohne",
        "nativ",
        "ORAL",
        "NONE\\NONE",
        "false",
        "UNENHANCED",
        "unknown",
    ],
)
def test_agents_that_were_not(agent: str) -> None:
    assert warned(contrast_agent=agent) == []


def test_one_image_with_an_agent_is_enough() -> None:
    plain = make_series("1.1").headers
    series = Series((*plain[1:], replace(plain[0], contrast_agent="Iohexol")))
    assert [item.code for item in warnings_of(series)] == ["contrast_suspected"]


def test_mr_is_not_judged_by_what_holds_for_ct() -> None:
    tags: dict[str, Any] = {
        "modality": "MR",
        "series_description": "T1 HR POST CONTRAST BONE",
        "contrast_agent": "Gadovist",
    }
    assert warned(**tags) == []
    assert preference_key(make_series("1.1", **tags)) == preference_key(make_series("1.2", modality="MR"))


def test_what_a_nifti_file_tells() -> None:
    assert warned(image_type=("NIFTI",)) == []
    assert warned(image_type=("NIFTI", "NO_ORIENTATION")) == ["no_orientation"]
    assert warned(image_type=("NIFTI", "NO_ORIENTATION", "OTHER_SLICE_AXIS")) == ["no_orientation", "slice_axis"]


PLAIN: dict[str, Any] = {}
BETTER_AND_WORSE = [
    (PLAIN, {"image_position": None}, "states where its slices lie"),
    (PLAIN, {"image_orientation": None}, "states where its slices lie"),
    (PLAIN, {"pixel_spacing_mm": None}, "states where its slices lie"),
    ({"convolution_kernel": "BONE"}, {"series_description": "CTA", "convolution_kernel": "STANDARD"}, "less sign"),
    ({"contrast_agent": "Iohexol"}, {"contrast_agent": "Iohexol", "series_description": "POST CONTRAST"}, "less sign"),
    (PLAIN, {"contrast_agent": "Iohexol"}, "less sign of contrast"),
    ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, {"convolution_kernel": "H60s"}, "not reconstructed for bone"),
    ({"slices": 200, "spacing_mm": 0.7, "slice_thickness_mm": 0.7}, {"slices": 10}, "covers 100 mm or more"),
    ({"slice_thickness_mm": 2.5}, {"convolution_kernel": "DETAIL"}, "not reconstructed for fine detail"),
    ({"slice_thickness_mm": 2.5}, {"convolution_kernel": "H48s"}, "not reconstructed for fine detail"),
    (PLAIN, {"series_description": "0.625 MM HI RES"}, "not reconstructed for fine detail"),
    (PLAIN, {"series_description": "HRCT"}, "not reconstructed for fine detail"),
    (
        {"slice_thickness_mm": 1.25},
        {"image_type": ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE")},
        "not reformatted",
    ),
    (PLAIN, {"image_type": ("DERIVED", "PRIMARY", "VOLUME", "RESAMPLED")}, "not reformatted"),
    (PLAIN, {"slices": 240, "spacing_mm": 0.625, "slice_thickness_mm": 0.625}, "nearer to 5 mm"),
    (PLAIN, {"slice_thickness_mm": 10.0}, "nearer to 5 mm"),
    (PLAIN, {"slice_thickness_mm": None, "slices": 100, "spacing_mm": 1.5}, "nearer to 5 mm"),
    ({"slice_thickness_mm": None}, {"slice_thickness_mm": 3.0}, "nearer to 5 mm"),
    (PLAIN, {"slices": 25}, "more slices"),
]


@pytest.mark.parametrize(("better", "worse", "because"), BETTER_AND_WORSE)
def test_preferences(better: dict[str, Any], worse: dict[str, Any], because: str) -> None:
    good, bad = make_series("1.1", **better), make_series("1.2", **worse)
    assert preference_key(good) < preference_key(bad)
    deciding = next(item for item in PREFERENCES if item.key(good) != item.key(bad))
    assert because in deciding.because


@pytest.mark.parametrize("description", ["24 HR FOLLOW UP", "Details of", "CHR", "BRAIN"])
def test_descriptions_that_only_look_like_detail(description: str) -> None:
    equal = preference_key(make_series("1.1")) == preference_key(make_series("1.2", series_description=description))
    assert equal == (description != "Details of")


def test_images_of_one_place_do_not_make_a_series_longer() -> None:
    series = make_series("1.1")
    watched = Series(series.headers * 5)
    assert preference_key(watched) == preference_key(series)
