from __future__ import annotations

import hashlib
import hmac
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicewise.errors import UsageError
from slicewise.imaging.reasons import REASONS
from slicewise.reporting.anonymous import (
    LONGEST_KEY_BYTES,
    SHORTEST_KEY_BYTES,
    anonymous_results,
    load_or_make_key,
    random_key,
)
from slicewise.results import (
    ModelSummary,
    Rejection,
    Results,
    SeriesResult,
    SliceResult,
    StudyResult,
    encode_results,
)
from slicewise.source import Source
from slicewise.volume import ScanWarning

MakeStudy = Callable[..., StudyResult]
MakeResults = Callable[..., Results]
KEY = bytes(range(32))


def results_of(*ids: str, rejected: tuple[Rejection, ...] = ()) -> Results:
    """Returns results of one slice whose patient, study, series and SOP instance have the given ids."""
    patient_id, study_uid, series_uid, sop_uid = ids
    item = SliceResult(sop_uid, 1, "Doe/IM1", 0, 2.5, {"any": 0.25})
    warnings = (ScanWarning("tilted", "The slices are tilted."),)
    series = SeriesResult(patient_id, study_uid, series_uid, (item,), {"any": 0.25}, 3.0, warnings)
    source = Source("/data/Doe/IM1", "Doe/IM1")
    study = StudyResult(patient_id, study_uid, (series,), {"any": 0.25}, warnings, {sop_uid: source})
    model = ModelSummary("m", "1", "d", ("any",), ("Any",), "any", {"any": 0.5}, "rule", "max", "nothing", "tests")
    return Results(model, (study,), rejected, "0")


def hashed_ids(results: Results) -> tuple[str, str, str, str]:
    (study,) = results.studies
    (series,) = study.series
    assert (series.patient_id, series.study_uid) == (study.patient_id, study.study_uid)
    return study.patient_id, study.study_uid, series.series_uid, series.slices[0].sop_uid


def test_ids_become_keyed_hashes() -> None:
    found = hashed_ids(anonymous_results(results_of("P1", "1.2", "1.3", "1.4"), KEY))
    expected = tuple(
        hmac.new(KEY, f"slicewise anonymous id\0{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]
        for kind, value in (("patient_id", "P1"), ("study_uid", "1.2"), ("series_uid", "1.3"), ("sop_uid", "1.4"))
    )
    assert found == expected


def test_one_text_has_another_hash_as_another_kind_of_id_and_with_another_key() -> None:
    results = results_of("1.2", "1.2", "1.2", "1.2")
    found = [hashed_ids(anonymous_results(results, key)) for key in (KEY, bytes(32))]
    assert len({value for ids in found for value in ids}) == 8


@given(st.text(min_size=1), st.text(min_size=1), st.binary(min_size=32, max_size=64))
def test_equal_ids_have_equal_hashes_and_others_do_not(one: str, other: str, key: bytes) -> None:
    first, second = (hashed_ids(anonymous_results(results_of(text, "s", text, "i"), key)) for text in (one, other))
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in (*first, *second))
    assert (first == second) == (one == other)


def test_an_empty_id_stays_empty() -> None:
    assert hashed_ids(anonymous_results(results_of("", "1.2", "", "1.4"), KEY))[::2] == ("", "")


def test_bytes_of_no_encoding_are_hashed() -> None:
    patient_id, *_ = hashed_ids(anonymous_results(results_of("P\udcff", "1", "2", "3"), KEY))
    assert re.fullmatch("[0-9a-f]{32}", patient_id)


def test_all_else_stays_as_it_is() -> None:
    named = results_of("P1", "1.2", "1.3", "1.4")
    anonymous = anonymous_results(named, KEY)
    assert anonymous.anonymous
    assert not named.anonymous
    assert (anonymous.model, anonymous.disclaimer) == (named.model, named.disclaimer)
    (before,), (after,) = named.studies, anonymous.studies
    assert (after.probabilities, after.warnings) == (before.probabilities, before.warnings)
    assert after.series[0].tilt_degrees == 3.0
    expected = msgspec.structs.replace(before.series[0].slices[0], sop_uid=hashed_ids(anonymous)[3], file="")
    assert after.series[0].slices == (expected,)


