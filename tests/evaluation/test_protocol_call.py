from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from slicewise.errors import UsageError
from slicewise.evaluation.protocol_call import DEFAULT_HOLDOUT, TITLES, ProtocolCall
from slicewise.evaluation.published import ProtocolName


def call(protocol: ProtocolName, **changes: Any) -> ProtocolCall:
    return ProtocolCall(protocol, [Path("deep/images")], Path("deep/labels.csv"), Path("deep/out"), **changes)


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("bhx", {}, "expected --reads as well"),
        ("cq500", {"reads": Path("reads.csv")}, "with cq500 reads.csv is the file of --labels"),
        ("rsna", {"reads": Path("reads.csv")}, "--reads goes with bhx only"),
        ("cq500", {"holdout": 0.5}, "--holdout goes with rsna only"),
        ("rsna", {"holdout": 0.5, "series_list": Path("a.csv")}, "not with --series-manifest"),
        ("rsna", {"holdout": 0.0}, "--holdout 0: expected a share"),
        ("rsna", {"holdout": 1.5}, "--holdout 1.5: expected a share"),
    ],
)
def test_arguments_that_do_not_fit_are_told(protocol: ProtocolName, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call(protocol, **changes).check()


def test_external_datasets_and_lists_are_scored_whole() -> None:
    assert call("rsna").scored_share == DEFAULT_HOLDOUT
    assert call("rsna", holdout=0.4).scored_share == 0.4
    assert call("rsna", series_list=Path("a.csv")).scored_share == 1.0
    assert call("cq500").scored_share == call("bhx", reads=Path("r.csv")).scored_share == 1.0


@pytest.mark.parametrize("protocol", get_args(ProtocolName))
def test_steps_are_sentences_and_settings_hold_no_folders(protocol: ProtocolName) -> None:
    made = call(
        protocol, reads=Path("deep/reads.csv") if protocol == "bhx" else None, series_list=Path("deep/used.csv")
    )
    made.check()
    assert TITLES[protocol]
    assert all(step.endswith(".") for step in made.steps())
    assert any("used.csv" in step for step in made.steps())
    assert "deep" not in repr(made.settings()) + repr(made.steps())
    assert made.settings()["labels"] == "labels.csv"
    assert made.settings()["series_manifest"] == "used.csv"


def test_steps_tell_the_share_and_the_resamples() -> None:
    steps = " ".join(call("rsna", holdout=0.25, seed=7, resamples=50).steps())
    assert "25 % of the patients were held out (seed 7)" in steps
    assert "resampled 50 times" in steps
