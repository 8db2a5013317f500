from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from carded import carded, make_card
from conftest import ManifestMaker
from slicewise.errors import PackageError
from slicewise.evaluation.model_card import LARGEST_BYTES, encode_card, read_card
from slicewise.package import ModelPackage


def test_a_card_is_read_as_it_was_written(make_manifest: ManifestMaker) -> None:
    card = make_card(make_manifest().task)
    assert read_card(carded(make_manifest(), encode_card(card))) == card


def test_a_package_without_a_card_has_none(make_manifest: ManifestMaker) -> None:
    assert read_card(ModelPackage(make_manifest(), "0" * 64, {})) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"format_version": 9}'])
def test_a_card_that_is_not_valid_is_refused(make_manifest: ManifestMaker, content: bytes) -> None:
    with pytest.raises(PackageError, match=r"test-model: card\.json"):
        read_card(carded(make_manifest(), content))


def test_a_card_that_is_too_large_is_refused_before_it_is_read(make_manifest: ManifestMaker) -> None:
    with pytest.raises(PackageError, match="larger than"):
        read_card(carded(make_manifest(), b" " * (LARGEST_BYTES + 1)))


def lose_a_label(card: Any) -> None:
    del card["evaluations"][0]["study"]["any"]


def name_a_foreign_label(card: Any) -> None:
    card["localisation"][0]["label"] = "tumor"


def add_a_key(card: Any) -> None:
    card["approved_by"] = "nobody"


def flag_too_few(card: Any) -> None:
    card["localisation"][0]["flagged"] = -1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_a_label, r"evaluations\[0\]\.study"),
        (name_a_foreign_label, "tumor"),
        (add_a_key, "approved_by"),
        (flag_too_few, "flagged"),
    ],
)
def test_a_card_that_does_not_fit_the_model_is_refused(
    make_manifest: ManifestMaker, damage: Callable[[Any], None], words: str
) -> None:
    card = json.loads(encode_card(make_card(make_manifest().task)))
    damage(card)
    with pytest.raises(PackageError, match=words):
        read_card(carded(make_manifest(), json.dumps(card).encode()))