def test_sources_are_found_by_the_hash() -> None:
    anonymous = anonymous_results(results_of("P1", "1.2", "1.3", "1.4"), KEY)
    assert anonymous.studies[0].sources == {hashed_ids(anonymous)[3]: Source("/data/Doe/IM1", "Doe/IM1")}
    assert b"Doe" not in encode_results(anonymous)


def test_what_was_not_scored_keeps_its_reason_alone() -> None:
    rejected = (
        Rejection("Doe/scout", "not_chosen", "localizer", "Series 'Jane Doe': is a localizer.", "1.3"),
        Rejection("Doe.txt", "unreadable", "not_dicom", "Doe.txt: expected a DICOM file."),
    )
    anonymous = anonymous_results(results_of("P1", "1.2", "1.3", "1.4", rejected=rejected), KEY)
    assert anonymous.rejected == (
        Rejection("", "not_chosen", "localizer", REASONS["localizer"], hashed_ids(anonymous)[2]),
        Rejection("", "unreadable", "not_dicom", REASONS["not_dicom"]),
    )


def test_a_reason_without_a_meaning_brings_no_message() -> None:
    rejected = (Rejection("Doe.txt", "unreadable", "something_new", "Doe.txt: something new."),)
    anonymous = anonymous_results(results_of("P1", "1.2", "1.3", "1.4", rejected=rejected), KEY)
    assert anonymous.rejected == (Rejection("", "unreadable", "something_new", ""),)


def test_the_order_of_file_names_is_not_kept(make_study: MakeStudy, make_results: MakeResults, tmp_path: Path) -> None:
    studies = [make_study(tmp_path, ["a"], patient_id=f"P{number}", study_uid=f"1.{number}") for number in range(20)]
    rejected = [Rejection(f"{number}", "not_chosen", "localizer", "", f"1.2.{number}") for number in range(20)]
    one = anonymous_results(make_results(*studies, rejected=rejected), KEY)
    other = anonymous_results(make_results(*reversed(studies), rejected=rejected[::-1]), KEY)
    assert [study.patient_id for study in one.studies] == [study.patient_id for study in other.studies]
    assert one.rejected == other.rejected
    assert len({study.patient_id for study in one.studies}) == 20


def test_random_keys_differ() -> None:
    keys = {random_key() for _ in range(10)}
    assert len(keys) == 10
    assert {len(key) for key in keys} == {32}


def test_a_missing_key_is_made_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    key = load_or_make_key(path)
    assert len(key) >= SHORTEST_KEY_BYTES
    assert path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make_key(path) == key
    assert load_or_make_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("length", [0, SHORTEST_KEY_BYTES - 1, LONGEST_KEY_BYTES + 1])
def test_a_key_that_is_too_short_or_too_long_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(bytes(length))
    with pytest.raises(UsageError, match=r"expected a key of 32 to 4096 bytes, found (0|31|more)"):
        load_or_make_key(path)
    assert path.stat().st_size == length


@pytest.mark.parametrize("length", [SHORTEST_KEY_BYTES, LONGEST_KEY_BYTES])
def test_every_byte_of_a_key_counts(tmp_path: Path, length: int) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(b"\n" * length)
    assert load_or_make_key(path) == b"\n" * length


def test_a_key_file_that_cannot_be_made_or_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_or_make_key(tmp_path)
    with pytest.raises(UsageError, match="cannot be made: No such file or directory"):
        load_or_make_key(tmp_path / "none" / "secret.key")


def test_a_key_file_on_a_full_disk_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdopen", lambda *_: Full())
    with pytest.raises(UsageError, match="No space left"):
        load_or_make_key(tmp_path / "secret.key")
    assert list(tmp_path.iterdir()) == []
