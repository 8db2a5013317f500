from __future__ import annotations

import re
from pathlib import Path

import slicewise.imaging.reasons as module
from slicewise.imaging.reasons import REASONS


def test_every_code_of_the_package_is_in_the_table_and_the_other_way_round() -> None:
    folder = Path(module.__file__).parent
    files = [path for path in folder.glob("*.py") if path.name != "reasons.py"] + [folder.parent / "source.py"]
    files += [folder.parent / "data" / name for name in ("prepare.py", "mask_files.py")]
    source = "\n".join(path.read_text() for path in files)
    stated = set(re.findall(r'reason="(\w+)"', source)) - {"chosen", "requested"}
    assert stated <= set(REASONS)
    assert [code for code in REASONS if f'"{code}"' not in source] == []


def test_every_meaning_is_a_sentence() -> None:
    assert all(text[0].isupper() and text.endswith(".") for text in REASONS.values())
