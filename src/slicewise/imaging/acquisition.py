"""How a series was acquired, as its headers tell: what evaluations part scans by.

Nothing that names a patient is kept but age and sex, and an age above 89 is kept as 90 (45 CFR 164.514(b)(2)(i)(C)).
"""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from slicewise.errors import UnreadableFileError
from slicewise.imaging.dicom import read_dicom
from slicewise.imaging.elements import LONGEST_SHOWN, Elements
from slicewise.imaging.quick_header import Wanted
from slicewise.imaging.series import Series
from slicewise.imaging.silence import silent_pydicom

WANTED = Wanted(
    ("Manufacturer", "ManufacturerModelName", "PatientAge", "PatientBirthDate", "PatientSex", "StudyDate", "KVP"), ()
)

OLDEST_TOLD_YEARS = 89
"""Above this age there are so few people that it tells who they are."""

_OLDEST_YEARS = 130
_SEXES = ("M", "F", "O")
_LARGEST_KVP, _LARGEST_THICKNESS_MM = 300.0, 100.0
_DAYS_A_YEAR = 365.25
_YEARS = {"D": 1 / _DAYS_A_YEAR, "W": 7 / _DAYS_A_YEAR, "M": 1 / 12, "Y": 1.0}
_AGE = re.compile(r"(\d{1,3})([DWMY])", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
"""With the full stops of ACR-NEMA, too (DICOM PS3.5 6.2)."""

_MANUFACTURERS = (
    ("GE", r"^ge\b|^gems\b|general electric"),
    ("Siemens", r"siemens"),
    ("Philips", r"philips|^marconi|^picker"),
    ("Canon", r"canon|toshiba"),
    ("Fujifilm", r"fuji|hitachi"),
    ("Neusoft", r"neusoft"),
    ("United Imaging", r"united.?imaging|^uih\b"),
    ("Samsung", r"samsung|neurologica"),
)
"""Short name -> what Manufacturer, (0008,0070), holds, in lower case; successors stand for those they bought."""


class Acquisition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a series was acquired. What is absent or malformed is "" or None.

    Attributes:
        manufacturer: Short name of the manufacturer, see `short_manufacturer`.
        manufacturer_text: Manufacturer, (0008,0070).
        model_name: Manufacturer's Model Name, (0008,1090).
        series_description: Series Description, (0008,103E).
        kernel: Convolution Kernel, (0018,1210).
        slice_thickness_mm: Median Slice Thickness, (0018,0050).
        age_years: Patient's Age, (0010,1010), else from Patient's Birth Date, (0010,0030), and Study Date,
            (0008,0020); whole years from the second birthday on, 90 for anyone older than 89.
        sex: Patient's Sex, (0010,0040): "M", "F" or "O".
        kvp: KVP, (0018,0060), in kV.
    """

    manufacturer: str = ""
    manufacturer_text: str = ""
    model_name: str = ""
    series_description: str = ""
    kernel: str = ""
    slice_thickness_mm: float | None = None
    age_years: float | None = None
    sex: str = ""
    kvp: float | None = None


def read_acquisition(series: Series) -> Acquisition | None:
    """Returns how a series was acquired, from the header of its first file that can be read; pixels are not read.

    Returns:
        None for NIfTI, which tells nothing of it, and where no file can be read.
    """
    if series.headers[0].pixels is None:  # of NIfTI
        return None
    for source in dict.fromkeys(header.source for header in series.headers):
        with silent_pydicom():
            try:
                return _acquisition(series, read_dicom(source, WANTED).elements)
            except UnreadableFileError:
                continue
    return None


def short_manufacturer(text: str) -> str:
    """Returns one short name for the many that a manufacturer has; another one's own, in one spelling.

    >>> short_manufacturer("GE MEDICAL SYSTEMS"), short_manufacturer("TOSHIBA_MEC"), short_manufacturer("ACME  ct")
    ('GE', 'Canon', 'Acme Ct')
    """
    folded = text.strip().lower()
    found = next((name for name, pattern in _MANUFACTURERS if re.search(pattern, folded)), None)
    return found or " ".join(folded.split()).title()


def age_in_years(age: str, birth_date: str = "", study_date: str = "") -> float | None:
    """Returns the age of a patient.

    Args:
        age: Patient's Age, DICOM PS3.5 6.2 AS: "063Y", "012M", "006W", "010D". "000Y" is what anonymisers write: the
            standard gives newborns in days.
        birth_date: Patient's Birth Date, DA; used where there is no usable age.
        study_date: Study Date, DA.

    Returns:
        Whole years from the second birthday on, below tenths of a year; 90 for anyone older than 89; None where the
        age is not known.

    >>> age_in_years("063Y"), age_in_years("018M"), age_in_years("094Y"), age_in_years("", "19500601", "20200531")
    (63.0, 1.5, 90.0, 69.0)
    """
    stated = _AGE.fullmatch(age.strip())
    if stated is not None and (int(stated[1]) > 0 or stated[2] not in "Yy"):
        return _told(int(stated[1]) * _YEARS[stated[2].upper()])
    born, studied = _date(birth_date), _date(study_date)
    if born is None or studied is None:
        return None
    birthdays = studied.year - born.year - ((studied.month, studied.day) < (born.month, born.day))
    return _told(birthdays if birthdays >= 2 else (studied - born).days / _DAYS_A_YEAR)


def _told(years: float) -> float | None:
    if not 0 <= years <= _OLDEST_YEARS:
        return None
    if years > OLDEST_TOLD_YEARS:
        return float(OLDEST_TOLD_YEARS + 1)
    return float(int(years)) if years >= 2 else round(years, 1)


def _date(text: str) -> dt.date | None:
    found = _DATE.fullmatch(text.strip())
    try:
        return None if found is None else dt.date(*map(int, found.groups()))
    except ValueError:  # as 00000000
        return None


def _acquisition(series: Series, elements: Elements) -> Acquisition:
    """Takes from the series what `discover` has read of all files, and of the frames of enhanced images."""
    manufacturer, sex = _text(elements, "Manufacturer"), elements.text("PatientSex").upper()
    dates = elements.text("PatientBirthDate"), elements.text("StudyDate")
    return Acquisition(
        manufacturer=short_manufacturer(manufacturer),
        manufacturer_text=manufacturer,
        model_name=_text(elements, "ManufacturerModelName"),
        series_description=series.description,
        kernel=series.convolution_kernel[:LONGEST_SHOWN],
        slice_thickness_mm=_within(series.slice_thickness_mm, _LARGEST_THICKNESS_MM),
        age_years=age_in_years(elements.text("PatientAge"), *dates),
        sex=sex if sex in _SEXES else "",
        kvp=_within(elements.number("KVP"), _LARGEST_KVP),
    )


def _text(elements: Elements, keyword: str) -> str:
    return elements.text(keyword)[:LONGEST_SHOWN]


def _within(number: float | None, largest: float) -> float | None:
    """Returns a number that can be true."""
    return None if number is None or not 0 < number <= largest else float(number)
