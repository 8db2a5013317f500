"""The other honest way to stage 2: encoders of folds describe the patients that they have not seen.

Both stages learn from all patients. Every fold encoder has a basis of its own, so its descriptors are brought into the
basis of the encoder that ships by a linear map, fitted to patients that both have seen. Logits and summaries of maps
mean the same in every encoder and stay as they are.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slicewise.data.store import SeriesRecord
from slicewise.files import write_atomically
from slicewise.models.encoder import DescriptorNetwork
from slicewise.training.alignment import Alignment, explained_variance, fit_alignment
from slicewise.training.context import CALIBRATION_PART, TrainingContext, fold_part
from slicewise.training.descriptors import SeriesFeatures, describe
from slicewise.training.stage1 import train_stage1

ALIGNMENT_SERIES = 300
"""Series that a map between descriptors is fitted to, at most: more change nothing but the time it takes."""


def describe_unseen(context: TrainingContext, network: DescriptorNetwork) -> list[SeriesFeatures]:
    """Trains an encoder for every fold and describes with it the patients of the fold.

    Args:
        context: The training run, its patients split into folds.
        network: The encoder that ships, which has seen them all.

    Returns:
        Features of all series of the folds, in the basis of the encoder that ships.
    """
    features = []
    for fold in range(context.config.split.folds):
        unseen = context.records(fold_part(fold))
        seen = [record for record in context.encoder_records() if context.parts[record.patient_id] != fold_part(fold)]
        name = f"Stage 1 without fold {fold + 1} of {context.config.split.folds}"
        encoder = train_stage1(context, seen, unseen, context.run.fold(fold), name)
        of_fold = describe(context, encoder, unseen)
        if context.config.fusion.inputs != "compact":
            alignment = _align(context, encoder, network, seen, context.run.fold(fold))
            of_fold = [replace(item, descriptors=alignment.apply(item.descriptors)) for item in of_fold]
        features += of_fold
    return features


def _align(
    context: TrainingContext,
    encoder: DescriptorNetwork,
    network: DescriptorNetwork,
    seen: Sequence[SeriesRecord],
    folder: Path,
) -> Alignment:
    order = np.random.default_rng(context.seed("alignment")).permutation(len(seen))[:ALIGNMENT_SERIES]
    chosen = [seen[index] for index in sorted(order.tolist())]
    source, target = (_descriptors(describe(context, item, chosen)) for item in (encoder, network))
    alignment = fit_alignment(source, target)
    # Neither has seen the calibration patients: what the map explains there is what it is worth.
    others = context.records(CALIBRATION_PART)
    new_source, new_target = (_descriptors(describe(context, item, others)) for item in (encoder, network))
    if context.hardware.is_first:
        _write(
            folder / "alignment.csv",
            {
                "series": len(chosen),
                "explained_variance_seen": explained_variance(alignment, source, target),
                "explained_variance_unseen": explained_variance(alignment, new_source, new_target),
            },
        )
    return alignment


def _descriptors(features: Sequence[SeriesFeatures]) -> npt.NDArray[np.float32]:
    return np.concatenate([item.descriptors for item in features])


def _write(path: Path, row: dict[str, float]) -> None:
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
