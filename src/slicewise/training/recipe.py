"""The recipe, top to bottom (Ngo et al. 2022): descriptors of slices, axial fusion of adjacent ones, calibration.

Stage 2 has to learn in the feature space that it will run in, from patients that stage 1 has not seen. So the patients
are split in three ("split"): some train the encoder, others axial fusion on the descriptors of exactly the encoder that
ships, and the last calibrate. Or ("kfold") encoders of folds describe the patients that they have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from slicewise.config import RunConfig
from slicewise.data.folds import patient_folds
from slicewise.data.split import split_patients
from slicewise.data.store import Dataset
from slicewise.errors import ConfigError, DatasetError
from slicewise.imaging.channels import channel_count
from slicewise.models.encoder import DescriptorNetwork, build_encoder
from slicewise.models.fusion import HEADS, build_head
from slicewise.package import ModelPackage
from slicewise.progress import Progress, no_progress
from slicewise.training.calibrating import check_prior
from slicewise.training.commit import source_commit
from slicewise.training.context import (
    CALIBRATION_PART,
    ENCODER_PART,
    FUSION_PART,
    TrainingContext,
    derived_seed,
    encoder_config,
    fold_part,
)
from slicewise.training.descriptors import SeriesFeatures, describe
from slicewise.training.folds import describe_unseen
from slicewise.training.hardware import resolve_hardware
from slicewise.training.packing import pack
from slicewise.training.run_folder import RunFolder, RunRecord, library_versions, open_run, start_run
from slicewise.training.stage1 import train_stage1
from slicewise.training.stage2 import apply_head, train_stage2


def train(
    dataset: Dataset,
    run_path: Path,
    config: RunConfig,
    *,
    init: ModelPackage | None = None,
    reuse_stage1: Path | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Trains both stages on the training patients of a dataset and packs the model.

    Args:
        dataset: A prepared dataset; its test patients are not touched.
        run_path: The run folder.
        config: The run configuration.
        init: A model whose weights the run starts from.
        reuse_stage1: A run whose stage 1 is the same, to be used instead of training it again.
        resume: Continue an interrupted run.
        progress: Reports on every step of the way.

    Returns:
        The path of the model package.

    Raises:
        DatasetError: If there are too few patients or no known labels.
        TrainingError: If the loss is not finite, or a file cannot be written.
        UsageError: If the run folder or a setting does not fit.
    """
    context = start_training(
        dataset, run_path, config, init=init, reuse_stage1=reuse_stage1, resume=resume, progress=progress
    )
    if not context.run.package.is_dir():
        described = describe_patients(context)
        # The rest is quick: one process does it, whatever their number.
        context.hardware.on_first(lambda: _fuse(context, described))
    return context.run.package


