from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from carded import DIGEST, make_card
from conftest import ManifestMaker
from evaluated import simulated_table
from slicewise.errors import UsageError
from slicewise.evaluation.card_building import build_card
from slicewise.evaluation.evaluate import evaluate
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.model_card import Card, LocalisedLabel, MeasuredLocalisation, encode_card
from slicewise.package import CARD, ModelPackage
from slicewise.task import Task, load_task


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ich")


@pytest.fixture(scope="module")
def metrics(task: Task) -> Metrics:
    return evaluate(
        simulated_table(task),
        task,
        thresholds=dict.fromkeys(task.label_names, 0.3),
        model={"name": "test-model", "version": "1", "digest": DIGEST},
        dataset={"layout": "phantom", "split": "test", "digest": "ef" * 32},
        resamples=20,
    )


@pytest.fixture
def package(make_manifest: ManifestMaker) -> ModelPackage:
    return ModelPackage(make_manifest(), DIGEST, {})


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(content))
    return path


def evaluation(folder: Path, metrics: Metrics, **changes: Any) -> Path:
    write(folder / "metrics.json", msgspec.structs.replace(metrics, **changes))
    return folder


def test_the_figures_are_those_of_the_evaluation(tmp_path: Path, package: ModelPackage, metrics: Metrics) -> None:
    (found,) = build_card(package, [evaluation(tmp_path / "a", metrics)]).evaluations
    assert found.data == "held-out patients of synthetic studies of the slicewise phantom"
    assert (found.dataset_digest, found.patients, found.slices) == ("ef" * 32, 40, 400)
    assert found.weighted_log_loss == metrics.weighted_log_loss
    point = metrics.operating_points["study"]["any"]["model"]
    assert found.study["any"].auroc == metrics.study["any"]["auroc"]
    assert found.study["any"].threshold == point.threshold == 0.3
    assert found.study["any"].sensitivity == point.metrics["sensitivity"]
    assert found.slice["subdural"].calibration_slope == metrics.slice["subdural"]["calibration_slope"]
    assert found.slice["subdural"].positive + found.slice["subdural"].negative == 400 - 3


def test_a_card_takes_all_that_was_measured(tmp_path: Path, package: ModelPackage, metrics: Metrics) -> None:
    expected = make_card(package.manifest.task)
    assert expected.making is not None
    unfinished = msgspec.structs.replace(expected.making.stages[0], name="package", finished=False)
    making = msgspec.structs.replace(expected.making, stages=(*expected.making.stages, unfinished))
    card = build_card(
        package,
        [evaluation(tmp_path / "a", metrics), evaluation(tmp_path / "b", metrics, dataset={})],
        robustness=write(tmp_path / "robustness.json", expected.robustness),
        localisation=write(tmp_path / "localisation.json", MeasuredLocalisation(DIGEST, expected.localisation)),
        making=write(tmp_path / "stages.json", making),
    )
    assert (card.robustness, card.localisation, card.making) == (
        expected.robustness,
        expected.localisation,
        expected.making,
    )
    assert card.evaluated_digest == DIGEST
    assert [item.data for item in card.evaluations][1] == "patients of data that are not named"


def test_a_new_card_of_a_model_that_has_one_takes_what_was_measured_before(
    tmp_path: Path, make_manifest: ManifestMaker, metrics: Metrics
) -> None:
    manifest = make_manifest()
    before = encode_card(make_card(manifest.task))
    packed = ModelPackage(manifest, "99" * 32, {CARD: before})
    for digest in (DIGEST, packed.digest):
        model = {**metrics.model, "digest": digest}
        assert build_card(packed, [evaluation(tmp_path / digest[:4], metrics, model=model)]).evaluated_digest == DIGEST


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "test-model", "digest": "00" * 32}}, "measured the model with digest 00"),
        ({"model": {}}, "does not name"),
        ({"leakage": ("2 of 40 patients were seen in training",)}, "seen in training"),
        ({"resamples": 0}, "no intervals"),
        ({"study": {}}, "has figures of"),
        ({"schema_version": 99}, "schema version 99"),
    ],
)
def test_figures_that_cannot_stand_on_a_card_are_refused(
    tmp_path: Path, package: ModelPackage, metrics: Metrics, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=rf"metrics\.json.*{words}"):
        build_card(package, [evaluation(tmp_path / "a", metrics, **changes)])


def test_what_measured_another_model_is_refused(tmp_path: Path, package: ModelPackage, metrics: Metrics) -> None:
    card: Card = make_card(package.manifest.task)
    folder = evaluation(tmp_path / "a", metrics)
    assert card.robustness is not None
    other = write(tmp_path / "other.json", msgspec.structs.replace(card.robustness, model_digest="77" * 32))
    with pytest.raises(UsageError, match=r"other\.json: measured the model with digest 77"):
        build_card(package, [folder], robustness=other)
    for digest, label, words in (
        ("77" * 32, "any", "measured the model with digest 77"),
        (DIGEST, "tumor", "has label"),
    ):
        labels: tuple[LocalisedLabel, ...] = (msgspec.structs.replace(card.localisation[0], label=label),)
        peaks = write(tmp_path / "peaks.json", MeasuredLocalisation(digest, labels))
        with pytest.raises(UsageError, match=rf"peaks\.json: {words}"):
            build_card(package, [folder], localisation=peaks)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_file_that_is_none_is_named(
    tmp_path: Path, package: ModelPackage, metrics: Metrics, content: bytes | None
) -> None:
    path = tmp_path / "effects.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"effects\.json"):
        build_card(package, [evaluation(tmp_path / "a", metrics)], robustness=path)


def test_metrics_from_before_the_dataset_was_named_are_read(
    tmp_path: Path, package: ModelPackage, metrics: Metrics
) -> None:
    content = json.loads(msgspec.json.encode(metrics))
    del content["dataset"]
    write(tmp_path / "a" / "metrics.json", content)
    assert not build_card(package, [tmp_path / "a"]).evaluations[0].dataset_digest


def test_words_for_the_data_are_as_many_as_evaluations(tmp_path: Path, package: ModelPackage, metrics: Metrics) -> None:
    folders = [evaluation(tmp_path / name, metrics) for name in ("a", "b")]
    card = build_card(package, folders, words=["the first", "the second"])
    assert [item.data for item in card.evaluations] == ["the first", "the second"]
    with pytest.raises(UsageError, match="given 1 times for 2 evaluations"):
        build_card(package, folders, words=["the first"])
