"""The recipe, top to bottom (Ngo et al. 2022): descriptors of slices, axial fusion of adjacent ones, calibration.

Patients are split in three: some train the encoder, others, which the encoder has not seen, train axial fusion on the
descriptors of exactly the encoder that ships, and the last calibrate.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from slicewise.config import RunConfig
from slicewise.data.split import split_patients
from slicewise.data.store import Dataset
from slicewise.errors import DatasetError
from slicewise.imaging.channels import channel_count
from slicewise.models.encoder import build_encoder
from slicewise.models.fusion import build_head
from slicewise.package import ModelPackage
from slicewise.progress import Progress, no_progress
from slicewise.training.context import (
    CALIBRATION_PART,
    ENCODER_PART,
    FUSION_PART,
    TrainingContext,
    derived_seed,
    encoder_config,
)
from slicewise.training.descriptors import describe
from slicewise.training.hardware import resolve_hardware
from slicewise.training.packing import pack
from slicewise.training.run_folder import RunRecord, library_versions, open_run, start_run
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
        TrainingError: If the loss is not finite.
        UsageError: If the run folder or a setting does not fit.
    """
    hardware = resolve_hardware(config.hardware)
    parts = split_training_patients(dataset, config, init)
    _check_networks(dataset, parts, config, init)
    record = RunRecord(
        config=config,
        task=dataset.task.name,
        dataset_digest=dataset.digest(),
        init_digest="" if init is None else init.digest,
        hardware=str(hardware),
        versions=library_versions(),
    )
    run = start_run(run_path, record, resume=resume)
    if run.package.is_dir():
        return run.package
    run.write_splits(parts)
    if reuse_stage1 is not None:
        run.take_stage1(open_run(reuse_stage1))
    context = TrainingContext(dataset, parts, run, hardware, init, progress)

    # Stage 1: single slices -> descriptors.
    network = train_stage1(context, context.records(ENCODER_PART))

    # Stage 2: descriptors of adjacent slices -> logits, on patients that stage 1 has not seen.
    features = describe(context, network, context.records(FUSION_PART))
    head = train_stage2(context, network, features)

    # Calibration: logits -> probabilities, on patients that neither stage has seen.
    logits, labels = apply_head(head, describe(context, network, context.records(CALIBRATION_PART)))
    pack(context, network, head, logits=logits, labels=labels)
    return run.package


def split_training_patients(dataset: Dataset, config: RunConfig, init: ModelPackage | None = None) -> dict[str, str]:
    """Splits the training patients of a dataset, with like shares of positive patients in every part.

    Patients that the model to start from has seen may only train the encoder: it has learnt from them already.

    Returns:
        The part of every training patient: "encoder", "fusion" or "calibration".

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
    parts |= dict.fromkeys(seen, ENCODER_PART)
    for part in shares:
        if part not in parts.values():
            raise DatasetError(
                f"{len(patients)} training patients{_unless_seen(seen)} are too few: none is left for the part "
                f"'{part}'. Prepare more patients, or change split.encoder and split.fusion"
            )
    return parts


def _check_networks(dataset: Dataset, parts: dict[str, str], config: RunConfig, init: ModelPackage | None) -> None:
    """Refuses what cannot be built before the run folder is made, and before hours of stage 1."""
    labels = len(dataset.task.labels)
    build_head(config.fusion, descriptor_size=1, summary_size=0, labels=labels)
    encoder = msgspec.structs.replace(encoder_config(config, dataset, parts, init), pretrained=False)
    with torch.random.fork_rng(devices=[]):
        build_encoder(
            encoder, channels=channel_count(dataset.task), size=dataset.task.preprocessing.size, labels=labels
        )


def _unless_seen(seen: set[str]) -> str:
    return f" (beside {len(seen)} that the model given with --init has seen)" if seen else ""
