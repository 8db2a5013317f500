"""Figures that others have published for the protocols, and why none of them is quite what is measured here.

Findings are named as the readers of CQ500 do: ICH is any intracranial hemorrhage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from slicewise.evaluation.evidence import Estimate, Metrics

ProtocolName = Literal["rsna", "cq500", "bhx"]

ALL = "all"
"""Stands for all findings together in `PublishedSystem.values`."""

PublishedMetric = Literal["weighted_log_loss", "study_auroc"]

METRIC_NAMES: Mapping[PublishedMetric, str] = {
    "weighted_log_loss": "weighted log loss of slices",
    "study_auroc": "AUROC of studies",
}


class PublishedSystem(msgspec.Struct, frozen=True):
    """What one system was reported to reach.

    Attributes:
        system: Short name.
        source: Where it is reported.
        metric: What was measured.
        values: The figures by finding, or for `ALL`.
        not_comparable: One sentence: what is different there.
    """

    system: str
    source: str
    metric: PublishedMetric
    values: dict[str, float]
    not_comparable: str


class FigureBeside(msgspec.Struct, frozen=True):
    """One of our figures beside those of others.

    Attributes:
        metric: What was measured.
        label: Label of the task; "" for all together.
        ours: Our figure.
        published: Those of others, by system.
    """

    metric: PublishedMetric
    label: str
    ours: Estimate
    published: dict[str, float]


class Comparison(msgspec.Struct, frozen=True):
    """Our figures beside published ones.

    Attributes:
        figures: The table, one row a metric and label.
        systems: Where the published figures come from.
        not_comparable: What sets all of them apart from ours, one sentence each.
    """

    figures: tuple[FigureBeside, ...]
    systems: tuple[PublishedSystem, ...]
    not_comparable: tuple[str, ...]


_NGO = (
    "Ngo et al. 2022, Slice-level Detection of Intracranial Hemorrhage on CT Using Deep Descriptors of Adjacent Slices"
)
_LEADERBOARD = "RSNA 2019 challenge, private leaderboard of stage 2"

RSNA_SYSTEMS = (
    PublishedSystem(
        "Ngo et al. 2022",
        _NGO,
        "weighted_log_loss",
        {ALL: 0.05341},
        "One ResNet-50 in two stages; its layers and settings of stage 2 are not public.",
    ),
    PublishedSystem(
        "challenge, 1st place",
        _LEADERBOARD,
        "weighted_log_loss",
        {ALL: 0.04383},
        "An ensemble of SE-ResNeXt-101 and DenseNets with two sequence models in a chain.",
    ),
    PublishedSystem(
        "challenge, 2nd place",
        _LEADERBOARD,
        "weighted_log_loss",
        {ALL: 0.04607},
        "One ResNeXt-101 with an LSTM, without test-time augmentation.",
    ),
    PublishedSystem(
        "Baidu 2022",
        "Baidu 2022, late submission to the RSNA 2019 challenge",
        "weighted_log_loss",
        {ALL: 0.04368},
        "It learns from the test images themselves (transductive), which no new scan allows.",
    ),
    PublishedSystem(
        "Burduja et al. 2020",
        "Burduja et al. 2020, doi:10.3390/s20195611",
        "weighted_log_loss",
        {ALL: 0.04989},
        "ResNeXt-101, descriptors reduced to 120 numbers, a bidirectional LSTM.",
    ),
    PublishedSystem(
        "Nguyen et al. 2020",
        "Nguyen et al. 2020, MIDL, A CNN-LSTM Architecture for Detection of Intracranial Hemorrhage on CT scans",
        "weighted_log_loss",
        {ALL: 0.0529},
        "A ResNet-50 and an LSTM trained end to end on 512 pixels.",
    ),
)

CQ500_SYSTEMS = (
    PublishedSystem(
        "Ngo et al. 2022",
        _NGO,
        "study_auroc",
        {"ICH": 0.9612, "IPH": 0.9691, "IVH": 0.9832, "SAH": 0.9596, "SDH": 0.9694, "EDH": 0.9814},
        "Trained on RSNA 2019 alone and tested on 490 of the 491 scans; which scan was left out, and which series of a "
        "scan was read, is not told.",
    ),
    PublishedSystem(
        "Chilamkurthy et al. 2018",
        "Chilamkurthy et al. 2018, doi:10.1016/S0140-6736(18)31645-3",
        "study_auroc",
        {"ICH": 0.94, "IPH": 0.95, "IVH": 0.93, "SAH": 0.96, "SDH": 0.95, "EDH": 0.97},
        "Trained on some 290,000 scans of its own with labels out of reports; which series was read is not told.",
    ),
)

SYSTEMS: Mapping[ProtocolName, tuple[PublishedSystem, ...]] = {"rsna": RSNA_SYSTEMS, "cq500": CQ500_SYSTEMS, "bhx": ()}

_APART: Mapping[ProtocolName, tuple[str, ...]] = {
    "rsna": (
        "Published figures are of the challenge's test set, whose labels are not public; ours is of patients held out.",
        "Patients of the challenge's first test set are in its training set (285 of 2,144); here no one is in both.",
    ),
    "cq500": (
        "Which series others have read is not known, and thickness alone moves figures: series_used.csv has ours.",
    ),
    "bhx": ("No figure on slices of CQ500 is known to us for this method: nothing stands beside ours.",),
}


def beside_published(
    protocol: ProtocolName, metrics: Metrics, findings: Mapping[str, str], trained_on: str
) -> Comparison:
    """Puts our figures beside the published ones of a protocol.

    Args:
        protocol: The protocol.
        metrics: Our figures.
        findings: Finding of every label of the task, in order.
        trained_on: What our model was trained on, in words.
    """
    systems = SYSTEMS[protocol]
    rows: list[FigureBeside] = []
    for metric in dict.fromkeys(system.metric for system in systems):
        of_metric = [system for system in systems if system.metric == metric]
        for label, finding in {"": ALL, **findings}.items():
            values = {item.system: item.values[finding] for item in of_metric if finding in item.values}
            if values:
                rows.append(FigureBeside(metric, label, _ours(metrics, metric, label), values))
    ours = f"Our model was trained on: {trained_on.rstrip('.')}."
    return Comparison(tuple(rows), systems, (ours, *_APART[protocol]))


def _ours(metrics: Metrics, metric: PublishedMetric, label: str) -> Estimate:
    return metrics.weighted_log_loss if metric == "weighted_log_loss" else metrics.study[label]["auroc"]
