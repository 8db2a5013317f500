from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from conftest import ManifestMaker
from scored_dataset import small, write_dataset
from slicewise.config import FusionConfig, load_config
from slicewise.data.store import Dataset, DatasetManifest
from slicewise.evaluation.metrics import auroc
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.fusion import FusionHead, build_head
from slicewise.models.heads.ensemble import Ensemble
from slicewise.package import ModelPackage
from slicewise.progress import no_progress
from slicewise.task import Task, load_task
from slicewise.training import stage2
from slicewise.training.context import TrainingContext
from slicewise.training.descriptors import SeriesFeatures, _of_series, collate
from slicewise.training.hardware import one_cpu
from slicewise.training.run_folder import RunFolder, RunRecord
from slicewise.training.stage2 import apply_head, train_stage2

SLICES, SIZE = 12, 48
CONFIG = (
    "fusion.name=window",
    "fusion.inputs=descriptor",
    "fusion.members=1",
    "fusion.neighbours=0",
    "fusion.hidden_size=8",
    "fusion.epochs=12",
    "fusion.batch_size=8",
    "fusion.learning_rate=0.01",
)
Labels = npt.NDArray[np.int8]


@pytest.fixture(scope="module")
def task() -> Task:
    """One finding, which no other sums up."""
    ich = load_task("ich")
    return msgspec.structs.replace(ich, labels=ich.labels[:1], any_rule=None)


def make_series(count: int, *, seed: int) -> list[SeriesFeatures]:
    """Series, every second one with a run of positive slices, that differ in one direction of the descriptors.

    Stage 1 knows nothing: its logits are zero.
    """
    generator = np.random.default_rng(seed)
    series = []
    for number in range(count):
        labels = np.zeros((SLICES, 1), dtype=np.int8)
        if number % 2:
            first = generator.integers(0, SLICES - 3)
            labels[first : first + 3] = 1
        descriptors = generator.normal(size=(SLICES, SIZE)) + 2.5 / SIZE**0.5 * labels
        series.append(
            SeriesFeatures(
                descriptors=descriptors.astype(np.float32),
                slice_logits=np.zeros((SLICES, 1), dtype=np.float32),
                summaries=np.zeros((SLICES, 0), dtype=np.float32),
                positions=np.arange(SLICES, dtype=np.float32) * 5,
                labels=labels,
                series_labels=labels.max(axis=0),
            )
        )
    return series


def of_series_alone(item: SeriesFeatures) -> SeriesFeatures:
    """The same series without labels of its slices."""
    return replace(item, labels=np.full_like(item.labels, -1))


def without_label(item: SeriesFeatures) -> SeriesFeatures:
    return replace(item, series_labels=np.full_like(item.series_labels, -1))


def first_slices(item: SeriesFeatures, count: int) -> SeriesFeatures:
    names = ("descriptors", "slice_logits", "summaries", "positions", "labels")
    return replace(item, **{name: getattr(item, name)[:count] for name in names})


def context_of(task: Task, folder: Path, *overrides: str) -> TrainingContext:
    manifest = DatasetManifest("table", task, task.preprocessing.digest(), "test", complete=True)
    record = RunRecord(load_config(None, (*CONFIG, *overrides)), task.name, "", "", "cpu", {})
    dataset = Dataset(folder, manifest, (), {})
    return TrainingContext(dataset, {}, RunFolder(folder, record), one_cpu(), None, no_progress)


NETWORK = cast("DescriptorNetwork", SimpleNamespace(descriptor_size=SIZE, summary_size=0))


def trained(context: TrainingContext, features: list[SeriesFeatures]) -> FusionHead:
    return train_stage2(context, NETWORK, features, make_series(4, seed=99))


def weights(head: torch.nn.Module) -> dict[str, Tensor]:
    return dict(head.state_dict())


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_series_without_slice_labels_teach_a_head(task: Task, tmp_path: Path) -> None:
    # Two series have slice labels; of 140 only the label of the study is known.
    features = [*make_series(2, seed=11), *map(of_series_alone, make_series(140, seed=12))]
    new = make_series(60, seed=13)
    found = {}
    for weight in (0, 1):
        head = trained(context_of(task, tmp_path / str(weight), f"fusion.series_weight={weight}"), features)
        logits, labels = apply_head(head, new)
        found[weight] = auroc(torch.from_numpy(logits[:, 0]).sigmoid().numpy(), labels[:, 0])
    # 0.93 and 0.77; the best that there is has 0.96.
    assert found[1] > 0.88
    assert found[1] > found[0] + 0.1