def start_training(
    dataset: Dataset,
    run_path: Path,
    config: RunConfig,
    *,
    init: ModelPackage | None = None,
    reuse_stage1: Path | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> TrainingContext:
    """Splits the training patients and makes the run folder, or opens it again; see `train`."""
    parts = split_training_patients(dataset, config, init)
    _check_networks(dataset, parts, config, init)
    hardware = resolve_hardware(config.hardware)
    record = RunRecord(
        config=config,
        task=dataset.task.name,
        dataset_digest=dataset.digest(),
        init_digest="" if init is None else init.digest,
        hardware=str(hardware),
        versions=library_versions(),
        commit=source_commit(),
    )
    run = hardware.on_first(lambda: _start(run_path, record, parts, resume=resume, reuse_stage1=reuse_stage1))
    return TrainingContext(dataset, parts, run, hardware, init, progress if hardware.is_first else no_progress)


@dataclass(frozen=True, eq=False)
class DescribedPatients:
    """Stage 1, and what it says about patients that it has not seen.

    Attributes:
        network: The network that ships.
        features: Series that stage 2 learns from.
        unseen: Series of the calibration patients.
    """

    network: DescriptorNetwork
    features: Sequence[SeriesFeatures]
    unseen: Sequence[SeriesFeatures]


def describe_patients(context: TrainingContext) -> DescribedPatients:
    """Trains stage 1, or takes what the run folder holds, and describes the patients of stage 2 and calibration."""
    # Stage 1: single slices -> descriptors. The patients on whom it is measured choose nothing, unless stage1.keep is
    # "best": then those of stage 2 choose the epoch, never those who calibrate.
    measured = context.records(FUSION_PART) or context.records(CALIBRATION_PART)
    network = train_stage1(context, context.encoder_records(), measured, context.run.stage1)

    # What stage 1 says about patients that it, or the encoder of a fold, has not seen.
    if context.config.split.method == "split":
        features = describe(context, network, context.records(FUSION_PART))
    else:
        features = describe_unseen(context, network)
    unseen = describe(context, network, context.records(CALIBRATION_PART))
    return DescribedPatients(network, features, unseen)


def _fuse(context: TrainingContext, described: DescribedPatients) -> None:
    # Stage 2: descriptors of adjacent slices -> logits.
    head = train_stage2(context, described.network, described.features, described.unseen)

    # Calibration: logits -> probabilities, on patients that neither stage has learnt from.
    logits, _ = apply_head(head, described.unseen)
    pack(context, described.network, head, unseen=described.unseen, logits=logits)


def _start(
    path: Path, record: RunRecord, parts: dict[str, str], *, resume: bool, reuse_stage1: Path | None
) -> RunFolder:
    run = start_run(path, record, resume=resume)
    if not run.package.is_dir():
        run.write_splits(parts)
        if reuse_stage1 is not None:
            run.take_stage1(open_run(reuse_stage1))
    return run


def split_training_patients(dataset: Dataset, config: RunConfig, init: ModelPackage | None = None) -> dict[str, str]:
    """Splits the training patients of a dataset, with like shares of positive patients in every part.

    Patients that the model to start from has seen may only train the encoder: it has learnt from them already.

    Returns:
        The part of every training patient: "encoder", "fusion" or "calibration"; with folds "fold1" and so on in the
        place of the first two.

    Raises:
        DatasetError: If there are too few patients.
    """
    training = sorted(patient for patient, split in dataset.splits.items() if split == "train")
    seen = {patient for patient in training if init is not None and init.has_seen(patient)}
    patients = [patient for patient in training if patient not in seen]
    positive = dict.fromkeys(patients, 0)
    for record in dataset.records:
        if record.patient_id in positive:
            positive[record.patient_id] |= int((dataset.row_labels(record) == 1).any())
    shares = {
        ENCODER_PART: config.split.encoder,
        FUSION_PART: config.split.fusion,
        CALIBRATION_PART: 1.0 - config.split.encoder - config.split.fusion,
    }
    parts = dict(split_patients(patients, shares, seed=derived_seed(config, "split"), strata=positive))
    if config.split.method == "kfold":
        parts |= _folds(positive, parts, config)
    parts |= dict.fromkeys(seen, ENCODER_PART)
    folds = map(fold_part, range(config.split.folds))
    for part in shares if config.split.method == "split" else (*folds, CALIBRATION_PART):
        if part not in parts.values():
            raise DatasetError(
                f"{len(patients)} training patients{_unless_seen(seen)} are too few: none is left for the part "
                f"'{part}'. Prepare more patients, or change split.encoder, split.fusion and split.folds"
            )
    return parts


def _folds(positive: dict[str, int], parts: dict[str, str], config: RunConfig) -> dict[str, str]:
    learning = {patient: stratum for patient, stratum in positive.items() if parts[patient] != CALIBRATION_PART}
    folds = patient_folds(learning, config.split.folds, derived_seed(config, "folds"))
    return {patient: fold_part(fold) for patient, fold in folds.items()}


def _check_networks(dataset: Dataset, parts: dict[str, str], config: RunConfig, init: ModelPackage | None) -> None:
    """Refuses what cannot be built before the run folder is made, and before hours of stage 1."""
    check_prior(config.calibration.priors, dataset.task)
    labels = len(dataset.task.labels)
    build_head(config.fusion, descriptor_size=1, summary_size=0, labels=labels)
    if not HEADS[config.fusion.name].is_exported:
        raise ConfigError(
            f"fusion.name: the head '{config.fusion.name}' can be compared (`slicewise heads`) but not packed. Choose "
            f"one of: {', '.join(sorted(name for name, head in HEADS.items() if head.is_exported))}"
        )
    encoder = msgspec.structs.replace(encoder_config(config, dataset, parts, init), pretrained=False)
    with torch.random.fork_rng(devices=[]):
        build_encoder(
            encoder,
            channels=channel_count(dataset.task, encoder.neighbours),
            size=dataset.task.preprocessing.size,
            labels=labels,
        )


def _unless_seen(seen: set[str]) -> str:
    return f" (beside {len(seen)} that the model given with --init has seen)" if seen else ""
