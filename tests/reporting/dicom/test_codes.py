from __future__ import annotations

from typing import Any

import pytest
from pydicom.charset import encode_string
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from slicewise.reporting.dicom import codes
from slicewise.task import load_task
from test_task import verhoeff_check

OWN = [value for value in vars(codes).values() if isinstance(value, Code)]


@pytest.mark.parametrize("code", OWN, ids=str)
def test_every_code_stands_in_the_dictionaries_of_pydicom(code: Code) -> None:
    entries: Any = concepts[code.scheme_designator].values()
    known = {(value, entry[value][0]) for entry in entries for value in entry}
    assert (code.value, code.meaning) in known
    assert code.scheme_designator != "SCT" or verhoeff_check(code.value) == 0


def test_the_procedure_follows_the_task() -> None:
    assert codes.procedure(load_task("ich")).value == "24725-4"
    assert codes.procedure(load_task("mri_tumor")).value == "24590-2"


def test_own_texts_fit_any_character_set() -> None:
    text = codes.plain("größer\\出血\x07\n" + "x" * 100)
    assert len(text) == 64
    for encoding in ("iso8859", "utf8", "shift_jis", "GB18030"):
        assert encode_string(text, [encoding]) == text.encode("ascii")
    assert codes.plain(" \n") == "unnamed"


def test_only_tasks_that_use_the_private_scheme_describe_it() -> None:
    pytest.importorskip("highdicom")
    schemes = codes.private_schemes(load_task("ich"))
    assert schemes is not None
    assert [item.CodingSchemeDesignator for item in schemes] == ["99SLICEWISE"]
    assert codes.private_schemes(load_task("mri_tumor")) is None