def test_the_loss_is_that_of_slices_and_of_series(task: Task, tmp_path: Path) -> None:
    smoothing, weight = 0.1, 0.7
    context = context_of(
        task,
        tmp_path,
        f"fusion.series_weight={weight}",
        f"fusion.label_smoothing={smoothing}",
        "fusion.name=none",
    )
    positive, negative, nothing = (make_series(2, seed=4)[1], make_series(1, seed=5)[0], make_series(1, seed=6)[0])
    generator = np.random.default_rng(0)
    series = [
        replace(item, slice_logits=generator.normal(size=(SLICES, 1)).astype(np.float32))
        for item in (positive, of_series_alone(negative), without_label(of_series_alone(nothing)))
    ]
    series[0] = first_slices(series[0], 7)  # the batch is padded
    head = build_head(context.config.fusion, descriptor_size=SIZE, summary_size=0, labels=1)
    stage = stage2._stage(context, head, series, series)
    batch = collate(series)
    loss = stage.loss(stage.network, batch, stage.totals(batch))

    def cross_entropy(logit: float, label: int) -> float:
        target = label + smoothing * (0.5 - label)
        probability = 1 / (1 + np.exp(-logit))
        return float(-target * np.log(probability) - (1 - target) * np.log(1 - probability))

    slices = [
        cross_entropy(logit, label)
        for logit, label in zip(series[0].slice_logits[:, 0], series[0].labels[:, 0], strict=True)
    ]
    of_series = []
    for item in series[:2]:
        logits = item.slice_logits[:, 0].astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum()
        of_series.append(cross_entropy(float((shares * logits).sum()), int(item.series_labels[0])))
    assert loss.item() == pytest.approx(np.mean(slices) + weight * np.mean(of_series), rel=1e-5)


def test_labels_of_series_change_nothing_where_they_weigh_nothing_or_are_unknown(task: Task, tmp_path: Path) -> None:
    features = make_series(16, seed=1)
    unknown = list(map(without_label, features))
    few = "fusion.epochs=2"
    plain = trained(context_of(task, tmp_path / "plain", few), features)
    assert equal(trained(context_of(task, tmp_path / "unknown", few), unknown), plain)
    weighed = context_of(task, tmp_path / "weighed", few, "fusion.series_weight=2")
    assert equal(trained(weighed, unknown), plain)
    known = context_of(task, tmp_path / "known", few, "fusion.series_weight=2")
    assert not equal(trained(known, features), plain)


def test_a_batch_may_be_cut(task: Task, tmp_path: Path) -> None:
    features = [*make_series(8, seed=1), *map(of_series_alone, make_series(8, seed=2))]
    still = ("fusion.epochs=2", "fusion.series_weight=1", "fusion.dropout=0", "fusion.noise=0", "fusion.members=2")
    whole = weights(trained(context_of(task, tmp_path / "whole", *still), features))
    cut = weights(trained(context_of(task, tmp_path / "cut", *still, "fusion.accumulate=4"), features))
    for name, values in whole.items():
        torch.testing.assert_close(cut[name], values, atol=2e-3, rtol=1e-2, msg=name)


