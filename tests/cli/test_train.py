from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from slicewise.cli.train import run_defaults
from slicewise.config import load_config
from slicewise.package import DEFAULT_MODEL, ModelPackage, load_package
from slicewise.task import Task, load_task


@pytest.fixture(scope="module")
def shipped() -> ModelPackage:
    return load_package(DEFAULT_MODEL)


def test_a_run_takes_the_networks_of_the_model_that_it_starts_from(shipped: ModelPackage) -> None:
    config = load_config(defaults=run_defaults(load_task("ich"), shipped))
    encoder, fusion = shipped.manifest.encoder, shipped.manifest.fusion
    assert (config.encoder.name, config.encoder.pooling) == (encoder.name, encoder.pooling)
    assert config.encoder.name != load_config().encoder.name
    assert (config.fusion.name, config.fusion.members) == (fusion.name, fusion.members)


def test_what_is_set_wins(shipped: ModelPackage) -> None:
    defaults = run_defaults(load_task("ich"), shipped)
    config = load_config(None, ["fusion.name=none", "encoder.pooling=avg"], defaults=defaults)
    assert (config.fusion.name, config.encoder.pooling) == ("none", "avg")
    assert config.encoder.name == shipped.manifest.encoder.name


def _training(task: Task, values: dict[str, Any]) -> Task:
    return msgspec.structs.replace(task, training=values)


def test_a_task_keeps_its_wishes_and_its_head_where_labels_differ(shipped: ModelPackage) -> None:
    wishes = {"fusion": {"chain": True}, "stage1": {"epochs": 3}, "encoder": {"name": "resnet18"}}
    own = _training(load_task("ich"), wishes)
    config = load_config(defaults=run_defaults(own, shipped))
    assert config.stage1.epochs == 3
    assert config.fusion.chain is shipped.manifest.fusion.chain
    assert config.encoder.name == shipped.manifest.encoder.name
    other = _training(load_task("mri_tumor"), wishes)
    assert load_config(defaults=run_defaults(other, shipped)).fusion.chain is True
    assert wishes == {"fusion": {"chain": True}, "stage1": {"epochs": 3}, "encoder": {"name": "resnet18"}}


def test_without_a_model_the_task_alone_has_wishes(shipped: ModelPackage) -> None:
    task = _training(load_task("ich"), {"stage1": {"epochs": 3}})
    assert run_defaults(task, None) == {"stage1": {"epochs": 3}}
    other = replace(shipped, manifest=msgspec.structs.replace(shipped.manifest, task=load_task("mri_tumor")))
    assert "fusion" not in run_defaults(task, other)
