"""What every step of a training run needs to know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec

from slicewise.config import EncoderConfig, RunConfig
from slicewise.data.store import Dataset, SeriesRecord
from slicewise.errors import ConfigError
from slicewise.package import ModelPackage
from slicewise.progress import Progress
from slicewise.task import Task
from slicewise.training.hardware import Hardware
from slicewise.training.run_folder import RunFolder

ENCODER_PART, FUSION_PART, CALIBRATION_PART = "encoder", "fusion", "calibration"
_FOLD = "fold"


def fold_part(fold: int) -> str:
    """Returns the name of the part of the patients of a fold.

    >>> fold_part(0)
    'fold1'
    """
    return f"{_FOLD}{fold + 1}"


def trains_encoder(part: str | None) -> bool:
    """Tells whether the encoder that ships learns from the patients of a part."""
    return part is not None and (part == ENCODER_PART or part.startswith(_FOLD))


@dataclass(frozen=True, eq=False)
class TrainingContext:
    """One training run.

    Attributes:
        dataset: The prepared dataset.
        parts: Part of every training patient: "encoder", "fusion" or "calibration"; with folds "fold1" and so on in
            the place of the first two.
        run: The run folder.
        hardware: Device and precision of stage 1.
        init: A model that the run starts from, None to start anew.
        progress: Reports on every step of the way.
    """

    dataset: Dataset
    parts: dict[str, str]
    run: RunFolder
    hardware: Hardware
    init: ModelPackage | None
    progress: Progress

    @property
    def config(self) -> RunConfig:
        """The run configuration."""
        return self.run.record.config

    @cached_property
    def encoder(self) -> EncoderConfig:
        """The network of stage 1, see `encoder_config`."""
        return encoder_config(self.config, self.dataset, self.parts, self.init)

    @property
    def task(self) -> Task:
        """The task of the dataset."""
        return self.dataset.task

    def records(self, part: str) -> list[SeriesRecord]:
        """Returns the series of one part of the patients."""
        return [record for record in self.dataset.records if self.parts.get(record.patient_id) == part]

    def encoder_records(self) -> list[SeriesRecord]:
        """Returns the series of all patients from whom the encoder that ships learns."""
        return [record for record in self.dataset.records if trains_encoder(self.parts.get(record.patient_id))]

    def seed(self, purpose: str) -> int:
        """Returns the seed for one purpose."""
        return derived_seed(self.config, purpose)


def encoder_config(
    config: RunConfig, dataset: Dataset, parts: dict[str, str], init: ModelPackage | None
) -> EncoderConfig:
    """Returns the network of stage 1: with occupancy maps where masks train them, or where they are trained already.

    Args:
        config: The run configuration.
        dataset: A prepared dataset.
        parts: Part of every training patient.
        init: A model that the run starts from.

    Raises:
        ConfigError: If the maps of that model are of another width.
    """
    trained = 0
    if init is not None and init.manifest.task.label_names == dataset.task.label_names:
        trained = init.manifest.encoder.map_channels
    wanted = config.encoder.map_channels
    if trained and wanted and trained != wanted:
        raise ConfigError(
            f"--init: that model has encoder.map_channels={trained}, the configuration {wanted}. Set the same"
        )
    masks = (record.masks_digest for record in dataset.records if trains_encoder(parts.get(record.patient_id)))
    if trained or (config.stage1.map_weight > 0 and any(masks)):
        return config.encoder
    return msgspec.structs.replace(config.encoder, map_channels=0)


def derived_seed(config: RunConfig, purpose: str) -> int:
    """Returns the seed for one purpose.

    Every purpose has a stream of its own: a change in one place cannot shift the random numbers of another.
    """
    digest = hashlib.sha256(f"{config.seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:6], "big")