def test_the_seed_of_fusion_changes_stage_2_alone(task: Task, tmp_path: Path) -> None:
    features = make_series(16, seed=1)
    contexts = [
        context_of(task, tmp_path / str(number), "fusion.epochs=1", f"fusion.seed={seed}")
        for number, seed in enumerate((0, 1, 1, 2))
    ]
    initial = [stage2._initial_head(context, NETWORK, features) for context in contexts]
    heads = [trained(context, features) for context in contexts]
    for found in (initial, heads):
        assert not equal(found[0], found[1])
        assert equal(found[1], found[2])
        assert not equal(found[2], found[3])
    records = [context.run.record for context in contexts]
    assert records[0].key() != records[1].key()
    assert records[0].stage1_key() == records[1].stage1_key()
    for purpose in ("split", "stage 1", "initial weights of stage 1"):
        assert contexts[0].seed(purpose) == contexts[1].seed(purpose)
    # The first seed is what runs had before there was a choice.
    assert stage2._seed(contexts[0], "stage 2") == contexts[0].seed("stage 2")


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_changes_the_order_of_the_series(task: Task, tmp_path: Path, seed: int) -> None:
    features = make_series(16, seed=1)

    def order(seed: int) -> list[Tensor]:
        context = context_of(task, tmp_path, f"fusion.seed={seed}")
        stage = stage2._stage(context, stage2._initial_head(context, NETWORK, features), features, features)
        return [batch.features.descriptors for batch in stage.batches(0, 0)]

    assert all(torch.equal(one, other) for one, other in zip(order(seed), order(seed), strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(order(seed), order(seed + 1), strict=True))


@pytest.mark.parametrize("chain", ["false", "true"])
def test_members_differ_and_all_of_them_learn(task: Task, tmp_path: Path, chain: str) -> None:
    features = make_series(16, seed=1)
    context = context_of(task, tmp_path, "fusion.epochs=4", "fusion.members=3", f"fusion.chain={chain}")
    before = ensemble_in(stage2._initial_head(context, NETWORK, features))
    head = trained(context, features)
    after = ensemble_in(head)
    assert len(after.members) == len(before.members) == 3
    for number, member in enumerate(after.members):
        assert not equal(member, after.members[number - 1])
        start = weights(before.members[number])
        for name, _ in member.named_parameters():
            assert not torch.equal(weights(member)[name], start[name]), name
    with torch.inference_mode():
        batch = collate(features).features
        of_members = after.member_logits(batch)
        of_all = after(batch)
    assert of_members.shape == (3, 16, SLICES, 1)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (of_members[one] - of_members[other]).abs().max() > 1e-3
    torch.testing.assert_close(of_all, of_members.mean(dim=0))


def ensemble_in(head: FusionHead) -> Ensemble:
    (found,) = [module for module in head.modules() if isinstance(module, Ensemble)]
    return found


@pytest.mark.parametrize("inputs", ["descriptor", "differences", "pca", "compact"])
def test_a_head_starts_from_another_unless_its_components_are_others(
    task: Task, tmp_path: Path, make_manifest: ManifestMaker, monkeypatch: pytest.MonkeyPatch, inputs: str
) -> None:
    features = make_series(16, seed=1)
    settings = (f"fusion.inputs={inputs}", "fusion.components=4")
    other = stage2._initial_head(context_of(task, tmp_path, *settings, "fusion.seed=7"), NETWORK, features)
    manifest = msgspec.structs.replace(make_manifest(head=other), task=task)
    monkeypatch.setattr(stage2, "load_networks", lambda _: (None, other))
    context = context_of(task, tmp_path, *settings)
    started = replace(context, init=ModelPackage(manifest, "0" * 64, {}))
    head = stage2._initial_head(started, NETWORK, features)
    expected = stage2._initial_head(context, NETWORK, features) if inputs == "pca" else other
    assert equal(head, expected)


@pytest.mark.parametrize(
    ("slices", "study", "expected"),
    [
        ((0, 1, 0), (), 1),
        ((0, 1, 0), (0,), 1),  # what is seen on a slice is there, whatever the report says
        ((-1, 1, -1), (), 1),
        ((0, 0, 0), (), 0),
        ((0, 0, 0), (1,), 0),  # of another series of the study
        ((0, -1, 0), (), -1),
        ((0, -1, 0), (1,), 1),
        ((0, -1, 0), (0,), 0),
        ((-1, -1, -1), (1,), 1),
        ((-1, -1, -1), (-1,), -1),
        ((-1, -1, -1), (), -1),
    ],
)
def test_the_label_of_a_series_is_that_of_its_slices_or_else_of_its_study(
    task: Task, tmp_path: Path, slices: tuple[int, ...], study: tuple[int, ...], expected: int
) -> None:
    dataset = write_dataset(tmp_path / "dataset", small(task), patients=1, test=0)
    # Three slabs of two slices each.
    record = msgspec.structs.replace(
        dataset.records[0], labels=tuple((label,) for label in slices for _ in range(2)), study_labels=study
    )
    arrays = [np.zeros((3, size), dtype=np.float32) for size in (SIZE, 1, 0)]
    features = _of_series((arrays[0], arrays[1], arrays[2]), dataset, record)
    assert features.labels[:, 0].tolist() == list(slices)
    assert features.series_labels.tolist() == [expected]
    assert features.series_labels.dtype == np.int8
    batch = collate([features, *make_series(2, seed=1)])
    assert batch.series_known[:, 0].tolist() == [expected >= 0, True, True]
    assert batch.series_targets[:, 0].tolist() == [max(expected, 0), 0, 1]


def test_labels_of_a_series_are_told_apart(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", small(load_task("ich")), patients=1, test=0)
    slices = ((1, 0, -1, -1, 0, -1), (0, 0, -1, 0, 0, -1), (0, 0, -1, 0, 0, 1))
    record = msgspec.structs.replace(
        dataset.records[0], labels=tuple(row for row in slices for _ in range(2)), study_labels=(0, 1, 1, 0, -1, -1)
    )
    arrays = [np.zeros((3, size), dtype=np.float32) for size in (SIZE, 6, 0)]
    features = _of_series((arrays[0], arrays[1], arrays[2]), dataset, record)
    assert features.series_labels.tolist() == [1, 0, 1, 0, 0, 1]


def test_the_baseline_has_nothing_to_train(task: Task, tmp_path: Path) -> None:
    head = trained(context_of(task, tmp_path, "fusion.name=none", "fusion.series_weight=1"), make_series(4, seed=1))
    assert head.config == FusionConfig(**msgspec.structs.asdict(head.config))
    assert not list(tmp_path.iterdir())
